"""From photos on disk to a card, over the command line; who is held out; where files are looked for."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from unmask.cli.main import main
from unmask.core.errors import ConfigError, DataError, WeightsError
from unmask.core.types import Face, ViewConfig
from unmask.data.faces import write_boxes
from unmask.data.manifest import Row, write_manifest
from unmask.training.data import _split, build_streams, locate
from unmask.training.recipe import Recipe, make_recipe


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 smooth pictures with a bright patch where the boxes file says a face is."""
    folder = tmp_path_factory.mktemp("photos")
    boxes = {}
    for i in range(24):
        draw = np.random.default_rng(i)
        picture = cv2.resize(
            draw.integers(0, 255, (12, 12, 3), dtype=np.uint8), (128, 128), interpolation=cv2.INTER_CUBIC
        )
        cv2.imwrite(str(folder / f"{i}.png"), picture)
        boxes[f"{i}.png"] = [Face((32, 32, 96, 96))]
    write_boxes(folder / "boxes.csv", boxes)
    return folder


@pytest.fixture
def recipe_file(tmp_path: Path, photos: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "detector: {name: baseline, config: {backbone: resnet18, stages: 1, decoder_width: 8, view: {size: 64}}}\n"
        f"data: {{photos: {photos}, boxes: {photos}/boxes.csv, forgeries: {{upsample: 1, colour: 1}}}}\n"
        "validation: {share: 0.4, samples: 12, forgeries: {upsample: 1, colour: 1, warp: 1}}\n"
        "losses: {bce: 1, rank: 1, mask_bce: 1}\n"
        "epochs: 1\nbatch_size: 8\nworkers: 0\nchannels_last: true\nprecision: bf16\n"
    )
    return path


def test_from_photos_to_weights_that_load(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from unmask.detectors.weights import load_weights

    out = tmp_path / "run"
    assert main(["train", str(recipe_file), "--out", str(out), "--seed", "3"]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(out / "weights.safetensors")
    assert said.err.splitlines()[-1].startswith("unmask train: no verdict but 'uncertain' can be given")
    detector, card = load_weights(out / "weights.safetensors")
    assert bool(torch.isfinite(detector(torch.rand(1, 3, 64, 64)).logits).all())
    assert card.seed == 3 and card.notes["recipe"]["batch_size"] == 8
    assert card.thresholds["fake"] is None and "unresolvable" in card.thresholds["fake_point"]["reason"]
    assert "auc/warp" in card.metrics["validation"] or "auc/upsample" in card.metrics["validation"]
    assert card.data["train"]["images"] + card.data["validation"]["images"] == 24
    scores = list(csv.DictReader((out / "validation_scores.csv").open()))
    assert len(scores) == 2 * card.data["validation"]["images"]
    assert {s["manipulation"] for s in scores if s["label"] == "0"} == {""}

    # an occupied folder is refused, a finished run resumed is the same run
    assert main(["train", str(recipe_file), "--out", str(out), "--seed", "3"]) == 1
    assert "occupied" in capsys.readouterr().err
    before = json.loads((out / "weights.json").read_text())
    assert main(["train", str(recipe_file), "--out", str(out), "--seed", "3", "--resume"]) == 0
    after = json.loads((out / "weights.json").read_text())
    assert before["sha256"] == after["sha256"] and before["calibration"] == after["calibration"]


@pytest.mark.slow
def test_killed_twice_and_resumed_gives_the_same_weights(recipe_file: Path, tmp_path: Path) -> None:
    """``kill -9`` of the whole command while it trains, then ``--resume``: the very same file in the end."""

    def start(out: Path, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "unmask.cli.main", "train", str(recipe_file), "--out", str(out)]
        command += ["--epochs", "6", "--checkpoint_every", "2", "--workers", "1", *words]
        return subprocess.Popen(command, start_new_session=True)

    assert start(tmp_path / "whole").wait(600) == 0
    parts = tmp_path / "parts"
    for kill in range(2):
        process = start(parts, "--resume")
        last, begun = parts / "last.safetensors", time.monotonic()
        before = last.stat().st_mtime_ns if kill else 0
        while time.monotonic() - begun < 300 and (not last.is_file() or last.stat().st_mtime_ns == before):
            time.sleep(0.02)
        assert process.poll() is None, "the run was over before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert start(parts, "--resume").wait(600) == 0
    names = ("weights.safetensors", "validation_scores.csv")
    for name in names:
        assert (parts / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_dry_run_trains_and_writes_nothing(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", str(recipe_file), "--out", str(out), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "batch.image: (8, 3, 64, 64)" in said and "batch_size: 8" in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--epoch", "3"], 2, "did you mean '--epochs'"),
        (["--data.photos", "nowhere"], 1, "UNMASK_DATA"),
        (["--validation.split", "test"], 2, "select_on_test"),
        (["--data.split", "test"], 2, "select_on_test"),
        (["--detector.name", "baselin"], 2, "baseline"),
        (["--data.forgeries", "{warb: 1}"], 2, "warp"),
        (["--validation.forgeries", "{warb: 1}"], 2, "warp"),
        (["--data.manifest", "x.csv"], 2, "exactly one"),
        (["--losses", "{bcee: 1}"], 2, "bce"),
        (["--losses", "{anomaly: 1}"], 2, "no_comparison"),
        (["--validation.monitor", "acu"], 2, "pair_order"),
        (["--validation.monitor", "auc/splice"], 2, "auc/warp"),
        (["--optimizer.groups", "{bakbone: 1}"], 2, "backbone"),
    ],
)
def test_bad_wishes_are_one_line_on_stderr(
    recipe_file: Path, tmp_path: Path, words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(recipe_file), "--out", str(tmp_path / "o"), *words]) == code
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said
    assert not (tmp_path / "o").exists(), "nothing is written before a recipe is checked"


