"""Which features tell real from fake, at what cost, what repeats what, and which degradation kills which.

  unmask features study features.parquet --out study/
  unmask features study features.parquet degraded.parquet --test other-people.parquet --out study/

FILE comes from `unmask features extract`; several are joined (an image listed twice counts once). Images as they are
train and rank; degraded rows (`extract --degrade`) show what survives. Every score comes from a model that saw no
relative of the image (group, pair, identical file); what is chosen is chosen inside the training folds. Data of split
`test` is refused, except as --test, on which the finished models are measured once.

Written to DIR: report.html (one file), study.json, and its tables as CSV.

exit codes: 0 done; 1 the tables do not allow a study (one class, no groups, too few families); 2 wrong usage;
130 stopped with Ctrl-C (nothing is written before the end)
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

_SHOWN = 25


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("tables", nargs="+", type=Path, metavar="FILE", help="features (.parquet)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new or empty folder for the results")
    parser.add_argument("--test", type=Path, metavar="FILE", help="other people's features: the finished models, once")
    parser.add_argument("--features", nargs="+", metavar="NAME", help="study these only (default: all in the table)")
    parser.add_argument("--fakes", nargs="+", metavar="KIND", help="keep the fakes of these manipulations only")
    parser.add_argument("--folds", type=int, default=5, metavar="K", help="folds by family, 3 or more (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="of folds, resamples and shuffles (default 0)")
    parser.add_argument("--json", action="store_true", help="print what study.json holds")


def run(args: argparse.Namespace) -> int:
    """Read, study, write, summarise."""
    from unmask.cli.progress import progress_bar
    from unmask.cli.study import study_facts
    from unmask.evaluation.output import check_out
    from unmask.features.table import read_features
    from unmask.studies.feature_output import write_study
    from unmask.studies.feature_rows import keep_fakes, study_rows
    from unmask.studies.feature_study import study_features

    check_out(args.out)
    start = time.process_time()
    tables = [read_features(path) for path in args.tables]
    test = read_features(args.test) if args.test else None
    if test is not None and args.fakes:
        test = keep_fakes(test, args.fakes, needed=False)
    data = study_rows(tables, features=args.features, fakes=args.fakes, count=args.folds, seed=args.seed)
    with progress_bar("studying") as progress:
        content = study_features(data, test=test, seed=args.seed, progress=progress)
    about = study_facts(args.tables, data.table, start, [args.test] if args.test else [])
    whole = write_study(args.out, about, content)
    if args.json:
        print(json.dumps(whole, allow_nan=False))
    else:
        show(whole)
        print(f"report: {args.out / 'report.html'}")
    return 0


def show(content: dict[str, Any]) -> None:
    """The ranking for people."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from unmask.reports.evaluation_page import cell
    from unmask.reports.feature_study_page import covered, milliseconds, signed

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("feature", "ms", "covered", "AUC", "95 %", "left out", "chosen", "dies first by"):
        left = name in ("feature", "covered", "dies first by")
        table.add_column(name, justify="left" if left else "right", no_wrap=name != "covered", overflow="fold")
    folds = content["data"]["folds"]
    for name, found in content["joint"].items():
        area = cell(found["metrics"]["auc"])
        deaths = _deaths(content, name)
        table.add_row(
            *map(Text, [name, milliseconds(found["cost_ms"]), "", *_area(area), "", "", deaths]), style="bold"
        )
    for feature in content["features"][:_SHOWN]:
        area = cell(feature["metrics"]["auc"])
        cells = [feature["name"], milliseconds(feature["cost_ms"]), covered(feature["coverage"]), *_area(area)]
        cells += [signed(feature["leave_one_out"])["text"], f"{feature['chosen_in_folds']}/{folds}"]
        table.add_row(*map(Text, [*cells, _deaths(content, feature["name"])]))
    console = Console(highlight=False)
    console.print(table)
    chosen = content["joint"]["chosen"]
    if not content["shown"]:
        console.print(Text("nothing is shown to help: the interval of the chosen combination reaches 0.5", "yellow"))
    console.print(Text(f"chosen: {', '.join(chosen['features']) or 'none'}", "bold"))
    console.print(
        Text(
            "AUC: out of fold by family; left out: what all features lose without this one; chosen: in how many folds",
            "dim",
        )
    )


def _area(area: dict[str, str]) -> list[str]:
    return [area["text"], area["interval"]]


def _deaths(content: dict[str, Any], scorer: str) -> str:
    """The degradations that kill a scorer, at the lowest severity any of them needs."""
    curves = [curve for curve in content["survival"] if curve["scorer"] == scorer and curve["dies_at"]]
    if not curves:
        return ""
    first = min(curve["dies_at"] for curve in curves)
    return ", ".join(f"{curve['degradation']} {first}" for curve in curves if curve["dies_at"] == first)
