"""DCR-Net small enough for a step to take milliseconds, in a trainer."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from tiny import TinyStream, tiny_recipe

from unmask.detectors.zoo import create_detector
from unmask.training.feed import hold
from unmask.training.loop import Trainer
from unmask.training.recipe import Recipe

SETTINGS: dict[str, Any] = {
    "view": {"size": 64}, "stages": 1, "frozen_stages": 0, "hidden": 16, "heads": 2, "bank": 16, "top_k": 3,
    "warmup": 8, "pool": 12, "momentum": 0.9,
}  # fmt: skip


class Stream(TinyStream):
    """Enlarged to the least size the design takes."""

    def sample(self, epoch: int, position: int) -> Any:
        sample = super().sample(epoch, position)
        if sample is None:
            return None

        def large(image: Any) -> Any:
            return torch.nn.functional.interpolate(image[None], scale_factor=2.0)[0]

        return dataclasses.replace(sample, image=large(sample.image), mask=large(sample.mask), pair=large(sample.pair))


def dcr_recipe(**changes: Any) -> Recipe:
    losses = {"bce": 1.0, "anomaly": 0.5, "contrastive": 0.5, "info_nce": 0.1}
    return tiny_recipe(**({"losses": losses, "optimizer": {"lr": 0.01}} | changes))


def dcr_trainer(
    out: Path, recipe: Recipe, stream: TinyStream | None = None, fabric: Any = None, **settings: Any
) -> Trainer:
    from lightning.fabric import Fabric

    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    detector = create_detector("dcr_net_tiny", **(SETTINGS | settings))
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    held = hold(Stream(seed=1), 12, recipe.batch_size, 0)
    return Trainer(recipe, detector, stream or Stream(), held, out, fabric)
