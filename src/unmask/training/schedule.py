"""The learning rate as a pure function of how far the run is: nothing to save, nothing to get out of step."""

from __future__ import annotations

import math

from unmask.training.recipe import ScheduleConfig


def lr_factor(config: ScheduleConfig, progress: float, epoch: float) -> float:
    """Factor on the peak learning rate.

    Args:
        config: which curve.
        progress: share of the run behind us, in [0, 1].
        epoch: passes over the data behind us (``step`` only).

    >>> [round(lr_factor(ScheduleConfig(warmup=0.5, final=0.0), p, 0), 2) for p in (0.0, 0.25, 0.5, 0.75, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < config.warmup:
        rise = progress / config.warmup
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * rise)) if config.name == "onecycle" else rise
    if config.name == "constant":
        return 1.0
    if config.name == "step":
        return config.gamma ** math.floor(epoch / config.step_epochs + 1e-9)
    fall = (progress - config.warmup) / (1 - config.warmup)
    return config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * fall))
