"""What is compared: a vector per image and one per place, from a network of maps or from a CLIP tower."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unmask.detectors.dcr_net.config import DCRNetConfig
from unmask.nn.backbones import Backbone, Pretrained
from unmask.nn.vit import ViTTokens


class Features(NamedTuple):
    """Of a batch of images, float32."""

    pooled: Tensor
    """(B, C)."""
    grid: Tensor
    """(B, places, C), row by row."""
    rows: int = 0
    """Of the grid; 0 where only the image would tell."""

    def of(self, images: Tensor | slice) -> Features:
        """Some of the images."""
        return Features(self.pooled[images], self.grid[images], self.rows)


class Extractor(nn.Module):
    """Images to :class:`Features`, in two parts: ``fixed`` never learns; the memory's keys come from a slow copy of
    ``learning``, so that what is fixed is neither copied nor run twice.

    Attributes:
        channels: of the features.
        multiple: divides the sides of the images.
    """

    def __init__(self, config: DCRNetConfig) -> None:
        super().__init__()
        self.fixed: nn.Module = nn.Identity()
        if config.backbone == "rine":
            tower = _Tower(config.tower, config.view.size)
            self.fixed, self.multiple = tower.requires_grad_(False), tower.patch
            self.learning: nn.Module = _Importance(tower.channels, tower.blocks, config.hidden)
            self.channels = config.hidden
        else:
            backbone = Backbone(config.backbone, stages=config.stages, frozen_stages=config.frozen_stages)
            self.learning, self.multiple = _Maps(backbone), 1
            self.channels = backbone.channels[-1]

    @property
    def pretrained(self) -> Pretrained:
        """The part that published weights exist for; knows the mean and deviation they expect."""
        found = self.fixed if isinstance(self.fixed, _Tower) else self.learning.get_submodule("backbone")
        assert isinstance(found, Pretrained)
        return found

    def train(self, mode: bool = True) -> Extractor:
        """Set training mode; what is fixed stays in eval mode."""
        super().train(mode)
        self.fixed.eval()
        return self

    def forward(self, standard: Tensor) -> Features:
        """(B, 3, H, W) standardised images."""
        features: Features = self.learning(self.fixed(standard))
        return features._replace(rows=features.rows or standard.shape[-2] // self.multiple)


class _Maps(nn.Module):
    """The deepest map of a backbone, and its average."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, standard: Tensor) -> Features:
        deepest = self.backbone(standard)[-1].float()  # (B, C, h, w)
        return Features(deepest.mean((2, 3)), deepest.flatten(2).transpose(1, 2), deepest.shape[-2])


class _Tower(ViTTokens):
    """Class tokens of all blocks, then the patches of the last."""

    def __init__(self, name: str, size: int) -> None:
        super().__init__(name, size)
        net: Any = self.net
        self.blocks = len(net.blocks)

    def forward(self, standard: Tensor) -> Tensor:  # type: ignore[override]
        """(B, 3, H, W) to (B, blocks + places, C)."""
        net: Any = self.net
        blocks = net.forward_intermediates(
            standard, return_prefix_tokens=True, intermediates_only=True, norm=False, output_fmt="NLC"
        )
        return torch.cat([*(prefix[:, :1] for _, prefix in blocks), blocks[-1][0]], 1)


class _Importance(nn.Module):
    """Class tokens projected and added up by a learnt importance per block and channel.

    After RINE (Koutlis and Papadopoulos, "Leveraging Representations from Intermediate Encoder-blocks for Synthetic
    Image Detection", ECCV 2024, section 3.1). Places: the last block's patches through the same projections.
    """

    def __init__(self, channels: int, blocks: int, hidden: int) -> None:
        super().__init__()
        self.blocks = blocks
        self.project = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU())
        self.importance = nn.Parameter(torch.zeros(blocks, hidden))
        self.out = nn.Linear(hidden, hidden)

    def forward(self, tokens: Tensor) -> Features:
        """(B, blocks + places, C) of the tower."""
        projected = self.project(tokens)  # (B, blocks + places, hidden)
        weighed = (self.importance.softmax(0) * projected[:, : self.blocks]).sum(1)
        return Features(self.out(weighed).float(), self.out(projected[:, self.blocks :]).float())
