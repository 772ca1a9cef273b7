"""Settle trained weights on whole photos of held-out people: how to look, how to calibrate, where to cut.

python -m unmask.evaluation.settle WEIGHTS.safetensors --data MANIFEST --views 256:1.6 320:1.6+2.6 --out NEW.safetensors

Training validates on single views as its stream makes them; people hand in whole photos. Of the views (pixels and
margins of a face's squares) those with the best AUC are kept, then calibration, thresholds and mask threshold are set
on the same held-out people.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from unmask.analysis.analyzer import load_analyzer
from unmask.core.config import to_dict
from unmask.core.errors import ConfigError, UnmaskError
from unmask.core.types import Face, ViewConfig
from unmask.data.faces import read_boxes
from unmask.data.manifest import Row, data_hash
from unmask.data.splits import families
from unmask.detectors.weights import WeightsCard, load_weights, save_weights
from unmask.detectors.zoo import create_detector
from unmask.evaluation.run import choose_split, read_rows
from unmask.evaluation.scoring import DetectorScorer, Item, Record, Scored, score_rows
from unmask.evaluation.selection import check_selectable
from unmask.metrics.image import auc, split_scores
from unmask.reports.evidence import Evidence
from unmask.training.calibrate import calibrate

CUTS = (0.01, 0.02, 0.03, 0.05, 0.07, *(round(0.1 * step, 1) for step in range(1, 10)))
"""Mask thresholds that are tried."""
Boxes = Mapping[str, Sequence[Face]]


class _Sweep(DetectorScorer):
    """Also notes the F1 of the mask at every threshold of :data:`CUTS` (truth is forged where it is above 0)."""

    def pixels(self, item: Item, evidence: Evidence) -> Record:
        """(len(CUTS),) F1 of a forged image."""
        if evidence.heatmap is None or item.truth is None or not item.truth.any():
            return {}
        truth = item.truth > 0
        levels = np.digitize(evidence.heatmap, CUTS)
        marked = np.bincount(levels.ravel(), minlength=len(CUTS) + 1)[::-1].cumsum()[::-1][1:]
        hit = np.bincount(levels[truth], minlength=len(CUTS) + 1)[::-1].cumsum()[::-1][1:]
        return {"f1": 2 * hit / (marked + truth.sum())}


def settle(
    weights: Path, rows: Sequence[Row], looks: Sequence[str], out: Path, *, boxes: Boxes | None = None,
    half: bool = False, command: str = "", seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Choose, calibrate, write; returns the entries that were added to the card.

    Args:
        weights: what training wrote.
        rows: labelled images of people that the weights were not trained on.
        looks: ``SIZE:MARGIN[+MARGIN…]`` of the face view; the best is kept.
        out: the ``.safetensors`` file to write.
        boxes: faces by path; other images are searched.
        half: store float16.
        command: noted in the card.
        seed: deals people into folds.

    Raises:
        ConfigError: a request to choose on test data, or a view of another form.
    """
    check_selectable(sorted({row.split for row in rows}), "views and thresholds")
    detector, card = load_weights(weights)
    tried: dict[str, tuple[float, Scored]] = {}
    parsed = {look: read_view(look, detector.config.view) for look in looks}
    for look, view in parsed.items():
        detector = _with_view(card, detector.state_dict(), view)
        with TemporaryDirectory() as folder:
            file = Path(folder) / weights.name
            save_weights(file, detector, half=half)
            scored = score_rows(rows, _Sweep(load_analyzer(file, device="cpu")), boxes=boxes)
        logits, labels = _columns(scored)
        tried[look] = auc(split_scores(logits, labels)).value, scored
    best = max(tried, key=lambda look: tried[look][0])
    scored = tried[best][1]
    logits, labels = _columns(scored)
    f1 = np.array([record["f1"] for record in scored.records if "f1" in record])
    cut = int(f1.mean(0).argmax()) if len(f1) else None
    people = families(scored.rows)
    fit = calibrate(logits, labels, people, seed=seed)
    found: dict[str, Any] = {
        "auc_by_view": {look: round(value, 4) for look, (value, _) in tried.items()},
        "pixel_f1": None if cut is None else round(float(f1[:, cut].mean()), 4),
        "images": len(scored.rows),
        "n_real": int((labels == 0).sum()),
        "families": len(set(people)),
        "hash": data_hash(scored.rows),
        "command": command,
        "seed": seed,
    }
    kept = {f.name: getattr(card, f.name) for f in dataclasses.fields(card) if f.name not in _REPLACED}
    meta = kept | fit.to_meta(None if cut is None else CUTS[cut])
    meta["metrics"] = {**card.metrics, "settled": found}
    save_weights(out, _with_view(card, detector.state_dict(), parsed[best]), meta, half=half)
    return {**found, **meta["thresholds"]}


