"""Indexing: every layout, every kind of broken file, and never a guessed label."""

from __future__ import annotations

import csv
import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unmask.cli.main import main
from unmask.core.errors import ConfigError, DataError
from unmask.core.files import sha256_file
from unmask.data.manifest import Row, read_manifest
from unmask.data.sources import Index, index_folder


def image(path: Path, value: int = 100, size: tuple[int, int] = (12, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 50, 60)).save(path)
    return path


def mask(path: Path, size: tuple[int, int] = (12, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((size[1], size[0]), np.uint8)
    pixels[2:4, 3:5] = 255
    Image.fromarray(pixels).save(path)
    return path


def rows(index: Index, root: Path) -> dict[str, Row]:
    return {str(Path(r.path).relative_to(root)): r for r in index.rows}


@pytest.mark.parametrize(
    ("where", "label", "split", "source", "manipulation"),
    [
        ("real/x.png", 0, "", "ROOT", ""),
        ("FAKE/x.PNG", 1, "", "ROOT", ""),
        ("train/Real/x.jpg", 0, "train", "ROOT", ""),
        ("valid/1_fake/x.webp", 1, "val", "ROOT", ""),
        ("validation/0_real/x.bmp", 0, "val", "ROOT", ""),
        ("test/progan/airplane/1_fake/x.png", 1, "test", "progan/airplane", "progan"),
        ("test/progan/airplane/0_real/x.png", 0, "test", "progan/airplane", ""),
        ("fake/train/x.tif", 1, "train", "ROOT", ""),
        ("fake/sd3/x.png", 1, "", "sd3", ""),
        ("biggan/1_fake/a/b/x.gif", 1, "", "biggan/a/b", "biggan"),
    ],
)
def test_layouts(tmp_path: Path, where: str, label: int, split: str, source: str, manipulation: str) -> None:
    root = tmp_path / "ROOT"
    file = image(root / where)
    index = index_folder(root)
    assert not index.problems
    assert index.rows == [
        Row(str(file), label, split=split, source=source, manipulation=manipulation, sha256=sha256_file(file))
    ]


@pytest.mark.parametrize(
    "where", ["x.png", "photos/x.png", "0/x.png", "real_people/x.png", "real/fake/x.png", "train/val/real/x.png"]
)
def test_a_label_is_never_guessed(tmp_path: Path, where: str) -> None:
    file = image(tmp_path / where)
    index = index_folder(tmp_path)
    assert index.rows == []
    assert [(p.path, p.code) for p in index.problems] == [(str(file), "no_label")]
    assert where.rpartition("/")[0] in index.problems[0].message


def test_every_unusable_file_is_named(tmp_path: Path) -> None:
    good = image(tmp_path / "real/good.png")
    image(tmp_path / "real/whole.jpg", size=(300, 300))
    data = (tmp_path / "real/whole.jpg").read_bytes()
    (tmp_path / "real/whole.jpg").unlink()
    (tmp_path / "real/truncated.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "real/empty.jpg").touch()
    (tmp_path / "real/text.jpg").write_text("hello")
    (tmp_path / "real/gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "real/pipe.png")
    (tmp_path / "real/notes.txt").touch()
    (tmp_path / "real/.hidden.png").touch()
    (tmp_path / "fake").mkdir()
    index = index_folder(tmp_path)
    assert [r.path for r in index.rows] == [str(good)]
    assert {Path(p.path).name: p.code for p in index.problems} == {
        "truncated.jpg": "truncated",
        "empty.jpg": "empty",
        "text.jpg": "not_an_image",
        "gone.png": "not_found",
        "pipe.png": "not_a_file",
    }
    assert index.ignored == {".txt": 1, "hidden": 1}


def test_links_are_followed_but_not_round_and_round(tmp_path: Path) -> None:
    photos = tmp_path / "elsewhere"
    image(photos / "a.png")
    root = tmp_path / "root"
    root.mkdir()
    (root / "real").symlink_to(photos)
    (photos / "loop").symlink_to(root)
    (photos / "self").symlink_to(photos / "self")
    index = index_folder(root)
    assert list(rows(index, root)) == ["real/a.png"]
    assert [p.code for p in index.problems] == ["link_loop"]


def test_odd_names(tmp_path: Path) -> None:
    for name in ["a b.png", "ü\n😀.png", "#%&'.png", "-rf.png"]:
        image(tmp_path / "real" / name)
    bad = os.fsencode(tmp_path / "real") + b"/\xff.png"
    Path(os.fsdecode(bad)).write_bytes((tmp_path / "real/a b.png").read_bytes())
    index = index_folder(tmp_path)
    assert len(index.rows) == 4
    assert [p.code for p in index.problems] == ["odd_name"]
    index.problems[0].path.encode()


@pytest.mark.parametrize(
    ("picture", "drawn"),
    [
        ("fake/x.jpg", "mask/x.png"),
        ("fake/x.jpg", "masks/x_mask.png"),
        ("fake/x.jpg", "fake/masks/x.png"),
        ("fake/x.jpg", "fake_mask/x.png"),
        ("train/fake/gen/x.jpg", "train/Masks/gen/x.png"),
        ("train/gen/1_fake/x.jpg", "train/gen/mask/x.png"),
        ("train/fake/x.jpg", "masks/train/x.png"),
        ("fake/" + unicodedata.normalize("NFD", "ü") + ".jpg", "mask/" + unicodedata.normalize("NFC", "ü") + ".png"),
    ],
)
def test_masks_by_convention(tmp_path: Path, picture: str, drawn: str) -> None:
    image(tmp_path / picture)
    image(tmp_path / "real" / "x.jpg", 7)
    index = index_folder(tmp_path) if mask(tmp_path / drawn) else None
    assert index is not None
    assert not index.problems
    assert {p: r.mask for p, r in rows(index, tmp_path).items()} == {
        picture: str(tmp_path / drawn),
        "real/x.jpg": "",
    }


def test_masks_that_do_not_fit_are_problems(tmp_path: Path) -> None:
    for name in ("x.jpg", "y.jpg", "y.png", "z.jpg"):
        image(tmp_path / "fake" / name)
    mask(tmp_path / "mask/x.png", size=(9, 9))
    mask(tmp_path / "mask/y.png")
    mask(tmp_path / "mask/nobody.png")
    mask(tmp_path / "mask/z.png")
    mask(tmp_path / "masks/z.png")
    index = index_folder(tmp_path)
    codes = {str(Path(p.path).relative_to(tmp_path)): p.code for p in index.problems}
    assert codes == {
        "mask/x.png": "bad_mask",
        "mask/y.png": "ambiguous_mask",
        "mask/nobody.png": "mask_without_image",
        "masks/z.png": "ambiguous_mask",
    }
    assert "9x9" in next(p.message for p in index.problems if p.code == "bad_mask")
    assert sorted(rows(index, tmp_path)) == ["fake/y.jpg", "fake/y.png", "fake/z.jpg"]


def test_a_folder_named_like_a_mask_but_beside_nothing_holds_images(tmp_path: Path) -> None:
    image(tmp_path / "real/with_mask/x.png")  # people who wear one
    assert [r.source for r in index_folder(tmp_path).rows] == ["with_mask"]


def test_groups_from_names(tmp_path: Path) -> None:
    for name in ("real/007/1.png", "real/007/2.png", "fake/003/1.png"):
        image(tmp_path / name)
    got = rows(index_folder(tmp_path, group="([^/]+)/[^/]+$"), tmp_path)
    assert {p: r.group for p, r in got.items()} == {
        "real/007/1.png": "007",
        "real/007/2.png": "007",
        "fake/003/1.png": "003",
    }
    index = index_folder(tmp_path, group="real/[0-9]+")
    assert {r.group for r in index.rows} == {"real/007"}
    assert [p.code for p in index.problems] == ["no_group"]
    with pytest.raises(ConfigError):
        index_folder(tmp_path, group="(")


@pytest.mark.parametrize("jobs", [1, 3])
def test_result_does_not_depend_on_threads_and_progress_ends_at_the_end(tmp_path: Path, jobs: int) -> None:
    for i in range(70):
        image(tmp_path / f"{'real' if i % 2 else 'fake'}/{i:02}.png", i)
    told: list[tuple[int, int]] = []
    index = index_folder(tmp_path, jobs=jobs, progress=lambda done, total: told.append((done, total)))
    assert [r.path for r in index.rows] == sorted(str(p) for p in tmp_path.rglob("*.png"))
    assert told[-1] == (70, 70)


def test_no_folder_and_no_image(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/notes.txt").touch()
    with pytest.raises(DataError, match=r"found: 1 \.txt"):
        index_folder(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        index_folder(tmp_path / "nowhere")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image(tmp_path / "d/train/real/a.png")
    image(tmp_path / "d/train/fake/a.png", 3)
    out = tmp_path / "m.parquet"
    assert main(["data", "index", str(tmp_path / "d"), "--out", str(out), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["real"], summary["fake"], summary["splits"]) == (1, 1, {"train": {"real": 1, "fake": 1}})
    assert summary["data_sha256"] == read_manifest(out).sha256
    assert main(["data", "index", str(tmp_path / "d"), "--out", str(out)]) == 1
    assert "--force" in capsys.readouterr().err
    (tmp_path / "d/train/fake/b.png").write_text("no")
    errors = tmp_path / "errors.csv"
    arguments = ["data", "index", str(tmp_path / "d"), "--out", str(out), "--force", "--errors", str(errors)]
    assert main(arguments) == 1
    assert "error [not_an_image]" in capsys.readouterr().err
    with errors.open(newline="") as file:
        assert [(Path(r["path"]).name, r["code"]) for r in csv.DictReader(file)] == [("b.png", "not_an_image")]
    assert main(["data", "index", str(tmp_path / "d"), "--out", str(tmp_path / "m.xlsx")]) == 2
    assert main(["data", "index", str(tmp_path / "d"), "--out", str(tmp_path / "n.csv"), "--jobs", "0"]) == 2
