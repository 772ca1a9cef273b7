"""Data sets of videos: labels, splits, pairs, masks and relatives from trees of the documented shape."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from trees import clip, image, mask, problems, rows, write

from unmask.core.errors import ConfigError, DataError
from unmask.data.benchmarks import LAYOUTS, index_layout
from unmask.data.benchmarks.faceforensics import METHODS
from unmask.data.benchmarks.tree import even
from unmask.data.splits import components, families
from unmask.metrics.video import video_scores

FAKE, REAL = "manipulated_sequences", "original_sequences"


@given(st.integers(1, 300), st.integers(1, 40))
def test_frames_are_evenly_spaced_and_not_the_first_ones(length: int, count: int) -> None:
    chosen = even(range(length), count)
    assert len(chosen) == min(length, count)
    steps = {b - a for a, b in pairwise(chosen)}
    assert not steps or max(steps) - min(steps) <= 1
    assert abs(chosen[0] - (length - 1 - chosen[-1])) <= max(steps, default=1)  # as far from the start as from the end


@given(st.lists(st.tuples(*[st.sampled_from("abcdefgh")] * 2), max_size=12))
def test_components_are_those_of_a_graph(links: list[tuple[str, str]]) -> None:
    found = components(links)
    nodes = sorted({n for link in links for n in link})
    assert sorted(found) == nodes
    if nodes:
        i, j = ([nodes.index(link[k]) for link in links] for k in (0, 1))
        label = connected_components(coo_array(([1] * len(i), (i, j)), (len(nodes),) * 2), directed=False)[1]
        for n, node in enumerate(nodes):
            assert found[node] == min(m for k, m in enumerate(nodes) if label[k] == label[n])


def ff(root: Path, frames: int = 3, splits: bool = True) -> Path:
    """FaceForensics++ with two pairs of videos (train: 000 and 003, test: 001 and 870)."""
    if splits:
        for name, pairs in {"train": [["000", "003"]], "val": [], "test": [["870", "001"]]}.items():
            write(root / f"{name}.json", json.dumps(pairs))
    for number in ("000", "003", "001", "870"):
        clip(root / REAL / "youtube/c23/frames" / number, frames)
    for method in METHODS:
        for name in ("000_003", "003_000", "001_870", "870_001"):
            clip(root / FAKE / method / "c23/frames" / name, frames)
    return root


def test_faceforensics(tmp_path: Path) -> None:
    root = ff(tmp_path)
    mask(root / FAKE / "Deepfakes/c23/masks/000_003/0001.png")
    clip(root / REAL / "actors/c23/frames/01__kitchen_pan", 2)
    clip(root / FAKE / "DeepFakeDetection/c23/frames/01_02__kitchen_pan__AB12CD34", 2)
    index = index_layout(root, "faceforensics")
    assert problems(index, root) == [(f"{FAKE}/Deepfakes/c23/masks/000_003", "missing")]  # two frames without a mask
    found = rows(index, root)
    assert len(found) == 4 * 3 + 5 * 4 * 3 + 4
    real = found[f"{REAL}/youtube/c23/frames/003/0002.png"]
    assert (real.label, real.split, real.source, real.pair) == (0, "train", "FaceForensics++ c23", "")
    fake = found[f"{FAKE}/Deepfakes/c23/frames/000_003/0001.png"]
    assert (fake.label, fake.split, fake.source) == (1, "train", "FaceForensics++ c23")
    assert fake.manipulation == "Deepfakes"
    assert fake.pair == str(root / REAL / "youtube/c23/frames/000/0001.png")  # made from the first of the two
    assert fake.mask == str(root / FAKE / "Deepfakes/c23/masks/000_003/0001.png")
    actor = found[f"{FAKE}/DeepFakeDetection/c23/frames/01_02__kitchen_pan__AB12CD34/0000.png"]
    assert (actor.label, actor.split, actor.source, actor.pair) == (1, "", "DeepFakeDetection c23", "")
    assert actor.manipulation == "DeepFakeDetection"
    assert actor.group == found[f"{REAL}/actors/c23/frames/01__kitchen_pan/0000.png"].group


def test_both_sides_of_a_swap_are_one_family_in_all_methods(tmp_path: Path) -> None:
    index = index_layout(ff(tmp_path), "faceforensics", frames=1)
    of_family: dict[str, set[str]] = {}
    for row, family in zip(index.rows, families(index.rows), strict=True):
        of_family.setdefault(family, set()).add(Path(row.path).parent.name)
        assert family == f"group:{row.group}"
    assert sorted(map(sorted, of_family.values())) == [
        ["000", "000_003", "003", "003_000"],
        ["001", "001_870", "870", "870_001"],
    ]
    assert {(r.group, r.split) for r in index.rows} == {("ff++:000", "train"), ("ff++:001", "test")}


def test_videos_of_the_methods_do_not_merge(tmp_path: Path) -> None:
    index = index_layout(ff(tmp_path), "faceforensics")
    keys = [(r.source, r.manipulation, Path(r.path).parent.name) for r in index.rows]
    videos = video_scores([0.5] * len(keys), [r.label for r in index.rows], keys)
    assert len(videos.keys) == 4 + 5 * 4 == len({Path(r.path).parent for r in index.rows})


def test_the_official_split_of_720_140_140_videos(tmp_path: Path) -> None:
    numbers = [f"{n:03}" for n in range(1000)]
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    for name, part in {"train": pairs[:360], "val": pairs[360:430], "test": pairs[430:]}.items():
        write(tmp_path / "splits" / f"{name}.json", json.dumps(part))
    for number in numbers:
        clip(tmp_path / REAL / "youtube/c40/images" / number, 1, size=(1, 1))
    index = index_layout(tmp_path, "faceforensics")
    assert not index.problems
    counts = {s: sum(r.split == s for r in index.rows) for s in ("train", "val", "test")}
    assert counts == {"train": 720, "val": 140, "test": 140}
    assert len({r.group for r in index.rows}) == 500


def test_faceforensics_says_what_is_missing_surplus_or_unreadable(tmp_path: Path) -> None:
    root = ff(tmp_path, frames=1)
    clip(root / REAL / "youtube/c23/frames/555", 1)
    clip(root / REAL / "youtube/c23/frames/cat", 1)
    image(root / REAL / "youtube/c23/frames/000/sub/0.png")
    image(root / "somewhere/x.png")
    write(root / FAKE / "Face2Face/c23/videos/003_000.mp4", "")
    for name in ("000_003", "003_000"):
        write(root / FAKE / f"FaceShifter/masks/videos/{name}.mp4", "")
    write(root / FAKE / "FaceSwap/c23/videos/003_000.mp4", "")
    for file in (root / FAKE / "FaceSwap/c23/frames/003_000").iterdir():
        file.unlink()
    for file in (root / FAKE / "NeuralTextures/c23/frames/001_870").iterdir():
        file.unlink()
    index = index_layout(root, "faceforensics")
    assert problems(index, root) == [
        (f"{FAKE}/FaceShifter/masks", "video"),
        (f"{FAKE}/FaceSwap/c23/videos/003_000.mp4", "video"),
        (f"{FAKE}/NeuralTextures/c23", "missing"),
        (f"{REAL}/youtube/c23/frames/000/sub/0.png", "no_label"),
        (f"{REAL}/youtube/c23/frames/555", "surplus"),
        (f"{REAL}/youtube/c23/frames/cat", "no_group"),
        ("somewhere/x.png", "no_label"),
    ]
    told = {p.code: p.message for p in index.problems}
    assert "001_870" in told["missing"] and "extract its frames" in told["video"]
    assert len(index.rows) == 4 + 5 * 4 - 2


def test_faceforensics_without_its_split_files(tmp_path: Path) -> None:
    index = index_layout(ff(tmp_path, splits=False), "faceforensics")
    assert [p.code for p in index.problems] == ["missing"] * 3
    assert {r.split for r in index.rows} == {""} and len(index.rows) == 72
    write(tmp_path / "train.json", '[["000", "003"]')
    write(tmp_path / "val.json", '{"000": "003"}')
    write(tmp_path / "test.json", '[["000", "001"], ["1", "2"]]')
    index = index_layout(tmp_path, "faceforensics")
    assert problems(index, tmp_path) == [(f"{n}.json", "bad_list") for n in ("test", "train", "val")]
    assert {r.split for r in index.rows} == {""} and len(index.rows) == 72
    write(tmp_path / "train.json", '[["000", "003"], ["007", "008"]]')
    index = index_layout(tmp_path, "faceforensics")  # what it names has a split, what it does not name is not surplus
    assert {r.split for r in index.rows} == {"", "train"} and len(index.rows) == 72


def test_frames_of_a_video_and_a_counterpart_of_another_size(tmp_path: Path) -> None:
    root = tmp_path / "Celeb"
    clip(root / "Celeb-real/frames/id0_0000", 12, "{}.png")  # 10 sorts after 9
    clip(root / "Celeb-synthesis/frames/id0_id1_0000", 12, "{}.png", size=(9, 8))
    write(root / "List_of_testing_videos.txt", "1 Celeb-real/id0_0000.mp4\n")
    index = index_layout(root, "celeb-df-v2", frames=3)
    found = rows(index, root)
    assert [Path(p).name for p in found] == ["2.png", "6.png", "10.png"] * 2
    assert [p.code for p in index.problems] == ["bad_pair"] * 3
    assert all(not r.pair for r in index.rows)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_celeb_df(tmp_path: Path, version: str) -> None:
    root = tmp_path
    clip(root / "Celeb-real/frames/id0_0000")
    clip(root / "Celeb-real/id2_0001") if version == "v1" else clip(root / "Celeb-real/frames/id2_0001")
    clip(root / "Celeb-synthesis/id0_id1_0000")
    clip(root / "Celeb-synthesis/id1_id0_0005")
    clip(root / "YouTube-real/frames/00170")
    clip(root / "YouTube-real/frames/me")
    lines = ["1 YouTube-real/00170.mp4", "0 Celeb-synthesis/id0_id1_0000.mp4", "0 Celeb-synthesis/id7_id1_0000.mp4"]
    lines += ["0 Celeb-real/id0_0000.mp4", "7 what"]
    write(root / "List_of_testing_videos.txt", "\n".join(lines))
    index = index_layout(root, f"celeb-df-{version}")
    expected = [
        ("Celeb-synthesis", "missing"),
        ("List_of_testing_videos.txt", "bad_list"),
        ("List_of_testing_videos.txt", "label_conflict"),
        ("YouTube-real/frames/me", "no_group"),
    ]
    unplaced = [(f"Celeb-real/id2_0001/000{i}.png", "no_label") for i in range(3)] if version == "v1" else []
    assert problems(index, root) == [*unplaced, *expected]
    found = rows(index, root)
    source = f"Celeb-DF-{version}"
    assert {r.source for r in index.rows} == {source}
    fake = found["Celeb-synthesis/id0_id1_0000/0001.png"]
    assert (fake.label, fake.split, fake.group) == (1, "test", f"{source}:id0")
    assert fake.pair == str(root / "Celeb-real/frames/id0_0000/0001.png")
    other = found["Celeb-synthesis/id1_id0_0005/0001.png"]
    assert (other.split, other.pair, other.group) == ("train", "", f"{source}:id0")
    real = found["YouTube-real/frames/00170/0000.png"]
    assert (real.label, real.split, real.group) == (0, "test", f"{source}:youtube 00170")


def test_dfdc(tmp_path: Path) -> None:
    part, test = tmp_path / "train/dfdc_train_part_7", tmp_path / "test"
    for name in ("aaa", "bbb", "ccc", "stray", "odd"):
        clip(part / "frames" / name)
    meta = {
        "aaa.mp4": {"label": "REAL", "split": "train"},
        "bbb.mp4": {"label": "FAKE", "split": "train", "original": "aaa.mp4"},
        "ccc.mp4": {"label": "FAKE", "original": "zzz.mp4"},
        "odd.mp4": {"label": "MAYBE"},
        "gone.mp4": {"label": "REAL"},
    }
    write(part / "metadata.json", json.dumps(meta))
    clip(test / "xxx")
    clip(test / "yyy")
    write(test / "labels.csv", "filename,label\nxxx.mp4,1\nyyy.mp4,0\n")
    image(tmp_path / "elsewhere/1.png")
    index = index_layout(tmp_path, "dfdc", frames=1)
    where = "train/dfdc_train_part_7"
    assert problems(index, tmp_path) == [
        ("elsewhere/1.png", "no_label"),
        (where, "missing"),
        (f"{where}/frames/odd", "no_label"),
        (f"{where}/frames/stray", "no_label"),
    ]
    found = {Path(r.path).parent.name: r for r in index.rows}
    assert {n: (r.label, r.split, r.group) for n, r in found.items()} == {
        "aaa": (0, "train", "dfdc:aaa"),
        "bbb": (1, "train", "dfdc:aaa"),
        "ccc": (1, "train", "dfdc:ccc"),
        "xxx": (1, "test", "dfdc:xxx"),
        "yyy": (0, "test", "dfdc:yyy"),
    }
    assert found["bbb"].pair == str(part / "frames/aaa/0001.png") and found["ccc"].pair == ""


def test_dfdc_preview(tmp_path: Path) -> None:
    people = {"augmentations": [], "set": "train"}
    listed = {
        "original_videos/64/64_B_001.mp4": {**people, "label": "real", "target_id": 64, "swapped_id": None},
        "method_A/64/64_72_A_001.mp4": {**people, "label": "fake", "target_id": 64, "swapped_id": 72},
        "method_B/99/99_98_B_002.mp4": {"label": "fake", "set": "test", "target_id": 99, "swapped_id": 98},
        "method_B/99/absent.mp4": {"label": "fake", "set": "test", "target_id": 99, "swapped_id": 98},
        "method_B/99/video.mp4": {"label": "fake", "set": "test", "target_id": 99, "swapped_id": 98},
        "method_B/99/nobody.mp4": {"label": "fake", "set": "test"},
        "method_B/99/unsure.mp4": {"label": "", "set": "test", "target_id": 99},
        "nonsense": {},
    }
    write(tmp_path / "dataset.json", json.dumps(listed))
    clip(tmp_path / "original_videos/64/64_B_001", 1)
    clip(tmp_path / "method_A/frames/64_72_A_001", 1)
    for name in ("99_98_B_002", "nobody", "unsure", "surplus"):
        clip(tmp_path / "method_B/frames" / name, 1)
    write(tmp_path / "method_B/99/video.mp4", "")
    index = index_layout(tmp_path, "dfdc-preview")
    assert problems(index, tmp_path) == [
        ("dataset.json", "bad_list"),
        ("method_B", "missing"),
        ("method_B/99/video.mp4", "video"),
        ("method_B/frames/nobody", "no_group"),
        ("method_B/frames/surplus/0000.png", "no_label"),
        ("method_B/frames/unsure", "no_label"),
    ]
    found = {Path(r.path).parent.name: r for r in index.rows}
    assert found["64_B_001"].group == found["64_72_A_001"].group != found["99_98_B_002"].group
    assert [found[n].manipulation for n in ("64_B_001", "64_72_A_001", "99_98_B_002")] == ["", "method_A", "method_B"]
    assert found["99_98_B_002"].split == "test"


def test_deeperforensics(tmp_path: Path) -> None:
    for variant in ("end_to_end", "end_to_end_level_1"):
        for name in ("000_M101", "001_M101", "002_W005"):
            clip(tmp_path / "manipulated_videos" / variant / "frames" / name, 1)
    clip(tmp_path / "manipulated_videos/end_to_end/frames/what", 1)
    for name in ("000", "002"):
        clip(tmp_path / REAL / "youtube/c23/frames" / name, 1)
    clip(tmp_path / "source_videos/M101/frames/x", 2)
    for split, names in {"train": "000_M101.mp4\n001_M101.mp4\n", "val": "009_W005.mp4\n", "test": ""}.items():
        write(tmp_path / f"lists/splits/{split}.txt", names)
    index = index_layout(tmp_path, "deeperforensics")
    assert problems(index, tmp_path) == [
        ("manipulated_videos/end_to_end", "missing"),
        ("manipulated_videos/end_to_end/frames/what", "no_group"),
        ("manipulated_videos/end_to_end_level_1", "missing"),
        ("source_videos", "surplus"),
    ]
    found = rows(index, tmp_path)
    real = found[f"{REAL}/youtube/c23/frames/000/0000.png"]
    fake = found["manipulated_videos/end_to_end/frames/000_M101/0000.png"]
    assert (real.label, real.split) == (0, "train") and fake.split == "train"
    assert fake.pair == real.path and fake.manipulation == "end_to_end"
    same = found["manipulated_videos/end_to_end_level_1/frames/001_M101/0000.png"]
    assert real.group == fake.group == same.group  # one actor on both faces
    assert found["manipulated_videos/end_to_end/frames/002_W005/0000.png"].group != real.group


def test_wilddeepfake(tmp_path: Path) -> None:
    clip(tmp_path / "fake_train/7/fake/1", 12, "{}.png")
    clip(tmp_path / "fake_train/7/fake/2", 1)
    clip(tmp_path / "real_train/7/real/1", 1)
    clip(tmp_path / "real_test/3/5", 1)
    clip(tmp_path / "fake_test/3/real/1", 1)
    image(tmp_path / "fake_test/x.png")
    write(tmp_path / "real_test/4.tar.gz", "")
    index = index_layout(tmp_path, "wilddeepfake", frames=2)
    assert problems(index, tmp_path) == [
        ("fake_test", "no_group"),
        ("fake_test/3/real/1", "label_conflict"),
        ("real_test", "missing"),
    ]
    found = {Path(r.path).relative_to(tmp_path).as_posix(): (r.label, r.split, r.group) for r in index.rows}
    assert found == {
        "fake_train/7/fake/1/3.png": (1, "train", "wild:fake_train/7"),
        "fake_train/7/fake/1/9.png": (1, "train", "wild:fake_train/7"),
        "fake_train/7/fake/2/0000.png": (1, "train", "wild:fake_train/7"),
        "real_train/7/real/1/0000.png": (0, "train", "wild:real_train/7"),
        "real_test/3/5/0000.png": (0, "test", "wild:real_test/3"),
    }


def test_options_and_folders_that_do_not_go_together(tmp_path: Path) -> None:
    image(tmp_path / "fake/x.png")
    with pytest.raises(ConfigError, match="did you mean 'faceforensics'"):
        index_layout(tmp_path, "FaceForensic")
    with pytest.raises(ConfigError, match="has no videos"):
        index_layout(tmp_path, "genimage", frames=3)
    with pytest.raises(ConfigError, match="must be 1 or more"):
        index_layout(tmp_path, "dfdc", frames=0)
    with pytest.raises(ConfigError, match="not a list"):
        index_layout(tmp_path, "dfdc", base=tmp_path)
    with pytest.raises(DataError, match="is a JSON file"):
        index_layout(tmp_path, "deepfakebench")
    with pytest.raises(DataError, match="there is no folder"):
        index_layout(tmp_path / "none", "dfdc")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="nothing of the layout"):
        index_layout(tmp_path / "empty", "gangen")


@pytest.mark.parametrize("name", [n for n, layout in LAYOUTS.items() if layout.adapter])
def test_no_layout_guesses_a_label_or_fails(tmp_path: Path, name: str) -> None:
    """Files anywhere but in the layout's own places: each is named, none gets a row, nothing is raised."""
    strange = [image(tmp_path / "probe/x.png"), image(tmp_path / "photos/deep/y.jpg")]
    write(tmp_path / "movie.mp4", "")
    index = index_layout(tmp_path, name)
    assert index.rows == []
    told = {p.path for p in index.problems if p.code == "no_label"}
    assert told >= ({str(strange[0])} if name == "nist16" else set(map(str, strange)))


def test_a_pattern_replaces_the_groups(tmp_path: Path) -> None:
    clip(tmp_path / "fake_train/7/fake/1", 1)
    clip(tmp_path / "real_train/a/real/1", 1)
    index = index_layout(tmp_path, "wilddeepfake", group=r"_train/(\d+)")
    assert [r.group for r in index.rows] == ["7"]
    assert ("real_train/a/real/1/0000.png", "no_group") in problems(index, tmp_path)
    with pytest.raises(ConfigError, match="not a regular expression"):
        index_layout(tmp_path, "wilddeepfake", group="(")
