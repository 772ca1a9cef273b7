from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unmask.analysis.analyzer import load_analyzer
from unmask.core.types import Face
from unmask.data.faces import write_boxes
from unmask.data.manifest import Row, write_manifest
from unmask.detectors.weights import load_weights
from unmask.evaluation.settle import CUTS, main, read_view


@pytest.fixture
def place(tiny_weights: Path, portrait_pixels: np.ndarray, tmp_path: Path) -> Path:
    """An untrained localizer; ten people with a real photo and one whose left half is noise, its mask; boxes."""
    for suffix in (".safetensors", ".json"):
        shutil.copy(tiny_weights / f"edited{suffix}", tmp_path / f"raw{suffix}")
    random = np.random.default_rng(0)
    mask = np.zeros(portrait_pixels.shape[:2], np.uint8)
    mask[:, :128] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    rows, boxes = [], {}
    for person in range(10):
        for label in (0, 1):
            path = tmp_path / f"{person}_{label}.png"
            noise = random.integers(0, 80, portrait_pixels.shape) * (mask[..., None] > 0) * label
            Image.fromarray(np.clip(portrait_pixels + noise, 0, 255).astype(np.uint8)).save(path)
            about = {"mask": str(tmp_path / "mask.png"), "manipulation": "noise"} if label else {}
            rows.append(Row(str(path), label, group=str(person), split="val", **about))
            boxes[str(path)] = [Face((70, 40, 190, 190))]
    write_manifest(tmp_path / "val.csv", rows)
    write_boxes(tmp_path / "boxes.csv", boxes)
    return tmp_path


def test_the_best_views_are_kept_with_thresholds_of_their_own(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(place / "raw.safetensors"), "--data", str(place / "val.csv"), "--boxes", str(place / "boxes.csv")]
    out = place / "settled.safetensors"
    assert main([*words, "--views", "64:1.2", "96:1.2+2.4", "--out", str(out), "--half"]) == 0
    told = json.loads(capsys.readouterr().out)
    detector, card = load_weights(out)
    tried = told["auc_by_view"]
    assert set(tried) == {"64:1.2", "96:1.2+2.4"}
    best = max(tried, key=tried.__getitem__)
    assert detector.config.view == read_view(best, detector.config.view)
    assert (detector.config.view.size, detector.config.view.margin) == (int(best[:2]), 1.2)
    assert (told["images"], told["n_real"], told["families"]) == (20, 10, 10)
    assert card.thresholds["mask"] in CUTS and card.thresholds["fake"] is None
    assert card.metrics["settled"]["auc_by_view"] == tried and card.command == "unmask train edited"
    assert out.stat().st_size < 0.6 * (place / "raw.safetensors").stat().st_size
    assert load_analyzer(out, device="cpu").members[0].mask_threshold == card.thresholds["mask"]


def test_nothing_is_settled_on_test_people(place: Path) -> None:
    (place / "val.csv").write_text((place / "val.csv").read_text().replace(",val,", ",test,"))
    words = [str(place / "raw.safetensors"), "--data", str(place / "val.csv"), "--split", "test", "--views", "64:1.6"]
    assert main([*words, "--out", str(place / "settled.safetensors")]) == 2
    assert not (place / "settled.safetensors").exists()


@pytest.mark.parametrize("look", ["320", "320:", "x:1.6", "320:1.6+1.2", "320:-1", "0.5:1.6"])
def test_a_view_of_another_form_is_refused(place: Path, look: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(place / "raw.safetensors"), "--data", str(place / "val.csv"), "--views", look]
    assert main([*words, "--out", str(place / "settled.safetensors")]) == 2
    assert "expected SIZE:MARGIN" in capsys.readouterr().err
