"""A feature pyramid, a light U-Net mask decoder and a label head that may read both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.errors import ConfigError
from unmask.core.types import DetectorOutput
from unmask.detectors.base import Detector, DetectorConfig, SizeRule
from unmask.nn.backbones import Backbone
from unmask.nn.decoders import UNetDecoder, log_mean_exp
from unmask.ops.npr import npr
from unmask.ops.srm import SRM_NAMES, srm, srm_kernels

_RESIDUAL_CHANNELS = {"none": 0, "srm": len(SRM_NAMES), "npr": 3}
_SHARPNESS = (0.25, 1.0, 4.0)


@dataclass(frozen=True)
class BaselineConfig(DetectorConfig):
    """Settings of :class:`Baseline`."""

    backbone: str = "mobilenetv2_gluon_e1"
    """A timm name, ``Xception``, ``EfficientNet``, ``MobileNet`` ..., or a layout of ``unmask.nn.backbones``."""
    stages: int = 4
    """Deepest backbone stage used (stage n has stride 2 ** (n + 1)); deeper ones are not built."""
    frozen_stages: int = 0
    """How many of the first stages (the stem counts) stay fixed during training."""
    rgb: bool = True
    """Feed the standardised image to the backbone."""
    residual: Literal["none", "srm", "npr"] = "none"
    """Feed a high-pass residual too (with ``rgb``), or alone (without)."""
    decoder: Literal["none", "unet"] = "unet"
    """Mask decoder."""
    decoder_width: int = 48
    """Channels inside the decoder."""
    pooling: Literal["gap", "gap+mask"] = "gap"
    """What the label head reads: average features, or these and soft maxima of the mask (needs a decoder)."""
    dropout: float = 0.2
    """Before the label head."""


class Baseline(Detector[BaselineConfig]):
    """Backbone, optional mask decoder, label head. Takes any image of at least 64 x 64.

    Images are padded by reflection to a multiple of the deepest stride and masks are cropped back.

    >>> import torch
    >>> model = Baseline(BaselineConfig(backbone="mobilenetv2_gluon_e1", stages=3)).eval()
    >>> out = model(torch.zeros(2, 3, 72, 100))
    >>> out.logits.shape, out.mask_logits.shape
    (torch.Size([2]), torch.Size([2, 1, 72, 100]))
    """

    config_class: ClassVar[type[DetectorConfig]] = BaselineConfig

    def __init__(self, config: BaselineConfig) -> None:
        channels = 3 * config.rgb + _RESIDUAL_CHANNELS[config.residual]
        if channels == 0:
            raise ConfigError("bad_config", "rgb=false with residual='none' leaves the backbone without an input")
        if config.pooling == "gap+mask" and config.decoder == "none":
            raise ConfigError("bad_config", "pooling='gap+mask' reads the mask: set decoder='unet'")
        backbone = Backbone(
            config.backbone, stages=config.stages, in_channels=channels, frozen_stages=config.frozen_stages
        )
        super().__init__(config, mean=backbone.mean, std=backbone.std)
        self.backbone = backbone
        if config.residual != "none":
            self.residual_norm = nn.BatchNorm2d(_RESIDUAL_CHANNELS[config.residual])
        if config.residual == "srm":
            self.register_buffer("kernels", srm_kernels(), persistent=False)
        self.decoder = UNetDecoder(backbone.channels, config.decoder_width) if config.decoder == "unet" else None
        extra = len(_SHARPNESS) if config.pooling == "gap+mask" else 0
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(backbone.channels[-1] + extra, 1)

    @property
    def localizes(self) -> bool:
        """True with a mask decoder."""
        return self.decoder is not None

    @property
    def size_rule(self) -> SizeRule:
        """Any size from 64."""
        return SizeRule(minimum=64)

    def _residual(self, image: Tensor) -> Tensor:
        return npr(image, 0.5) if self.config.residual == "npr" else srm(image, self.get_buffer("kernels"))

    def forward(self, image: Tensor) -> DetectorOutput:
        """(B, 3, H, W) in [0, 1] to one logit and, with a decoder, (B, 1, H, W) mask logits."""
        standard = self.normalize(image)
        height, width = image.shape[-2:]
        inputs = [standard] if self.config.rgb else []
        if self.config.residual != "none":
            inputs.append(self.residual_norm(self._residual(image)))
        x = inputs[0] if len(inputs) == 1 else torch.cat(inputs, 1)
        stride = self.backbone.strides[-1]
        below, right = -height % stride, -width % stride
        if below or right:
            x = F.pad(x, (0, right, 0, below), mode="reflect")
        features = self.backbone(x)
        embedding = features[-1].mean((2, 3))  # (B, C)
        mask_logits = None
        if self.decoder is not None:
            padded = (int(height + below), int(width + right))
            mask_logits = self.decoder(features, padded)[..., :height, :width]
        parts = [self.dropout(embedding)]
        if self.config.pooling == "gap+mask" and mask_logits is not None:
            parts += [log_mean_exp(mask_logits, sharpness) for sharpness in _SHARPNESS]
        logits = self.head(torch.cat(parts, 1)).squeeze(1)
        return DetectorOutput(logits, mask_logits, embedding)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``backbone``, ``decoder`` and ``head``."""
        groups: dict[str, list[nn.Parameter]] = {"backbone": [], "decoder": [], "head": []}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                part = name.split(".")[0]
                groups[part if part in groups else "backbone"].append(parameter)
        return {part: parameters for part, parameters in groups.items() if parameters}

    @torch.no_grad()
    def evidence(self, image: Tensor) -> dict[str, Tensor]:
        """The residual the backbone saw, its mean magnitude over channels, brightest pixel 1."""
        if self.config.residual == "none":
            return {}
        strength = self._residual(image).abs().mean(1, keepdim=True)
        return {self.config.residual: strength / strength.amax((2, 3), keepdim=True).clamp_min(1e-6)}
