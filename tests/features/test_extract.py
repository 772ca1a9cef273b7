"""Extraction: the same values however they are made, nothing measured twice, nothing lost when stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from toys import EyeDistance, Fails, Means, MeansAgain, Spread, portraits

from unmask.cli.main import main
from unmask.core.errors import ConfigError, DataError
from unmask.core.types import Face, Landmarks, UInt8Image
from unmask.data.degradations import DEGRADATIONS
from unmask.data.intake import decode
from unmask.data.manifest import Row
from unmask.features import measuring
from unmask.features.base import Feature, Subject
from unmask.features.cache import FeatureCache, default_folder
from unmask.features.catalogue import FEATURES
from unmask.features.extract import Extraction, extract_features, parse_degradations
from unmask.features.table import FeatureTable, read_features

POINTS = ((100.0, 110.0), (140.0, 110.0), (120.0, 130.0), (105.0, 150.0), (135.0, 150.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, astronaut: Path) -> Path:
    return portraits(tmp_path_factory.mktemp("photos"), astronaut)


@pytest.fixture
def rows(folder: Path) -> list[Row]:
    files = sorted(folder.rglob("*.png"))
    return [Row(str(f), int(f.parent.name == "fake"), group=f.stem) for f in files]


@pytest.fixture
def boxes(rows: list[Row]) -> dict[str, list[Face]]:
    faces: list[list[Face]] = [[Face((80 + i, 60, 160 + i, 170), 1.0, POINTS)] for i in range(len(rows))]
    faces[0] = []
    faces[1] = [Face((0, 0, 9, 9)), Face((80, 60, 160, 170))]
    return {row.path: found for row, found in zip(rows, faces, strict=True)}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the features that are really measured, one by one."""
    names: list[str] = []
    original = Feature.measure

    def measure(self: Feature, subjects: Sequence[Subject]) -> object:
        names.extend([self.name] * len(subjects))
        return original(self, subjects)

    monkeypatch.setattr(Feature, "measure", measure)
    return names


def same(a: FeatureTable, b: FeatureTable) -> bool:
    parts = [(x.rows, x.status) for x in (a, b)]
    texts = all(
        {k: v.tolist() for k, v in one.items()} == {k: v.tolist() for k, v in two.items()}
        for one, two in zip(*parts, strict=True)
    )
    return texts and all(a.values[name].tobytes() == b.values[name].tobytes() for name in a.values | b.values)


def test_values_are_those_of_the_features_and_the_rest_has_reasons(
    rows: list[Row], boxes: dict[str, list[Face]]
) -> None:
    table, errors = parts(extract_features(rows, [Means(), EyeDistance()], boxes=boxes, jobs=1))
    assert [error.path for error in errors] == [rows[-1].path] and errors[0].code == "truncated"
    assert table.rows["path"].tolist() == [row.path for row in rows[:-1]]
    assert table.status["means"].tolist() == ["ok"] * 6
    assert table.status["eyes"].tolist() == ["no_face", "no_landmarks"] + ["ok"] * 4
    assert table.values["eyes"][2:].tolist() == [[40.0]] * 4 and np.isnan(table.values["eyes"][:2]).all()
    for row, values, sha256 in zip(rows, table.values["means"], table.rows["sha256"], strict=False):
        image = decode(Path(row.path))
        face = boxes[row.path][-1] if boxes[row.path] else None  # the larger
        assert (values == Means().measure([Subject(image.pixels, face)])[0].values).all() and sha256 == image.sha256
    assert table.about["versions"] == {"means": 1, "eyes": 1} and set(table.cost_ms) == {"means", "eyes"}
    assert table.about["errors"] == 1 and len(table.about["data_sha256"]) == 64


def parts(found: Extraction) -> tuple[FeatureTable, list[object]]:
    return found.table, list(found.errors)


