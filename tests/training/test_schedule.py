"""Learning-rate curves against torch's schedulers."""

from __future__ import annotations

import pytest
import torch

from unmask.training.recipe import ScheduleConfig
from unmask.training.schedule import lr_factor

STEPS = 40


def torch_curve(make: object) -> list[float]:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = make(optimizer)  # type: ignore[operator]
    values = []
    for _ in range(STEPS):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def ours(config: ScheduleConfig, per_epoch: int = 1) -> list[float]:
    return [lr_factor(config, step / STEPS, step / per_epoch) for step in range(STEPS)]


def test_cosine() -> None:
    expected = torch_curve(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.1))
    assert ours(ScheduleConfig(warmup=0.0, final=0.1)) == pytest.approx(expected)


def test_step() -> None:
    expected = torch_curve(lambda o: torch.optim.lr_scheduler.StepLR(o, 10, gamma=0.9))
    assert ours(ScheduleConfig("step", warmup=0.0, step_epochs=5, gamma=0.9), per_epoch=2) == pytest.approx(expected)


def test_onecycle() -> None:
    """torch divides by steps - 1, so its curve over one step more is ours."""

    def make(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 1.0, total_steps=STEPS + 1, pct_start=(0.25 * STEPS + 1) / (STEPS + 1), final_div_factor=4.0
        )

    config = ScheduleConfig("onecycle", warmup=0.25, final=0.01)
    assert ours(config) == pytest.approx(torch_curve(make), abs=1e-3)


def test_warmup_is_linear_and_constant_is_constant() -> None:
    assert ours(ScheduleConfig("constant", warmup=0.5))[:20] == pytest.approx([i / 20 for i in range(20)])
    assert set(ours(ScheduleConfig("constant", warmup=0.5))[20:]) == {1.0}
