"""Optimiser and learning rates from a recipe, by the parts a detector names."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from unmask.core.errors import ConfigError
from unmask.core.names import did_you_mean
from unmask.detectors.base import AnyDetector
from unmask.training.recipe import OptimizerConfig


def build_optimizer(detector: AnyDetector, config: OptimizerConfig) -> torch.optim.Optimizer:
    """One parameter group per part and kind (with or without weight decay); each keeps its peak rate as ``peak``.

    A part with factor 0 is frozen: its parameters no longer require gradients.

    Raises:
        ConfigError: a factor for a part the detector does not have, or nothing left to train.
    """
    parts = detector.parameter_groups()
    for name in config.groups:
        if name not in parts:
            hint = did_you_mean(name, parts)
            raise ConfigError("unknown_key", f"optimizer.groups: no part '{name}'{hint}; known: {', '.join(parts)}")
    groups: list[dict[str, Any]] = []
    for name, parameters in parts.items():
        factor = config.groups.get(name, 1.0)
        if factor == 0:
            for parameter in parameters:
                parameter.requires_grad_(False)
            continue
        kinds: list[tuple[float, list[nn.Parameter]]] = [
            (config.weight_decay, [p for p in parameters if p.ndim > 1]),
            (0.0, [p for p in parameters if p.ndim <= 1]),
        ]
        groups += [
            {
                "params": members,
                "weight_decay": decay,
                "lr": config.lr * factor,
                "peak": config.lr * factor,
                "part": name,
            }
            for decay, members in kinds
            if members
        ]
    if not groups:
        raise ConfigError("bad_config", "nothing is left to train: every part is frozen")
    if config.name == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum, nesterov=config.momentum > 0)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, betas=config.betas, fused=True)
