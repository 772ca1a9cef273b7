"""Split a manifest so that relatives stay together: same group, same file, a fake and the photo it was made from.

Who goes where follows from a hash of the group's name and the seed, so adding data later moves nobody; sizes are
met on average, not exactly.

  unmask data split all.parquet --out split.parquet --sizes train=0.8 val=0.1 test=0.1
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("manifest", type=Path, help="manifest (.parquet or .csv)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="manifest to write (.parquet or .csv)")
    parser.add_argument(
        "--sizes", nargs="+", default=["train=0.8", "val=0.2"], metavar="NAME=SHARE", help="default: train=0.8 val=0.2"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, another split (default 0)")
    parser.add_argument("--resplit", action="store_true", help="replace splits that the manifest already has")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Split, write, summarise."""
    from unmask.core.errors import ConfigError, DataError
    from unmask.data.manifest import data_hash, read_manifest, write_manifest
    from unmask.data.splits import split_rows

    sizes: dict[str, float] = {}
    for word in args.sizes:
        name, _, share = word.partition("=")
        try:
            sizes[name] = float(share)
        except ValueError:
            raise ConfigError("bad_config", f"--sizes takes NAME=SHARE, e.g. train=0.8, got '{word}'") from None
    manifest = read_manifest(args.manifest)
    if not args.resplit and any(r.split for r in manifest):
        raise DataError("has_splits", f"{args.manifest} has splits already; pass --resplit to replace them")
    rows = split_rows(manifest.rows, sizes, args.seed)
    write_manifest(args.out, rows, overwrite=args.force)
    counts = {
        name: {
            "real": sum(r.split == name and r.label == 0 for r in rows),
            "fake": sum(r.split == name and r.label == 1 for r in rows),
            "groups": len({r.group for r in rows if r.split == name and r.group}),
        }
        for name in sizes
    }
    if args.json:
        print(json.dumps({"manifest": str(args.out), "splits": counts, "data_sha256": data_hash(rows)}))
        return 0
    print(f"{args.out}: {len(rows)} images, data hash {data_hash(rows)}")
    for name, count in counts.items():
        share = (count["real"] + count["fake"]) / len(rows)
        print(f"  {name}: {count['real']} real, {count['fake']} fake, {count['groups']} groups ({share:.1%})")
    return 0
