"""A contact sheet of a manifest: some images of every class and manipulation, with the edited region outlined.

The same manifest, number and seed give the same sheet.

  unmask data preview split.parquet --out sheet.jpg

exit codes: 0 every image shown could be read; 1 some could not; 2 wrong usage
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("manifest", type=Path, help="manifest (.parquet or .csv)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="picture to write (.jpg or .png)")
    parser.add_argument("--per-class", type=int, default=8, metavar="N", help="images per class (default: 8)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, other images (default: 0)")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")


def run(args: argparse.Namespace) -> int:
    """Draw, write."""
    from unmask.cli.progress import progress_bar
    from unmask.core.errors import ConfigError, DataError
    from unmask.data.manifest import read_manifest
    from unmask.reports.sheet import preview, write_sheet

    if args.out.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise ConfigError("bad_config", f"--out must end in .jpg or .png, got '{args.out.name}'")
    if not 1 <= args.per_class <= 100:
        raise ConfigError("bad_config", f"--per-class must be 1 to 100, got {args.per_class}")
    if args.seed < 0:
        raise ConfigError("bad_config", f"--seed must be 0 or more, got {args.seed}")
    manifest = read_manifest(args.manifest)
    if args.out.exists() and not args.force:
        raise DataError("exists", f"{args.out} exists; choose another name or pass --force")
    with progress_bar("reading images") as progress:
        sheet, problems = preview(manifest.rows, per_class=args.per_class, seed=args.seed, progress=progress)
    write_sheet(args.out, sheet)
    print(f"{args.out}: {sheet.width} x {sheet.height} pixels")
    for problem in problems:
        print(f"error [{problem.code}]: {problem.path}: {problem.message}", file=sys.stderr)
    return 1 if problems else 0
