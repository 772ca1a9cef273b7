"""A detector, a stream and a recipe small enough for a step to take milliseconds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.core.seeds import rng
from unmask.core.types import DetectorOutput, Sample
from unmask.detectors.base import Detector, DetectorConfig
from unmask.training.feed import hold
from unmask.training.loop import Trainer
from unmask.training.recipe import Recipe, make_recipe


class TinyDetector(Detector[DetectorConfig]):
    """Convolutions, batch norm and dropout: everything that has a state or draws random numbers."""

    def __init__(self, plain: bool = False) -> None:
        """``plain``: no batch norm, no dropout: then two half batches are one whole batch."""
        super().__init__(DetectorConfig())
        extra = [] if plain else [nn.BatchNorm2d(8), nn.Dropout2d(0.2)]
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *extra, nn.ReLU())
        self.mask = nn.Conv2d(8, 1, 3, padding=1)
        self.head = nn.Linear(8, 1)

    @property
    def localizes(self) -> bool:
        return True

    def forward(self, image: Tensor) -> DetectorOutput:
        features = self.body(self.normalize(image))
        return DetectorOutput(self.head(features.mean((2, 3))).squeeze(1), self.mask(features))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {part: list(getattr(self, part).parameters()) for part in ("body", "mask", "head")}


@dataclasses.dataclass(frozen=True)
class TinyStream:
    """Pairs: noise, and the same noise with a bright square; ``broken`` positions are unreadable, ``nan`` poison."""

    pairs: int = 10
    seed: int = 0
    broken: tuple[int, ...] = ()
    nan: tuple[int, ...] = ()
    people: int = 5

    def __len__(self) -> int:
        return 2 * self.pairs

    def sample(self, epoch: int, position: int) -> Sample | None:
        if position in self.broken:
            return None
        pair = position // 2
        draw = rng(self.seed, epoch, pair, "tiny")
        real = torch.from_numpy(draw.random((3, 32, 32), dtype="float32"))
        mask = torch.zeros(1, 32, 32)
        mask[:, 8:16, 8:16] = 1
        fake = real * (1 - 0.5 * mask) + 0.5 * mask
        label = position % 2
        image = fake if label else real
        if position in self.nan:
            image = image * float("nan")
        return Sample(
            image,
            label,
            mask if label else torch.zeros_like(mask),
            real,
            group=f"person {pair % self.people}",
            manipulation="square" if label else "",
            path=f"{pair}.png",
        )


def tiny_recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "losses": {"bce": 1, "rank": 0.5, "mask_bce": 1, "mask_dice": 0.5},
        "optimizer": {"lr": 0.01, "groups": {"body": 0.5}},
        "epochs": 3,
        "batch_size": 6,
        "workers": 0,
        "log_every": 2,
        "checkpoint_every": 3,
        "ema_decay": 0.9,
    }
    return make_recipe(values | changes)


def tiny_trainer(
    out: Path, recipe: Recipe, stream: TinyStream | None = None, fabric: Any = None, plain: bool = False
) -> Trainer:
    from lightning.fabric import Fabric

    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    held = hold(TinyStream(seed=1), 12, recipe.batch_size, 0)
    return Trainer(recipe, TinyDetector(plain), stream or TinyStream(), held, out, fabric)
