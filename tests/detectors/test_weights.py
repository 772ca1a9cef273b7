"""Weights on disk: whole or refused, with an error that says why."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from unmask.core.errors import ConfigError, UnmaskError, WeightsError
from unmask.detectors.base import AnyDetector
from unmask.detectors.weights import (
    find_weights,
    list_weights,
    load_weights,
    open_detector,
    read_card,
    save_weights,
    write_card,
)
from unmask.detectors.zoo import create_detector


@pytest.fixture(scope="module")
def detector() -> AnyDetector:
    torch.manual_seed(0)
    return create_detector("meso4", view={"margin": 1.5}).eval()


@pytest.fixture
def file(detector: AnyDetector, tmp_path: Path) -> Path:
    save_weights(tmp_path / "w.safetensors", detector, {"command": "train", "thresholds": {"fake": 0.7, "real": None}})
    return tmp_path / "w.safetensors"


def test_card_says_everything(file: Path, detector: AnyDetector) -> None:
    card = read_card(file)
    assert card.detector == "meso4" and card.answers == "edited" and card.config["view"]["margin"] == 1.5
    assert card.thresholds == {"fake": 0.7, "real": None} and card.calibration.scale == 1.0
    raw = json.loads(file.with_suffix(".json").read_text())
    assert raw["format"] == 1 and raw["sha256"] == card.sha256 and len(card.sha256) == 64
    loaded, _ = load_weights(file)
    assert loaded.config == detector.config and not loaded.training


@pytest.mark.parametrize("name", ["meso4", "residual_unet", "fmca_net_tiny"])
def test_no_random_values_are_drawn_only_to_be_replaced(name: str, tmp_path: Path) -> None:
    detector = create_detector(name).eval()
    save_weights(tmp_path / "w.safetensors", detector)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    loaded, _ = load_weights(tmp_path / "w.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    values = loaded.state_dict()
    assert all(torch.equal(values[key], value) for key, value in detector.state_dict().items())
    fresh = create_detector(name)  # elsewhere designs start as ever
    assert not torch.equal(torch.get_rng_state(), before) and next(fresh.parameters()).isfinite().all()


def test_half_precision_halves_the_file(detector: AnyDetector, tmp_path: Path) -> None:
    save_weights(tmp_path / "full.safetensors", detector)
    save_weights(tmp_path / "half.safetensors", detector, half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * (tmp_path / "full.safetensors").stat().st_size
    loaded, _ = load_weights(tmp_path / "half.safetensors")
    assert all(v.dtype == torch.float32 for v in loaded.state_dict().values() if v.is_floating_point())
    image = torch.rand(1, 3, 256, 256)
    torch.testing.assert_close(loaded(image).logits, detector(image).logits, rtol=0, atol=1e-2)


def test_half_precision_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    model = create_detector("meso4")
    model.head.weight.data.fill_(1e6)
    with pytest.raises(WeightsError, match="float16"):
        save_weights(tmp_path / "w.safetensors", model, half=True)
    assert not list(tmp_path.iterdir())


def test_recalibration_rewrites_the_card_alone(file: Path) -> None:
    import dataclasses

    from unmask.detectors.weights import Calibration

    before = file.read_bytes()
    write_card(file, dataclasses.replace(read_card(file), calibration=Calibration(0.5, 0.25)))
    assert file.read_bytes() == before and load_weights(file)[1].calibration == Calibration(0.5, 0.25)


def test_not_found_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shipped name") as error:
        find_weights("nothing-of-that-name")
    assert error.value.code == "unknown_weights"
    assert all(name in error.value.message for name in list_weights())
    with pytest.raises(WeightsError, match="shipped name"):
        load_weights(tmp_path / "absent.safetensors")


def corrupt_bytes(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-3] ^= 0xFF
    file.write_bytes(bytes(data))


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def no_card(file: Path) -> None:
    file.with_suffix(".json").unlink()


def broken_card(file: Path) -> None:
    file.with_suffix(".json").write_text("{")


def other_format(file: Path) -> None:
    file.with_suffix(".json").write_text('{"format": 99}')


def unknown_field(file: Path) -> None:
    card = json.loads(file.with_suffix(".json").read_text())
    file.with_suffix(".json").write_text(json.dumps({**card, "detektor": 1}))


def unknown_setting(file: Path) -> None:
    card = json.loads(file.with_suffix(".json").read_text())
    card["config"]["varient"] = "meso4"
    file.with_suffix(".json").write_text(json.dumps(card))


def pickled(file: Path) -> None:
    file.write_bytes(pickle.dumps({"weights": [1.0]}))


@pytest.mark.parametrize(
    ("damage", "code", "says"),
    [
        (corrupt_bytes, "corrupt", "hash"),
        (cut_short, "corrupt", "hash"),
        (pickled, "corrupt", "hash"),
        (no_card, "not_found", "card beside"),
        (broken_card, "corrupt", "JSON"),
        (other_format, "bad_format", "format 1"),
        (unknown_field, "bad_format", "did you mean 'detector'"),
        (unknown_setting, "bad_format", "did you mean 'variant'"),
    ],
)
def test_damage_is_named(file: Path, damage: object, code: str, says: str) -> None:
    damage(file)  # type: ignore[operator]
    with pytest.raises(WeightsError, match=says) as error:
        load_weights(file)
    assert error.value.code == code


def test_tensors_that_do_not_fit_are_named(file: Path) -> None:
    card = read_card(file)
    state = load_file(file)
    for change, says in (
        ({"head.weight": torch.zeros(2, 16)}, r"head.weight is \(2, 16\), expected \(1, 16\)"),
        ({"extra": torch.zeros(1)}, "1 unknown"),
        ({"head.weight": None}, "1 missing"),
    ):
        changed = {k: v for k, v in {**state, **change}.items() if v is not None}
        save_file(changed, file)
        import dataclasses

        write_card(file, dataclasses.replace(card, sha256=""))
        with pytest.raises(WeightsError, match=says):
            load_weights(file)


def test_unreadable_tensors_without_a_hash_to_compare(file: Path) -> None:
    import dataclasses

    write_card(file, dataclasses.replace(read_card(file), sha256=""))
    pickled(file)
    with pytest.raises(WeightsError, match="not a readable safetensors"):
        load_weights(file)


def test_unknown_meta_and_other_suffixes_are_refused(detector: AnyDetector, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'metrics'"):
        save_weights(tmp_path / "w.safetensors", detector, {"metric": {}})
    with pytest.raises(WeightsError, match="safetensors"):
        save_weights(tmp_path / "w.pth", detector)
    assert not list(tmp_path.iterdir())


def test_open_takes_files_and_designs_and_explains_the_rest(file: Path) -> None:
    assert open_detector(file)[1] is not None
    assert open_detector("Meso4")[1] is None
    with pytest.raises(UnmaskError, match="did you mean 'baseline'"):
        open_detector("baselin")
    with pytest.raises(ConfigError, match="weights files end in"):
        open_detector(file.with_suffix(".json"))
