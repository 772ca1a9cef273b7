"""NPR at several scales, weighed per image by a small attention module, into a residual network.

NPR: Tan et al., "Rethinking the Up-Sampling Operations in CNN-based Generative Network for Generalizable Deepfake
Detection", CVPR 2024. ``weighting="single"`` with ``backbone="resnet50_npr"`` is that published detector.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.errors import ConfigError, WeightsError
from unmask.core.types import Answers, DetectorOutput, ViewConfig
from unmask.detectors.base import IMAGENET_MEAN, IMAGENET_STD, Detector, DetectorConfig, SizeRule
from unmask.nn.backbones import LoadReport, load_matching, read_safetensors
from unmask.ops.npr import left_difference, npr

log = logging.getLogger(__name__)

GAIN = 2.0 / 3.0
"""The published network multiplies its residual by this."""


@dataclass(frozen=True)
class AttentionNPRConfig(DetectorConfig):
    """Settings of :class:`AttentionNPR`."""

    view: ViewConfig = field(default_factory=lambda: ViewConfig(kind="native", size=224))
    answers: Answers = "generated"
    scales: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    """Scales of the residuals; 1.0 is the identity scale, whose residual would be zero (see ``identity``)."""
    weighting: Literal["adaptive", "learned", "equal", "single"] = "adaptive"
    """Per image by attention; learned but the same for every image; fixed and equal; or ``single_scale`` alone."""
    single_scale: float = 0.5
    """The one scale of ``weighting="single"``."""
    identity: Literal["shift", "image", "zero"] = "shift"
    """What scale 1.0 contributes: difference to the left neighbour, the image itself, or (literally) zeros."""
    squeeze: Literal["abs", "signed"] = "abs"
    """What attention averages: the residual's magnitude, or (literally) the signed residual, which is about 0."""
    standardize: bool = True
    """Standardise the squeezed values before the attention's first layer (see README)."""
    per: Literal["channel", "scale"] = "channel"
    """One weight per scale and colour channel, or one per scale (mean over its three outputs)."""
    gate: Literal["sigmoid", "softmax"] = "sigmoid"
    """Last activation of the attention; softmax runs over the scales."""
    hidden: int = 6
    """Width of the attention's hidden layer."""
    start: Literal["equal", "literal"] = "equal"
    """First weights: exactly one over the number of scales, or Kaiming-normal with biases of 0.25."""
    backbone: Literal["resnet50_npr", "resnet50", "resnet34"] = "resnet50_npr"
    """The published cut network (3x3 stem, layers 1-2), or a whole ResNet."""

    def __post_init__(self) -> None:
        scales = (self.single_scale,) if self.weighting == "single" else self.scales
        if not scales or any(not 0 < s <= 1 for s in scales):
            raise ValueError(f"scales must be in (0, 1], got {scales}")
        if self.weighting == "single" and self.single_scale == 1.0 and self.identity == "zero":
            raise ValueError("a single zero residual leaves nothing to look at")

    def literal(self) -> AttentionNPRConfig:
        """The plan to the letter: dead identity scale, signed squeeze, Kaiming start, ResNet-34 as drawn."""
        return dataclasses.replace(
            self, identity="zero", squeeze="signed", standardize=False, start="literal", backbone="resnet34"
        )


def residual_network(name: str) -> nn.Module:
    """A torchvision ResNet with one output, by the names of ``AttentionNPRConfig.backbone``, randomly initialised."""
    from torchvision.models import resnet

    if name == "resnet34":
        return resnet.resnet34(num_classes=1)  # type: ignore[no-any-return]
    net = resnet.resnet50(num_classes=1)
    if name == "resnet50_npr":
        net.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        net.layer3, net.layer4 = nn.Identity(), nn.Identity()
        net.fc = nn.Linear(512, 1)
    return net  # type: ignore[no-any-return]


