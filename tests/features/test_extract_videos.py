"""Features of videos in folders of frames: a row each, known by all frames, the same values however they are made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toys import Means

from unmask.cli.main import main
from unmask.core.errors import DataError
from unmask.core.seeds import rng
from unmask.core.types import Face
from unmask.data.faces import write_boxes
from unmask.data.flicker import FlickerConfig, smooth_still, write_flicker
from unmask.data.manifest import Row, data_hash, write_manifest
from unmask.detectors.weights import save_weights
from unmask.detectors.zoo import create_detector
from unmask.features import measuring
from unmask.features.base import Subject
from unmask.features.cache import FeatureCache
from unmask.features.catalogue import find_features
from unmask.features.clips import HOGCorrelation, PatchGraph, SpatioTemporal
from unmask.features.extract import extract_features
from unmask.features.table import read_features
from unmask.metrics.image import auc, split_scores

PEOPLE, FRAMES = 6, 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("videos")
    stills = [(f"p{i}", smooth_still(64, rng(4, i))) for i in range(PEOPLE)]
    rows, faces = write_flicker(place, stills, FlickerConfig(frames=FRAMES, size=64, brightness=10, texture=10))
    write_manifest(place / "frames.csv", rows)
    write_boxes(place / "boxes.csv", faces)
    return place


@pytest.fixture
def rows(folder: Path) -> list[Row]:
    kinds = [(0, "real", ""), (1, "flicker", "flicker")]
    return [
        Row(str(folder / kind / f"p{i}" / f"{t:04d}.png"), label, group=f"p{i}", manipulation=name)
        for i in range(PEOPLE)
        for label, kind, name in kinds
        for t in range(FRAMES)
    ]


@pytest.fixture
def boxes(rows: list[Row]) -> dict[str, list[Face]]:
    return {row.path: [Face((12, 12, 52, 52))] for row in rows}


def pixels(video: list[Row]) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(Image.open(row.path)) for row in video)


def test_a_row_per_video_with_the_values_of_its_frames(
    rows: list[Row], boxes: dict[str, list[Face]], tmp_path: Path
) -> None:
    detector = create_detector("temporal_tiny", view={"size": 64, "frames": 3}, stages=1, width=8).eval()
    save_weights(tmp_path / "w.safetensors", detector)
    trained = SpatioTemporal().with_weights(str(tmp_path / "w.safetensors"))
    features = [PatchGraph(), HOGCorrelation(), trained, Means()]
    first = rows[: 2 * FRAMES]
    table = extract_features(first[::-1], features, boxes=boxes, videos=True, jobs=1).table  # in whatever order
    assert [Path(p).name for p in table.rows["path"]] == ["p0", "p0"]
    assert table.rows["label"].tolist() == [1, 0] and table.rows["manipulation"].tolist() == ["flicker", ""]
    assert table.rows["group"].tolist() == ["p0", "p0"] and len(set(table.rows["sha256"])) == 2
    for at, video in enumerate((first[FRAMES:], first[:FRAMES])):
        frames, face = pixels(video), boxes[video[2].path][0]
        whole = Subject(frames[2], face, frames=frames)
        for feature in features:
            (expected,) = feature.measure([whole])
            assert table.status[feature.name][at] == "ok"
            assert np.array_equal(table.values[feature.name][at], expected.values), feature.name  # type: ignore[arg-type]
        with torch.inference_mode():
            clip = torch.from_numpy(np.stack(frames[1:4])).permute(0, 3, 1, 2)[None] / 255
            assert table.values["spatio_temporal"][at, 0] == pytest.approx(float(detector(clip).logits), abs=1e-5)
    assert table.about["unit"] == "videos" and table.about["frames"] == 2 * FRAMES
    assert table.about["data_sha256"] == data_hash(first)


def test_what_a_feature_sees_does_not_depend_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows around the middle of different lengths, at every parity, are those that the feature would choose."""
    for count in range(1, 12):
        for most in range(2, 8):
            monkeypatch.setattr(PatchGraph, "most", most)
            chosen = PatchGraph().looked_at(count)
            assert len(chosen) == min(most, count) and abs(chosen.start - (count - chosen.stop)) <= 1
            assert list(PatchGraph().looked_at(len(chosen))) == list(range(len(chosen)))
    assert not Means().looked_at(9) and not SpatioTemporal().looked_at(9)


