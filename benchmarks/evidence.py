"""What each design, and each part of a design, is worth: every option trained on one budget, chosen on validation.

    UNMASK_DATA=/data python benchmarks/ground.py runs/manifests
    UNMASK_DATA=/data python benchmarks/evidence.py train STUDY OUT [--samples N] [--seeds 3] [SETTING ...]
    UNMASK_DATA=/data python benchmarks/evidence.py development STUDY OUT [--boxes FILE] [--sets ...]
    python benchmarks/evidence.py cost STUDY

STUDY is a row of evidence_studies.py: ``auranet`` (its parts), ``families`` (the designs against each other), ``fmca``,
``dcr`` and ``clmf`` (their parts, streams, fusions, losses), ``rules`` (how DCR-Net's memory is kept). ``train`` runs
`unmask train` once per option and seed; options differ from their study's reference in the settings that the table
names, all see the same number of images, the same people, forgeries and post-processing, 128 pixels or less, and the
same validation: people that were not trained on, half of the forgeries of kinds that were not trained on (upsample,
warp, retouch, resynthesis_part). Where a study screens, every option has one seed, and only the best two on validation
and the reference get the others. Options rank by validation AUC, in a study whose options all give masks by the mean of
AUC and pixel F1. No development set is read. ``development`` measures the finalists (and the shipped default) on the
development sets once they are chosen. ``cost`` prints parameters, FLOPs, images per second and memory of the study's
designs.

A stopped command (Ctrl-C) goes on where it was when it is repeated; finished runs are only read. SETTINGs are the
recipe's, e.g. ``--data.boxes runs/boxes.csv``. OUT/evidence.csv and OUT/development.csv hold the rows of the tables.
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
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evidence_studies import LEFT_OUT, STUDIES, TRAINED_KINDS, Option, Study
from unmask.core.files import write_text
from unmask.training.recipe import parse_overrides, read_recipe
from unmask.training.run import WEIGHTS, train

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FINALISTS = 2
EDITED = ("fixtures-local", "people", "ffhq")
"""Rows of benchmarks/weights.py; whole-image re-synthesis in them is left out, not these designs' question."""
GENERATED = ("fixtures-generated", "ffhq-sd3", "ffhq-tpdne", "ffhq-nvlabs")
"""Whole generated images against photos of another source: nobody was trained for them."""


# Training ------------------------------------------------------------------------------------------------------------


def settings(study: Study, option: Option, samples: int, seed: int, words: list[str]) -> dict[str, Any]:
    """What the recipe of a run is overridden with."""
    values: dict[str, Any] = {"detector.config.view.kind": "face"}
    values |= {"data.photos": "runs/manifests/pd_train.csv", "data.forgeries": TRAINED_KINDS, "data.jitter": 0.4}
    values |= {"data.rotate": 0.0, "data.size": None}
    values |= {"data.post": {"untouched": 0.25, "resize": 0.15, "blur": 0.08, "sharpen": 0.05, "noise": 0.08}}
    values |= {"validation.forgeries": dict.fromkeys([*TRAINED_KINDS, *LEFT_OUT], 1.0), "validation.split": "val"}
    values |= {"validation.every": 1e6, "validation.samples": 640}  # one validation, of the last weights
    values |= {"epochs": 1e6, "max_samples": samples, "max_minutes": None, "batch_size": 16, "ema_decay": 0.99}
    values |= {"precision": "fp32", "threads": 1, "workers": 1, "seed": seed, "checkpoint_every": 50}
    own = option.changes if option.recipe else study.common | option.changes
    return values | own | parse_overrides(words)


