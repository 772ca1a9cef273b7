"""Two processes over gloo, on a CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unmask.training.checkpoint import load_checkpoint
from unmask.training.loop import LAST

SCRIPT = Path(__file__).with_name("ddp_run.py")


def run(*arguments: object) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "MASTER", "LOCAL_RANK"))}
    words = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_equal_one_with_the_double_batch_and_resume_exactly(tmp_path: Path) -> None:
    """Without batch norm, the mean of two ranks' gradients is the gradient of the joint batch."""
    run(tmp_path / "one", 1, 8)
    run(tmp_path / "two", 2, 4)
    (one, state), (two, other) = (load_checkpoint(tmp_path / name / LAST) for name in ("one", "two"))
    assert state["progress"]["step"] == other["progress"]["step"] == 6
    assert state["progress"]["samples"] == other["progress"]["samples"] == 48
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6, msg=name)
    run(tmp_path / "parts", 2, 4, 4)
    assert load_checkpoint(tmp_path / "parts" / LAST)[1]["progress"]["step"] == 4
    run(tmp_path / "parts", 2, 4)
    parts, _ = load_checkpoint(tmp_path / "parts" / LAST)
    assert all(torch.equal(value, parts[name]) for name, value in two.items())