class ScaleAttention(nn.Module):
    """Residuals of every scale to one weight per scale and channel.

    Args:
        config: which weighting, squeeze, gate, start.
    """

    def __init__(self, config: AttentionNPRConfig) -> None:
        super().__init__()
        self.config = config
        self.count = 1 if config.weighting == "single" else len(config.scales)
        size = 3 * self.count
        equal = 1 / self.count
        self.register_buffer("equal", torch.full((1, self.count, 3), equal), persistent=False)
        first = 0.25 if config.start == "literal" else math.log(equal / (1 - equal)) if self.count > 1 else 4.0
        if config.gate == "softmax":
            first = 0.0
        if config.weighting == "learned":
            self.bias = nn.Parameter(torch.full((size,), first))
        if config.weighting == "adaptive":
            if config.standardize:
                self.norm = nn.BatchNorm1d(size, affine=False)
            self.reduce = nn.Linear(size, config.hidden)
            self.expand = nn.Linear(config.hidden, size)
            nn.init.kaiming_normal_(self.reduce.weight, nonlinearity="relu")
            nn.init.zeros_(self.reduce.bias)
            nn.init.zeros_(self.expand.weight)
            if config.start == "literal":
                nn.init.kaiming_normal_(self.expand.weight, nonlinearity="relu")
                nn.init.constant_(self.reduce.bias, first)
            nn.init.constant_(self.expand.bias, first)

    def forward(self, residuals: Tensor) -> Tensor:
        """(B, S, 3, H, W) to weights (B, S, 3)."""
        batch = residuals.shape[0]
        config = self.config
        if config.weighting in ("single", "equal"):
            return self.get_buffer("equal").expand(batch, -1, -1)
        if config.weighting == "learned":
            raw = self.bias.expand(batch, -1)
        else:
            magnitude = residuals.abs() if config.squeeze == "abs" else residuals
            squeezed = magnitude.mean((3, 4)).flatten(1)  # (B, 3S)
            if config.standardize:
                squeezed = torch.log(squeezed + 1e-3) if config.squeeze == "abs" else squeezed
                norm = self.norm
                squeezed = F.batch_norm(
                    squeezed,
                    norm.running_mean,
                    norm.running_var,
                    training=self.training and batch > 1,
                    eps=norm.eps,
                )
            raw = self.expand(torch.relu(self.reduce(squeezed)))
        raw = raw.view(batch, self.count, 3)
        weights = raw.softmax(1) if config.gate == "softmax" else raw.sigmoid()
        return weights.mean(2, keepdim=True).expand(-1, -1, 3) if config.per == "scale" else weights


