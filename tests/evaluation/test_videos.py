"""A detector of clips through ``unmask evaluate``: a row per video, the same files, stops and errors as for images."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from unmask.analysis import videos as scoring
from unmask.analysis.analyzer import load_analyzer
from unmask.analysis.video_scoring import score_video
from unmask.analysis.videos import score_frames
from unmask.cli.main import main
from unmask.core.errors import DataError
from unmask.core.seeds import rng
from unmask.core.types import Face
from unmask.data.clips import as_videos
from unmask.data.faces import FaceFinder, read_boxes, write_boxes
from unmask.data.flicker import FlickerConfig, smooth_still, write_flicker
from unmask.data.manifest import Row, read_manifest, write_manifest
from unmask.detectors.weights import load_weights, save_weights
from unmask.detectors.zoo import create_detector
from unmask.evaluation.matching import Matching
from unmask.evaluation.run import evaluate_detector
from unmask.evaluation.unfinished import UNFINISHED
from unmask.evaluation.videos import score_videos

FRAMES, LENGTH = 7, 3
STARTS = (0, 1, 3, 4)
"""Of four windows of three in seven frames."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people, a genuine and a forged video of each, counterparts named; weights of a small clip detector."""
    place = tmp_path_factory.mktemp("videos")
    stills = [(f"p{i}", smooth_still(64, rng(0, i))) for i in range(4)]
    rows, faces = write_flicker(place, stills, FlickerConfig(frames=FRAMES, size=64, brightness=40, texture=40))
    rows = [replace(r, pair=r.path.replace("/flicker/", "/real/")) if r.label else r for r in rows]
    write_manifest(place / "frames.csv", rows)
    write_boxes(place / "boxes.csv", faces)
    torch.manual_seed(0)
    detector = create_detector("temporal_tiny", view={"size": 64, "frames": LENGTH}, stages=1, width=8, dropout=0.0)
    meta = {"thresholds": {"fake": 0.6, "real": 0.4}, "calibration": {"scale": 2.0, "offset": 0.1}}
    save_weights(place / "clips.safetensors", detector, meta)
    return place


def words(folder: Path, out: Path, *extra: object, data: str | Path = "frames.csv") -> list[str]:
    return ["evaluate", str(folder / "clips.safetensors"), "--data", str(folder / data), "--out", str(out),
            "--boxes", str(folder / "boxes.csv"), "--device", "cpu", *map(str, extra)]  # fmt: skip