def test_help_lists_settings_with_defaults(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["unmask", "train", "--help"])
    with pytest.raises(SystemExit) as caught:
        main(["train", "--help"])
    said = capsys.readouterr().out
    assert caught.value.code == 0
    for expected in ("--optimizer.lr (0.0003)", "Peak learning rate", "configs/baseline_quick.yaml", "--resume"):
        assert expected in said


def rows(count: int, **changes: Any) -> list[Row]:
    return [Row(f"/photos/{i}.png", 0, group=f"p{i // 2}", **changes) for i in range(count)]


def recipe_on(manifest: Path, **changes: Any) -> Recipe:
    return make_recipe({"data": {"photos": str(manifest)}, **changes})


def test_people_are_held_out_whole(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.csv", rows(60))
    train, validation = _split(recipe_on(tmp_path / "m.csv"))
    assert len(train) + len(validation) == 60
    assert not {r.group for r in train} & {r.group for r in validation}


def test_splits_of_the_manifest_are_kept_and_test_is_never_touched(tmp_path: Path) -> None:
    parts = [Row(f"/p/{i}.png", 0, group=str(i), split=s) for i, s in enumerate(["train"] * 3 + ["val"] * 2 + ["test"])]
    write_manifest(tmp_path / "m.csv", parts)
    train, validation = _split(recipe_on(tmp_path / "m.csv"))
    assert [len(train), len(validation)] == [3, 2]
    write_manifest(tmp_path / "t.csv", [r for r in parts if r.split != "val"])
    with pytest.raises(DataError, match="nothing to validate on"):
        _split(recipe_on(tmp_path / "t.csv"))


def test_relatives_on_both_sides_are_refused(tmp_path: Path) -> None:
    parts = [Row(f"/p/{i}.png", 0, group="same", split=s) for i, s in enumerate(["train", "val"])]
    write_manifest(tmp_path / "m.csv", parts)
    with pytest.raises(DataError, match="group:same") as caught:
        _split(recipe_on(tmp_path / "m.csv"))
    assert caught.value.code == "leak"


def test_paths_are_found_below_root_then_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").touch()
    monkeypatch.setenv("UNMASK_DATA", str(tmp_path / "a"))
    assert locate(Path("x"), None) == tmp_path / "a" / "x"
    assert locate(Path("a/x"), tmp_path) == tmp_path / "a" / "x"
    monkeypatch.delenv("UNMASK_DATA")
    with pytest.raises(DataError, match="UNMASK_DATA"):
        locate(Path("x"), None)


def test_timm_is_a_word_and_no_file(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from unmask.detectors.baseline import Baseline
    from unmask.nn.backbones import LoadReport
    from unmask.training.run import build_detector

    asked: list[object] = []

    def load(self: Baseline, source: object) -> LoadReport:
        asked.append(source)
        return LoadReport(("a", "b"), (), ("c",), ())

    monkeypatch.setattr(Baseline, "load_backbone", load)
    with caplog.at_level("INFO", "unmask.training"):
        _, start = build_detector(make_recipe({"detector": {"backbone_weights": "timm"}}))
    assert asked == ["timm"] and "2 tensors taken over, 0 adapted, 1 as initialised (c), 0 of the" in caplog.text
    assert start["loaded"] == 2 and start["missing"] == ["c"]
    with pytest.raises(DataError, match="UNMASK_DATA"):
        build_detector(make_recipe({"detector": {"backbone_weights": "nowhere.safetensors"}}))


def test_training_goes_on_from_weights_of_the_same_design_only(tmp_path: Path) -> None:
    from unmask.detectors.weights import save_weights
    from unmask.detectors.zoo import create_detector
    from unmask.training.run import build_detector

    with torch.random.fork_rng():
        torch.manual_seed(9)
        trained = create_detector("meso4")
    save_weights(tmp_path / "w.safetensors", trained)
    spec = {"name": "meso4", "weights": str(tmp_path / "w.safetensors")}
    detector, start = build_detector(make_recipe({"detector": spec}))
    assert all(torch.equal(value, trained.state_dict()[key]) for key, value in detector.state_dict().items())
    assert start["file"] == spec["weights"] and len(start["sha256"]) == 64
    with pytest.raises(WeightsError, match="does not fit"):
        build_detector(make_recipe({"detector": {**spec, "name": "mesoinception4"}}))
    with pytest.raises(ConfigError, match="not both"):
        make_recipe({"detector": {**spec, "backbone_weights": "timm"}})


def test_nothing_to_train_on_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"data\.photos"):
        build_streams(Recipe(), ViewConfig())


def test_a_manifest_gives_batches_of_the_kind_the_recipe_asks_for(tmp_path: Path) -> None:
    from unmask.core.types import ViewConfig
    from unmask.training.data import build_streams

    reals = [Row(f"/p/{i}.png", 0, group=str(i), split="train" if i < 6 else "val") for i in range(9)]
    fakes = [Row(f"/p/{i}f.png", 1, pair=r.path, group=r.group, split=r.split) for i, r in enumerate(reals)]
    write_manifest(tmp_path / "m.csv", reals + fakes)
    for balance, length in {"class": 12, "pair": 12, "m_per_class": 12}.items():
        recipe = make_recipe({"data": {"manifest": str(tmp_path / "m.csv"), "balance": balance, "per_class": 3}})
        stream = build_streams(recipe, ViewConfig(kind="frame", size=32)).train
        order = [stream.row(0, position).label for position in range(len(stream))]  # type: ignore[attr-defined]
        assert len(order) == length
        if balance == "class":
            assert order == [0, 1] * 6
        if balance == "m_per_class":
            assert all(len(set(order[i : i + 3])) == 1 for i in range(0, 12, 3))
        if balance == "pair":
            assert order == [1] * 12  # the fake's row stands at both positions of its pair
    with pytest.raises(ConfigError, match="per_class"):
        make_recipe({"data": {"per_class": 0}})