class AttentionNPR(Detector[AttentionNPRConfig]):
    """Multi-scale NPR, weighed, into a residual network: one logit.

    ``aux["scale_weights"]`` holds the (B, S, 3) weights that were used.

    >>> import torch
    >>> model = AttentionNPR(AttentionNPRConfig()).eval()
    >>> out = model(torch.rand(2, 3, 65, 48))
    >>> out.logits.shape, out.aux["scale_weights"][0, :, 0].tolist()
    (torch.Size([2]), [0.25, 0.25, 0.25, 0.25])
    """

    config_class: ClassVar[type[DetectorConfig]] = AttentionNPRConfig

    def __init__(self, config: AttentionNPRConfig) -> None:
        super().__init__(config, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        self.scales = (config.single_scale,) if config.weighting == "single" else config.scales
        if config.identity == "zero" and 1.0 in self.scales:
            log.warning("identity='zero': scale 1.0 is x - x = 0, three channels without information or gradient")
        self.attention = ScaleAttention(config)
        self.net: Any = residual_network(config.backbone)

    @property
    def size_rule(self) -> SizeRule:
        """Any size from 32; crops of native pixels, never resized images."""
        return SizeRule(minimum=32)

    def residuals(self, image: Tensor) -> Tensor:
        """Standardised (B, 3, H, W) to the residual of each scale, (B, S, 3, H, W)."""
        return torch.stack([self._residual(image, scale) for scale in self.scales], 1)

    def _residual(self, image: Tensor, scale: float) -> Tensor:
        if scale < 1 or self.config.identity == "zero":
            return npr(image, scale)
        return left_difference(image) if self.config.identity == "shift" else image

    def forward(self, image: Tensor) -> DetectorOutput:
        """(B, 3, H, W) in [0, 1] to logits, the pooled features and the scale weights."""
        residuals = self.residuals(self.normalize(image))  # (B, S, 3, H, W)
        weights = self.attention(residuals)  # (B, S, 3)
        single = self.config.weighting == "single"
        mixed = residuals[:, 0] if single else (residuals * weights[..., None, None]).sum(1)  # (B, 3, H, W)
        net = self.net
        x = net.maxpool(net.relu(net.bn1(net.conv1(mixed * GAIN))))
        x = net.layer4(net.layer3(net.layer2(net.layer1(x))))
        embedding = x.mean((2, 3))  # (B, D)
        return DetectorOutput(net.fc(embedding).squeeze(1), None, embedding, {"scale_weights": weights})

    def load_published(self, path: str | Path) -> None:
        """Take over a published NPR checkpoint, converted to safetensors with its own names.

        Raises:
            WeightsError: unreadable, or not the published layout.
            ConfigError: this detector is not configured as the published one.
        """
        if self.config.weighting != "single" or self.config.backbone != "resnet50_npr":
            raise ConfigError("bad_config", "published NPR weights fit only the zoo's 'npr'")
        state, _ = read_safetensors(path)
        renamed = {_published_key(key): value for key, value in state.items()}
        report = load_matching(self.net, {k: v for k, v in renamed.items() if k is not None})
        if report.missing:
            raise WeightsError(
                "wrong_weights", f"{path} is not a published NPR checkpoint: no fitting {', '.join(report.missing[:3])}"
            )

    def load_backbone(self, source: str | Path) -> LoadReport:
        """Start the residual network from a safetensors file in torchvision's naming."""
        return load_matching(self.net, read_safetensors(source)[0])

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``backbone``, ``head`` and, where it learns, ``attention``."""
        head = list(self.net.fc.parameters())
        ids = {id(p) for p in head}
        groups = {
            "backbone": [p for p in self.net.parameters() if id(p) not in ids],
            "head": head,
            "attention": list(self.attention.parameters()),
        }
        return {name: parameters for name, parameters in groups.items() if parameters}

    @torch.no_grad()
    def evidence(self, image: Tensor) -> dict[str, Tensor]:
        """The residual of each scale, mid-grey = zero, four times amplified."""
        shown = {f"npr {s:.2f}": 0.5 + 4 * npr(image, s) for s in self.scales if s < 1}
        if 1.0 in self.scales and self.config.identity == "shift":
            shown["left difference"] = 0.5 + 4 * left_difference(image)
        return {name: value.clamp(0, 1) for name, value in shown.items()}

    def departures(self) -> tuple[str, ...]:
        """Where the default differs from the plan."""
        config, said = self.config, []
        if config.weighting == "single":
            return ()
        if config.identity != "zero":
            said.append("scale 1.00 would be x - x = 0: it is " + _IDENTITY[config.identity])
        if config.weighting == "adaptive" and config.squeeze == "abs":
            said.append("attention squeezes the mean magnitude, since a signed residual averages to 0 for every image")
        if config.weighting == "adaptive" and config.standardize:
            said.append("squeezed values are log-scaled and standardised, or attention hardly depends on the image")
        if config.start == "equal":
            said.append("every scale starts at exactly equal weight (a bias of 0.25 under a sigmoid gives 0.56)")
        if config.backbone == "resnet50_npr":
            said.append("backbone is the published cut ResNet-50, not the drawn BasicBlock 3-4-6-3")
        return tuple(said)


_IDENTITY = {"shift": "the difference to the left neighbour", "image": "the image itself"}


def _published_key(key: str) -> str | None:
    """A key of the public NPR code's state dict to ours; None for its unused ``fc``."""
    key = key.removeprefix("model.").removeprefix("module.")
    if key.startswith("fc."):
        return None
    return key.replace("fc1.", "fc.", 1) if key.startswith("fc1.") else key