def test_two_processes_and_a_warm_cache_change_nothing(
    rows: list[Row], boxes: dict[str, list[Face]], tmp_path: Path, measured: list[str]
) -> None:
    features, states = [Means(), EyeDistance()], [("noise", 2), ("jpeg", 5)]

    def extract(jobs: int, cache: Path | None) -> FeatureTable:
        return extract_features(rows, features, boxes=boxes, degradations=states, jobs=jobs, cache=cache).table

    alone = extract(1, None)
    measured.clear()
    helped = extract(2, tmp_path)
    assert not measured  # done elsewhere
    warm = extract(1, tmp_path)
    assert not measured  # and not again
    assert same(alone, helped) and same(alone, warm) and helped.cost_ms == warm.cost_ms
    assert len(alone) == 18 and alone.rows["degradation"].tolist()[:3] == ["", "noise", "jpeg"]
    assert alone.rows["severity"].tolist()[:3] == [0, 2, 5]


def test_only_what_changed_is_measured_again(
    rows: list[Row], boxes: dict[str, list[Face]], tmp_path: Path, measured: list[str]
) -> None:
    def count(features: Sequence[Feature], **options: object) -> int:
        measured.clear()
        extract_features(rows[:3], features, jobs=1, cache=tmp_path / "c", **({"boxes": boxes} | options))  # type: ignore[arg-type]
        return len(measured)

    assert count([Means()]) == 3
    assert count([Means()]) == 0
    assert count([Means(), EyeDistance()]) == 3
    assert count([MeansAgain()]) == 3  # another version
    assert count([Means()], degradations=[("noise", 1)]) == 3
    assert count([Means()], degradations=[("noise", 1)]) == 0
    assert count([Means()], degradations=[("noise", 1)], seed=1) == 3  # only the degraded ones
    assert count([Means()], boxes={row.path: [Face((80, 60, 161, 170))] for row in rows}) == 3  # another face
    moved = tmp_path / "elsewhere.png"
    moved.write_bytes(Path(rows[2].path).read_bytes())
    rows[2] = Row(str(moved), 1)
    boxes[str(moved)] = boxes[sorted(boxes)[2]]
    assert count([Means()]) == 0  # known by content
    moved.write_bytes(Path(rows[1].path).read_bytes() + b"\0")
    assert count([Means()]) == 1


def test_a_damaged_entry_is_measured_again(
    rows: list[Row], boxes: dict[str, list[Face]], tmp_path: Path, measured: list[str]
) -> None:
    first = extract_features(rows[:2], [Means()], boxes=boxes, jobs=1, cache=tmp_path).table
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert len(files) == 2 and all(file.parent.name == file.name[:2] for file in files)
    files[0].write_bytes(files[0].read_bytes()[:-3])
    files[1].write_bytes(b"")
    measured.clear()
    assert same(first, extract_features(rows[:2], [Means()], boxes=boxes, jobs=1, cache=tmp_path).table)
    assert measured == ["means"] * 2
    extract_features(rows[:2], [Means()], boxes=boxes, jobs=1, cache=tmp_path)
    assert measured == ["means"] * 2


def test_a_degradation_is_the_same_draw_for_every_image_and_only_if_asked(
    rows: list[Row], boxes: dict[str, list[Face]]
) -> None:
    image = decode(Path(rows[0].path)).pixels
    noisy = [
        measuring.degraded(Subject(image + np.uint8(k)), "noise", 3, 7).image.astype(int) - image - k for k in (0, 1)
    ]
    middle = (image > 60) & (image < 190)  # where nothing is clipped
    assert (noisy[0][middle] == noisy[1][middle]).all() and noisy[0].std() > 5
    face = Face((80, 60, 160, 170))
    subject = Subject(image, face)
    assert measuring.degraded(subject, "", 0, 7) is subject
    seen = measuring.degraded(subject, "crop", 5, 7)
    cropped, moved = seen.image, seen.face
    assert moved is not None and cropped.shape[0] < 256
    x, y = round(moved.box[0]), round(moved.box[1])
    assert (cropped[y : y + 40, x : x + 40] == image[60:100, 80:120]).all()  # the face went with its pixels
    table = extract_features(rows[:1], [Means()], boxes=boxes, degradations=[("brightness", 5)], jobs=1).table
    bright = DEGRADATIONS["brightness"](image, 5, np.random.default_rng(0))
    expected = Means().measure([Subject(bright)])[0].values
    assert expected is not None and (table.values["means"][1] == expected).all()


