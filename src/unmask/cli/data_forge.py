"""Forgeries with exact masks from a folder of real photos: images, masks, real counterparts, a manifest.

Faces are found by the built-in finder, or read from --boxes (CSV or Parquet: path,x1,y1,x2,y2 and optionally score
and five points; paths relative to DIR). Photos without a face are forged anywhere.

  unmask data forge photos/ --out forged/
  unmask data forge photos/ --out forged/ --kind splice --kind inpaint --per-photo 4 --seed 7 --format jpg

exit codes: 0 every photo was forged; 1 some could not be (they are named); 2 wrong usage
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_SHOWN = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of real photos (searched recursively)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to; must be empty")
    parser.add_argument(
        "--kind", action="append", metavar="NAME", help="a forgery (repeatable; default: every kind of edit)"
    )
    parser.add_argument("--per-photo", type=int, default=1, metavar="N", help="forgeries per photo (default: 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="decides every draw (default: 0)")
    parser.add_argument("--format", choices=("png", "jpg"), default="png", help="of images, both classes alike")
    parser.add_argument("--boxes", type=Path, metavar="FILE", help="faces (CSV or Parquet) instead of the finder's")
    parser.add_argument("--groups", type=Path, metavar="FILE", help="CSV with path,group (default: each its own)")
    parser.add_argument("--force", action="store_true", help="write into a folder that is not empty")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Forge, write, summarise."""
    from unmask.cli.inputs import Inputs
    from unmask.cli.progress import progress_bar
    from unmask.core.errors import ConfigError, DataError
    from unmask.core.types import Face, UInt8Image
    from unmask.data.faces import FaceFinder, read_boxes
    from unmask.data.forged_files import read_groups, write_forgeries
    from unmask.data.forgeries import EDITS, check_names
    from unmask.reports.facts import printable

    if args.per_photo < 1:
        raise ConfigError("bad_config", f"--per-photo must be 1 or more, got {args.per_photo}")
    if args.seed < 0:
        raise ConfigError("bad_config", f"--seed must be 0 or more, got {args.seed}")
    kinds = list(dict.fromkeys(args.kind or EDITS))
    check_names(kinds)
    if not args.folder.is_dir():
        raise DataError("no_folder", f"there is no folder {args.folder}")
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())) and not args.force:
        raise DataError("exists", f"{args.out} is not an empty folder; choose another or pass --force")
    names = [Path(p).relative_to(args.folder).as_posix() for p in Inputs([str(args.folder)], exclude=args.out)]
    if not names:
        raise DataError("empty", f"no file in {args.folder} is named like an image")
    boxes = read_boxes(args.boxes) if args.boxes else None
    finder = FaceFinder() if boxes is None else None

    def find_faces(name: str, pixels: UInt8Image) -> Sequence[Face]:
        if finder is not None:
            return finder.find([pixels])[0]
        assert boxes is not None
        if name not in boxes:
            raise DataError("no_boxes", f"{args.boxes} does not list it (an empty box says that there is no face)")
        return boxes[name]

    with progress_bar("forging") as progress:
        result = write_forgeries(
            args.folder,
            names,
            args.out,
            find_faces,
            kinds=kinds,
            per_photo=args.per_photo,
            seed=args.seed,
            image_format=args.format,
            groups=read_groups(args.groups) if args.groups else None,
            progress=progress,
        )
    made = Counter(r.manipulation for r in result.rows if r.label == 1)
    summary: dict[str, Any] = {
        "manifest": str(args.out / "manifest.csv") if result.rows else None,
        "photos": len(names),
        "fake": dict(sorted(made.items())),
        "real": sum(r.label == 0 for r in result.rows),
        "without_face": result.without_face,
        "errors": [p._asdict() for p in result.problems],
    }
    if args.json:
        print(json.dumps(summary))
    elif result.rows:
        print(f"{summary['manifest']}: {sum(made.values())} forgeries of {len(names)} photos, {summary['real']} real")
        print("  " + ", ".join(f"{count} {kind}" for kind, count in summary["fake"].items()))
        if result.without_face:
            print(f"  {result.without_face} photos without a face were forged anywhere")
    else:
        print("no photo could be forged, so no manifest was written")
    for problem in result.problems[:_SHOWN]:
        print(printable(f"error [{problem.code}]: {problem.path}: {problem.message}"), file=sys.stderr)
    if len(result.problems) > _SHOWN:
        print(f"... and {len(result.problems) - _SHOWN} more (--json lists all)", file=sys.stderr)
    return 1 if result.problems else 0
