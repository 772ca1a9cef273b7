"""Measure a detector, or any other tool's scores, on labelled images.

  unmask evaluate default --data test.parquet --out eval/         the shipped detectors
  unmask evaluate mine.safetensors --data photos/ --out eval/     folders real/ and fake/ give the labels
  unmask evaluate --scores other.csv --data test.csv --out eval/  scores of any tool: path,label,score
  unmask evaluate clips.safetensors --data frames.csv --out eval/ a detector of clips: a folder of frames is a video

Where the data has splits, `test` is measured unless --split says otherwise. Every table carries two baselines: an
untrained blur score, and a probe that sees only file metadata. Written to DIR: metrics.json, metrics.csv,
predictions.parquet, figures/ and report.html. With a detector of clips the rows of the data are frames, and results
have a row per video.

  unmask evaluate default --data test.parquet --editing --out editing/

is the image-editing benchmark instead: every image judged again after benign edits (JPEG, crop, text, screenshot ...)
and the fakes by manipulation. Written to DIR: editing.json, editing.csv, stability.csv, figures/ and report.html.

Ctrl-C keeps what was scored in DIR; the same command goes on from there.

exit codes: 0 every image was scored; 1 some could not be (they are listed, and count in no number); 2 wrong usage;
130 stopped with Ctrl-C
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unmask.cli import evaluate_editing

if TYPE_CHECKING:
    from unmask.evaluation.run import Evaluation


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "detector", nargs="?", metavar="WEIGHTS", help="a .safetensors file, shipped weights by name, or `default`"
    )
    parser.add_argument("--scores", type=Path, metavar="FILE", help="scores instead of a detector (path,label,score)")
    parser.add_argument("--data", type=Path, metavar="SOURCE", help="a manifest (.parquet, .csv) or a labelled folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new or empty folder for the results")
    parser.add_argument("--split", choices=("train", "val", "test"), help="measure this split only")
    parser.add_argument("--size", type=int, metavar="N", help="bring all images to N pixels on the longer side")
    parser.add_argument("--jpeg-quality", type=int, metavar="Q", help="bring all images to one JPEG quality")
    parser.add_argument("--boxes", type=Path, metavar="FILE", help="face boxes (CSV or Parquet: path,x1,y1,x2,y2)")
    parser.add_argument(
        "--calibrate-on",
        metavar="SPLIT",
        help="with --scores: calibrate and choose thresholds on this split of the data (never test)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap and the metadata probe (default 0)")
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument("--json", action="store_true", help="print metrics.json instead of a table")
    evaluate_editing.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Score, measure, write."""
    import json

    from unmask.cli.unfinished import resumable, show_errors
    from unmask.core.errors import ConfigError
    from unmask.evaluation.matching import Matching
    from unmask.evaluation.output import check_out, write_evaluation

    if args.editing:
        if args.calibrate_on is not None:
            raise ConfigError("bad_config", "--calibrate-on goes with --scores; --editing takes --calibration SOURCE")
        return evaluate_editing.run(args)
    without = [f"--{name}" for name in evaluate_editing.OPTIONS if getattr(args, name) is not None]
    if without:
        raise ConfigError("bad_config", f"{without[0]} goes with --editing")
    if (args.detector is None) == (args.scores is None):
        raise ConfigError("bad_config", "name either a detector or --scores FILE")
    if args.detector is not None and args.data is None:
        raise ConfigError("bad_config", "a detector needs labelled images: --data MANIFEST_OR_FOLDER")
    if args.calibrate_on is not None and args.scores is None:
        raise ConfigError("bad_config", "--calibrate-on goes with --scores: weights bring their own thresholds")
    matching = Matching(args.size, args.jpeg_quality)
    check_out(args.out, resumes=True)
    about = {
        "name": Path(args.detector or args.scores).stem,
        "command": shlex.join(["unmask", *sys.argv[1:]]),
        "data": str(args.data or args.scores),
        "boxes": None if args.boxes is None else str(args.boxes),
    }
    with resumable(args.out) as unfinished:
        evaluation = (_scores if args.scores else _detector)(args, matching, about, unfinished)
        content = write_evaluation(args.out, evaluation)
    if args.json:
        print(json.dumps(content, allow_nan=False))
    else:
        show(evaluation)
        print(f"report: {args.out / 'report.html'}")
    show_errors(evaluation.errors, "metrics.json")
    return 1 if evaluation.errors else 0


