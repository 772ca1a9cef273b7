"""Checkpoints: whole or not there, exact, never pickled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from unmask.core.errors import WeightsError
from unmask.training.checkpoint import (
    load_checkpoint,
    pack_module,
    pack_optimizer,
    save_checkpoint,
    unpack_module,
    unpack_optimizer,
)

WRITER = """
import sys, torch
from unmask.training.checkpoint import save_checkpoint
n = 0
while True:
    n += 1
    save_checkpoint(sys.argv[1], {"a": torch.full((200_000,), float(n)), "b": torch.full((3,), float(n))}, {"n": n})
    print(n, flush=True)
"""


def test_round_trip_of_everything(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    tensors = {
        "a": shared,
        "b": shared,
        "part": shared[2:4],
        "half": torch.ones(2, dtype=torch.bfloat16),
        "count": torch.tensor(3),
        "last": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
    }
    state = {"f": 0.1 + 0.2, "none": None, "list": [1, 2.5], "text": "é"}
    save_checkpoint(tmp_path / "c.safetensors", tensors, state)
    back, read = load_checkpoint(tmp_path / "c.safetensors")
    assert read == state and read["f"] == state["f"]
    assert all(torch.equal(value, back[name]) and value.dtype == back[name].dtype for name, value in tensors.items())


@pytest.mark.parametrize("kind", ["adamw", "sgd", "adam"])
def test_optimizer_and_layouts_come_back(kind: str) -> None:
    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
        if kind == "sgd":
            return net, torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        cls = torch.optim.AdamW if kind == "adamw" else torch.optim.Adam
        return net, cls(net.parameters(), lr=0.1, fused=True)

    def step(net: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        torch.manual_seed(seed)
        net(torch.rand(2, 3, 8, 8)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    net, optimizer = make()
    step(net, optimizer, 1)
    tensors, rest = pack_optimizer(optimizer)
    kept = {k: v.detach().clone().contiguous() for k, v in (tensors | pack_module("m", net)).items()}
    other, second = make()
    unpack_module("m", other, kept)
    unpack_optimizer(second, kept, rest)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert p.stride() == q.stride()
        for key, value in optimizer.state[p].items():
            assert torch.equal(value, second.state[q][key])
            assert value.stride() == second.state[q][key].stride()
    step(net, optimizer, 2)
    step(other, second, 2)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), other.parameters(), strict=True))


def test_damage_is_a_typed_error(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    with pytest.raises(WeightsError):
        load_checkpoint(path)
    save_checkpoint(path, {"a": torch.ones(100)}, {})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WeightsError):
        load_checkpoint(path)
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(WeightsError, match="not a training checkpoint"):
        load_checkpoint(path)
    with pytest.raises(WeightsError, match="shape"):
        unpack_module("m", nn.Linear(2, 2), {"m.weight": torch.ones(3)})


def test_after_kill_9_at_any_moment_the_last_checkpoint_loads(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    generator = np.random.default_rng()
    process = None
    for round_ in range(12):
        script = [sys.executable, "-c", WRITER, str(path)]
        process = subprocess.Popen(script, stdout=subprocess.PIPE, text=True) if round_ % 4 == 0 else process
        assert process is not None and process.stdout is not None
        if round_ % 4 == 0:
            process.stdout.readline()
        time.sleep(float(generator.uniform(0, 0.05)))
        os.kill(process.pid, signal.SIGSTOP)  # frozen at this moment the file is what kill -9 would leave
        tensors, state = load_checkpoint(path)
        assert set(tensors["a"].tolist()) == set(tensors["b"].tolist()) == {float(state["n"])}
        if round_ % 4 == 3:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            tensors, state = load_checkpoint(path)
            assert set(tensors["a"].tolist()) == {float(state["n"])}
        else:
            os.kill(process.pid, signal.SIGCONT)
