"""Fresh forgeries of people that no shipped weights were trained on, for thresholds and for the numbers in the docs.

    UNMASK_DATA=/data python benchmarks/held_out.py OUT_DIR [--ffhq 100] [--only NAME ...]

Writes four data sets, each with a manifest.csv: ``val`` (the people held out of training; models were selected and
thresholds set on these people), ``events`` (other people at work and at events, who test these thresholds),
``people`` (the twenty of fixtures_pd_cc0, never seen by anything), ``ffhq`` (development evaluation only). Per photo
three edits of the kinds that are drawn by default and one re-synthesis. All sets but ``val``, by which things are
chosen, also get an unseen.csv: the same genuine images and one edit of each kind that no shipped weights may be trained
on. Both classes are JPEG quality 95. Prints counts and data hashes.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from unmask.core.types import Face, UInt8Image
from unmask.data.faces import FaceFinder
from unmask.data.forged_files import write_forgeries
from unmask.data.manifest import Manifest, Row, read_manifest, write_manifest

SEED = 2026
LEFT_OUT = ("face_warp", "seamless")
"""Kinds that the recipes of shipped weights never name: what they reach on them is a test of the unknown."""


def forge(name: str, rows: list[Row], data: Path, out: Path, split: str) -> None:
    finder = FaceFinder()

    def find_faces(_: str, pixels: UInt8Image) -> list[Face]:
        return finder.find([pixels])[0]

    names = {os.path.relpath(row.path, data): row for row in rows}
    groups = {photo: row.group for photo, row in names.items()}
    common = {"seed": SEED, "image_format": "jpg", "groups": groups}
    edited = write_forgeries(data, list(names), out / name / "edited", find_faces, per_photo=3, **common)
    made = write_forgeries(data, list(names), out / name / "generated", find_faces, kinds=("resynthesis",), **common)
    tell(out / name / "manifest.csv", edited.rows + [row for row in made.rows if row.label], name, split)
    problems = edited.problems + made.problems
    if name != "val":
        common |= {"kinds": LEFT_OUT, "per_photo": len(LEFT_OUT)}
        unseen = write_forgeries(data, list(names), out / name / "unseen", find_faces, **common)
        rows_of_it = [row for row in edited.rows if not row.label] + without_copies(unseen.rows, edited.rows)
        tell(out / name / "unseen.csv", rows_of_it, name, split)
        problems += unseen.problems
    if problems:
        print(f"{name}: {len(problems)} problems, {problems[0]} first")


def tell(file: Path, rows: list[Row], name: str, split: str) -> None:
    """Write a manifest and print what it holds."""
    joined = [replace(row, split=split, source=name) for row in rows]
    write_manifest(file, joined, overwrite=True)
    reals = sum(row.label == 0 for row in joined)
    print(
        f"{file.parent.name}/{file.name}: {reals} real, {len(joined) - reals} fake; "
        f"data hash {Manifest(tuple(joined)).sha256[:16]}"
    )


def without_copies(rows: list[Row], known: list[Row]) -> list[Row]:
    """``rows`` without real images that ``known`` has already, and with their forgeries paired with those."""
    there = {row.sha256: row.path for row in known if not row.label}
    copies = {row.path: there[row.sha256] for row in rows if not row.label and row.sha256 in there}
    return [replace(row, pair=copies.get(row.pair, row.pair)) for row in rows if row.path not in copies]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--manifests", type=Path, default=Path("runs/manifests"), help="from benchmarks/ground.py")
    parser.add_argument("--ffhq", type=int, default=100, help="photos taken of ffhq_real")
    parser.add_argument("--only", nargs="+", choices=("val", "events", "people", "ffhq"), help="make these sets only")
    args = parser.parse_args()
    data = Path(os.environ["UNMASK_DATA"]) / "data"
    val, events = (
        [row for row in read_manifest(file).rows if row.split == "val"] if file.is_file() else []
        for file in (args.manifests / "pd_train.csv", args.manifests / "us_events.csv")
    )
    known = {Path(r.path).stem for r in read_manifest(args.manifests / "fixtures_local.csv").rows if not r.label}
    congress = read_manifest(args.manifests / "us_congress.csv").rows
    people = [row for row in congress if Path(row.path).stem in known]
    ffhq = [r for r in read_manifest(args.manifests / "ffhq_vs_sd3.csv").rows if not r.label][: args.ffhq]
    sets = {"val": (val, "val"), "events": (events, "val"), "people": (people, "test"), "ffhq": (ffhq, "test")}
    for name in args.only or sets:
        rows, split = sets[name]
        if rows:
            forge(name, rows, data, args.out, split)
        else:
            print(f"{name}: left out, no photos")


if __name__ == "__main__":
    main()
