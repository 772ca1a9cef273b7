"""Which generator left these pixels? A small network on residuals whose strength has been taken out.

Every photo has its own sharpness, noise and compression, and a residual's *strength* mostly measures those. So the
residual of each colour channel and kernel is divided by its own standard deviation over the crop, and the first
convolution keeps the full resolution: strided stems lose the traces of upsampling (Gragnaniello et al., "Are GAN
Generated Images Easy to Detect?", ICME 2021). Not a published design.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.errors import WeightsError
from unmask.core.types import Answers, DetectorOutput, ViewConfig
from unmask.detectors.base import Detector, DetectorConfig, SizeRule
from unmask.nn.backbones import LoadReport, load_matching, read_safetensors
from unmask.ops.highpass import highpass, highpass_kernels, standardize


@dataclass(frozen=True)
class ResidualCNNConfig(DetectorConfig):
    """Settings of :class:`ResidualCNN`."""

    view: ViewConfig = field(default_factory=lambda: ViewConfig(kind="native", size=128, crops=9))
    answers: Answers = "generated"
    width: int = 32
    """Channels of the first layers; blocks have 2, 4 and 6 times as many."""
    standardize: bool = True
    """Divide each residual by its standard deviation over the crop."""
    floor: float = 0.002
    """Added to that standard deviation (half a level of 255), so that flat crops stay near zero."""


def _layer(into: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out))


class _Block(nn.Module):
    """Two convolutions, the second with stride 2, around an averaging shortcut."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.first, self.second = _layer(into, out), _layer(out, out, 2)
        self.short = nn.Sequential(nn.Conv2d(into, out, 1, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, 2, ceil_mode=True)
        return F.relu(self.second(F.relu(self.first(x))) + self.short(pooled))


class ResidualCNN(Detector[ResidualCNNConfig]):
    """Twelve residual channels, two layers, three blocks, average pooling, one logit.

    >>> import torch
    >>> ResidualCNN(ResidualCNNConfig(width=8)).eval()(torch.rand(2, 3, 65, 48)).logits.shape
    torch.Size([2])
    """

    config_class: ClassVar[type[DetectorConfig]] = ResidualCNNConfig

    def __init__(self, config: ResidualCNNConfig) -> None:
        super().__init__(config)
        self.kernels: Tensor
        self.register_buffer("kernels", highpass_kernels(), persistent=False)
        w = config.width
        self.stem = nn.Sequential(_layer(12, w), nn.ReLU(), _layer(w, w, 2), nn.ReLU())
        self.blocks = nn.Sequential(_Block(w, 2 * w), _Block(2 * w, 4 * w), _Block(4 * w, 6 * w))
        self.head = nn.Linear(6 * w, 1)

    @property
    def size_rule(self) -> SizeRule:
        """Any size from 32; crops of native pixels, never resized images."""
        return SizeRule(minimum=32)

    def residuals(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, 12, H, W): four kernels per channel, standardised per crop, within +-4."""
        residual = highpass(image, self.kernels)
        return standardize(residual, self.config.floor) if self.config.standardize else residual.clamp(-4, 4)

    def forward(self, image: Tensor) -> DetectorOutput:
        """(B, 3, H, W) in [0, 1] to logits and the pooled features (B, 6 * width)."""
        x = self.residuals(self.normalize(image))
        embedding = self.blocks(self.stem(x)).mean((2, 3))
        return DetectorOutput(self.head(embedding).squeeze(1), None, embedding)

    def load_backbone(self, source: str | Path) -> LoadReport:
        """Start from another training run of this network: its weights, or a `best` checkpoint of the run's folder."""
        state, _ = read_safetensors(source)
        report = load_matching(self, {key.removeprefix("best."): value for key, value in state.items()})
        if not report.loaded:
            raise WeightsError("wrong_weights", f"{source} holds no layer of this network")
        return report

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``backbone`` (convolutions) and ``head``."""
        return {
            "backbone": [*self.stem.parameters(), *self.blocks.parameters()],
            "head": list(self.head.parameters()),
        }

    @torch.no_grad()
    def evidence(self, image: Tensor) -> dict[str, Tensor]:
        """The standardised Laplacian of each colour, mid-grey = zero."""
        return {"residual": (0.5 + self.residuals(self.normalize(image))[:, 2::4] / 8).clamp(0, 1)}

    def departures(self) -> tuple[str, ...]:
        """No paper to depart from."""
        return ()
