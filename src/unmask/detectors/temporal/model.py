"""A clip detector: a network sees each frame, a head reads the row of frames; one logit per clip.

See README.md for the papers and every departure.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.types import DetectorOutput, InputKind, ViewConfig
from unmask.detectors.base import Detector, DetectorConfig, SizeRule
from unmask.detectors.temporal.heads import GraphHead, LSTMHead
from unmask.nn.backbones import Backbone
from unmask.nn.graph import patch_edges


@dataclass(frozen=True)
class TemporalConfig(DetectorConfig):
    """Settings of :class:`Temporal`."""

    view: ViewConfig = dataclasses.field(default_factory=lambda: ViewConfig(kind="face", size=224, frames=16))
    """How a video becomes clips; ``frames`` is the length that is trained and exported."""
    backbone: str = "tf_efficientnetv2_b0"
    """Sees each frame by itself: a timm name, or a layout of ``unmask.nn.backbones``."""
    stages: int = 4
    """Deepest backbone stage used (stage n has stride 2 ** (n + 1)); deeper ones are not built."""
    frozen_stages: int = 0
    """How many of the first stages (the stem counts) stay fixed during training."""
    head: Literal["lstm", "graph"] = "lstm"
    """``lstm``: stacked bidirectional LSTM over frames. ``graph``: consistency of the graph of patches."""
    reads: Literal["steps", "frames"] = "steps"
    """What the LSTM reads (``lstm`` only): ``frames``, pooled as in the paper, or what places do between them too."""
    width: int = 128
    """Of the LSTM (each way), or of the graph's nodes."""
    layers: int = 2
    """LSTMs on top of each other (``lstm`` only)."""
    most_frames: int = 64
    """Longest clip it takes."""
    dropout: float = 0.3
    """Before the last layer, and between LSTMs."""

    def __post_init__(self) -> None:
        if not 2 <= self.view.frames <= self.most_frames:
            raise ValueError(f"view.frames must be 2 to most_frames={self.most_frames}, got {self.view.frames}")
        if self.layers < 1 or self.width < 1:
            raise ValueError(f"layers and width must be 1 or more, got {self.layers} and {self.width}")


class Temporal(Detector[TemporalConfig]):
    """Backbone on every frame, LSTM or patch graph over them, one logit. Takes clips of 2 to ``most_frames`` frames.

    >>> config = TemporalConfig(backbone="mobilenetv2_gluon_e1", stages=1, width=8)
    >>> out = Temporal(config).eval()(torch.zeros(2, 5, 3, 64, 72))
    >>> out.logits.shape, out.embedding.shape
    (torch.Size([2]), torch.Size([2, 32]))
    """

    config_class: ClassVar[type[DetectorConfig]] = TemporalConfig
    input_kind: ClassVar[InputKind] = "clip"

    def __init__(self, config: TemporalConfig) -> None:
        backbone = Backbone(config.backbone, stages=config.stages, frozen_stages=config.frozen_stages)
        super().__init__(config, mean=backbone.mean, std=backbone.std)
        self.backbone = backbone
        self.head: LSTMHead | GraphHead = (
            LSTMHead(backbone.channels[-1], config.width, config.layers, config.dropout, config.reads)
            if config.head == "lstm"
            else GraphHead(backbone.channels[-1], config.width)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(self.head.features, 1)

    @property
    def size_rule(self) -> SizeRule:
        """Any size from 64, clips of 2 to ``most_frames`` frames."""
        return SizeRule(minimum=64, frames=(2, self.config.most_frames))

    def frame_features(self, clip: Tensor) -> Tensor:
        """(B, T, 3, H, W) in [0, 1] to the backbone's deepest maps (B, T, C, h, w), all frames in one batch."""
        frames = self.normalize(clip).flatten(0, 1)  # (B T, 3, H, W)
        stride = self.backbone.strides[-1]
        below, right = -frames.shape[-2] % stride, -frames.shape[-1] % stride
        if below or right:
            frames = F.pad(frames, (0, right, 0, below), mode="reflect")
        deepest: Tensor = self.backbone(frames)[-1]  # (B T, C, h, w)
        return deepest.view(-1, clip.shape[1], *deepest.shape[1:])

    def forward(self, image: Tensor) -> DetectorOutput:
        """(B, T, 3, H, W) in [0, 1] to one logit per clip and, as embedding, what the classifier reads."""
        embedding = self.head(self.frame_features(image))  # (B, features)
        return DetectorOutput(self.classifier(self.dropout(embedding)).squeeze(1), None, embedding)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``backbone`` and ``head`` (what reads the frames, and the classifier)."""
        parts: dict[str, list[nn.Module]] = {
            "backbone": [self.backbone],
            "head": [self.head, self.classifier],
        }
        groups = {
            part: [p for p in itertools.chain(*(m.parameters() for m in modules)) if p.requires_grad]
            for part, modules in parts.items()
        }
        return {part: members for part, members in groups.items() if members}

    @torch.no_grad()
    def evidence(self, image: Tensor) -> dict[str, Tensor]:
        """Where the clip is least like itself a frame later: 1 - similarity along the temporal edges, the most over
        time, (B, 1, h, w) in [0, 1]; of the graph head only."""
        if not isinstance(self.head, GraphHead):
            return {}
        maps = self.frame_features(image)
        edges = patch_edges(F.normalize(self.head.nodes(maps), dim=3))
        away = (1 - edges.time.amin(1)).div(2).clamp(0, 1)  # (B, N)
        return {"change between frames": away.view(-1, 1, *maps.shape[-2:])}

    def departures(self) -> tuple[str, ...]:
        """Where these settings differ from the papers."""
        if self.config.head == "graph":
            return (
                "of the patch graph (Liu, 2025) the construction is kept: patches as nodes, similarity of the same "
                "patch in consecutive frames as temporal edges; how they are read is this project's",
            )
        steps = (
            "the LSTM reads, beside the mean over places, the mean and the maximum over places of the step that each "
            "projected place makes from frame to frame: the mean alone (reads: frames) learns nothing from a flicker",
        )
        return (
            *(steps if self.config.reads == "steps" else ()),
            "frame features are those of the backbone's last stage; the 1x1 convolution to 1280 channels that "
            "ImageNet's classifier reads is left out",
            "the LSTM is read by its mean and maximum over time, so that clips of any length fit",
        )
