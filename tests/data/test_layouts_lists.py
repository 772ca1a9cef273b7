"""Lists of other projects: what they say is read, what they do not say is not made up, and the way back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from trees import clip, image, mask, problems, rows, write

from unmask.core.errors import DataError
from unmask.data.benchmarks import index_layout
from unmask.data.benchmarks.lists import WRITERS, write_list
from unmask.data.manifest import Row


def frames(root: Path, where: str, count: int = 3) -> list[str]:
    clip(root / where, count)
    return [f"{where}/{i:04}.png" for i in range(count)]


def video(label: str, files: list[str], **more: Any) -> dict[str, Any]:
    return {"label": label, "frames": files, **more}


def test_deepfakebench(tmp_path: Path) -> None:
    rgb = tmp_path / "rgb"
    real = frames(rgb, "FaceForensics++/original_sequences/youtube/c23/frames/000", 12)
    fake = frames(rgb, "FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/000_003", 12)
    other = frames(rgb, "FaceForensics++/original_sequences/youtube/c23/frames/003", 1)
    masked = mask(rgb / "masks/0001.png").relative_to(rgb)
    content = {
        "FF-DF": {
            "FF-real": {"train": {"c23": {"000": video("FF-real", [p.replace("/", "\\") for p in real[::-1]])}}},
            "FF-DF": {"test": {"c23": {"000_003": video("FF-DF", fake, masks=[str(masked)])}}},
            "FF-new": {"val": {"c23": {"003": video("FF-new", other)}}},
        }
    }
    path = write(tmp_path / "FF-DF.json", json.dumps(content))
    index = index_layout(path, "deepfakebench", base=rgb)
    assert [(p.path, p.code) for p in index.problems] == [(f"{path}: FF-DF/FF-new/val/c23/003", "no_label")]
    assert len(index.rows) == 24
    found = rows(index, rgb)
    one = found[fake[1]]
    assert (one.label, one.split, one.source, one.manipulation) == (1, "test", "FaceForensics++ c23", "Deepfakes")
    assert one.mask == str(rgb / masked) and found[fake[2]].mask == ""
    assert (found[real[0]].label, found[real[0]].split) == (0, "train")
    assert {r.group for r in index.rows} == {"ff++:000"}
    few = rows(index_layout(path, "deepfakebench", base=rgb, frames=2), rgb)
    assert [Path(p).name for p in few] == ["0003.png", "0009.png"] * 2  # whatever the order in the list


def test_a_video_in_two_splits_counts_for_the_later_one(tmp_path: Path) -> None:
    files = frames(tmp_path, "Celeb-DF-v2/Celeb-synthesis/frames/id0_id1_0000")
    entry = video("CelebDFv2_fake", files)
    other = video("CelebDFv2_real", frames(tmp_path, "Celeb-DF-v2/Celeb-real/frames/id1_0001"))
    content = {
        "Celeb-DF-v2": {
            "CelebDFv2_fake": {"train": {"id0_id1_0000": entry}, "test": {"id0_id1_0000": entry}, "val": entry},
            "CelebDFv2_real": {"train": {"id1_0001": other}},
        }
    }
    index = index_layout(write(tmp_path / "Celeb-DF-v2.json", json.dumps(content)), "deepfakebench")
    assert [r.split for r in index.rows] == ["test"] * 3 + ["train"] * 3
    assert {p.code for p in index.problems} == {"split_conflict"}
    assert {r.group for r in index.rows} == {"Celeb-DF-v2:id0"}


def test_imdl_benco(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        image(tmp_path / f"Tp/{name}.jpg")
    truth = mask(tmp_path / "Gt/a.png")
    items = [["Tp/a.jpg", str(truth)], ["Tp/b.jpg", "Negative"], ["Tp/c.jpg", "Positive"], ["Tp/gone.jpg", "Negative"]]
    items += [["Tp/b.jpg", "Negative"], ["Tp/b.jpg"], "Tp/b.jpg", ["Tp/b.jpg", None]]
    path = write(tmp_path / "list.json", json.dumps(items))
    index = index_layout(path, "imdl-benco")
    found = rows(index, tmp_path)
    assert {n: (r.label, r.mask) for n, r in found.items()} == {
        "Tp/a.jpg": (1, str(truth)),
        "Tp/b.jpg": (0, ""),
        "Tp/c.jpg": (1, ""),
    }
    expected = [("Tp/b.jpg", "surplus"), ("Tp/gone.jpg", "not_found"), *[("list.json", "no_label")] * 3]
    assert problems(index, tmp_path) == expected
    assert all(f"entry {n}:" in p.message for n, p in zip((6, 7, 8), index.problems[2:], strict=True))


def test_forensichub(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        image(tmp_path / f"{name}.png")
    truth = mask(tmp_path / "m.png")
    items: list[Any] = [
        {"path": "a.png", "label": 1, "mask": "m.png"},
        {"path": "b.png", "label": 0, "mask": "Negative"},
        {"path": "c.png", "label": 1},
        {"path": "d.png", "label": 0, "mask": "m.png"},
        {"path": "d.png", "label": 1, "mask": "Negative"},
        {"path": "d.png", "label": True},
        {"path": "d.png"},
        ["d.png", 0],
    ]
    path = write(tmp_path / "hub.json", json.dumps(items))
    index = index_layout(path, "forensichub")
    assert {n: (r.label, r.mask) for n, r in rows(index, tmp_path).items()} == {
        "a.png": (1, str(truth)),
        "b.png": (0, ""),
        "c.png": (1, ""),
    }
    expected = [("d.png", "label_conflict")] * 2 + [("hub.json", "no_label")] * 3
    assert problems(index, tmp_path) == expected


@pytest.mark.parametrize("name", list(WRITERS))
def test_the_way_there_and_back(tmp_path: Path, name: str) -> None:
    made = []
    for i, split in enumerate(("train", "val", "test")):
        real = clip(tmp_path / f"photos{i}/v", 2)
        fake = clip(tmp_path / f"edits{i}/v", 2)
        truth = [mask(tmp_path / f"masks{i}/000{n}.png") for n in range(2)]
        made += [Row(str(real / f"000{n}.png"), 0, split=split) for n in range(2)]
        made += [Row(str(fake / f"000{n}.png"), 1, str(truth[n]), split=split, manipulation="splice") for n in range(2)]
    path = tmp_path / "Mine.json"
    write_list(path, made, name)
    index = index_layout(path, name)
    assert not index.problems
    keep = ("path", "label", "mask", "split", "manipulation") if name == "deepfakebench" else ("path", "label", "mask")
    assert sorted([getattr(r, k) for k in keep] for r in index.rows) == sorted(
        [getattr(r, k) for k in keep] for r in made
    )


def test_what_a_list_cannot_say_is_refused(tmp_path: Path) -> None:
    fake = Row(str(image(tmp_path / "a.png")), 1)
    with pytest.raises(DataError, match="1 fakes have no mask"):
        write_list(tmp_path / "x.json", [fake, replace(fake, label=0)], "imdl-benco")
    with pytest.raises(DataError, match="1 rows have no split"):
        write_list(tmp_path / "x.json", [fake, replace(fake, split="test")], "deepfakebench")
    assert not (tmp_path / "x.json").exists()
    write_list(tmp_path / "x.json", [fake, replace(fake, label=0)], "forensichub")
    assert [item["mask"] for item in json.loads((tmp_path / "x.json").read_text())] == [None, "Negative"]


@pytest.mark.parametrize("name", list(WRITERS))
@pytest.mark.parametrize("text", ["", "{", "7", '"x"', "[" * 100_000, "{}" * 2, "\udcff"])
def test_a_file_that_is_no_list(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / "list.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError):
        index_layout(path, name)
    with pytest.raises(DataError, match="cannot be read"):
        index_layout(tmp_path / "none.json", name)
