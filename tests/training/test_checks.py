"""What is refused before a run writes anything, and which folders a run may start in."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from unmask.core.errors import ConfigError, DataError, TrainingError, WeightsError
from unmask.core.types import Face, UInt8Image, ViewConfig
from unmask.data.faces import FaceFinder
from unmask.detectors.zoo import create_detector
from unmask.training.checkpoint import load_checkpoint, save_checkpoint
from unmask.training.checks import BOXES, RECIPE, WEIGHTS, check_folder, check_recipe
from unmask.training.data import build_streams
from unmask.training.loop import LAST
from unmask.training.recipe import Recipe, make_recipe, recipe_yaml
from unmask.training.run import train


def test_a_check_leaves_the_detector_and_the_random_state_alone() -> None:
    detector = create_detector("meso4").eval()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    drawn = torch.get_rng_state()
    check_recipe(make_recipe({"data": {"photos": "x"}, "optimizer": {"groups": {"head": 0}}}), detector)
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not detector.training and all(p.requires_grad for p in detector.parameters())


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"losses": {"mask_bce": 1}}, "localizes"),
        ({"losses": {"reconstruction": 1}}, "hides patches"),
        ({"data": {"forgeries": {"warp": 0}}}, "one above"),
        ({"data": {"forgeries": {"warp": 1, "splice": -1}}}, "one above"),
        ({"validation": {"monitor": "pixel_f1"}}, "no metric"),
    ],
)
def test_what_a_detector_cannot_be_trained_with(values: dict[str, dict[str, object]], says: str) -> None:
    data = {"photos": "x", **values.get("data", {})}
    with pytest.raises(ConfigError, match=says):
        check_recipe(make_recipe({**values, "data": data}), create_detector("meso4"))


def test_a_start_that_came_to_nothing_does_not_occupy_a_folder(tmp_path: Path) -> None:
    recipe = Recipe()
    assert not check_folder(tmp_path / "new", recipe, resume=False)
    (tmp_path / RECIPE).write_text(recipe_yaml(make_recipe({"losses": {"bcee": 1}, "data": {"photos": "ü"}})), "utf-8")
    (tmp_path / BOXES).touch()
    assert not check_folder(tmp_path, recipe, resume=False)
    (tmp_path / "log.csv").touch()
    with pytest.raises(TrainingError, match="--resume"):
        check_folder(tmp_path, recipe, resume=False)
    assert not check_folder(tmp_path, recipe, resume=True)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(("name", "text"), [(RECIPE, "losses: {bce: 1}  # mine\n"), (RECIPE, "{"), (WEIGHTS, "")])
def test_what_others_wrote_is_never_overwritten(tmp_path: Path, name: str, text: str, resume: bool) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TrainingError, match=f"overwrite its {name}") as caught:
        check_folder(tmp_path, Recipe(), resume=resume)
    assert caught.value.code == "occupied"


def test_boxes_alone_and_files_in_the_way_are_occupied(tmp_path: Path) -> None:
    (tmp_path / BOXES).touch()
    for out in (tmp_path, tmp_path / BOXES):
        with pytest.raises(TrainingError, match="another --out"):
            check_folder(out, Recipe(), resume=False)


def test_a_checkpoint_is_looked_at_before_anything_else(tmp_path: Path) -> None:
    from unmask.core.config import to_dict

    recipe = Recipe()
    save_checkpoint(tmp_path / LAST, {"a": torch.ones(9)}, {"recipe": to_dict(recipe)})
    with pytest.raises(TrainingError, match="--resume"):
        check_folder(tmp_path, recipe, resume=False)
    assert check_folder(tmp_path, recipe, resume=True)
    with pytest.raises(TrainingError, match="seed"):
        check_folder(tmp_path, make_recipe({"seed": 1}), resume=True)
    whole = (tmp_path / LAST).read_bytes()
    for damaged in (b"", whole[:-8], whole.replace(b'"unmask checkpoint 1"', b'"unmask checkpoint 9"')):
        (tmp_path / LAST).write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"put a copy of it back, or start again in another folder"):
            check_folder(tmp_path, recipe, resume=True)


def test_a_state_that_cannot_be_read_is_damage(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / LAST, {"format": "unmask checkpoint 1", "state": "{"})
    with pytest.raises(WeightsError, match="another folder") as caught:
        load_checkpoint(tmp_path / LAST)
    assert caught.value.code == "corrupt"


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """16 pictures with a face in all but the flat one, and a file cut short."""

    def find(self: FaceFinder, images: list[UInt8Image]) -> list[list[Face]]:
        return [[Face((32, 32, 96, 96))] if image.std() > 1 else [] for image in images]

    monkeypatch.setattr(FaceFinder, "find", find)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(16):
        draw = np.random.default_rng(i)
        small = draw.integers(0, 255, (12, 12, 3), dtype=np.uint8) if i else np.zeros((12, 12, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.jpg"), cv2.resize(small, (128, 128), interpolation=cv2.INTER_CUBIC))
    whole = (folder / "7.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


def test_a_damaged_photo_is_not_called_faceless(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = make_recipe({"data": {"photos": str(photos)}, "validation": {"share": 0.4}})
    streams = build_streams(recipe, ViewConfig())
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert sum("left out [truncated]" in line and "cut.jpg" in line for line in said) == 1
    assert any(line.startswith("1 of 17 photos cannot be read") and "cut.jpg" in line for line in said)
    assert any(line.startswith("1 of 17 photos show no face") and "0.jpg" in line for line in said)
    assert len(streams.train) + len(streams.validation) == 2 * 15
    assert str(photos / "cut.jpg") not in streams.found and streams.found[str(photos / "0.jpg")] == []
    for i in range(1, 16):
        (photos / f"{i}.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="of 17, 16 cannot be read and 1 show no face"):
        build_streams(recipe, ViewConfig())


def test_the_corrected_recipe_is_the_one_in_the_folder(photos: Path, tmp_path: Path) -> None:
    """A run stopped before its first checkpoint, then the corrected command without --resume."""
    values = {
        "detector": {"name": "meso4"},
        "data": {"photos": str(photos)},
        "validation": {"share": 0.4, "samples": 4},
        "batch_size": 4,
        "max_samples": 8,
        "workers": 0,
    }
    recipe, out = make_recipe(values), tmp_path / "out"
    out.mkdir()
    (out / RECIPE).write_text(recipe_yaml(make_recipe({**values, "losses": {"bcee": 1}})))
    assert train(recipe, out).is_file()
    assert (out / RECIPE).read_text() == recipe_yaml(recipe)
    assert (out / BOXES).is_file()
