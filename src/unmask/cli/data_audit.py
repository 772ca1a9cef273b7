"""Look for leaks and shortcuts in a manifest: what would make a number measured on it worthless.

Leaks: files, near-duplicates, people or photos on two sides of a split; files with both labels.
Shortcuts: can size and encoding, sharpness or mean colour alone tell real from fake? (Cross-validated by family.)

exit codes: 0 clean; 1 problems found; 2 wrong usage
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

_SHOWN = 5
_MARKS = {"problem": "PROBLEM", "note": "note   ", "ok": "ok     "}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("manifest", type=Path, help="manifest (.parquet or .csv)")
    parser.add_argument("--seed", type=int, default=0, help="of folds and bootstrap (default 0)")
    parser.add_argument("--jobs", type=int, metavar="N", help="threads (default: one per core)")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with every file concerned")


def run(args: argparse.Namespace) -> int:
    """Audit and tell."""
    from unmask.cli.progress import progress_bar
    from unmask.core.errors import ConfigError
    from unmask.data.audit import audit
    from unmask.data.manifest import read_manifest

    if args.jobs is not None and args.jobs < 1:
        raise ConfigError("bad_config", f"--jobs must be 1 or more, got {args.jobs}")
    manifest = read_manifest(args.manifest)
    with progress_bar("reading images") as progress:
        report = audit(manifest, seed=args.seed, jobs=args.jobs, progress=progress)
    if args.json:
        print(json.dumps({**dataclasses.asdict(report), "clean": report.clean}))
    else:
        print(f"{args.manifest}: {report.images} images, data hash {report.data_sha256}")
        for finding in report.findings:
            print(f"{_MARKS[finding.level]}  {finding.text}")
            if finding.level != "ok":
                for detail in finding.details[:_SHOWN]:
                    print(f"           {detail}")
                if len(finding.details) > _SHOWN:
                    print(f"           ... and {len(finding.details) - _SHOWN} more (--json lists all)")
        problems = sum(f.level == "problem" for f in report.findings)
        print("clean" if report.clean else f"{problems} problem{'s' if problems > 1 else ''} found")
    return 0 if report.clean else 1