@pytest.fixture(scope="module")
def result(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "eval"
    assert main(words(folder, out)) == 0
    return out


def table(out: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(out / "predictions.parquet").to_pylist()
    return rows


def test_a_row_per_video_and_its_score_is_that_of_the_mean_of_its_clips(result: Path, folder: Path) -> None:
    rows = table(result)
    assert [Path(str(r["path"])).relative_to(folder).as_posix() for r in rows] == [
        f"{kind}/p{i}" for i in range(4) for kind in ("real", "flicker")
    ]
    assert [(r["group"], r["label"], r["manipulation"]) for r in rows[:2]] == [("p0", 0, ""), ("p0", 1, "flicker")]
    detector, _ = load_weights(folder / "clips.safetensors")
    for row in rows:  # the face's square is the whole frame
        frames = np.stack([np.asarray(Image.open(Path(str(row["path"])) / f"{t:04d}.png")) for t in range(FRAMES)])
        clips = torch.from_numpy(frames).permute(0, 3, 1, 2).float().div(255)
        with torch.inference_mode():
            logits = torch.cat([detector.eval()(clips[None, s : s + LENGTH]).logits for s in STARTS])
        assert row["logit"] == pytest.approx(float(logits.mean()), abs=1e-5)
        assert row["score"] == pytest.approx(float((2 * logits.mean() + 0.1).sigmoid()), abs=1e-5)
        assert row["pixel_f1"] is None and row["status"] == "ok"


def test_metrics_are_of_videos_with_intervals_by_person(result: Path, folder: Path) -> None:
    content = json.loads((result / "metrics.json").read_text())
    whole, rows = content["rows"][0], table(result)
    labels, logits = ([r[name] for r in rows] for name in ("label", "logit"))
    assert whole["metrics"]["auc"]["value"] == pytest.approx(roc_auc_score(labels, logits))
    assert whole["metrics"]["auc"]["low"] is not None
    assert (whole["name"], whole["n_real"], whole["n_fake"], whole["n_families"]) == ("all videos", 4, 4, 4)
    wins = [logits[2 * i + 1] > logits[2 * i] for i in range(4)]  # type: ignore[operator]
    assert whole["pair_order"]["value"] == pytest.approx(np.mean(wins))
    about = content["about"]
    assert about["unit"] == "videos" and about["clips"] == {"most": 4, "frames": 3} and about["frames"] == 8 * FRAMES
    assert about["data_sha256"] == read_manifest(folder / "frames.csv").sha256
    assert whole["verdicts"]["coverage"]["n"] == 8
    page = (result / "report.html").read_text()
    assert "4 real and 4 fake videos of 4 groups" in page and "Localization" not in page and "faces" not in page
    assert sorted(p.name for p in result.iterdir()) == [
        "figures", "metrics.csv", "metrics.json", "predictions.parquet", "report.html",
    ]  # fmt: skip


def test_the_function_gives_the_same(result: Path, folder: Path) -> None:
    detector, _ = load_weights(folder / "clips.safetensors")
    faces = read_boxes(folder / "boxes.csv")
    rows = list(read_manifest(folder / "frames.csv"))
    told: list[tuple[int, int]] = []
    found = score_videos(detector, rows, faces, progress=lambda done, total: told.append((done, total)))
    assert found.scores == pytest.approx([r["logit"] for r in table(result)], abs=1e-5) and told[-1] == (8, 8)


def test_a_stopped_evaluation_goes_on_video_by_video(
    result: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, scored = tmp_path / "out", []
    real = scoring.score_video

    def stops(detector, count, *rest):  # type: ignore[no-untyped-def]
        if len(scored) == 3:
            raise KeyboardInterrupt
        scored.append(count)
        return real(detector, count, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "score_video", stops)
        assert main(words(folder, out)) == 130
    assert [p.name for p in out.iterdir()] == [UNFINISHED] and "goes on from there" in capsys.readouterr().err
    frame = folder / "real" / "p0" / "0001.png"  # its video was scored; as if it had been written since
    before = frame.stat()
    os.utime(frame, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    scored[:] = [0] * 4  # never stops again
    monkeypatch.setattr(scoring, "score_video", stops)
    assert main(words(folder, out)) == 0
    assert len(scored) - 4 == 8 - 3 + 1
    assert table(out) == table(result)
    ours, theirs = (json.loads((place / "metrics.json").read_text())["rows"] for place in (out, result))
    assert ours == theirs and not (out / UNFINISHED).exists()


@pytest.fixture
def frames(folder: Path) -> list[Row]:
    return list(read_manifest(folder / "frames.csv"))


def refused(folder: Path, tmp_path: Path, rows: list[Row], capsys: pytest.CaptureFixture[str]) -> str:
    write_manifest(tmp_path / "m.csv", [replace(r, pair="") for r in rows], overwrite=True)
    assert main(words(folder, tmp_path / "out", data=tmp_path / "m.csv")) in (1, 2)
    said = capsys.readouterr().err
    assert "Traceback" not in said and not (tmp_path / "out").exists()
    return said


def test_what_is_no_video_is_refused(
    folder: Path, frames: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = [r for r in frames if int(Path(r.path).stem) < 2]
    assert "[too_short]: no video has the 3 frames that a clip needs (the longest has 2)" in refused(
        folder, tmp_path, short, capsys
    )
    photos = [replace(r, group=f"person-{i}") for i, r in enumerate(frames)]
    assert "[mixed_frames]" in refused(folder, tmp_path, photos, capsys)
    mixed = [replace(r, label=1 - r.label, manipulation="") if r.path.endswith("p0/0002.png") else r for r in frames]
    assert "[mixed_labels]" in refused(folder, tmp_path, [replace(r, manipulation="") for r in mixed], capsys)
    write_manifest(tmp_path / "e.csv", frames)
    editing = words(folder, tmp_path / "out", "--editing", data=tmp_path / "e.csv")
    assert main(editing) == 2 and "[needs_frames]" in capsys.readouterr().err


def test_videos_that_cannot_be_scored_are_listed_and_count_in_no_number(
    folder: Path, frames: list[Row], tmp_path: Path
) -> None:
    def copy(row: Row, name: str) -> Row:
        at = tmp_path / name / Path(row.path).name
        at.parent.mkdir(exist_ok=True)
        at.write_bytes(Path(row.path).read_bytes())
        return replace(row, path=str(at), group=name, sha256="", pair="")

    short, odd, broken = ([copy(r, name) for r in frames[:n]] for name, n in (("short", 2), ("odd", 7), ("broken", 7)))
    Image.new("RGB", (64, 60)).save(odd[5].path)
    Path(broken[6].path).write_bytes(b"no image")
    boxes = {r.path: [Face((10, 10, 50, 50))] for r in (*short, *odd, *broken)} | read_boxes(folder / "boxes.csv")
    analyzer = load_analyzer(folder / "clips.safetensors", device="cpu", clips=True)
    found = evaluate_detector(analyzer, [*frames, *short, *odd, *broken], boxes=boxes)
    errors = {Path(e.path).name: e for e in found.errors}
    assert errors["short"].code == "needs_frames" and errors["short"].message.startswith("it has 2 of the 3 frames")
    assert errors["odd"].code == "bad_clip" and "0006.png" in errors["broken"].message
    assert len(found.predictions) == 8 and set(errors) == {"short", "odd", "broken"}


def test_one_size_for_all_frames_takes_the_boxes_along(folder: Path, frames: list[Row], tmp_path: Path) -> None:
    """Frames doubled by repetition, and then brought back by averaging, are the frames."""
    large = []
    for row in frames[:FRAMES]:
        at = tmp_path / Path(row.path).name
        Image.fromarray(np.asarray(Image.open(row.path)).repeat(2, 0).repeat(2, 1)).save(at)
        large.append(replace(row, path=str(at), pair="", sha256=""))
    detector, _ = load_weights(folder / "clips.safetensors")
    boxes = {r.path: [Face((40, 40, 88, 88))] for r in large} | {r.path: [Face((20, 20, 44, 44))] for r in frames}
    matched, alone = (
        score_frames(detector, [r.path for r in part], boxes, FaceFinder(), prepare=prepare)[0]
        for part, prepare in ((large, Matching(64).apply), (frames[:FRAMES], None))
    )
    assert matched.faces == alone.faces and len(matched.score.view_logits) == 4
    assert matched.score.view_logits == pytest.approx(alone.score.view_logits, abs=1e-5)


def test_only_windows_with_a_face_count_and_its_most_suspicious_face() -> None:
    detector = create_detector("temporal_tiny", view={"size": 64, "frames": 3}, stages=1, width=8).eval()
    clip = rng(1).integers(0, 256, (9, 90, 120, 3), dtype=np.uint8)
    left, right = Face((5, 5, 45, 45)), Face((70, 40, 110, 80))

    def score(found: dict[int, list[Face]]) -> list[float]:
        got = score_video(detector, 9, clip.__getitem__, lambda i, pixels: found.get(i, []), clips=3)
        assert got.middle in (list(found) or [4]) and list(got.faces) == found.get(got.middle, [])
        return [float(x) for x in got.score.view_logits]

    alone = [score({4: [face]})[0] for face in (left, right)]
    assert score({4: [left, right]}) == pytest.approx([max(alone)], abs=1e-6)
    assert len(score({1: [left], 7: [right]})) == 2 and len(score({})) == 3
    with pytest.raises(DataError, match="it has 2 of the 3 frames") as caught:
        score_video(detector, 2, clip.__getitem__, lambda i, pixels: [])
    assert caught.value.code == "needs_frames"


def test_a_videos_row_tells_where_its_frames_and_its_counterpart_are() -> None:
    real = [Row(f"/v/real/a/{i}.png", 0, group="a", sha256=f"{i}" * 64) for i in range(3)]
    fake = [Row(f"/v/swap/a/{i}.png", 1, group="a", manipulation="swap", pair=real[i].path) for i in range(3)]
    genuine, forged = as_videos([*fake, *real])[::-1]
    assert (genuine.row.path, forged.row.path) == ("/v/real/a", "/v/swap/a")
    assert forged.row.pair == "/v/real/a" and not forged.row.sha256 and len(genuine.row.sha256) == 64
    assert as_videos(real[:1])[0].row.sha256 == "0" * 64
    together = [replace(r, path=r.path.replace("/swap/a/", "/real/a/f")) for r in fake]
    assert [v.row.path for v in as_videos([*real, *together])] == ["/v/real/a/0.png", "/v/real/a/f0.png"]