def run(study: Study, name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train one option with one seed, unless that is done; its row of the table."""
    option = study.options[name]
    folder = args.out / "runs" / f"{name.replace(' ', '_').replace(',', '')}-{seed}"
    seconds, start = 0.0, {}
    if option.pretrained:
        values = settings(study, option, args.pretrain_samples, seed, args.words)
        values |= {"data.forgeries": {"self_blend": 1.0}, "validation.forgeries": {}, "ema_decay": 0.99}
        weights = finished(folder / "pretrain", read_recipe(CONFIGS / "auranet_pretrain.yaml", values))
        seconds, start = card(weights)["notes"]["seconds"], {"detector.backbone_weights": str(weights.resolve())}
        start |= {"optimizer.groups": {"backbone": 0.5, "encoder": 0.1, "fusion": 0.1}}  # small: these are trained
    samples = args.samples + args.pretrain_samples * option.longer
    values = settings(study, option, samples, seed, args.words) | start
    weights = finished(folder / "train", read_recipe(CONFIGS / (option.recipe or study.recipe), values))
    found = card(weights)
    measured = found["metrics"]["validation"]
    f1 = measured.get("pixel_f1")
    row = {"option": name, "seed": seed, "auc": measured["auc"], "pair_order": measured["pair_order"]}
    for part, kinds in (("trained", TRAINED_KINDS), ("left_out", LEFT_OUT)):
        row[f"auc_{part}"] = statistics.mean(measured[f"auc/{kind}"] for kind in kinds)
    row |= {"pixel_f1": f1, "pixel_iou": None if f1 is None else f1 / (2 - f1)}  # of the same pixels
    row |= {"rank": (measured["auc"] + f1) / 2 if study.localizes else measured["auc"]}
    row |= {"samples": found["notes"]["samples"] + args.pretrain_samples * option.pretrained}
    row |= {"minutes": (found["notes"]["seconds"] + seconds) / 60, "machine": found["notes"]["machine"]}
    row |= {"train_hash": found["data"]["train"]["hash"][:16], "weights": str(weights)}
    return row | {
        "validation_hash": found["data"]["validation"]["hash"][:16],
        "commit": found["code"].get("commit", ""),
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


def evidence(study: Study, args: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """All rows so far, after each run: one seed of every option, then the other seeds."""
    rows = []
    for name in args.options:
        rows.append(run(study, name, 0, args))
        yield rows
    for seed in range(1, args.seeds):
        for name in finalists(study, rows):
            rows.append(run(study, name, seed, args))
            yield rows


def finalists(study: Study, rows: list[dict[str, Any]]) -> list[str]:
    """The options that rank best with the first seed, on validation alone, and the reference; all without a screen."""
    first = sorted((r for r in rows if r["seed"] == 0), key=lambda r: -r["rank"])
    reference = next(iter(study.options))
    best = [r["option"] for r in first if r["option"] != reference][: FINALISTS if study.screen else None]
    return [r["option"] for r in first if r["option"] in (*best, reference)]


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


def train_all(study: Study, args: argparse.Namespace) -> None:
    rows: list[dict[str, Any]] = []
    for rows in evidence(study, args):
        keep(args.out / "evidence.csv", rows)
    print(f"command: {shlex.join(sys.argv)}")
    print(f"machine: {rows[0]['machine']}; commits {', '.join(sorted({r['commit'][:7] for r in rows}))}")
    print(f"data hashes: train {rows[0]['train_hash']}, validation {rows[0]['validation_hash']}\n")
    names = {"auc": "image AUC", "auc_trained": "kinds trained on", "auc_left_out": "kinds left out"}
    names |= {"pair_order": "pair order", "pixel_f1": "pixel F1", "pixel_iou": "pixel IoU", "minutes": "minutes"}
    print(table(sorted(rows, key=lambda r: -r["rank"]), names))
    print(f"\nfinalists: {', '.join(finalists(study, rows))}")


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
    image = image_metrics(part["score"], part["label"], groups, ranking=part["logit"])["auc"]
    row: dict[str, Any] = {"auc": image.value, "auc_low": image.low, "auc_high": image.high}
    for column in ("pixel_f1", "pixel_iou"):
        values = fakes[column].astype(float)
        row[column] = None if np.isnan(values).all() else float(np.nanmean(values))
    return row


def development(study: Study, args: argparse.Namespace) -> None:
    trained = json.loads((args.out / "evidence.json").read_text(encoding="utf-8"))
    chosen = finalists(study, trained)
    runs = [(r["option"], r["seed"], r["weights"]) for r in trained if r["option"] in chosen]
    rows = []
    for name in args.sets:
        for option, seed, weights in [("shipped default", 0, "default"), *(r for r in runs if r[1] < args.seeds)]:
            folder = args.out / "development" / f"{option.replace(' ', '_').replace(',', '')}-{seed}-{name}"
            found = measure(weights, name, folder, args.boxes)
            rows.append({"set": name, "option": option, "seed": seed, **found})
            keep(args.out / "development.csv", rows)
    print(f"command: {shlex.join(sys.argv)}\nmachine: {platform.machine()}, {os.cpu_count()} cores\n")
    columns = {"auc": "image AUC", "auc_low": "2.5 %", "auc_high": "97.5 %"}
    print(table(rows, columns | {"pixel_f1": "pixel F1", "pixel_iou": "pixel IoU"}, ("set", "option")))


# Cost ----------------------------------------------------------------------------------------------------------------


def cost(study: Study, args: argparse.Namespace) -> None:
    """Parameters, FLOPs, forward and training speed (one thread, processor time, best of five), memory of a step."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from unmask.core.allocator import keep_freed_memory
    from unmask.training.run import build_detector

    keep_freed_memory()
    torch.set_num_threads(1)
    print(f"command: {shlex.join(sys.argv)}\nmachine: {processor()}, one thread, processor time, batch {args.batch}\n")
    print("| option | pixels | parameters | GFLOPs | images/s | training images/s | activations, MB per image |")
    print("|---|---|---|---|---|---|---|")
    for name in args.options:
        option = study.options[name]
        values = settings(study, option, 1, 0, args.words) | {"detector.backbone_weights": None}
        detector, _ = build_detector(read_recipe(CONFIGS / (option.recipe or study.recipe), values))
        detector = detector.to(memory_format=torch.channels_last)
        size = detector.config.view.size
        images = torch.rand(args.batch, 3, size, size).contiguous(memory_format=torch.channels_last)
        detector.prepare(images)
        detector.eval()
        with torch.inference_mode():
            with FlopCounterMode(display=False) as counter:
                detector(images[:1])
            forward = fastest(lambda d=detector, i=images: d(i))
        detector.train()
        kept = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            detector(images)
        step = fastest(lambda d=detector, i=images: d(i).logits.sum().backward())
        parameters = sum(p.numel() for p in detector.parameters())
        cells = [name, size, f"{parameters / 1e6:.2f} M", f"{counter.get_total_flops() / 1e9:.3f}"]
        cells += [f"{args.batch / forward:.0f}", f"{args.batch / step:.0f}", f"{kept / args.batch / 2**20:.0f}"]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def fastest(call: Any, rounds: int = 5) -> float:
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    first = verbs.add_parser("train", help="train every option, choose finalists on validation")
    second = verbs.add_parser("development", help="measure the finalists on the development sets")
    third = verbs.add_parser("cost", help="parameters, FLOPs, speed, memory")
    for verb in (first, second, third):
        verb.add_argument("study", choices=list(STUDIES))
    for verb in (first, second):
        verb.add_argument("out", type=Path)
    first.add_argument("--samples", type=int, default=4800, help="images per option and seed")
    first.add_argument("--pretrain-samples", type=int, default=4800)
    for verb in (first, second):
        verb.add_argument("--seeds", type=int, default=3)
    second.add_argument("--boxes", type=Path, help="face boxes file; else faces are searched (slower)")
    second.add_argument("--sets", nargs="*", choices=(*EDITED, *GENERATED), default=list(EDITED))
    third.add_argument("--batch", type=int, default=16)
    for verb in (first, third):
        verb.add_argument("--options", nargs="*", help="only these options of the study")
    args, args.words = parser.parse_known_args()
    study = STUDIES[args.study]
    if args.verb == "development":
        if args.words:
            parser.error(f"unknown arguments: {' '.join(args.words)}")
    else:
        args.options = args.options or list(study.options)
        unknown = [name for name in args.options if name not in study.options]
        if unknown:
            parser.error(f"{args.study} has no option {', '.join(unknown)}; it has {', '.join(study.options)}")
        if args.verb == "train" and next(iter(study.options)) not in args.options:
            parser.error("options are compared with the study's first: name it, too")
    try:
        {"train": train_all, "development": development, "cost": cost}[args.verb](study, args)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
