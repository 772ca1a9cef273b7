"""``unmask evaluate --editing``: the image-editing benchmark."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OPTIONS = ("edits", "severities", "limit", "calibration")
"""Arguments that mean nothing without ``--editing``."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the benchmark."""
    group = parser.add_argument_group("image-editing benchmark")
    group.add_argument(
        "--editing",
        action="store_true",
        help="judge each image again after benign edits (what survives?), and the fakes by manipulation",
    )
    group.add_argument("--edits", nargs="+", metavar="NAME", help="of `unmask list degradations` (default: all)")
    group.add_argument("--severities", nargs="+", type=int, metavar="S", help="1 to 5 (default: 1 3 5)")
    group.add_argument("--limit", type=int, metavar="N", help="about N images, whole families (default: all)")
    group.add_argument(
        "--calibration",
        type=Path,
        metavar="SOURCE",
        help="choose thresholds at 0.1, 1 and 5 %% FRR on these images (split val, where there are splits)",
    )


def run(args: argparse.Namespace) -> int:
    """Score, measure, write."""
    import json

    from unmask.analysis.analyzer import load_analyzer
    from unmask.analysis.stability import make_plan
    from unmask.cli.progress import progress_bar
    from unmask.cli.unfinished import resumable, show_errors
    from unmask.core.errors import ConfigError
    from unmask.data.faces import read_boxes
    from unmask.evaluation.editing import calibration_rows, limit_rows, run_editing
    from unmask.evaluation.editing_output import write_editing
    from unmask.evaluation.matching import Matching
    from unmask.evaluation.output import check_out
    from unmask.evaluation.run import choose_split, read_rows

    if args.detector is None or args.data is None or args.scores is not None:
        raise ConfigError("bad_config", "--editing needs a detector and images: unmask evaluate WEIGHTS --data SOURCE")
    if args.limit is not None and args.limit < 1:
        raise ConfigError("bad_config", f"--limit must be 1 or more, got {args.limit}")
    plan = make_plan(args.edits, args.severities or (1, 3, 5))
    matching = Matching(args.size, args.jpeg_quality)
    check_out(args.out, resumes=True)
    analyzer = load_analyzer(args.detector, device=args.device)
    with progress_bar("reading images") as progress:
        rows, problems = read_rows(args.data, progress)
        others = [] if args.calibration is None else read_rows(args.calibration, progress)[0]
    rows = choose_split(rows, args.split)
    others = calibration_rows(others, rows) if others else []
    about = {
        "name": Path(args.detector).stem,
        "command": shlex.join(["unmask", *sys.argv[1:]]),
        "data": str(args.data),
        "boxes": None if args.boxes is None else str(args.boxes),
        "calibration": None if args.calibration is None else str(args.calibration),
        "limit": args.limit,
    }
    with resumable(args.out) as unfinished:
        with progress_bar("judging edits") as progress:
            edited, calibration = run_editing(
                analyzer,
                limit_rows(rows, args.limit, args.seed),
                plan,
                calibration=others,
                boxes=read_boxes(args.boxes) if args.boxes else None,
                matching=matching,
                problems=problems,
                about=about,
                seed=args.seed,
                unfinished=unfinished,
                progress=progress,
            )
        content = write_editing(args.out, edited, calibration, seed=args.seed)
    if args.json:
        print(json.dumps(content, allow_nan=False))
    else:
        show(content)
        print(f"report: {args.out / 'report.html'}")
    show_errors(edited.errors, "editing.json")
    return 1 if edited.errors else 0


def show(content: Mapping[str, Any]) -> None:
    """Both halves for people."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from unmask.reports.page import number

    def table(heads: list[str], rows: list[list[str]]) -> Table:
        made = Table(box=None, pad_edge=False, header_style="dim")
        for i, head in enumerate(heads):
            made.add_column(head, justify="right" if i else "left", no_wrap=True)
        for row in rows:
            made.add_row(*map(Text, row))
        return made

    def worst(row: Mapping[str, Any], key: str) -> str:
        found = row["worst"][key]
        return number(None) if found is None else f"{found['value']:.3f} ({found['severity']})"

    console = Console(highlight=False)
    keys = ("frr", "far", "auc", "pixel_f1")
    first = ["unedited", "", "", *(number(content["clean"][key]["value"]) for key in keys)]
    rows = [
        [r["edit"], *(number(r[k]["value"]) for k in ("survived", "mask_iou")), *(worst(r, k) for k in keys)]
        for r in content["by_edit"]
    ]
    console.print(table(["benign edit", "survives", "mask", "FRR", "FAR", "AUC", "px F1"], [first, *rows]))
    console.print(
        Text("survives: verdicts; mask: IoU with itself; the others at the edit's worst severity (in brackets)", "dim")
    )
    rows = []
    for r in content["malicious"]:
        far = [number(r[way]["0.05"]["value"]) for way in ("oracle", "transferred")]
        rows.append([r["manipulation"], str(r["n_fake"]), number(r["auc"]["value"]), number(r["far"]["value"]), *far])
        rows[-1] += [number(r[key]["value"]) for key in ("pixel_f1", "pixel_iou")]
    console.print(table(["malicious edit", "n", "AUC", "FAR own", "at 5 %", "carried", "px F1", "IoU"], rows))
    console.print(Text("FAR own: at the detector's threshold; at 5 %: at 5 % FRR here; carried: set elsewhere", "dim"))
