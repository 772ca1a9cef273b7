"""What each part of AuraNet is worth: every option trained on the same budget, chosen on validation, then measured.

    python benchmarks/auranet_evidence.py train OUT --samples 40000 --pretrain-samples 40000 [--seeds 3] [SETTING ...]
    python benchmarks/auranet_evidence.py development OUT [--boxes FILE]

``train`` screens every option with one seed, takes the two best on validation and the reference through the other
seeds, and prints the table. Each option differs from the reference in one setting. All see ``--samples`` images from
random weights; ``pretrained`` sees ``--pretrain-samples`` before that, ``longer`` as many more instead, so that these
two cost the same. Validation: people that were not trained on, forged in ways that were not trained on (upsample,
colour, warp); options are ranked by the mean of image AUC and pixel F1 there. No development set is read.
``development`` measures the finalists (and the shipped default) on the development sets once they are chosen.

A stopped command (Ctrl-C) goes on where it was when it is repeated; finished runs are only read. Everything is
``unmask.training.run.train`` and ``unmask evaluate``; SETTINGs are the recipe's, e.g. ``--detector.name auranet``.
OUT/evidence.csv and OUT/development.csv hold the rows that the tables show.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from unmask.core.files import write_text
from unmask.training.recipe import parse_overrides, read_recipe
from unmask.training.run import WEIGHTS, train

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
REFERENCE, BEST = "reference", 2
HELD_OUT_KINDS = {"upsample": 1.0, "colour": 1.0, "warp": 1.0}
TRAINED_KINDS = {"self_blend": 3.0, "splice": 1.5, "copy_move": 1.5, "inpaint": 2.0}


class Option(NamedTuple):
    """One row: what differs from the reference."""

    config: dict[str, Any] = {}  # noqa: RUF012
    pretrained: bool = False
    longer: bool = False
    losses: dict[str, float] | None = None


STAGES = 4
LITERAL = {"srm_unit_l1": False, "haft_binning": "floor", "haft_split": "half", "decoder": "coarse", "head": "linear"}
OPTIONS = {
    REFERENCE: Option(),
    "pretrained": Option(pretrained=True),
    "longer": Option(longer=True),
    "no frequency stream": Option({"frequency_stream": False}),
    "HAFT identity": Option({"haft": False}),
    "attention all global": Option({"attention": ["global"] * STAGES}),
    "attention all deformable": Option({"attention": ["deformable"] * STAGES}),
    "decoder fcmae": Option({"decoder": "fcmae"}),
    "decoder coarse": Option({"decoder": "coarse"}),
    "literal network": Option(LITERAL),
    "literal losses": Option(losses={"mask_l1_ssim": 1.0, "am_softmax": 1.0}),
}
DEVELOPMENT = ("fixtures-local", "people", "ffhq")
"""Rows of benchmarks/weights.py; whole-image re-synthesis in them is left out, it is not AuraNet's question."""


# Training ------------------------------------------------------------------------------------------------------------


def settings(option: Option, samples: int, seed: int, words: list[str]) -> dict[str, Any]:
    """What both recipes of a run are overridden with."""
    values: dict[str, Any] = {"detector.name": "auranet_tiny", "detector.config.view.size": 128, "threads": 1}
    values |= {"epochs": 1e6, "max_samples": samples, "max_minutes": None, "seed": seed, "checkpoint_every": 50}
    values |= {"validation.every": 1e6, "validation.calibration_samples": 400}  # one validation, of the last weights
    values |= {f"detector.config.{name}": value for name, value in option.config.items()}
    return values | parse_overrides(words)