_REPLACED = ("calibration", "thresholds", "held_out", "metrics", "config", "answers", "sha256", "format")


def read_view(look: str, view: ViewConfig) -> ViewConfig:
    """``SIZE:MARGIN[+MARGIN…]`` as a face view: one square of the first margin, wider ones of the others.

    Raises:
        ConfigError: another form, or margins that do not grow.

    >>> read_view("320:1.6+3.2", ViewConfig())
    ViewConfig(kind='face', size=320, margin=1.6, wider=(2.0,), crops=5, frames=1)
    """
    try:
        size, text = look.split(":")
        margins = [float(margin) for margin in text.split("+")]
        if not (margins[0] > 0 and all(a < b for a, b in pairwise(margins))):
            raise ValueError
        wider = tuple(round(margin / margins[0], 4) for margin in margins[1:])
        return dataclasses.replace(view, kind="face", size=int(size), margin=margins[0], wider=wider)
    except ValueError:
        raise ConfigError(
            "bad_view", f"expected SIZE:MARGIN or SIZE:MARGIN+MARGIN with growing margins (320:1.6+2.6), got '{look}'"
        ) from None


def _with_view(card: WeightsCard, state: Mapping[str, Any], view: ViewConfig) -> Any:
    detector = create_detector(card.detector, **{**card.config, "view": to_dict(view)})
    detector.load_state_dict(dict(state))
    return detector.eval()


def _columns(scored: Scored) -> tuple[Any, Any]:
    return (
        np.array([record["logit"] for record in scored.records], float),
        np.array([row.label for row in scored.rows]),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m unmask.evaluation.settle",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("weights", type=Path, metavar="WEIGHTS", help="a .safetensors file with its card beside it")
    parser.add_argument("--data", required=True, type=Path, help="manifest of held-out people")
    parser.add_argument("--split", default="val", help="rows of this split (default: val)")
    parser.add_argument("--without", nargs="*", default=[], metavar="KIND", help="manipulations to leave out")
    parser.add_argument(
        "--views", nargs="+", required=True, metavar="SIZE:MARGIN[+MARGIN]", help="face views to choose from"
    )
    parser.add_argument("--boxes", type=Path, default=None, help="face boxes file; else faces are searched")
    parser.add_argument("--half", action="store_true", help="store float16")
    parser.add_argument("--out", required=True, type=Path, help="the weights file to write")
    args = parser.parse_args(argv)
    words = " ".join(sys.argv[1:] if argv is None else argv)
    try:
        rows = [r for r in choose_split(read_rows(args.data)[0], args.split) if r.manipulation not in args.without]
        boxes = None if args.boxes is None else read_boxes(args.boxes)
        command = f"python -m unmask.evaluation.settle {words}"
        found = settle(args.weights, rows, args.views, args.out, boxes=boxes, half=args.half, command=command)
    except UnmaskError as error:
        sys.stderr.write(f"settle: error [{error.code}]: {error.message}\n")
        return 2 if isinstance(error, ConfigError) else 1
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
