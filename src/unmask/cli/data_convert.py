"""A manifest to a list that other projects read: DeepfakeBench, IMDL-BenCo, ForensicHub.

Paths in the list are absolute. (The other way: `unmask data index LIST --layout NAME`.)

  unmask data convert split.parquet --to deepfakebench --out MySet.json
  unmask data convert edits.csv --to imdl-benco --out edits.json
"""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("manifest", type=Path, help="manifest (.parquet or .csv)")
    parser.add_argument("--to", required=True, choices=("deepfakebench", "imdl-benco", "forensichub"), help="the form")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="list to write (.json)")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")


def run(args: argparse.Namespace) -> int:
    """Convert."""
    from unmask.core.errors import ConfigError, DataError
    from unmask.data.benchmarks.lists import write_list
    from unmask.data.manifest import read_manifest

    if args.out.suffix.lower() != ".json":
        raise ConfigError("bad_config", f"--out must end in .json, got '{args.out.name}'")
    manifest = read_manifest(args.manifest)
    if args.out.exists() and not args.force:
        raise DataError("exists", f"{args.out} exists; choose another name or pass --force")
    write_list(args.out, manifest.rows, args.to)
    print(f"{args.out}: {len(manifest)} images")
    return 0
