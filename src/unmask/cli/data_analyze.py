"""What a data set is made of: counts, sizes, formats, JPEG quality, sharpness, brightness, class balance.

Writes report.html (one file, with plots) and analysis.json. Every image is decoded once; nothing but numbers is kept.

  unmask data analyze split.parquet --out analysis/
  unmask data analyze photos/ --out analysis/       labels as in `data index`; what has none is "unlabelled"

exit codes: 0 every image could be read; 1 some could not (they are listed); 2 wrong usage
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

_SHOWN = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("data", type=Path, metavar="MANIFEST_OR_DIR", help="manifest (.parquet or .csv), or a folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for report.html, analysis.json")
    parser.add_argument("--jobs", type=int, metavar="N", help="threads (default: one per core)")
    parser.add_argument("--force", action="store_true", help="overwrite an earlier analysis in DIR")
    parser.add_argument("--json", action="store_true", help="print what analysis.json holds")


def run(args: argparse.Namespace) -> int:
    """Measure, write, summarise."""
    from unmask.cli.progress import progress_bar
    from unmask.core.errors import ConfigError, DataError
    from unmask.core.files import write_text
    from unmask.data.manifest import read_manifest
    from unmask.data.survey import survey
    from unmask.reports.survey_page import write_survey_page

    if args.jobs is not None and args.jobs < 1:
        raise ConfigError("bad_config", f"--jobs must be 1 or more, got {args.jobs}")
    page, numbers = args.out / "report.html", args.out / "analysis.json"
    for file in (page, numbers):
        if file.exists() and not args.force:
            raise DataError("exists", f"{file} exists; choose another folder or pass --force")
    source = args.data.absolute() if args.data.is_dir() else read_manifest(args.data)
    with progress_bar("measuring images") as progress:
        found = survey(source, jobs=args.jobs, progress=progress)
    about = {"name": "/".join(args.data.absolute().parts[-2:]), "data": str(args.data), "data hash": found.data_sha256}
    summary = {"data": str(args.data), **found.summary()}
    write_text(numbers, json.dumps(summary, indent=1) + "\n")
    write_survey_page(page, about, found)
    if args.json:
        print(json.dumps(summary))
    else:
        classes = ", ".join(f"{count} {kind}" for kind, count in summary["counts"]["class"].items())
        print(f"{page}: {classes}")
    for problem in found.problems[:_SHOWN]:
        print(f"error [{problem.code}]: {problem.path}: {problem.message}", file=sys.stderr)
    if len(found.problems) > _SHOWN:
        print(f"... and {len(found.problems) - _SHOWN} more (see {numbers})", file=sys.stderr)
    return 1 if found.problems else 0