def test_a_feature_that_raises_spoils_its_image_and_leaves_the_rest_in_the_cache(
    rows: list[Row], boxes: dict[str, list[Face]], tmp_path: Path, measured: list[str]
) -> None:
    with pytest.raises(DataError, match="'fails' failed on it: ZeroDivisionError: a bug"):
        extract_features(rows[:2], [Fails(), Means()], boxes=boxes, jobs=1, cache=tmp_path)
    measured.clear()
    assert len(extract_features(rows[:2], [Means()], boxes=boxes, jobs=1, cache=tmp_path).table) == 2
    assert not measured


def test_faces_are_searched_once_where_none_are_given(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    class Finder:
        def find(self, images: Sequence[UInt8Image]) -> list[list[Face]]:
            calls.append(len(images))
            return [[Face((80.1, 60.2, 160.3, 170.4), 0.9, POINTS)]]

    monkeypatch.setattr(measuring, "_face_finder", Finder)
    states = [("jpeg", 1)]
    first = extract_features(rows[:2], [Means()], degradations=states, jobs=1, cache=tmp_path).table
    assert calls == [1, 1]
    both = extract_features(rows[:2], [Means(), EyeDistance()], degradations=states, jobs=1, cache=tmp_path).table
    assert calls == [1, 1] and both.values["eyes"].tolist() == [[40.0]] * 4
    assert (first.values["means"] == both.values["means"]).all() and set(first.about["shared_ms"]) == {
        "decode",
        "faces",
    }


def test_landmarks_are_looked_for_only_where_a_feature_needs_them(
    rows: list[Row], boxes: dict[str, list[Face]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Face] = []

    class Finder:
        def find(self, image: UInt8Image, faces: Sequence[Face]) -> list[Landmarks | None]:
            calls.extend(faces)
            known = faces[0].points is not None
            return [Landmarks(np.arange(936, dtype=np.float32).reshape(468, 2)) if known else None]

    monkeypatch.setattr(measuring, "_landmark_finder", Finder)
    extract_features(rows[:3], [Means(), EyeDistance()], boxes=boxes, jobs=1)
    assert not calls
    table = extract_features(rows[:3], [Spread(), EyeDistance()], boxes=boxes, jobs=1).table
    assert table.status["spread"].tolist() == ["no_face", "no_landmarks", "ok"] and len(calls) == 2
    assert table.status["eyes"].tolist()[2] == "ok"  # it saw no landmarks: EyeDistance asserts that


def test_memory_does_not_grow_with_the_number_of_images(folder: Path, rows: list[Row]) -> None:
    import tracemalloc

    large = folder.parent / "large.png"
    if not large.exists():
        from PIL import Image

        Image.new("RGB", (900, 900)).save(large)

    def peak(count: int) -> int:
        tracemalloc.start()
        extract_features([Row(str(large), 0)] * count, [Means()], boxes={str(large): []}, jobs=1)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(12) < peak(2) + 900 * 900 * 3


def test_what_cannot_be_asked_for_is_said(rows: list[Row]) -> None:
    class OnlyMap(Means):
        columns = ()

    with pytest.raises(ConfigError, match="only a map"):
        extract_features(rows, [OnlyMap()])
    with pytest.raises(ConfigError, match="at least one"):
        extract_features(rows, [])
    with pytest.raises(ConfigError, match="jobs"):
        extract_features(rows, [Means()], jobs=0)
    with pytest.raises(DataError, match="none of the 1 images"):
        extract_features(rows[-1:], [Means()], boxes={}, jobs=1)
    for wrong in ("jpg", "jpeg:0", "jpeg:1-3", "jpeg:"):
        with pytest.raises(ConfigError):
            parse_degradations([wrong])


def test_the_default_cache_is_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "unmask" / "features"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_folder() == Path.home() / ".cache" / "unmask" / "features"


def test_two_caches_on_one_folder_lose_nothing_they_had(tmp_path: Path) -> None:
    from unmask.features.base import Measured
    from unmask.features.cache import Entry

    one, two = FeatureCache(tmp_path), FeatureCache(tmp_path)
    entry = Entry(Measured("ok", np.array([1.5, -0.0], np.float32)), 1.25)
    one.add("ab" * 32, {}, {"a": entry})
    two.add("ab" * 32, {}, {"b": Entry(Measured("no_face"), 0.0)})
    back = one.read("ab" * 32, {})
    assert set(back) == {"a", "b"} and back["a"].ms == 1.25 and back["b"] == Entry(Measured("no_face"), 0.0)
    assert back["a"].measured.values.tobytes() == entry.measured.values.tobytes()  # type: ignore[union-attr]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent differently there")
def test_ctrl_c_keeps_what_was_measured(rows: list[Row], tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import toys\n"
        "from unmask.features.catalogue import FEATURES\n"
        "class Slow(toys.Means):\n"
        "    def describe(self, pixels):\n"
        "        time.sleep(0.1)\n"
        "        return super().describe(pixels)\n"
        "FEATURES['means'] = Slow()\n"
        "import unmask.cli.main as m\n"
        "sys.exit(m.main(sys.argv[1:]))"
    )
    names = [str(tmp_path / f"{i}.png") for i in range(60)]
    for i, name in enumerate(names):
        Path(name).write_bytes(Path(rows[0].path).read_bytes() + bytes([i]))
    (tmp_path / "boxes.csv").write_text("path,x1,y1,x2,y2\n" + "".join(f"{n},80,60,160,170\n" for n in names))
    (tmp_path / "m.csv").write_text("path,label\n" + "".join(f"{n},{i % 2}\n" for i, n in enumerate(names)))
    out, cache = tmp_path / "f.parquet", tmp_path / "cache"
    words = ["features", "extract", tmp_path / "m.csv", "--out", out, "--features", "means", "--jobs", "1",
             "--boxes", tmp_path / "boxes.csv", "--cache", cache, "--json"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    start = time.monotonic()
    while len(list(cache.rglob("[!.]*.safetensors"))) < 3 and time.monotonic() - start < 60:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err and not out.exists()
    kept = len(list(cache.rglob("[!.]*.safetensors")))
    assert 3 <= kept < 60 and not list(cache.rglob(".*"))
    FEATURES["means"] = Means()
    try:
        assert main(list(map(str, words))) == 0
    finally:
        del FEATURES["means"]
    assert len(read_features(out)) == 60


def test_the_verb_writes_a_table_and_tells_what_could_not_be_read(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FEATURES, "means", Means())
    (tmp_path / "boxes.csv").write_text(
        "path,x1,y1,x2,y2\n" + "".join(f"{f},80,60,160,170\n" for f in folder.rglob("*.png"))
    )
    out = tmp_path / "f.parquet"
    words = ["features", "extract", str(folder), "--out", str(out), "--features", "means", "--jobs", "1",
             "--boxes", str(tmp_path / "boxes.csv"), "--cache", str(tmp_path / "cache")]  # fmt: skip
    degraded = [*words, "--degrade", "jpeg:1,5", "--json"]
    monkeypatch.setattr("sys.argv", ["unmask", *degraded])
    assert main(degraded) == 1
    done = capsys.readouterr()
    summary = json.loads(done.out)
    assert (summary["rows"], summary["images"], summary["real"], summary["fake"]) == (18, 6, 9, 9)
    assert summary["measured"]["means"]["status"] == {"ok": 18} and summary["errors"][0]["code"] == "truncated"
    assert "broken.png" in done.err
    table = read_features(out)
    assert table.about["command"].startswith("unmask features extract ") and table.rows["label"].sum() == 9
    assert main(words) == 1  # it is there
    assert "--force" in capsys.readouterr().err
    assert main([*words, "--force", "--sample", "3"]) == 1
    assert "3 rows (3 images)" in capsys.readouterr().out and len(read_features(out)) == 3
    assert main([*words, "--force", "--weights", "means=x"]) == 2
    assert main([*words, "--force", "--no-cache"]) == 2
    assert main(["features", "extract", str(folder), "--out", str(tmp_path / "f.csv")]) == 2
    assert not (tmp_path / "f.csv").exists()


def test_groups_of_verbs_list_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    for group in ("data", "features"):
        for words in ([group], [group, "--help"]):
            assert main(words) == 0
            out = capsys.readouterr().out
            assert out.startswith(f"usage: unmask {group} VERB") and f"  {group} " in out
    with pytest.raises(SystemExit):
        main(["features", "extrakt"])
    assert "did you mean 'features extract'?" in capsys.readouterr().err


def test_the_catalogue_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "features", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["features"].keys() == FEATURES.keys()
