"""Landmarks from elsewhere: features see them and nothing else, and values of two sources are never mixed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from toys import EyeDistance, Spread, portraits

from unmask.cli.main import main
from unmask.core.errors import DataError
from unmask.core.files import sha256_file
from unmask.core.types import Face, Landmarks, UInt8Image
from unmask.data.degradations import DEGRADATIONS
from unmask.data.landmarks import LandmarkFinder, write_landmarks
from unmask.data.manifest import Row
from unmask.features import measuring
from unmask.features.base import Subject
from unmask.features.catalogue import find_features
from unmask.features.extract import extract_features
from unmask.features.measuring import feature_key
from unmask.features.table import FeatureTable, read_features
from unmask.nn.landmarks import COUNT

FACE = Face((80, 60, 170, 180), 1.0, ((100, 110), (140, 110), (120, 130), (105, 150), (135, 150)))


def points(seed: int, count: int = 478, centre: tuple[float, float] = (125, 120)) -> Landmarks:
    around = np.random.default_rng(seed).uniform(-1, 1, (count, 2)) * (40, 55)
    return Landmarks((centre + around).astype(np.float32))


@pytest.fixture
def rows(astronaut: Path, tmp_path: Path) -> list[Row]:
    folder = portraits(tmp_path / "photos", astronaut, 3)
    return [Row(str(f), 0, group=f.stem) for f in sorted(folder.rglob("[0-9].png"), key=lambda f: f.name)]


@pytest.fixture
def boxes(rows: list[Row]) -> dict[str, list[Face]]:
    return {row.path: [FACE] for row in rows}


@pytest.fixture
def our_own(monkeypatch: pytest.MonkeyPatch) -> list[Face]:
    """Faces that our own network was asked about; it answers with the same points for all."""
    asked: list[Face] = []

    class Finder:
        def find(self, image: UInt8Image, faces: Sequence[Face]) -> list[Landmarks | None]:
            asked.extend(faces)
            return [points(99, COUNT)]

    monkeypatch.setattr(measuring, "_landmark_finder", Finder)
    return asked


def test_given_points_are_seen_and_none_are_looked_for(
    rows: list[Row], boxes: dict[str, list[Face]], our_own: list[Face]
) -> None:
    elsewhere = points(3, centre=(20, 20))
    given = {rows[0].path: [elsewhere, points(0)], rows[1].path: [elsewhere]}  # of the third nothing is known
    table = extract_features(rows, [Spread(), EyeDistance()], boxes=boxes, landmarks=given, jobs=1).table
    assert table.status["spread"].tolist() == ["ok", "no_landmarks", "no_landmarks"] and not our_own
    assert np.array_equal(table.values["spread"][0], points(0).points.std(0))
    assert table.status["eyes"].tolist() == ["ok"] * 3  # features that need no landmarks see none
    assert "landmarks" not in table.about["shared_ms"]
    helped = extract_features(rows, [Spread()], boxes=boxes, landmarks=given, jobs=2).table
    assert helped.values["spread"].tobytes() == table.values["spread"].tobytes()
    none = extract_features(rows, [Spread()], boxes={rows[0].path: []} | {r.path: [FACE] for r in rows[1:]},
                            landmarks=given, jobs=1).table  # fmt: skip
    assert none.status["spread"].tolist()[0] == "no_face"


def test_values_of_two_sources_are_kept_apart(
    rows: list[Row], boxes: dict[str, list[Face]], our_own: list[Face], tmp_path: Path
) -> None:
    def extract(given: dict[str, list[Landmarks]] | None, cached: bool = True) -> FeatureTable:
        cache = tmp_path / "cache" if cached else None
        return extract_features(rows, [Spread()], boxes=boxes, landmarks=given, jobs=1, cache=cache).table

    sources: list[dict[str, list[Landmarks]] | None] = [
        None,
        {row.path: [points(1)] for row in rows},
        {row.path: [points(1, COUNT)] for row in rows},
        {rows[0].path: [points(2)]},
        {rows[0].path: [], rows[1].path: [points(1)]},
    ]
    for given in sources * 2:
        kept, fresh = extract(given), extract(given, cached=False)
        assert kept.status["spread"].tolist() == fresh.status["spread"].tolist()
        assert kept.values["spread"].tobytes() == fresh.values["spread"].tobytes()
    assert len(our_own) == 3 + 2 * 3  # the second time only where nothing was kept


def test_the_key_tells_what_was_given() -> None:
    given = [None, (), (points(0),), (points(1),), (points(0, COUNT),), (points(0), points(1))]
    assert len({feature_key(Spread(), one) for one in given}) == len(given)
    assert feature_key(Spread(), (points(0),)) == feature_key(Spread(), (points(0),))
    assert len({feature_key(EyeDistance(), one) for one in given}) == 1  # it needs none


@pytest.mark.parametrize("name", [name for name, row in DEGRADATIONS.items() if row.moves])
def test_an_edit_that_moves_the_face_takes_its_points_along(name: str) -> None:
    image = np.full((256, 256, 3), 128, np.uint8)
    seen = measuring.degraded(Subject(image, FACE, points(0)), name, 3, 0)
    corners = np.array(FACE.box).reshape(2, 2)
    within = Landmarks(np.resize(corners, (COUNT, 2)).astype(np.float32))
    moved = measuring.degraded(Subject(image, FACE, within), name, 3, 0).landmarks
    assert seen.face is not None and seen.landmarks is not None and moved is not None
    assert seen.landmarks.points.shape == (478, 2)
    assert moved.points[:2].clip(0, seen.image.shape[1::-1]).ravel() == pytest.approx(seen.face.box, abs=0.01)


def test_points_of_other_images_are_told(rows: list[Row]) -> None:
    with pytest.raises(DataError, match=r"for none of the 3 images; .*0\.png', their first 'elsewhere/0\.png'"):
        extract_features(rows, [Spread()], landmarks={"elsewhere/0.png": [points(0)]}, jobs=1)
    with pytest.raises(DataError) as caught:
        extract_features(rows, [Spread()], landmarks={}, jobs=1)
    assert caught.value.code == "other_landmarks"


def test_irises_change_nothing_but_what_reads_them(portrait_pixels: UInt8Image) -> None:
    (mesh,) = LandmarkFinder().find(portrait_pixels, [Face((84, 62, 172, 178))])
    assert mesh is not None
    more = Landmarks(np.concatenate([mesh.points, np.full((10, 2), 7, np.float32)]))
    for feature in find_features(["head_pose", "symmetry"]):
        one, other = feature.measure([Subject(portrait_pixels, FACE, seen) for seen in (mesh, more)])
        assert one.values is not None and other.values is not None and np.array_equal(one.values, other.values)


def test_the_verb_reads_a_file(astronaut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = portraits(tmp_path / "photos", astronaut, 2)
    (folder / "real" / "broken.png").unlink()
    (real, fake), face = sorted(folder.rglob("*.png"), reverse=True), Face((84, 62, 172, 178))
    (tmp_path / "boxes.csv").write_text(f"path,x1,y1,x2,y2\n{real},84,62,172,178\n{fake},84,62,172,178\n")
    from unmask.data.intake import decode

    (found,) = LandmarkFinder().find(decode(real).pixels, [face])
    assert found is not None
    write_landmarks(tmp_path / "points.parquet", {str(real): [found], str(fake): []})
    out = tmp_path / "f.parquet"
    words = ["features", "extract", str(folder), "--out", str(out), "--features", "head_pose", "--jobs", "1",
             "--boxes", str(tmp_path / "boxes.csv"), "--cache", str(tmp_path / "cache"), "--json"]  # fmt: skip
    assert main(words) == 0
    own = read_features(out)
    assert main([*words, "--force", "--landmarks", str(tmp_path / "points.parquet")]) == 0
    summary = [json.loads(line) for line in capsys.readouterr().out.splitlines()][-1]
    assert summary["measured"]["head_pose"]["status"] == {"no_landmarks": 1, "ok": 1}
    table = read_features(out)
    by_path = dict(zip(table.rows["path"], table.status["head_pose"], strict=True))
    assert by_path == {str(real): "ok", str(fake): "no_landmarks"}
    assert table.about["landmarks"] == str(tmp_path / "points.parquet")
    assert table.about["landmarks_sha256"] == sha256_file(tmp_path / "points.parquet")
    assert own.about["landmarks"] is None and set(own.status["head_pose"]) == {"ok"}
    at = table.rows["path"].tolist().index(str(real))
    assert np.array_equal(
        table.values["head_pose"][at], own.values["head_pose"][own.rows["path"].tolist().index(str(real))]
    )
    (tmp_path / "points.csv").write_text("path,x0,y0\n")
    assert main([*words, "--force", "--landmarks", str(tmp_path / "points.csv")]) == 1
    assert "bad_landmarks" in capsys.readouterr().err
