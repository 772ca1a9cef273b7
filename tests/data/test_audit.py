"""The audit: each planted leak and shortcut is found and named, and clean data is called clean."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from unmask.cli.main import main
from unmask.core.files import sha256_file
from unmask.data.audit import AuditReport, audit
from unmask.data.duplicates import fingerprint, near_duplicates
from unmask.data.manifest import Manifest, Row, read_manifest, write_manifest


def picture(seed: int, size: int = 48) -> np.ndarray:
    """A smooth random picture with some grain, unlike any other."""
    generator = np.random.default_rng(seed)
    smooth = ndimage.zoom(generator.uniform(0, 255, (6, 6, 3)), (size / 6, size / 6, 1), order=1)
    return np.clip(smooth + generator.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, **options: object) -> str:
    Image.fromarray(pixels).save(path, **options)
    return str(path)


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """40 people, a real and a fake image of each, alike in everything; the first 30 people are for training."""
    result = []
    for i in range(80):
        path = save(tmp_path / f"{i}.png", picture(i))
        split = "train" if i // 2 < 30 else "val"
        kind = {"label": i % 2, "manipulation": "sbi" if i % 2 else ""}
        result.append(Row(path, group=f"p{i // 2}", split=split, source="s", sha256=sha256_file(path), **kind))
    return result


def found(report: AuditReport) -> dict[str, str]:
    """Check name to text, of problems."""
    return {f.check: f.text for f in report.findings if f.level == "problem"}


def look(rows: list[Row]) -> AuditReport:
    return audit(Manifest(tuple(rows)))


def test_clean_data_is_clean(rows: list[Row]) -> None:
    report = look(rows)
    assert report.clean, found(report)
    assert {f.check for f in report.findings} >= {"metadata", "blur", "colour", "near-duplicates", "relatives"}


def test_copies(rows: list[Row], tmp_path: Path) -> None:
    copy = save(tmp_path / "copy.png", picture(0))
    report = look([*rows, replace(rows[0], path=copy, split="val", group="someone else")])
    assert set(found(report)) == {"relatives", "copies across splits"}
    report = look([*rows, replace(rows[0], path=copy, label=1)])
    assert found(report)["copies across labels"] == "1 files are real and fake at once"
    report = look([*rows, replace(rows[0], path=copy)])
    assert report.clean
    assert any(f.level == "note" and f.check == "copies" for f in report.findings)


def test_near_duplicates_across_splits(rows: list[Row], tmp_path: Path) -> None:
    small = np.asarray(Image.fromarray(picture(0)).resize((32, 32)))
    near = save(tmp_path / "near.jpg", small, quality=60)
    report = look([*rows, Row(near, 0, group="new", split="val", source="s")])
    assert set(found(report)) == {"near-duplicates"}
    listed = next(f.details for f in report.findings if f.check == "near-duplicates")
    assert len(listed) == 1 and "near.jpg (val)" in listed[0] and "0.png (train)" in listed[0]
    assert look([*rows, Row(near, 0, group="new", split="train", source="s")]).clean


def test_torn_families(rows: list[Row]) -> None:
    assert "p0 (test, train)" in str(look([replace(rows[0], split="test"), *rows[1:]]).findings)
    rows[70] = replace(rows[70], label=0, manipulation="")
    rows[1] = replace(rows[1], pair=rows[70].path)  # a fake in train of a photo in val
    assert "relatives" in found(look(rows))


def test_files_that_changed_or_went(rows: list[Row]) -> None:
    save(Path(rows[0].path), picture(99))
    Path(rows[1].path).unlink()
    rows[3] = replace(rows[3], mask="/nowhere/mask.png")
    assert set(found(look(rows))) == {"unreadable", "missing", "changed"}


def test_one_source_per_label(rows: list[Row]) -> None:
    texts = found(look([replace(r, source=f"site{r.label}") for r in rows]))
    assert texts["source"].startswith("100% of the images come from a source that holds one class only")


@pytest.mark.parametrize("shortcut", ["metadata", "blur", "colour"])
def test_shortcuts(rows: list[Row], shortcut: str) -> None:
    for i, row in enumerate(rows):
        pixels = picture(i)
        if shortcut == "blur" and row.label:
            pixels = ndimage.gaussian_filter(pixels, (0.7, 0.7, 0))
        if shortcut == "colour" and row.label:
            pixels = (pixels * 0.7).astype(np.uint8)
        kind = "JPEG" if shortcut == "metadata" and row.label else "PNG"
        Image.fromarray(pixels).save(row.path, kind)
    report = look([replace(r, sha256="") for r in rows])
    assert shortcut in found(report)
    assert "AUC" in found(report)[shortcut] and "learns" in found(report)[shortcut]
    assert next(f for f in report.findings if f.check == shortcut).numbers["auc"] > 0.9


def test_too_little_for_a_probe_is_said(rows: list[Row]) -> None:
    assert "same label" in str(look([rows[0], rows[2]]).findings)
    assert "not tested" in str(look(rows[:2]).findings)


def test_near_duplicates_equal_brute_force() -> None:
    generator = np.random.default_rng(0)
    base = generator.integers(0, 2**63, 60, dtype=np.uint64)
    flips = [
        sum(1 << int(b) for b in generator.choice(64, generator.integers(0, 11), replace=False)) for _ in range(300)
    ]
    hashes = base[generator.integers(0, 60, 300)] ^ np.array(flips, np.uint64)
    thumbnails = np.ones((300, 1), np.float32)
    sides = generator.choice(["a", "b", "c"], 300)
    wanted = [
        (i, j)
        for i in range(300)
        for j in range(i + 1, 300)
        if sides[i] != sides[j] and (int(hashes[i]) ^ int(hashes[j])).bit_count() <= 7
    ]
    assert len(wanted) > 50
    assert near_duplicates(hashes, thumbnails, list(sides), block=3) == wanted
    assert near_duplicates(hashes, np.zeros((300, 1), np.float32), list(sides)) == []


@pytest.mark.parametrize("pixels", [np.zeros((9, 7, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8), picture(0, 600)])
def test_fingerprint_of_any_picture(pixels: np.ndarray) -> None:
    word, thumbnail = fingerprint(pixels)
    assert word.dtype == np.uint64 and thumbnail.shape == (256,) and np.isfinite(thumbnail).all()


def test_commands(rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(tmp_path / "m.csv", [replace(r, split="") for r in rows])
    assert main(["data", "audit", str(tmp_path / "m.csv")]) == 0
    assert capsys.readouterr().out.endswith("clean\n")
    out = tmp_path / "split.parquet"
    split = ["data", "split", str(tmp_path / "m.csv"), "--out", str(out), "--sizes", "train=0.5", "val=0.5"]
    assert main([*split, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    manifest = read_manifest(out)
    assert told["data_sha256"] == manifest.sha256
    assert told["splits"]["val"]["real"] == sum(r.label == 0 for r in manifest.select("val"))
    assert main(split) == 1 and "--force" in capsys.readouterr().err
    assert main([*split[:2], str(out), *split[3:], "--force"]) == 1 and "--resplit" in capsys.readouterr().err
    assert main([*split, "--force", "--sizes", "train"]) == 2
    assert main([*split, "--force", "--sizes", "train=0.5"]) == 1 and "sum to 1" in capsys.readouterr().err
    first = manifest[0].split
    torn = [replace(manifest[0], split="val" if first == "train" else "train"), *manifest.rows[1:]]
    write_manifest(out, torn, overwrite=True)
    assert main(["data", "audit", str(out), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["clean"] and any(
        f["check"] == "relatives" and f["level"] == "problem" for f in report["findings"]
    )
    assert main(["data", "audit", str(tmp_path / "none.csv")]) == 1
