from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from unmask.cli.main import main
from unmask.core.files import sha256_file
from unmask.data import forged_files
from unmask.data.manifest import read_manifest

BOXES = "path,x1,y1,x2,y2\n{},181,62,268,172\n{},,,,\n"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    Image.fromarray(astronaut()).save(folder / "a.jpg", quality=90)
    Image.fromarray(astronaut()[200:420, 100:300]).save(folder / "sub" / "a.jpg", quality=90)
    (tmp_path / "boxes.csv").write_text(BOXES.format("a.jpg", "sub/a.jpg"))
    return folder


def forge(photos: Path, out: Path, *more: str) -> int:
    return main(["data", "forge", str(photos), "--out", str(out), "--boxes", str(photos.parent / "boxes.csv"), *more])


@pytest.mark.parametrize("image_format", ["png", "jpg"])
def test_files_and_manifest_agree(photos: Path, tmp_path: Path, image_format: str) -> None:
    out = tmp_path / "out"
    assert forge(photos, out, "--per-photo", "4", "--format", image_format) == 0
    manifest = read_manifest(out / "manifest.csv")
    fakes = [r for r in manifest if r.label == 1]
    assert len(fakes) == 8 and {r.group for r in manifest} == {"a.jpg", "sub/a.jpg"}
    assert all(r.source == "photos" and sha256_file(r.path) == r.sha256 for r in manifest)
    reals = {r.path for r in manifest if r.label == 0}
    assert {r.pair for r in fakes} == reals
    files = {str(p) for p in out.rglob("*") if p.is_file() and p.name != "manifest.csv"}
    assert files == {r.path for r in manifest} | {r.mask for r in fakes}, "no file without a row"
    for row in fakes:
        fake, real = (np.asarray(Image.open(p)) for p in (row.path, row.pair))
        mask = np.asarray(Image.open(row.mask))
        assert Path(row.path).parent.name == row.manipulation
        assert mask.shape == fake.shape[:2] and mask.max() > 0
        if image_format == "png":
            assert (fake == real).all(2)[mask == 0].all()
        else:
            assert Image.open(row.path).quantization == Image.open(row.pair).quantization


def test_same_seed_same_files_whatever_else_is_there(photos: Path, tmp_path: Path) -> None:
    assert forge(photos, tmp_path / "one", "--seed", "5") == 0
    (photos / "sub" / "a.jpg").unlink()
    assert forge(photos, tmp_path / "two", "--seed", "5") == 0
    assert forge(photos, tmp_path / "three", "--seed", "6") == 0
    one, two, three = (
        {r.sha256 for r in read_manifest(tmp_path / n / "manifest.csv") if r.label and r.group == "a.jpg"}
        for n in ("one", "two", "three")
    )
    assert one == two != three


def test_index_reads_the_layout(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert forge(photos, tmp_path / "out", "--per-photo", "3") == 0
    capsys.readouterr()
    assert main(["data", "index", str(tmp_path / "out"), "--out", str(tmp_path / "index.csv"), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["fake"] == summary["masks"] == 6


def test_unreadable_photos_are_named_and_the_rest_done(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "bad.jpg").write_bytes(b"not an image")
    Image.new("RGB", (40, 40)).save(photos / "tiny.png")
    with (tmp_path / "boxes.csv").open("a") as file:
        file.write("bad.jpg,,,,\ntiny.png,,,,\n")
    assert forge(photos, tmp_path / "out", "--json") == 1
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert {(Path(e["path"]).name, e["code"]) for e in summary["errors"]} == {
        ("bad.jpg", "not_an_image"),
        ("tiny.png", "bad_image"),
    }
    assert sum(summary["fake"].values()) == 2 and "bad.jpg" in captured.err and "Traceback" not in captured.err


def test_a_name_that_cannot_stand_in_a_manifest_is_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        (photos / os.fsdecode(b"\xff.png")).write_bytes((photos / "a.jpg").read_bytes())
        (photos / "\x1b[31mred.jpg").write_bytes(b"no image")
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    assert main(["data", "forge", str(photos), "--out", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert "\\udcff.png: the name is not UTF-8" in captured.err and "\x1b" not in captured.err
    assert len({r.group for r in read_manifest(tmp_path / "out" / "manifest.csv")}) == 2


def test_kinds_groups_and_refusals(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    groups = tmp_path / "groups.csv"
    groups.write_text("path,group\na.jpg,ann\nsub/a.jpg,ann\n")
    out = tmp_path / "out"
    assert forge(photos, out, "--kind", "warp", "--groups", str(groups), "--per-photo", "2") == 0
    rows = list(read_manifest(out / "manifest.csv"))
    assert {r.group for r in rows} == {"ann"} and {r.manipulation for r in rows} == {"", "warp"}
    assert forge(photos, out) == 1 and "not an empty folder" in capsys.readouterr().err
    assert forge(photos, out, "--force") == 0
    assert forge(photos, tmp_path / "x", "--kind", "wrap") == 2 and "did you mean 'warp'" in capsys.readouterr().err
    assert forge(photos, tmp_path / "x", "--per-photo", "0") == 2
    groups.write_text("path,group\na.jpg,ann\n")
    assert forge(photos, tmp_path / "x", "--groups", str(groups)) == 1
    assert "sub/a.jpg" in capsys.readouterr().err and not (tmp_path / "x").exists()
    assert main(["data", "forge", str(tmp_path / "nowhere"), "--out", str(tmp_path / "x")]) == 1
    assert main(["data", "forge", str(photos), "--out", str(tmp_path / "x"), "--boxes", str(groups)]) == 1


def test_ctrl_c_leaves_a_manifest_of_what_is_done(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_decode = forged_files.decode

    def stop_at_second(path: Path) -> object:
        if path.parent.name == "sub":
            raise KeyboardInterrupt
        return real_decode(path)

    monkeypatch.setattr(forged_files, "decode", stop_at_second)
    assert forge(photos, tmp_path / "out") == 130
    rows = read_manifest(tmp_path / "out" / "manifest.csv")
    assert {r.group for r in rows} == {"a.jpg"} and all(Path(r.path).is_file() for r in rows)
