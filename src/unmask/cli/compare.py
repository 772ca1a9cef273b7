"""Compare detectors on the same images: AUC differences with DeLong and a paired bootstrap by group, exact McNemar.

  unmask compare eval-a/predictions.parquet eval-b/predictions.parquet
  unmask compare ours.csv theirs.csv --out comparison/

Files come from `unmask evaluate`, or are CSV with path,label,score (and, so that relatives are drawn together, group).
They must list the same paths.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("predictions", nargs="+", metavar="PREDICTIONS", help="predictions.parquet or path,label,score")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write compare.json and compare.html to a new folder")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default 0)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Join, test, show."""
    import json

    from unmask.core.files import write_text
    from unmask.evaluation.compare import compare
    from unmask.evaluation.output import check_out
    from unmask.reports.comparison_page import write_comparison_page

    if args.out is not None:
        check_out(args.out)
    content = compare(args.predictions, seed=args.seed)
    if args.out is not None:
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        write_text(args.out / "compare.json", text)
        write_comparison_page(args.out / "compare.html", content, shlex.join(["unmask", *sys.argv[1:]]))
    if args.json:
        print(json.dumps(content, allow_nan=False))
        return 0
    show(content)
    if args.out is not None:
        print(f"report: {args.out / 'compare.html'}")
    return 0


def show(content: dict[str, Any]) -> None:
    """The tables for people."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from unmask.reports.comparison_page import verdict
    from unmask.reports.evaluation_page import cell

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("detector", overflow="fold")
    for name in ("AUC", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    for file in content["files"]:
        found = cell(file["auc"])
        table.add_row(Text(file["name"]), found["text"], found["interval"])
    console.print(table)
    for pair in content["pairs"]:
        console.print(Text(f"\n{pair['first']} against {pair['second']}: {verdict(pair)}", "bold"))
        for line in _lines(pair, len(content["pairs"]) > 1):
            console.print(Text(f"  {line}"))
    kind = "single images (no file names groups)" if content["unit"] == "image" else "groups"
    console.print(
        Text(f"\n{content['n_real']} reals and {content['n_fake']} fakes; {content['n_groups']} {kind}", "dim")
    )
    if content["n_unscored"]:
        console.print(Text(f"{content['n_unscored']} images without a score in at least one file are left out", "dim"))
    if not content["same_data"]:
        console.print(Text("the files were not made from data of one content, size and quality", "yellow"))


def _lines(pair: dict[str, Any], several: bool) -> Iterator[str]:
    """The tests of one pair, a line each."""
    from unmask.reports.comparison_page import p_value

    for key, name in (("bootstrap", "paired bootstrap by group"), ("delong", "DeLong"), ("pixel_f1", "paired t")):
        found = pair[key]
        if found is not None and found["low"] is not None:
            what = "pixel F1" if key == "pixel_f1" else "AUC"
            p = p_value(found["p"])
            if key == "bootstrap" and several:
                p += f", by Holm {p_value(pair['p_holm'])}"
            limits = f"[{found['low']:+.3f}, {found['high']:+.3f}]"
            yield f"{what} difference {found['difference']:+.3f} {limits}, p {p} ({name})"
    for key, where in (("mcnemar_half", "at 0.5"), ("mcnemar_thresholds", "at own thresholds")):
        if (found := pair[key]) is not None:
            alone = f"{found['only_first']} against {found['only_second']}"
            yield f"right alone {where}: {alone} images, p {p_value(found['p'])} (exact McNemar)"
