"""Meso4 and MesoInception4 (Afchar et al., "MesoNet: a Compact Facial Video Forgery Detection Network", WIFS 2018)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.types import Answers, DetectorOutput, ViewConfig
from unmask.detectors.base import Detector, DetectorConfig, SizeRule


@dataclass(frozen=True)
class MesoConfig(DetectorConfig):
    """Settings of :class:`Meso`."""

    view: ViewConfig = field(default_factory=lambda: ViewConfig(kind="face", size=256, margin=1.3))
    answers: Answers = "edited"
    variant: Literal["meso4", "mesoinception4"] = "meso4"
    """Plain convolutions, or two inception modules with dilated convolutions first."""
    dropout: float = 0.5
    """Before each of the two dense layers."""


def _norm(channels: int) -> nn.BatchNorm2d:
    """Keras' batch-norm: eps 1e-3, running statistics with momentum 0.99."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class _Block(nn.Module):
    """Convolution, ReLU, batch-norm, max-pooling, in that order."""

    def __init__(self, into: int, out: int, kernel: int, pool: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(into, out, kernel, padding=kernel // 2)
        self.norm = _norm(out)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.norm(F.relu(self.conv(x))), self.pool)


class _Inception(nn.Module):
    """Four parallel paths: 1x1; and 1x1 then 3x3 with dilation 1, 2, 3; then batch-norm and 2x2 max-pooling."""

    def __init__(self, into: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.points = nn.ModuleList(nn.Conv2d(into, w, 1) for w in widths)
        self.dilated = nn.ModuleList(nn.Conv2d(w, w, 3, padding=d, dilation=d) for d, w in enumerate(widths[1:], 1))
        self.norm = _norm(sum(widths))
        first = self.points[0]
        assert isinstance(first, nn.Conv2d)
        nn.init.uniform_(first.weight, 0, into**-0.5)  # a lone channel of negative weights on pixels is a dead ReLU

    def forward(self, x: Tensor) -> Tensor:
        paths = [F.relu(point(x)) for point in self.points]
        paths[1:] = [F.relu(conv(path)) for conv, path in zip(self.dilated, paths[1:], strict=True)]
        return F.max_pool2d(self.norm(torch.cat(paths, 1)), 2)


class Meso(Detector[MesoConfig]):
    """Four blocks and two dense layers on a 256 x 256 face crop. The published sigmoid is P(real); our logit is fake.

    >>> import torch
    >>> Meso(MesoConfig()).eval()(torch.zeros(1, 3, 256, 256)).logits.shape
    torch.Size([1])
    """

    config_class: ClassVar[type[DetectorConfig]] = MesoConfig

    def __init__(self, config: MesoConfig) -> None:
        super().__init__(config)
        if config.variant == "meso4":
            self.blocks = nn.Sequential(_Block(3, 8, 3, 2), _Block(8, 8, 5, 2), _Block(8, 16, 5, 2))
        else:
            self.blocks = nn.Sequential(_Inception(3, (1, 4, 4, 2)), _Inception(11, (2, 4, 4, 2)), _Block(12, 16, 5, 2))
        self.blocks.append(_Block(16, 16, 5, 4))
        self.dense = nn.Linear(1024, 16)
        self.head = nn.Linear(16, 1)

    @property
    def needs_face(self) -> bool:
        """Means nothing without a face crop."""
        return True

    @property
    def size_rule(self) -> SizeRule:
        """256 x 256 only: the dense layer reads 8 x 8 cells."""
        return SizeRule(fixed=256)

    def forward(self, image: Tensor) -> DetectorOutput:
        """(B, 3, 256, 256) in [0, 1] to logits and the 16-dimensional embedding."""
        x = self.blocks(self.normalize(image))  # (B, 16, 8, 8)
        x = F.dropout(x.flatten(1), self.config.dropout, self.training)
        embedding = F.leaky_relu(self.dense(x), 0.1)  # (B, 16)
        logits = self.head(F.dropout(embedding, self.config.dropout, self.training))
        return DetectorOutput(logits.squeeze(1), None, embedding)

    def load_published(self, path: str | Path) -> None:
        """Take over one of the authors' Keras ``.h5`` files (needs h5py).

        Raises:
            WeightsError: unreadable, or another network's file.
            MissingExtraError: h5py is not installed.
        """
        from unmask.detectors.meso.keras import load_keras

        load_keras(self, path)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``backbone`` (convolutions) and ``head`` (dense layers)."""
        return {
            "backbone": list(self.blocks.parameters()),
            "head": [*self.dense.parameters(), *self.head.parameters()],
        }

    def departures(self) -> tuple[str, ...]:
        """The sign everywhere, the start of the inception modules."""
        said = ["the published sigmoid is P(real); here it is one logit, positive = fake"]
        if self.config.variant == "mesoinception4":
            said.append("each inception module's first path starts with non-negative weights, or it can start dead")
        return tuple(said)
