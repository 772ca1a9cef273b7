"""The encoder: two streams, four stages, and what they tell each other after each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from timm.layers.grn import GlobalResponseNorm
from timm.layers.mlp import GlobalResponseNormMlp
from timm.layers.norm import LayerNorm, LayerNorm2d
from timm.models.convnext import ConvNeXtStage
from torch import Tensor, nn

from unmask.detectors.auranet.config import STEM_STRIDE, AuraNetConfig
from unmask.detectors.auranet.fusion import CrossFusionBlock
from unmask.detectors.auranet.haft import HAFT
from unmask.detectors.auranet.msaf import MSAF, MBConvDown
from unmask.nn.backbones import Backbone

STEM_WIDTH = 32
"""Channels at half the image's size, in both streams."""


class FastGRN(GlobalResponseNorm):
    """timm's global response normalisation with its sum of squares and its affine map in one pass each.

    The same numbers; a norm over leading dimensions does not vectorise (17 ms against 2 ms for 2 x 64 x 64 x 256).
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape."""
        energy = x.square().sum((1, 2), keepdim=True, dtype=torch.float32)
        norm = (energy + 1e-12).sqrt()  # a dead channel keeps a finite gradient
        relative = norm / (norm.mean(-1, keepdim=True) + self.eps)
        return torch.addcmul(self.bias.to(x.dtype), x, (1 + self.weight * relative).to(x.dtype))


def convnext_stage(into: int, out: int, depth: int, stride: int = 1, drop_path: Sequence[float] = ()) -> nn.Module:
    """ConvNeXt V2 blocks (Woo et al., CVPR 2023), after a LayerNorm and a strided convolution where ``stride`` is 2."""
    stage: nn.Module = ConvNeXtStage(
        into,
        out,
        stride=stride,
        depth=depth,
        drop_path_rates=list(drop_path) or None,
        ls_init_value=None,  # type: ignore[arg-type]
        use_grn=True,
        norm_layer=LayerNorm2d,
        norm_layer_cl=LayerNorm,
    )
    for module in list(stage.modules()):
        if isinstance(module, GlobalResponseNormMlp):
            module.grn = FastGRN(cast(nn.Linear, module.fc1).out_features)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return stage


class PretrainedMaps(nn.Module):
    """A pretrained network's maps, brought to the channels of the stages at their strides.

    Not in the plan: from random weights, thousands of images teach the spatial stream nothing about a label.

    Args:
        config: which network, how much of it, and the stages.
    """

    def __init__(self, config: AuraNetConfig) -> None:
        super().__init__()
        assert config.backbone is not None
        self.network = Backbone(config.backbone, stages=config.backbone_stages, frozen_stages=config.backbone_frozen)
        strides = [STEM_STRIDE << i for i in range(len(config.dims))]
        self.levels = [self.network.strides.index(s) if s in self.network.strides else None for s in strides]
        self.project = nn.ModuleList(
            nn.Identity()
            if level is None
            else nn.Sequential(nn.Conv2d(self.network.channels[level], dim, 1, bias=False), nn.BatchNorm2d(dim))
            for level, dim in zip(self.levels, config.dims, strict=True)
        )

    def forward(self, standard: Tensor) -> list[Tensor | None]:
        """The standardised image (B, 3, H, W) to what is added after each stage, finest first; None: nothing."""
        maps = self.network(standard)
        return [None if n is None else layer(maps[n]) for n, layer in zip(self.levels, self.project, strict=True)]


class AuraNetEncoder(nn.Module):
    """An image to two pyramids of maps, at 1/4 of its size and every halving after that.

    Spatial: stem, then ConvNeXt V2 stages. Frequency: MSAF and MBConv, then HAFT in each stage. A cross-fusion block
    ends each stage. Parameters are named so that timm's ConvNeXt V2 weights fit ``stages``.

    Args:
        config: which of it, and how wide.
    """

    def __init__(self, config: AuraNetConfig) -> None:
        super().__init__()
        dims = config.dims
        self.stem = nn.Sequential(
            nn.Conv2d(3, STEM_WIDTH, 3, 2, 1, bias=False),
            nn.BatchNorm2d(STEM_WIDTH),
            nn.GELU(),
            nn.Conv2d(STEM_WIDTH, dims[0], 2, 2),
        )
        rates = torch.linspace(0, config.drop_path, sum(config.depths)).tolist()
        self.stages = nn.ModuleList(
            convnext_stage(dims[max(i - 1, 0)], dims[i], depth, 1 + (i > 0), rates[sum(config.depths[:i]) :][:depth])
            for i, depth in enumerate(config.depths)
        )
        self.pretrained = PretrainedMaps(config) if config.backbone else None
        self.frequency_stream = config.frequency_stream
        if not config.frequency_stream:
            return
        self.msaf = MSAF(unit_l1=config.srm_unit_l1)
        self.down = nn.ModuleList(
            [
                MBConvDown(STEM_WIDTH, dims[0]),
                *(nn.Sequential(LayerNorm2d(into), nn.Conv2d(into, out, 2, 2)) for into, out in pairwise(dims)),
            ]
        )
        self.haft = nn.ModuleList(
            HAFT(
                levels,
                bins=config.num_radial_bins,
                context_dim=config.context_vector_dim,
                context=config.haft_context,
                binning=config.haft_binning,
                split=config.haft_split,
            )
            if config.haft
            else nn.Identity()
            for levels in config.num_haft_levels
        )
        self.fusion = nn.ModuleList(
            CrossFusionBlock(dim, max(1, dim // config.head_dim), kind)
            for dim, kind in zip(dims, config.attention, strict=True)
        )

    def forward(self, standard: Tensor, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The two streams' maps after each stage, finest first: (B, dims[i], H / 4 / 2^i, W / 4 / 2^i).

        Args:
            standard: (B, 3, H, W), the image standardised; H and W of :meth:`AuraNetConfig.padded`.
            image: the same in [0, 1], which the frequency stream sees.

        Returns:
            Spatial maps, and frequency maps (none without a frequency stream).
        """
        standard = standard.contiguous(memory_format=torch.channels_last)
        heard = [None] * len(self.stages) if self.pretrained is None else self.pretrained(standard)
        x = self.stem(standard)
        y = self.msaf(image) if self.frequency_stream else x
        spatial, frequency = [], []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if heard[i] is not None:
                x = x + heard[i]
            if self.frequency_stream:
                x, y = self.fusion[i](x, self.haft[i](self.down[i](y)))
                frequency.append(y)
            spatial.append(x)
        return spatial, frequency
