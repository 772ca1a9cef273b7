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
from unmask.evaluation.combine import main


@pytest.fixture
def place(tiny_weights: Path, portrait_pixels: np.ndarray, tmp_path: Path) -> Path:
    """Both untrained specialists, twelve people with a real photo and a fake one each, and their boxes."""
    for name in ("edited", "generated"):
        for suffix in (".safetensors", ".json"):
            shutil.copy(tiny_weights / (name + suffix), tmp_path / (name + suffix))
    random = np.random.default_rng(0)
    rows, boxes = [], {}
    for person in range(12):
        for label in (0, 1):
            path = tmp_path / f"{person}_{label}.png"
            noise = random.integers(0, 8 + 60 * label, portrait_pixels.shape)
            Image.fromarray(np.clip(portrait_pixels + noise, 0, 255).astype(np.uint8)).save(path)
            rows.append(Row(str(path), label, group=str(person), split="val", manipulation="noise" if label else ""))
            boxes[str(path)] = [Face((70, 40, 190, 190))]
    write_manifest(tmp_path / "val.csv", rows)
    write_boxes(tmp_path / "boxes.csv", boxes)
    return tmp_path


def words(place: Path, out: Path) -> list[str]:
    members = [str(place / f"{name}.safetensors") for name in ("edited", "generated")]
    return [*members, "--data", str(place / "val.csv"), "--boxes", str(place / "boxes.csv"), "--out", str(out)]


def test_the_card_loads_and_says_what_it_rests_on(place: Path) -> None:
    card_file = place / "both.json"
    assert main(words(place, card_file)) == 0
    card = json.loads(card_file.read_text())
    assert card["members"] == ["edited", "generated"]
    assert card["data"] | {"hash": ""} == {
        "hash": "",
        "images": 24,
        "real": 12,
        "families": 12,
        "manipulations": {"noise": 12},
        "errors": 0,
    }
    assert card["thresholds"]["fake"] is None  # twelve reals cannot carry a 1 % error rate
    assert "unresolvable" in card["thresholds"]["fake_point"]["reason"]
    analyzer = load_analyzer(card_file, device="cpu")
    assert [member.name for member in analyzer.members] == ["edited", "generated"]
    assert analyzer.bench.calibration is not None and analyzer.bench.calibration.scale == card["calibration"]["scale"]
    assert not list(place.glob(".uncalibrated*"))


def test_an_open_question_is_named_and_not_asked(place: Path) -> None:
    manifest = place / "val.csv"
    manifest.write_text(manifest.read_text().replace(",noise,", ",resynthesis,", 3))
    assert main([*words(place, place / "one.json"), "--open", "generated"]) == 0
    assert [member.name for member in load_analyzer(place / "one.json", device="cpu").members] == ["edited"]
    card = json.loads((place / "one.json").read_text())
    assert card["data"]["manipulations"] == {"noise": 9}
    assert card["thresholds"]["real"] is None and "generated" in card["thresholds"]["doubt"]


def test_thresholds_are_never_set_on_test_people(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (place / "val.csv").read_text().replace(",val,", ",test,")
    (place / "val.csv").write_text(text)
    assert main([*words(place, place / "both.json"), "--split", "test"]) == 2
    assert "select_on_test" in capsys.readouterr().err
    assert not (place / "both.json").exists()


def test_weights_must_lie_beside_the_card(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "both.json"
    assert main(words(place, elsewhere)) == 2
    assert not elsewhere.exists()
