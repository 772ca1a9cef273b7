"""A memory in a training run: resumed, averaged, skipped, shared by two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_dcr import Stream, dcr_recipe, dcr_trainer

from unmask.data.loader import make_loader
from unmask.detectors.weights import load_weights, save_weights
from unmask.training.checkpoint import load_checkpoint
from unmask.training.loop import LAST

SCRIPT = Path(__file__).with_name("dcr_ddp_run.py")


def stop_after(trainer: Any, steps: int) -> None:
    whole = trainer._step

    def step(batch: Any) -> Any:
        values = whole(batch)
        trainer._stop = trainer.progress.step >= steps
        return values

    trainer._step = step
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()


@pytest.mark.parametrize("update", ["queue", "rebuild", "kmeans"])
def test_a_resumed_run_has_the_same_memory_bit_for_bit(tmp_path: Path, update: str) -> None:
    settings = {"update": update, "bank": 6} if update != "queue" else {}
    dcr_trainer(tmp_path / "whole", dcr_recipe(), **settings).fit()
    stop_after(dcr_trainer(tmp_path / "parts", dcr_recipe(), **settings), 5)
    resumed = dcr_trainer(tmp_path / "parts", dcr_recipe(), **settings)
    resumed.resume()
    resumed.fit()
    (one, _), (other, _) = (load_checkpoint(tmp_path / name / LAST) for name in ("whole", "parts"))
    assert all(torch.equal(value, other[key]) for key, value in one.items()) and one.keys() == other.keys()
    assert int(one["model.memory.seen"]) == 30 and one["model.memory.bank.filled"].dtype == torch.int64
    assert bool(one["model.memory.rebuilt"]) == (update != "queue")
    names = [key for key in one if key.startswith("model.memory.")]
    assert all(torch.equal(one[key], one[key.replace("model.", "ema.", 1)]) for key in names), "copied, not averaged"
    weight = "extractor.learning.backbone.net.model.conv_stem.weight"
    assert not torch.equal(one[f"model.{weight}"], one[f"ema.{weight}"]), "averaged"


def test_a_step_that_is_not_finite_leaves_the_memory_alone(tmp_path: Path) -> None:
    trainer = dcr_trainer(tmp_path, dcr_recipe())
    assert trainer._step(next(make_loader(Stream(), 6, epoch=0))) is not None
    before = {key: value.clone() for key, value in trainer.detector.state_dict().items()}
    broken = Stream(nan=(0, 1))
    assert trainer._step(next(make_loader(broken, 6, epoch=0))) is None
    after = trainer.detector.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items() if "num_batches" not in key)
    assert int(after["memory.bank.filled"]) == 3


def test_weights_carry_the_memory(tmp_path: Path) -> None:
    trainer = dcr_trainer(tmp_path / "run", dcr_recipe(epochs=1))
    trainer.fit()
    detector = trainer.averaged.cpu().to(memory_format=torch.contiguous_format)
    save_weights(tmp_path / "weights.safetensors", detector)
    again, _ = load_weights(tmp_path / "weights.safetensors")
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = detector.eval()(image), again(image)
    assert torch.equal(ours.logits, theirs.logits) and torch.equal(ours.aux["nearest"], theirs.aux["nearest"])


def test_it_learns_the_square(tmp_path: Path) -> None:
    trainer = dcr_trainer(tmp_path, dcr_recipe(epochs=20, ema_decay=None, validation={"every": 20}), stages=2)
    trainer.fit()
    assert trainer.progress.history[-1]["auc"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("update", ["queue", "kmeans"])
def test_two_processes_share_one_memory(tmp_path: Path, update: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "MASTER", "LOCAL_RANK"))}
    words = [sys.executable, str(SCRIPT), str(tmp_path), update]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = (load_checkpoint(tmp_path / f"rank{rank}.safetensors")[0] for rank in (0, 1))
    assert one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())
    assert int(one["bank.filled"]) == (16 if update == "queue" else 6)
    assert int(one["seen"]) == 24, "the real images of both"
    if update == "queue":
        assert len(one["bank.ids"].unique()) >= 4, "people of both"