def run(name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train one option with one seed, unless that is done; its row of the table."""
    option = OPTIONS[name]
    folder = args.out / "runs" / f"{name.replace(' ', '_')}-{seed}"
    seconds = 0.0
    start = None
    if option.pretrained:
        values = settings(option, args.pretrain_samples, seed, args.words)
        weights = finished(folder / "pretrain", read_recipe(CONFIGS / "auranet_pretrain.yaml", values))
        seconds, start = card(weights)["notes"]["seconds"], str(weights.resolve())
    samples = args.samples + args.pretrain_samples * option.longer
    values = settings(option, samples, seed, args.words) | {"detector.backbone_weights": start}
    values |= {"data.forgeries": TRAINED_KINDS, "validation.forgeries": HELD_OUT_KINDS}
    values |= {} if option.pretrained else {"optimizer.groups": {}}  # a small rate is for what is already trained
    values |= {} if option.losses is None else {"losses": option.losses}
    weights = finished(folder / "finetune", read_recipe(CONFIGS / "auranet_finetune.yaml", values))
    found = card(weights)
    measured = found["metrics"]["validation"]
    f1 = measured["pixel_f1"]
    return {
        "option": name,
        "seed": seed,
        "auc": measured["auc"],
        "pair_order": measured["pair_order"],
        "pixel_f1": f1,
        "pixel_iou": f1 / (2 - f1),  # of the same pixels at the same threshold
        "rank": (measured["auc"] + f1) / 2,
        "samples": found["notes"]["samples"] + args.pretrain_samples * option.pretrained,
        "minutes": (found["notes"]["seconds"] + seconds) / 60,
        "validation_hash": found["data"]["validation"]["hash"][:16],
        "weights": str(weights),
    }


def finished(folder: Path, recipe: Any) -> Path:
    """The weights of a run, trained or gone on with where they are not there yet."""
    if not (folder / "weights.json").is_file():
        print(f"\n{folder}", file=sys.stderr, flush=True)
        train(recipe, folder, resume=True, command=shlex.join(sys.argv))
    return folder / WEIGHTS


def card(weights: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    return content


def evidence(args: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """All rows so far, after each run: one seed of every option, then the other seeds of the finalists."""
    rows = []
    for name in args.options:
        rows.append(run(name, 0, args))
        yield rows
    for name in finalists(rows):
        for seed in range(1, args.seeds):
            rows.append(run(name, seed, args))
            yield rows


def finalists(rows: list[dict[str, Any]]) -> list[str]:
    """The options that rank best with the first seed, on validation alone, and the reference."""
    first = sorted((r for r in rows if r["seed"] == 0), key=lambda r: -r["rank"])
    names = [r["option"] for r in first if r["option"] != REFERENCE][:BEST]
    return [r["option"] for r in first if r["option"] in (*names, REFERENCE)]


# Tables --------------------------------------------------------------------------------------------------------------


def mean_std(rows: list[dict[str, Any]], column: str) -> str:
    values = [r[column] for r in rows if r[column] is not None]
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def table(rows: list[dict[str, Any]], columns: dict[str, str], key: tuple[str, ...] = ("option",)) -> str:
    """Markdown: a line per value of ``key``, mean ± standard deviation over seeds."""
    lines = [f"| {' | '.join((*key, 'seeds', *columns.values()))} |", "|---" * (len(key) + 1 + len(columns)) + "|"]
    for which in dict.fromkeys(tuple(r[k] for k in key) for r in rows):
        mine = [r for r in rows if tuple(r[k] for k in key) == which]
        cells = [*which, str(len(mine)), *(mean_std(mine, column) for column in columns)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def keep(path: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
    write_text(path.with_suffix(".json"), json.dumps(rows, indent=1) + "\n")


def train_all(args: argparse.Namespace) -> None:
    rows: list[dict[str, Any]] = []
    for rows in evidence(args):
        keep(args.out / "evidence.csv", rows)
    last = card(Path(rows[-1]["weights"]))
    print(f"command: {shlex.join(sys.argv)}")
    print(f"machine: {last['notes']['machine']}; commit {last['code'].get('commit', '?')[:7]}")
    print(f"data hashes: train {last['data']['train']['hash'][:16]}, validation {rows[0]['validation_hash']}\n")
    names = {"auc": "image AUC", "pair_order": "pair order", "pixel_f1": "pixel F1", "pixel_iou": "pixel IoU"}
    print(table(sorted(rows, key=lambda r: -r["rank"]), names | {"minutes": "minutes"}))
    print(f"\nfinalists: {', '.join(finalists(rows))}")


# Development sets ----------------------------------------------------------------------------------------------------


def measure(weights: str, name: str, folder: Path, boxes: Path | None) -> dict[str, Any]:
    """One `unmask evaluate` on one development set (its report stays in ``folder``), local edits only."""
    import numpy as np

    from unmask.cli.main import main as unmask
    from unmask.evaluation.predictions import read_predictions
    from unmask.metrics.suite import image_metrics
    from weights import RUNS

    if not (folder / "metrics.json").is_file():
        words = ["evaluate", weights, "--data", RUNS[name].data, "--out", str(folder), *RUNS[name].options]
        if unmask(words + (["--boxes", str(boxes)] if boxes else [])) not in (0, 1):
            raise SystemExit(f"{weights} could not be evaluated on {name}")
    found = read_predictions(folder / "predictions.parquet")
    edits = found["manipulation"].astype(str) != "resynthesis"
    part = found.take(edits & ~np.isnan(found["score"].astype(float)))
    groups = [str(group) for group in part["family"]]
    fakes = part.take(part["label"] == 1)
    image = image_metrics(part["score"], part["label"], groups, ranking=part["logit"])["auc"].value
    return {"auc": image} | {m: float(np.nanmean(fakes[m].astype(float))) for m in ("pixel_f1", "pixel_iou")}


def development(args: argparse.Namespace) -> None:
    trained = json.loads((args.out / "evidence.json").read_text(encoding="utf-8"))
    chosen = finalists(trained)
    runs = [(r["option"], r["seed"], r["weights"]) for r in trained if r["option"] in chosen]
    rows = []
    for name in args.sets:
        for option, seed, weights in [("shipped default", 0, "default"), *runs]:
            folder = args.out / "development" / f"{option.replace(' ', '_')}-{seed}-{name}"
            found = measure(weights, name, folder, args.boxes)
            rows.append({"set": name, "option": option, "seed": seed, **found})
            keep(args.out / "development.csv", rows)
    print(f"command: {shlex.join(sys.argv)}\nmachine: {platform.machine()}, {os.cpu_count()} cores\n")
    columns = {"auc": "image AUC", "pixel_f1": "pixel F1", "pixel_iou": "pixel IoU"}
    print(table(rows, columns, ("set", "option")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    first = verbs.add_parser("train", help="train every option, choose finalists on validation")
    first.add_argument("out", type=Path)
    first.add_argument("--samples", type=int, required=True, help="images per option and seed")
    first.add_argument("--pretrain-samples", type=int, required=True)
    first.add_argument("--seeds", type=int, default=3, help="seeds of the finalists")
    first.add_argument("--options", nargs="*", choices=list(OPTIONS), default=list(OPTIONS))
    second = verbs.add_parser("development", help="measure the finalists on the development sets")
    second.add_argument("out", type=Path)
    second.add_argument("--boxes", type=Path, help="face boxes file; else faces are searched (slower)")
    second.add_argument("--sets", nargs="*", choices=DEVELOPMENT, default=list(DEVELOPMENT))
    args, args.words = parser.parse_known_args()
    if args.verb == "train" and REFERENCE not in args.options:
        parser.error("options are compared with the reference: name it, too")
    if args.verb == "development" and args.words:
        parser.error(f"unknown arguments: {' '.join(args.words)}")
    try:
        (train_all if args.verb == "train" else development)(args)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
