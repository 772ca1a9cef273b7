"""Write the manifests that the numbers in the docs refer to.

    UNMASK_DATA=/data python benchmarks/ground.py OUT_DIR

``$UNMASK_DATA/data`` holds one folder per collection (each with its licence in SOURCES.md): us_gov_cc0,
us_congress_pd, us_sites_cc0, us_events_cc0, sd3_faker_cc0, ffhq_real, stylegan2_tpdne, stylegan2_nvlabs256,
fixtures_pd_cc0. Missing folders are named and their manifests left out. Prints each manifest's counts and data hash.

The images of stylegan2_tpdne carry the caption "StyleGAN2 (Karras et al.)" in the bottom right corner (the last 30 of
1024 rows, the last 210 columns): a view that shows it measures the caption.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from unmask.core.files import sha256_file
from unmask.data.manifest import Manifest, Row, write_manifest
from unmask.data.splits import split_rows

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
Ground = dict[str, Callable[[Path], list[Row]]]


def images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)


def row(path: Path, label: int, **fields: str) -> Row:
    return Row(str(path.resolve()), label, sha256=sha256_file(path), **fields)


def us_gov(data: Path) -> list[Row]:
    """Group = person. Photos of several or unknown people are one group; so are ids that may be one person
    (`gov-cio:mathur`, `gov:mathur-varoon`): joining two people costs nothing, parting one leaks."""
    folder = data / "us_gov_cc0"
    with (folder / "MANIFEST.csv").open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    names = {r["person_id"]: frozenset(re.split(r"[-_ ]", r["person_id"].split(":")[-1])) for r in records}
    group = {person: "us_gov:several-or-unknown" if "unknown" in person else person for person in names}
    for person, words in sorted(names.items()):
        for other in sorted(other for other, theirs in names.items() if words < theirs):
            old, new = group[other], group[person]
            group = {p: new if g == old else g for p, g in group.items()}
    rows = []
    for r in records:
        path = folder / r["path"]
        found = row(path, 0, group=group[r["person_id"]], source=r["source"])
        if found.sha256 != r["sha256"]:
            raise ValueError(f"{path} is not the file its MANIFEST.csv describes (sha256 differs)")
        rows.append(found)
    return rows


def us_congress(data: Path) -> list[Row]:
    return [row(p, 0, group=p.stem, source="us_congress_pd") for p in images(data / "us_congress_pd")]


def pd_train(data: Path) -> list[Row]:
    """Every public-domain or CC0 photo but those of the 20 people in the fixtures; 80/20 by person."""
    held_out = {p.stem for p in images(data / "fixtures_pd_cc0" / "real")}
    rows = [r for r in us_gov(data) + us_congress(data) if r.group not in held_out]
    return split_rows(rows, {"train": 0.8, "val": 0.2}, seed=0)


def us_sites(data: Path) -> list[Row]:
    """Further staff portraits (docs/weights.md names the sites); people.csv: path in the folder, group, source."""
    folder = data / "us_sites_cc0"
    with (folder / "people.csv").open(encoding="utf-8", newline="") as file:
        return [row(folder / r["path"], 0, group=r["group"], source=r["source"]) for r in csv.DictReader(file)]


def us_events(data: Path) -> list[Row]:
    """Photos of people at work and at events from other sites (docs/weights.md names them), all held out."""
    folder, known = data / "us_events_cc0", {r.group for r in pd_more(data)}
    with (folder / "people.csv").open(encoding="utf-8", newline="") as file:
        listed = [r for r in csv.DictReader(file) if r["group"] not in known]
    return [row(folder / r["path"], 0, group=r["group"], source=r["source"], split="val") for r in listed]


def pd_more(data: Path) -> list[Row]:
    """``pd_train``, and the people of ``us_sites`` to train on: the held-out people stay the same."""
    known = pd_train(data)
    groups = {r.group for r in known}
    more = [replace(r, split="train") for r in us_sites(data) if r.group not in groups]
    return known + more


def against(fake: str, manipulation: str) -> Callable[[Path], list[Row]]:
    def rows(data: Path) -> list[Row]:
        reals = [row(p, 0, group=p.stem, source="ffhq_real") for p in images(data / "ffhq_real")]
        fakes = images(data / fake)
        return reals + [row(p, 1, group=p.stem, source=fake, manipulation=manipulation) for p in fakes]

    return rows


def fixture_reals(folder: Path) -> list[Row]:
    return [row(p, 0, group=p.stem, source="fixtures_pd_cc0") for p in images(folder / "real")]


def fixtures_local(data: Path) -> list[Row]:
    """20 photos and 20 edits of them, with masks and counterparts; group = person."""
    folder = data / "fixtures_pd_cc0"
    rows = fixture_reals(folder)
    for path in images(folder / "local"):
        person, manipulation = path.stem.rsplit("_", 1)
        mask, pair = folder / "local_mask" / f"{path.stem}.png", folder / "real" / f"{person}.jpg"
        files = {"mask": str(mask.resolve(strict=True)), "pair": str(pair.resolve(strict=True))}
        rows.append(row(path, 1, group=person, source="fixtures_pd_cc0", manipulation=manipulation, **files))
    return rows


def fixtures_generated(data: Path) -> list[Row]:
    folder = data / "fixtures_pd_cc0"
    fakes = images(folder / "synthetic")
    return fixture_reals(folder) + [
        row(p, 1, group=p.stem, source="fixtures_pd_cc0", manipulation="sd3") for p in fakes
    ]


MANIFESTS: Ground = {
    "us_gov": us_gov,
    "us_congress": us_congress,
    "pd_train": pd_train,
    "pd_more": pd_more,
    "us_events": us_events,
    "ffhq_vs_tpdne": against("stylegan2_tpdne", "stylegan2"),
    "ffhq_vs_sd3": against("sd3_faker_cc0", "sd3"),
    "ffhq_vs_nvlabs": against("stylegan2_nvlabs256", "stylegan2"),
    "fixtures_local": fixtures_local,
    "fixtures_generated": fixtures_generated,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the manifests (CSV)")
    out = parser.parse_args().out
    if "UNMASK_DATA" not in os.environ:
        parser.error("set UNMASK_DATA to the folder that holds data/")
    missing = 0
    for name, make in MANIFESTS.items():
        try:
            rows = make(Path(os.environ["UNMASK_DATA"]) / "data")
        except FileNotFoundError as error:
            print(f"{name}: left out, there is no {error.filename or error}", file=sys.stderr)
            missing += 1
            continue
        write_manifest(out / f"{name}.csv", rows, overwrite=True)
        counts = {s or "all": [r.label for r in rows if r.split == s] for s in sorted({r.split for r in rows})}
        told = ", ".join(f"{s}: {labels.count(0)} real, {sum(labels)} fake" for s, labels in counts.items())
        groups = len({r.group for r in rows})
        print(f"{name}: {told}; {groups} groups; data hash {Manifest(tuple(rows)).sha256[:16]}")
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
