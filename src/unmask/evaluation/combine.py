"""Make a combination card: specialists that answer together, calibrated on people none of them was trained on.

python -m unmask.evaluation.combine WEIGHTS.safetensors... --data MANIFEST --split val --out CARD.json

The weights must lie in the card's folder (the card names them). The manifest holds real photos, edited ones and
generated ones of held-out people; `unmask data forge` makes such a set. Thresholds are set on out-of-fold scores,
see unmask.training.calibrate.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unmask.analysis.analyzer import load_analyzer
from unmask.core.errors import ConfigError, UnmaskError
from unmask.core.files import write_text
from unmask.data.faces import read_boxes
from unmask.data.forgeries import FORGERIES
from unmask.data.manifest import Row, data_hash
from unmask.data.splits import families
from unmask.evaluation.run import choose_split, read_rows
from unmask.evaluation.scoring import DetectorScorer, Progress, score_rows
from unmask.evaluation.selection import check_selectable
from unmask.training.calibrate import calibrate


def combine(
    weights: Sequence[Path],
    rows: Sequence[Row],
    out: Path,
    *,
    leave_open: Sequence[str] = (),
    boxes: dict[str, Any] | None = None,
    command: str = "",
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score held-out images with all members, calibrate the combined logit, write and return the card.

    Args:
        weights: one file per question, all in ``out``'s folder.
        rows: labelled images of people that no member was trained on; forgeries that ask a question of ``leave_open``
            are left out.
        out: the card's ``.json`` file.
        leave_open: questions that no member answers well; a member for one of them is named but not asked.
        boxes: faces by path; other images are searched.
        command: noted in the card.
        seed: deals people into folds.
        progress: told how many rows are done, of how many.

    Raises:
        ConfigError: weights outside the card's folder, or a request to set thresholds on test data.
        UnmaskError: weights or images that cannot be used.
    """
    check_selectable(sorted({row.split for row in rows}), "thresholds")
    strangers = [w for w in weights if w.resolve().parent != out.resolve().parent]
    if strangers:
        raise ConfigError("bad_place", f"{strangers[0]} must lie in the card's folder {out.resolve().parent}")
    rows = [row for row in rows if _question(row) not in leave_open]
    card: dict[str, Any] = {"format": 1, "members": [w.stem for w in weights], "open": list(leave_open)}
    draft = out.with_name(f".uncalibrated-{out.name}")
    try:
        write_text(draft, json.dumps(card))
        scorer = DetectorScorer(load_analyzer(draft, device="cpu"))
    finally:
        draft.unlink(missing_ok=True)
    scored = score_rows(rows, scorer, boxes=boxes, progress=progress)
    logits = np.array([record["logit"] for record in scored.records], float)
    labels = np.array([row.label for row in scored.rows])
    fit = calibrate(logits, labels, families(scored.rows), seed=seed)
    kinds = sorted({row.manipulation for row in scored.rows if row.label})
    found = fit.to_meta()
    if leave_open:  # "not edited" is not "real" while nobody has asked whether it was generated
        found["thresholds"]["real"] = None
        found["thresholds"]["doubt"] = f"no image is called real while this is open: {', '.join(leave_open)}"
    card |= found | {
        "data": {
            "hash": data_hash(scored.rows),
            "images": len(scored.rows),
            "real": int((labels == 0).sum()),
            "families": len(set(families(scored.rows))),
            "manipulations": {kind: sum(row.manipulation == kind for row in scored.rows) for kind in kinds},
            "errors": len(scored.errors),
        },
        "command": command,
        "seed": seed,
    }
    write_text(out, json.dumps(card, indent=1) + "\n")
    return card


def _question(row: Row) -> str:
    """Which question a forgery of ours asks; empty for real photos and for forgeries of others."""
    return FORGERIES[row.manipulation].answers if row.manipulation in FORGERIES else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m unmask.evaluation.combine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("weights", nargs="+", type=Path, metavar="WEIGHTS", help="one .safetensors file per question")
    parser.add_argument("--data", required=True, type=Path, help="manifest (or labelled folder) of held-out people")
    parser.add_argument("--split", default="val", help="rows of this split (default: val)")
    parser.add_argument("--boxes", type=Path, default=None, help="face boxes file; else faces are searched")
    parser.add_argument("--open", nargs="*", default=[], choices=["edited", "generated"], help="questions left open")
    parser.add_argument("--out", required=True, type=Path, help="the card to write, beside the weights")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    words = " ".join(sys.argv[1:] if argv is None else argv)
    try:
        rows = choose_split(read_rows(args.data)[0], args.split)
        card = combine(
            args.weights,
            rows,
            args.out,
            leave_open=args.open,
            boxes=None if args.boxes is None else read_boxes(args.boxes),
            command=f"python -m unmask.evaluation.combine {words}",
            seed=args.seed,
        )
    except UnmaskError as error:
        sys.stderr.write(f"combine: error [{error.code}]: {error.message}\n")
        return 2 if isinstance(error, ConfigError) else 1
    sys.stdout.write(json.dumps({k: card[k] for k in ("calibration", "thresholds", "data")}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
