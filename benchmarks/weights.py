"""Measure the shipped weights on every development set and print the tables of docs/weights.md.

    UNMASK_DATA=/data python benchmarks/ground.py runs/manifests
    UNMASK_DATA=/data python benchmarks/held_out.py runs/held_out
    UNMASK_DATA=/data python benchmarks/weights.py runs/weights [--only NAME ...]

Each row is one `unmask evaluate` whose folder (report, predictions, figures) stays in OUT; rows that are there already
are only printed again. Both classes are brought to one size and one JPEG quality before they are scored.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unmask.analysis.analyzer import load_analyzer
from unmask.cli.main import main as unmask
from unmask.evaluation.predictions import read_predictions
from unmask.metrics.suite import image_metrics


class Run(NamedTuple):
    """One evaluation."""

    data: str
    options: tuple[str, ...] = ()


HELD, UNSEEN, MANIFESTS = "runs/held_out/{}/manifest.csv", "runs/held_out/{}/unseen.csv", "runs/manifests/{}.csv"
AT_90 = ("--jpeg-quality", "90")
RUNS = {
    "people": Run(HELD.format("people"), AT_90),
    "val": Run(HELD.format("val"), (*AT_90, "--split", "val")),
    "events": Run(HELD.format("events"), (*AT_90, "--split", "val")),
    "ffhq": Run(HELD.format("ffhq"), AT_90),
    "people-unseen": Run(UNSEEN.format("people"), AT_90),
    "events-unseen": Run(UNSEEN.format("events"), (*AT_90, "--split", "val")),
    "ffhq-unseen": Run(UNSEEN.format("ffhq"), AT_90),
    "fixtures-local": Run(MANIFESTS.format("fixtures_local"), AT_90),
    "fixtures-generated": Run(MANIFESTS.format("fixtures_generated"), ("--size", "320", *AT_90)),
    "ffhq-sd3": Run(MANIFESTS.format("ffhq_vs_sd3"), ("--size", "512", *AT_90)),
    "ffhq-tpdne": Run(MANIFESTS.format("ffhq_vs_tpdne"), ("--size", "512", *AT_90)),
    "ffhq-nvlabs": Run(MANIFESTS.format("ffhq_vs_nvlabs"), ("--size", "256", *AT_90)),
}


def number(measure: dict[str, Any], limits: bool = True) -> str:
    if measure["value"] is None:
        return "–"
    text = f"{measure['value']:.2f}"
    return f"{text} [{measure['low']:.2f}, {measure['high']:.2f}]" if limits and measure["low"] is not None else text


def share(rate: dict[str, Any]) -> str:
    return f"{rate['count']}/{rate['n']}"


def line(name: str, row: dict[str, Any]) -> str:
    pixel, verdicts = row["pixel"], row["verdicts"]
    cells = [
        name,
        f"{row['n_real']} / {row['n_fake']}",
        number(row["metrics"]["auc"]),
        number(row["pair_order"], limits=False),
        *(number(row["baselines"][b]["auc"], limits=False) for b in ("blur", "metadata")),
        *(number(pixel[m], limits=False) if m in pixel else "–" for m in ("pixel_f1", "pixel_iou", "pixel_auc")),
    ]
    if verdicts:
        cells += [share(verdicts["real"]["fake"]), share(verdicts["fake"]["fake"]), share(verdicts["coverage"])]
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "real / fake|image AUC [95 %]|pair order|blur AUC|metadata AUC|pixel F1|pixel IoU|pixel AUC|reals called fake|"
    "fakes called fake|coverage"
)


def edits_only(folder: Path) -> str:
    """All local edits together, whole-image re-synthesis left out; intervals over families."""
    table = read_predictions(folder / "predictions.parquet")
    which = table["manipulation"].astype(str) != "resynthesis"
    part = table.take(which & ~np.isnan(table["score"].astype(float)))
    groups = [str(group) for group in part["family"]]
    found = image_metrics(part["score"], part["label"], groups, ranking=part["logit"])
    fakes = part.take(part["label"] == 1)
    pixel = [f"{np.nanmean(fakes[name].astype(float)):.2f}" for name in ("pixel_f1", "pixel_iou", "pixel_auc")]
    said_fake = part["verdict"].astype(str) == "fake"
    called = []
    for label in (0, 1):
        mine = part["label"] == label
        called.append(f"{int((said_fake & mine).sum())}/{int(mine.sum())}")
    decided = int((part["verdict"].astype(str) != "uncertain").sum())
    counts = f"{int((part['label'] == 0).sum())} / {len(fakes)}"
    cells = ["**edits only**", counts, number(found["auc"].as_json()), "", "", "", *pixel, *called]
    return "| " + " | ".join([*cells, f"{decided}/{len(part)}"]) + " |"


PLACES = (0, 1, 8)
"""Of the held-out reals: none, one, or about 5 % score as high."""


def standings(folders: dict[str, Path]) -> Iterator[str]:
    """How many reals and fakes (no whole re-syntheses) of each set stand where at most so many held-out reals do."""
    held_out = load_analyzer(device="cpu").bench.held_out
    if held_out is None:
        return
    heads = [f"{label}, at most {n} of {len(held_out.real)}" for n in PLACES for label in ("reals", "fakes")]
    yield f"| set | {' | '.join(heads)} |\n{'|---' * (len(heads) + 1)}|"
    for name, folder in folders.items():
        table = read_predictions(folder / "predictions.parquet")
        part = table.take(table["manipulation"].astype(str) != "resynthesis").scored
        found = [
            (held_out.standing(float(score)), label) for score, label in zip(part["score"], part["label"], strict=True)
        ]
        cells = []
        for most in PLACES:
            for label in (0, 1):
                mine = [at.real.count <= most for at, truth in found if at is not None and truth == label]
                cells.append(f"{sum(mine)} of {len(mine)}")
        yield f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--boxes", default=None, help="face boxes file; else faces are searched (slower)")
    args = parser.parse_args()
    boxes = ["--boxes", args.boxes] if args.boxes else []
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    print(f"machine: {platform.machine()}, {os.cpu_count()} cores; commit {commit}; seed 0\n")
    for name in args.only:
        run, folder = RUNS[name], args.out / name
        if not (folder / "metrics.json").is_file():
            unmask(["evaluate", "default", "--data", run.data, "--out", str(folder), *run.options, *boxes])
        content = json.loads((folder / "metrics.json").read_text())
        words = " ".join(["unmask evaluate default --data", run.data, *run.options, *boxes])
        print(f"\n**{name}**: `{words}` (data hash {content['about']['data_sha256'][:16]})\n")
        print(f"| |{HEAD}|\n|{'---|' * (HEAD.count('|') + 2)}")
        for row in content["rows"]:
            print(line(row["name"], row))
        if any(row["name"] == "resynthesis" for row in content["rows"]):
            print(edits_only(folder))
    print("\n" + "\n".join(standings({name: args.out / name for name in args.only})))


if __name__ == "__main__":
    main()
