"""Where does a photo disagree with itself? A pretrained network that also hears standardised residuals.

The first layers of an ImageNet network can stay fixed (``frozen``). At stride 4 a side branch joins them: high-pass
residuals divided by the image's own spread, and the local log-energy of those residuals standardised over the image, so
that what is learnt is how one place differs from the rest of the same photo rather than how sharp or noisy the photo
is. Later stages, a top-down mask decoder and a label head that reads both features and mask are trained. Not a
published design.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.errors import ConfigError
from unmask.core.types import Answers, DetectorOutput, ViewConfig
from unmask.detectors.base import Detector, DetectorConfig, SizeRule
from unmask.nn.backbones import Backbone
from unmask.nn.decoders import log_mean_exp
from unmask.ops.highpass import highpass, highpass_kernels, standardize

_STRIDE = 16
_SHARPNESS = (0.25, 1.0, 4.0)
_FLOOR = 0.002
"""Half a level of 255: flat images stay near zero when standardised."""
_ENERGY_FLOOR = 1e-6


@dataclass(frozen=True)
class ResidualUNetConfig(DetectorConfig):
    """Settings of :class:`ResidualUNet`."""

    view: ViewConfig = field(default_factory=lambda: ViewConfig(kind="face", size=256, margin=2.6))
    answers: Answers = "edited"
    blocks: int = 2
    """Blocks kept of the third stage (of 6)."""
    frozen: bool = True
    """Keep the stem and the first stage as they were pretrained."""
    width: int = 48
    """Channels inside the decoder."""
    dropout: float = 0.2
    """Before the label head."""

    def __post_init__(self) -> None:
        if not 1 <= self.blocks <= 6:
            raise ConfigError("bad_config", f"blocks must be between 1 and 6, got {self.blocks}")


def _conv(into: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True))


class ResidualUNet(Detector[ResidualUNetConfig]):
    """ResNet-50 (pre-activation) stages 1 to 3 with a residual branch, a mask decoder and a label head.

    Takes any image of at least 64 x 64; it is padded by reflection to a multiple of 16 and the mask cropped back.

    >>> import torch
    >>> out = ResidualUNet(ResidualUNetConfig(blocks=1, width=16)).eval()(torch.rand(2, 3, 72, 100))
    >>> out.logits.shape, out.mask_logits.shape
    (torch.Size([2]), torch.Size([2, 1, 72, 100]))
    """

    config_class: ClassVar[type[DetectorConfig]] = ResidualUNetConfig

    def __init__(self, config: ResidualUNetConfig) -> None:
        backbone = Backbone("resnetv2_50_stem_norm", stages=3, frozen_stages=2 * config.frozen)
        super().__init__(config, mean=backbone.mean, std=backbone.std)
        last: Any = backbone.net.get_submodule("stages.2")
        last.blocks = last.blocks[: config.blocks]
        self.backbone = backbone
        self.kernels: Tensor
        self.register_buffer("kernels", highpass_kernels(), persistent=False)
        self.residual = nn.Sequential(_conv(12, 32, 2), _conv(32, 64, 2))
        self.join = nn.Conv2d(64 + 12, 256, 1)
        nn.init.normal_(self.join.weight, std=0.01)
        assert self.join.bias is not None
        nn.init.zeros_(self.join.bias)
        self.laterals = nn.ModuleList(nn.Conv2d(c, config.width, 1) for c in (256, 512, 1024))
        self.blocks = nn.ModuleList(_conv(config.width, config.width) for _ in range(2))
        self.predict = nn.Conv2d(config.width, 1, 1)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(1024 + len(_SHARPNESS), 1)

    @property
    def localizes(self) -> bool:
        """Always."""
        return True

    @property
    def size_rule(self) -> SizeRule:
        """Any size from 64."""
        return SizeRule(minimum=64)

    def _energy(self, residual: Tensor) -> Tensor:
        """(B, 12, H, W) residuals to (B, 12, H/4, W/4): local log-energy, standardised over the image."""
        # log1p of the ratio, not log of the sum: what is standardised is then exactly 0 where nothing is left.
        energy = torch.log1p(F.avg_pool2d(residual.square(), 4) / _ENERGY_FLOOR)
        # From the first place's: nothing to the norm, but where all places are alike no mean can be off by rounding.
        return F.instance_norm(energy - energy[..., :1, :1], eps=1e-3)

    def forward(self, image: Tensor) -> DetectorOutput:
        """(B, 3, H, W) in [0, 1] to logits, mask logits (B, 1, H, W) and pooled features (B, 1024)."""
        standard = self.normalize(image)
        height, width = image.shape[-2:]
        below, right = -height % _STRIDE, -width % _STRIDE
        pad = (0, right, 0, below)
        net: Any = self.backbone.net
        with torch.autocast(image.device.type, enabled=False):
            residual = highpass(F.pad(image.float(), pad, mode="reflect"), self.kernels)
            heard = standardize(residual, _FLOOR)  # (B, 12, H, W)
            energy = self._energy(residual)  # (B, 12, H/4, W/4)
        x = net.stages[0](net.pool(net.stem(F.pad(standard, pad, mode="reflect"))))  # (B, 256, H/4, W/4)
        x = x + self.join(torch.cat([self.residual(heard), energy], 1))
        features = [x]
        for stage in list(net.stages)[1:]:
            x = stage(x)
            features.append(x)
        features[-1] = net.norm(x)  # (B, 1024, H/16, W/16)
        embedding = features[-1].mean((2, 3))
        y = self.laterals[2](features[2])
        for level in (1, 0):
            side = self.laterals[level](features[level])
            y = F.interpolate(y, size=side.shape[-2:], mode="bilinear", align_corners=False)
            y = self.blocks[level](y + side)
        coarse = self.predict(y).float()  # (B, 1, H/4, W/4)
        size = (int(height + below), int(width + right))
        mask_logits = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)[..., :height, :width]
        parts = [self.dropout(embedding.float()), *(log_mean_exp(coarse, sharpness) for sharpness in _SHARPNESS)]
        with torch.autocast(image.device.type, enabled=False):
            logits = self.head(torch.cat(parts, 1)).squeeze(1)
        return DetectorOutput(logits, mask_logits, embedding)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``backbone``, ``residual`` (the side branch), ``decoder`` and ``head``."""
        parts: dict[str, list[nn.Module]] = {
            "backbone": [self.backbone],
            "residual": [self.residual, self.join],
            "decoder": [self.laterals, self.blocks, self.predict],
            "head": [self.head],
        }
        return {
            part: [p for module in modules for p in module.parameters() if p.requires_grad]
            for part, modules in parts.items()
        }

    @torch.no_grad()
    def evidence(self, image: Tensor) -> dict[str, Tensor]:
        """The standardised Laplacian (mid-grey = zero) and the local energy of all residuals (brightest = most)."""
        residual = highpass(image, self.kernels)
        energy = self._energy(residual).mean(1, keepdim=True)
        energy = energy - energy.amin((2, 3), keepdim=True)
        return {
            "residual": (0.5 + standardize(residual, _FLOOR)[:, 2::4] / 8).clamp(0, 1),
            "energy": energy / energy.amax((2, 3), keepdim=True).clamp_min(1e-6),
        }

    def departures(self) -> tuple[str, ...]:
        """No paper to depart from."""
        return ()