def _detector(args: argparse.Namespace, matching: Any, about: dict[str, Any], unfinished: Path) -> Evaluation:
    from unmask.analysis.analyzer import load_analyzer
    from unmask.cli.progress import progress_bar
    from unmask.core.files import real_path
    from unmask.data.faces import read_boxes
    from unmask.evaluation.run import choose_split, evaluate_detector, read_rows
    from unmask.evaluation.videos import face_frames

    analyzer = load_analyzer(args.detector, device=args.device, clips=True)
    boxes = read_boxes(args.boxes) if args.boxes else None
    with progress_bar("reading images") as progress:
        rows, problems = read_rows(args.data, progress)
    rows = choose_split(rows, args.split)
    if boxes is not None:
        known = {real_path(path) for path in boxes}
        clip = analyzer.takes_clips
        needed = face_frames(rows, analyzer.members[0].detector.config.view.frames) if clip else rows
        without = sum(real_path(row.path) not in known for row in needed)
        if without:
            what = "middle frames of clips" if clip else "images"
            print(
                f"unmask evaluate: {without} of {len(needed)} {what} are not in the boxes file; their faces are "
                "searched",
                file=sys.stderr,
            )
    with progress_bar("scoring") as progress:
        return evaluate_detector(
            analyzer,
            rows,
            boxes=boxes,
            matching=matching,
            problems=problems,
            about=about,
            seed=args.seed,
            unfinished=unfinished,
            progress=progress,
        )


def _scores(args: argparse.Namespace, matching: Any, about: dict[str, Any], unfinished: Path) -> Evaluation:
    from unmask.cli.progress import progress_bar
    from unmask.evaluation.run import evaluate_scores, read_rows, read_scores

    with progress_bar("reading images") as progress:
        rows, problems = read_rows(args.data, progress) if args.data else (None, [])
    if rows is not None and args.split is not None and args.calibrate_on is None:
        rows = [row for row in rows if row.split == args.split]
    rows, scores = read_scores(args.scores, rows)
    with progress_bar("baselines") as progress:
        return evaluate_scores(
            rows,
            scores,
            split=args.split,
            calibrate_on=args.calibrate_on,
            matching=matching,
            problems=problems,
            about=about,
            seed=args.seed,
            unfinished=unfinished,
            progress=progress,
        )


def show(evaluation: Evaluation) -> None:
    """The table for people."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from unmask.reports.evaluation_page import cell
    from unmask.reports.page import number, percent

    table = Table(box=None, pad_edge=False, header_style="dim")
    unit = evaluation.predictions.unit
    heads = [unit, "n", "AUC", "95 %", "px F1", "FRR", "TPR", "cover", "blur", "meta"]
    for name in heads:
        table.add_column(name, justify="left" if name == unit else "right", no_wrap=name != unit, overflow="fold")
    for row in evaluation.table:
        area = cell(row.metrics["auc"].as_json())
        cells = [row.subset.name, f"{row.n_fake}+{row.n_real}", area["text"], area["interval"]]
        cells.append(number(row.pixel["pixel_f1"].value))
        if row.verdicts is None:
            cells += ["–", "–", "–"]
        else:
            found = (row.verdicts["real"]["fake"], row.verdicts["fake"]["fake"], row.verdicts["coverage"])
            cells += [percent(share["rate"], 0) for share in found]
        cells += [number(row.baselines[name]["auc"].value) for name in ("blur", "metadata")]
        table.add_row(*map(Text, cells))
    console = Console(highlight=False)
    console.print(table)
    console.print(
        Text(
            "n: fakes + reals; FRR, TPR: reals and fakes called fake at the detector's thresholds; cover: share with a "
            "verdict; blur, meta: AUC of an untrained blur score and of a probe that sees only file metadata",
            "dim",
        )
    )
    unscored = evaluation.table[0].n_unscored
    if unscored:
        console.print(Text(f"{unscored} {unit} have no score (no face found); they count as uncertain", "dim"))
