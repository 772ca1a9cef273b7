"""A folder of labelled images, or a known data set, to a manifest (Parquet or CSV).

Labels are read from folder names (real/fake, 0_real/1_fake), splits from train, valid or test; a label is never
guessed. Every image is decoded once, so what cannot be read is known now and not in the middle of a training run.
--layout reads a data set as it comes, with its own split, pairs and masks (`unmask list layouts` names them).

  unmask data index photos/ --out photos.parquet
  unmask data index frames/ --out frames.csv --group '([^/]+)/[^/]+$'    one group per folder of frames
  unmask data index FaceForensics++/ --layout faceforensics --frames 32 --out ff.parquet
  unmask data index FF-DF.json --layout deepfakebench --base datasets/rgb --out ff-df.parquet

exit codes: 0 every image is in the manifest; 1 some are not (they are listed); 2 wrong usage
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

_SHOWN = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder (or list file of a layout that is one)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="manifest to write (.parquet or .csv)")
    parser.add_argument("--layout", metavar="NAME", help="the data set it is (see `unmask list layouts`)")
    parser.add_argument("--frames", type=int, metavar="N", help="at most N frames per video, evenly spaced (layouts)")
    parser.add_argument(
        "--base", type=Path, metavar="DIR", help="start of relative paths in a list (default: its folder)"
    )
    parser.add_argument("--masks", type=Path, metavar="DIR", help="write masks that must be converted here (layouts)")
    parser.add_argument("--group", metavar="REGEX", help="what this finds in a relative path is the row's group")
    parser.add_argument("--errors", type=Path, metavar="FILE", help="write the list of problems here (CSV)")
    parser.add_argument("--jobs", type=int, metavar="N", help="threads (default: one per core)")
    parser.add_argument("--force", action="store_true", help="overwrite existing files")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Index, write, summarise."""
    from unmask.cli.progress import progress_bar
    from unmask.core.errors import ConfigError, DataError
    from unmask.data.benchmarks import index_layout
    from unmask.data.manifest import data_hash, write_manifest
    from unmask.data.sources import index_folder, write_problems

    if args.jobs is not None and args.jobs < 1:
        raise ConfigError("bad_config", f"--jobs must be 1 or more, got {args.jobs}")
    if args.out.suffix.lower() not in (".csv", ".parquet"):
        raise ConfigError("bad_config", f"--out must end in .parquet or .csv, got '{args.out.name}'")
    for file in (args.out, args.errors):
        if file is not None and file.exists() and not args.force:
            raise DataError("exists", f"{file} exists; choose another name or pass --force")
    own = {"frames": args.frames, "base": args.base, "masks": args.masks}
    if args.layout is None and (given := [name for name, value in own.items() if value is not None]):
        raise ConfigError("bad_config", f"--{given[0]} goes with --layout NAME (see `unmask list layouts`)")
    if args.masks is not None and args.masks.exists() and not args.force:
        raise DataError("exists", f"{args.masks} exists; choose another folder or pass --force")
    with progress_bar("reading images") as progress:
        common: dict[str, Any] = {"group": args.group, "jobs": args.jobs, "progress": progress}
        if args.layout is None:
            index = index_folder(args.folder, **common)
        else:
            index = index_layout(args.folder, args.layout, **own, **common)
    if args.errors is not None:
        write_problems(args.errors, index.problems)
    if index.rows:
        write_manifest(args.out, index.rows, overwrite=args.force)
    counts = Counter((r.split, r.label) for r in index.rows)
    splits = sorted({r.split for r in index.rows} - {""})
    summary: dict[str, Any] = {
        "manifest": str(args.out) if index.rows else None,
        "images": len(index.rows),
        "real": sum(r.label == 0 for r in index.rows),
        "fake": sum(r.label == 1 for r in index.rows),
        "masks": sum(bool(r.mask) for r in index.rows),
        "pairs": sum(bool(r.pair) for r in index.rows),
        "groups": len({r.group for r in index.rows} - {""}),
        "splits": {s: {"real": counts[s, 0], "fake": counts[s, 1]} for s in splits},
        "data_sha256": data_hash(index.rows) if index.rows else None,
        "ignored": index.ignored,
        "errors": [p._asdict() for p in index.problems],
    }
    if args.json:
        print(json.dumps(summary))
    elif index.rows:
        print(f"{args.out}: {summary['real']} real, {summary['fake']} fake, {summary['masks']} masks", end="")
        print(f", {summary['pairs']} pairs" if summary["pairs"] else "", end="")
        print(f", {summary['groups']} groups" if summary["groups"] else "")
        for split, count in summary["splits"].items():
            print(f"  {split}: {count['real']} real, {count['fake']} fake")
        if index.ignored:
            print("  other files: " + ", ".join(f"{n} {suffix}" for suffix, n in sorted(index.ignored.items())))
        print(f"  data hash {summary['data_sha256']}")
    else:
        print("no usable image, so no manifest was written")
    for problem in index.problems[:_SHOWN]:
        print(f"error [{problem.code}]: {problem.path}: {problem.message}", file=sys.stderr)
    more = len(index.problems) - _SHOWN
    if more > 0:
        where = f"see {args.errors}" if args.errors else "--errors FILE lists all"
        print(f"... and {more} more ({where})", file=sys.stderr)
    return 1 if index.problems else 0
