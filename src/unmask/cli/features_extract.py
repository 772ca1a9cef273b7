"""Measure forensic features of labelled images, once: a table for `unmask features study` and for any other tool.

  unmask features extract manifest.csv --out features.parquet
  unmask features extract photos/ --features lbp npr fft --boxes boxes.csv --out features.parquet
  unmask features extract val.csv --degrade jpeg:1,3,5 blur --sample 200 --out degraded.parquet
  unmask features extract val.csv --landmarks mediapipe.csv --features corneal head_pose --out given.parquet
  unmask features extract frames.csv --videos --features patch_graph hog_correlation --out clips.parquet

SOURCE is a manifest (.parquet, .csv) or a folder whose folders real/ and fake/ give the labels (`unmask data index`
makes a manifest of anything else). `unmask list features` names the features; unless some are named, all are measured
that give numbers of a still image, those that need weights where --weights gives them. With --videos the rows of SOURCE
are frames, a folder of them is a video, and the table has a row per video; then features of clips are measured too.

Values are kept by the content of the image, so what was measured once is read from the cache, by whatever command.
Ctrl-C keeps what was measured; the same command goes on from there.

exit codes: 0 every image or video was measured; 1 some could not be (they are listed, and have no row); 2 wrong usage;
130 stopped with Ctrl-C
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unmask.data.manifest import Row
    from unmask.features.base import Feature
    from unmask.features.extract import Extraction

_SHOWN = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("source", type=Path, metavar="SOURCE", help="a manifest or a labelled folder")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table, a .parquet file")
    parser.add_argument("--features", nargs="+", metavar="NAME", help="what to measure (default: all that can be)")
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="NAME=[NET:]FILE",
        help="weights of a feature that needs them (repeatable); NET: another network of timm's than its default; "
        "the word timm in place of FILE downloads timm's own",
    )
    parser.add_argument("--boxes", type=Path, metavar="FILE", help="face boxes (CSV or Parquet: path,x1,y1,x2,y2)")
    parser.add_argument(
        "--landmarks",
        type=Path,
        metavar="FILE",
        help="dense points of the faces (CSV or Parquet: path,score,x0,y0 ... x467,y467 or x477,y477) in place of "
        "those of our own network: a face without any in FILE has none",
    )
    parser.add_argument(
        "--videos",
        action="store_true",
        help="rows are frames, a folder of them is a video: measure videos (features of images see the middle frame)",
    )
    parser.add_argument("--split", choices=("train", "val", "test"), help="measure this split only (default: all)")
    parser.add_argument(
        "--sample",
        type=int,
        metavar="N",
        help="at most N images (or videos): whole families of relatives, drawn by --seed",
    )
    parser.add_argument(
        "--degrade",
        nargs="+",
        default=[],
        metavar="NAME[:1,3,5]",
        help="every image also under these degradations (`unmask list degradations`), at all or the named severities",
    )
    parser.add_argument("--seed", type=int, default=0, help="of degradations and sample (default 0)")
    parser.add_argument("--jobs", type=int, metavar="N", help="processes (default: one per core)")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="default: unmask/features in the user's cache folder")
    parser.add_argument("--no-cache", action="store_true", help="measure everything anew and keep nothing")
    parser.add_argument("--force", action="store_true", help="overwrite FILE")
    parser.add_argument("--json", action="store_true", help="print the summary as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Measure, write, summarise."""
    from unmask.cli.progress import progress_bar
    from unmask.core.errors import ConfigError, DataError
    from unmask.core.files import sha256_file
    from unmask.data.faces import read_boxes
    from unmask.data.landmarks import read_landmarks
    from unmask.evaluation.run import read_rows
    from unmask.features.cache import default_folder
    from unmask.features.extract import Unmeasured, extract_features, parse_degradations
    from unmask.features.table import write_features
    from unmask.reports.facts import printable

    if args.out.suffix != ".parquet":
        raise ConfigError("bad_config", f"--out is a .parquet file, got '{args.out.name}'")
    if args.out.exists() and not args.force:
        raise DataError("exists", f"{args.out} exists; choose another name or pass --force")
    if args.no_cache and args.cache:
        raise ConfigError("bad_config", "--cache and --no-cache contradict each other")
    degradations = parse_degradations(args.degrade)
    features = choose(args.features, args.weights, videos=args.videos)
    of_clips = [feature.name for feature in features if "frames" in feature.needs]
    if of_clips and not args.videos:
        told = f"{', '.join(of_clips)}: features of clips have no value of single images; are the rows frames? --videos"
        print(f"unmask features extract: {told}", file=sys.stderr)
    boxes = read_boxes(args.boxes) if args.boxes else None
    landmarks = read_landmarks(args.landmarks) if args.landmarks else None
    with progress_bar("reading images") as progress:
        rows, problems = read_rows(args.source, progress)
    rows = [row for row in rows if args.split in (None, row.split)]
    if not rows:
        where = f" of split '{args.split}'" if args.split else ""
        hint = "`unmask data index` makes a manifest of a folder, and says which files have no label"
        raise DataError("empty", f"{args.source} has no labelled image{where}; {hint}")
    if args.sample is not None:
        rows = _draw(rows, args.sample, args.seed, videos=args.videos)
    cache = None if args.no_cache else args.cache or default_folder()
    about = {
        "command": shlex.join(["unmask", *sys.argv[1:]]),
        "source": str(args.source),
        "boxes": None if args.boxes is None else str(args.boxes),
        "sample": args.sample,
        "landmarks": None if args.landmarks is None else str(args.landmarks),
        **({} if args.landmarks is None else {"landmarks_sha256": sha256_file(args.landmarks)}),
    }
    with progress_bar("measuring") as progress:
        found = extract_features(
            rows,
            features,
            boxes=boxes,
            landmarks=landmarks,
            degradations=degradations,
            videos=args.videos,
            seed=args.seed,
            jobs=args.jobs,
            cache=cache,
            about=about,
            progress=progress,
        )
    write_features(args.out, found.table)
    errors = [*(Unmeasured(p.path, p.code, p.message) for p in problems), *found.errors]
    summary = summarise(args.out, found, errors)
    if args.json:
        print(json.dumps(summary))
    else:
        show(summary)
    for error in errors[:_SHOWN]:
        print(printable(f"error [{error.code}]: {error.path}: {error.message}"), file=sys.stderr)
    if len(errors) > _SHOWN:
        print(f"... and {len(errors) - _SHOWN} more (--json lists all)", file=sys.stderr)
    return 1 if errors else 0


