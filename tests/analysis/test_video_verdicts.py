"""Folders of frames to verdicts: one per video, as the command and as a function."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import unmask
from unmask.analysis.videos import frames_of, group_frames
from unmask.cli.main import main
from unmask.core.errors import DataError
from unmask.core.files import sha256_file
from unmask.core.seeds import rng
from unmask.data.clips import frames_hash
from unmask.data.faces import write_boxes
from unmask.data.flicker import FlickerConfig, smooth_still, write_flicker
from unmask.detectors.weights import load_weights, save_weights
from unmask.detectors.zoo import create_detector


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A genuine and a forged video of five frames, a lone photo, and weights whose every verdict is fake."""
    place = tmp_path_factory.mktemp("videos")
    _, faces = write_flicker(place, [("anna", smooth_still(104, rng(0)))], FlickerConfig(frames=5, size=104))
    write_boxes(place / "boxes.csv", faces)
    (place / "photos").mkdir()
    Image.new("RGB", (104, 104)).save(place / "photos" / "photo.png")
    torch.manual_seed(0)
    detector = create_detector("temporal_tiny", view={"size": 104, "frames": 3}, stages=1, width=8)
    save_weights(place / "clips.safetensors", detector, {"thresholds": {"fake": 0.0, "real": 0.0}})
    return place


def detect(folder: Path, *words: object) -> int:
    given = ["--detector", str(folder / "clips.safetensors"), "--boxes", str(folder / "boxes.csv"), "--device", "cpu"]
    return main(["detect", *map(str, words), *given])


def test_every_folder_of_frames_gets_a_verdict(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert detect(folder, folder, "--json", "--report", tmp_path / "report") == 1  # the photo
    fake, photo, real = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert [Path(v["path"]).relative_to(folder).as_posix() for v in (fake, real)] == ["flicker/anna", "real/anna"]
    assert photo["status"] == "error" and photo["error"]["code"] == "needs_frames"
    detector, _ = load_weights(folder / "clips.safetensors")
    for said in (fake, real):
        files = sorted(Path(said["path"]).iterdir())
        frames = (
            torch.from_numpy(np.stack([np.asarray(Image.open(f)) for f in files])).permute(0, 3, 1, 2).float() / 255
        )
        with torch.inference_mode():  # windows from frame 0, 1 and 2; the face's square is the whole frame
            logits = torch.cat([detector.eval()(frames[None, s : s + 3]).logits for s in range(3)])
        assert said["score"] == pytest.approx(float(logits.mean().sigmoid()), abs=1e-5)
        assert said["verdict"] == "fake" and said["sha256"] == frames_hash([sha256_file(f) for f in files])
        assert said["reasons"][0].startswith(f"video: {len(files)} frames, of which ")
        (face,) = said["faces"]
        assert face["box"] == [19.5, 19.5, 84.5, 84.5] and face["score"] is None
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("anna") >= 2 and "needs_frames" in page


def test_a_function_takes_a_folder_or_its_frames(folder: Path) -> None:
    from unmask.data.faces import read_boxes

    analyzer, boxes = unmask.load(folder / "clips.safetensors", device="cpu"), read_boxes(folder / "boxes.csv")
    place = folder / "real" / "anna"
    whole, listed, array = analyzer.stream([str(place), sorted(place.iterdir()), np.zeros((9, 9, 3), np.uint8)], boxes)
    assert whole.score == listed.score and whole.path == listed.path == str(place)
    assert array.error is not None and array.error.code == "needs_frames"


def test_frames_come_in_natural_order(tmp_path: Path) -> None:
    for name in ("f10.png", "f9.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert [Path(p).name for p in frames_of(tmp_path)[1]] == ["f9.png", "f10.png"]
    assert list(group_frames(["b/2.png", "b/10.png", "a/1.png"])) == [["b/2.png", "b/10.png"], ["a/1.png"]]
    with pytest.raises(DataError, match="folder of frames"):
        frames_of(b"bytes")