def test_cached_by_the_content_of_all_frames_and_only_what_is_looked_at_is_decoded(
    rows: list[Row], boxes: dict[str, list[Face]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    real = measuring.decode
    monkeypatch.setattr(measuring, "decode", lambda path: decoded.append(path.name) or real(path))  # type: ignore[func-returns-value]
    monkeypatch.setattr(PatchGraph, "most", 3)

    def extract(video: list[Row], **options: object):  # type: ignore[no-untyped-def]
        decoded.clear()
        found = extract_features(
            video, [PatchGraph()], boxes=boxes, videos=True, jobs=1, cache=tmp_path / "c", **options
        )  # type: ignore[arg-type]
        return found.table

    first = extract(rows[:FRAMES])
    assert decoded == ["0001.png", "0002.png", "0003.png"]
    again = extract(rows[:FRAMES])
    assert not decoded and again.values["patch_graph"].tobytes() == first.values["patch_graph"].tobytes()
    assert again.rows["sha256"].tolist() == first.rows["sha256"].tolist() and again.cost_ms == first.cost_ms
    moved = [replace(r, path=str(tmp_path / Path(r.path).name)) for r in rows[:FRAMES]]
    for old, new in zip(rows, moved, strict=False):
        Path(new.path).write_bytes(Path(old.path).read_bytes())
    boxes |= {new.path: boxes[rows[0].path] for new in moved}
    assert len(extract(moved)) == 1 and not decoded  # known by content
    Path(moved[4].path).write_bytes(Path(moved[0].path).read_bytes())
    assert extract(moved).rows["sha256"][0] != first.rows["sha256"][0] and decoded
    extract(rows[: FRAMES - 1])
    assert decoded  # a video without its last frame is another
    extract(rows[:FRAMES], degradations=[("jpeg", 3)])
    assert decoded and len(list((tmp_path / "c").rglob("*.safetensors"))) == 4


def test_processes_and_degradations_change_nothing_else(
    rows: list[Row], boxes: dict[str, list[Face]], tmp_path: Path
) -> None:
    states = [("jpeg", 5), ("crop", 3)]
    alone, helped = (
        extract_features(
            rows[: 2 * FRAMES], [PatchGraph()], boxes=boxes, degradations=states, videos=True, jobs=jobs
        ).table
        for jobs in (1, 2)
    )
    assert alone.rows["degradation"].tolist() == ["", "jpeg", "crop"] * 2
    assert alone.values["patch_graph"].tobytes() == helped.values["patch_graph"].tobytes()
    face = boxes[rows[2].path][0]
    seen = [measuring.degraded(Subject(frame, face), "crop", 3, 0) for frame in pixels(rows[:FRAMES])]
    cropped = tuple(subject.image for subject in seen)
    (expected,) = PatchGraph().measure([Subject(cropped[2], seen[2].face, frames=cropped)])
    assert np.array_equal(alone.values["patch_graph"][2], expected.values)  # type: ignore[arg-type]


def test_short_videos_have_a_reason_and_broken_ones_no_row(
    rows: list[Row], boxes: dict[str, list[Face]], tmp_path: Path
) -> None:
    broken = [replace(row, path=str(tmp_path / Path(row.path).name), group="q") for row in rows[:FRAMES]]
    for old, new in zip(rows, broken, strict=False):
        Path(new.path).write_bytes(Path(old.path).read_bytes())
    Path(broken[1].path).write_bytes(b"no image")
    features = find_features(["patch_graph", "spatio_temporal"])
    found = extract_features([rows[0], *rows[FRAMES : 2 * FRAMES], *broken], features, boxes=boxes, videos=True, jobs=1)
    assert found.table.status["patch_graph"].tolist() == ["needs_frames", "ok"]
    assert found.table.status["spatio_temporal"].tolist() == ["weights_missing"] * 2
    assert [(Path(e.path), e.code) for e in found.errors] == [(tmp_path, "not_an_image")]
    assert "0001.png" in found.errors[0].message
    with pytest.raises(DataError, match="single photos are no videos"):
        extract_features([replace(r, group=r.path) for r in rows], features, videos=True)


def test_the_verb_and_the_study(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "f.parquet"
    source, boxes = str(folder / "frames.csv"), str(folder / "boxes.csv")
    words = ["features", "extract", source, "--out", str(out), "--boxes", boxes, "--jobs", "1", "--no-cache", "--json"]
    words += ["--features", "patch_graph", "hog_correlation"]
    assert main([*words, "--videos"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["rows"], summary["videos"], summary["real"], summary["fake"]) == (12, 12, 6, 6)
    table = read_features(out)
    alone = table.values["patch_graph"][:, table.columns["patch_graph"].index("alone_inner_outer")]
    assert auc(split_scores(alone, table.rows["label"])).value == 1.0
    assert main(["features", "study", str(out), "--out", str(tmp_path / "study"), "--folds", "3"]) == 0
    found = json.loads((tmp_path / "study" / "study.json").read_text())
    assert {f["name"] for f in found["features"]} == {"patch_graph", "hog_correlation"}
    capsys.readouterr()
    assert main([*words, "--videos", "--force", "--sample", "4"]) == 0
    assert json.loads(capsys.readouterr().out)["videos"] == 4
    assert main([*words, "--force", "--sample", "10"]) == 0
    done = capsys.readouterr()
    assert "--videos" in done.err
    assert json.loads(done.out)["measured"]["patch_graph"]["status"] == {"needs_frames": 10}


def test_the_cache_holds_images_and_videos_apart(rows: list[Row], boxes: dict[str, list[Face]], tmp_path: Path) -> None:
    extract_features(rows[:FRAMES], [Means()], boxes=boxes, videos=True, jobs=1, cache=tmp_path)
    extract_features(rows[2:3], [Means()], boxes=boxes, jobs=1, cache=tmp_path)
    files = list(tmp_path.rglob("*.safetensors"))
    assert len(files) == 2 and FeatureCache(tmp_path).folder == tmp_path