def _draw(rows: Sequence[Row], count: int, seed: int, *, videos: bool) -> list[Row]:
    """At most so many images, or the frames of so many videos, without parting relatives."""
    from unmask.data.clips import as_videos
    from unmask.data.splits import draw_families

    if not videos:
        return draw_families(rows, count, seed)
    wholes = {video.row: video.frames for video in as_videos(rows)}
    return [frame for row in draw_families(list(wholes), count, seed) for frame in wholes[row]]


def choose(names: Sequence[str] | None, weights: Sequence[str], *, videos: bool = False) -> list[Feature]:
    """The features to measure, with their weights; unless named, those of clips only of videos."""
    from unmask.core.errors import ConfigError
    from unmask.features.catalogue import find_features

    chosen = {feature.name: feature for feature in find_features(None if names is None else dict.fromkeys(names))}
    for word in weights:
        name, equals, source = word.partition("=")
        if not equals or not source:
            raise ConfigError("bad_config", f"--weights takes NAME=FILE, got '{word}'")
        (feature,) = find_features([name])
        if names is not None and name not in chosen:
            raise ConfigError("bad_config", f"--weights {name}=... goes with a feature that is measured; it is not")
        chosen[name] = feature.with_weights(source)
    if names is not None:
        return list(chosen.values())
    return [f for f in chosen.values() if f.columns and (videos or "frames" not in f.needs) and not f.lacks_weights]


def summarise(path: Path, found: Extraction, errors: Sequence[Any]) -> dict[str, Any]:
    """What was measured, as plain values."""
    table = found.table
    counts = Counter(int(label) for label in table.rows["label"])
    return {
        "features": str(path),
        "rows": len(table),
        table.about.get("unit", "images"): int((table.rows["degradation"] == "").sum()),
        "real": counts[0],
        "fake": counts[1],
        "data_sha256": table.about["data_sha256"],
        "measured": {
            name: {
                "columns": len(table.columns[name]),
                "cost_ms": table.cost_ms.get(name),
                "status": dict(sorted(Counter(status.tolist()).items())),
            }
            for name, status in table.status.items()
        },
        "shared_ms": table.about["shared_ms"],
        "errors": [error._asdict() for error in errors],
    }


def show(summary: dict[str, Any]) -> None:
    """The summary for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("feature", "columns", "ms/image", "ok", "without a value"):
        table.add_column(name, justify="left" if name in ("feature", "without a value") else "right")
    for name, facts in summary["measured"].items():
        cost = "–" if facts["cost_ms"] is None else f"{facts['cost_ms']:.3g}"
        others = ", ".join(f"{count} {status}" for status, count in facts["status"].items() if status != "ok")
        table.add_row(name, str(facts["columns"]), cost, str(facts["status"].get("ok", 0)), others)
    console = Console(highlight=False)
    console.print(table)
    unit = "videos" if "videos" in summary else "images"
    degraded = summary["rows"] - summary[unit]
    more = f", {degraded} degraded" if degraded else ""
    print(f"{summary['features']}: {summary['rows']} rows ({summary[unit]} {unit}{more})")
    print(f"data hash {summary['data_sha256']}")
