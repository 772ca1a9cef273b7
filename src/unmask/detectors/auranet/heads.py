"""From the encoder's maps to the answers: dynamic selection fusion, the label and the mask."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from timm.layers.cbam import ChannelAttn
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.detectors.auranet.config import AuraNetConfig
from unmask.detectors.auranet.encoder import convnext_stage

_AUTHENTIC = -2.0
"""First mask logit: most pixels are authentic."""


class DynamicSelection(nn.Module):
    """Both streams' last maps to one: weighed against each other per image, then CBAM's channel attention.

    After Li et al., "Selective Kernel Networks" (CVPR 2019), with one weight per stream.

    Args:
        config: ``dims[-1]`` channels in, ``dsf_dim`` out.
    """

    def __init__(self, config: AuraNetConfig) -> None:
        super().__init__()
        dim, streams = config.dsf_dim, 1 + config.frequency_stream
        self.project = nn.ModuleList(nn.Conv2d(config.dims[-1], dim, 1) for _ in range(streams))
        if streams > 1:
            self.choose = nn.Sequential(nn.Linear(dim, max(8, dim // 16)), nn.GELU(), nn.Linear(max(8, dim // 16), 2))
        self.attend = ChannelAttn(dim)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """One map (B, C, h, w) per stream to the fused one (B, dsf_dim, h, w) and the weights (B, streams), sum 1."""
        seen = torch.stack([project(x) for project, x in zip(self.project, maps, strict=True)], 1)  # (B, S, D, h, w)
        if len(maps) == 1:
            return self.attend(seen[:, 0]), seen.new_ones(len(seen), 1)
        weights = self.choose(seen.sum(1).mean((2, 3))).softmax(1)
        return self.attend((seen * weights[:, :, None, None, None]).sum(1)), weights


class PooledNorm(nn.BatchNorm1d):
    """Batch-norm without parameters; in training a batch of one uses the running statistics instead of failing."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=1e-8, affine=False)  # pooled features differ by hundredths

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim) to the same."""
        training = self.training and len(x) > 1
        return F.batch_norm(x, self.running_mean, self.running_var, training=training, eps=self.eps)


class LabelHead(nn.Module):
    """Pooled features to the embedding and one logit, 1 = fake.

    ``cosine``: batch-norm, Linear, ReLU, Dropout, Linear, scaled to length 1: the embedding; then
    ``s * (cos_fake - cos_real)``, the one logit of AM-Softmax (Wang et al., 2018), whose margin is the loss's business.
    Without the batch-norm all embeddings point where the features' common part does, and cosines hardly differ.
    ``linear``: the plan's Linear, ReLU, Dropout, Linear, as the difference of its two logits; the embedding is its
    hidden layer.

    Args:
        config: widths, dropout, which head, the scale.
    """

    def __init__(self, config: AuraNetConfig) -> None:
        super().__init__()
        width = config.embedding_dim
        self.cosine = config.head == "cosine"
        self.scale = config.cosine_scale
        self.norm = PooledNorm(config.dsf_dim) if self.cosine else nn.Identity()
        self.hidden = nn.Sequential(nn.Linear(config.dsf_dim, width), nn.ReLU(), nn.Dropout(config.dropout))
        self.embed = nn.Linear(width, width) if self.cosine else nn.Identity()
        self.classify = nn.Linear(width, 2, bias=not self.cosine)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """(B, dsf_dim) to logits (B,) and embeddings (B, embedding_dim), both float32."""
        embedding = self.embed(self.hidden(self.norm(pooled.float()))).float()
        with torch.autocast(pooled.device.type, enabled=False):
            if self.cosine:
                embedding = F.normalize(embedding, dim=1)
                cosines = F.linear(embedding, F.normalize(self.classify.weight, dim=1))  # (B, 2): real, fake
                return self.scale * (cosines[:, 1] - cosines[:, 0]), embedding
            real, fake = self.classify(embedding).unbind(1)
        return fake - real, embedding


def trunk(config: AuraNetConfig, channels: int) -> nn.Sequential:
    """FCMAE's decoder without its last layer: a 1 x 1 convolution to ``decoder_embed_dim``, ConvNeXt V2 blocks."""
    dim = config.decoder_embed_dim
    return nn.Sequential(nn.Conv2d(channels, dim, 1), convnext_stage(dim, dim, config.decoder_depth))


class PatchDecoder(nn.Module):
    """Each cell of the last map to a square of pixels (FCMAE's un-patchifying), or to one value, upsampled.

    Args:
        config: trunk, pixels per cell.
        channels: of the map.
        outputs: values per pixel: 1 for a mask, 3 for an image.
        coarse: one value per cell and output instead of a square.
    """

    def __init__(self, config: AuraNetConfig, channels: int, outputs: int = 1, *, coarse: bool = False) -> None:
        super().__init__()
        self.stride, self.coarse = config.stride, coarse
        self.trunk = trunk(config, channels)
        self.predict = nn.Conv2d(config.decoder_embed_dim, outputs * (1 if coarse else self.stride**2), 1)

    def forward(self, x: Tensor, skips: Sequence[Tensor] = ()) -> Tensor:
        """(B, channels, h, w) to (B, outputs, h * stride, w * stride); ``skips`` are not read."""
        values = self.predict(self.trunk(x))
        if self.coarse:
            return F.interpolate(values, scale_factor=float(self.stride), mode="bilinear", align_corners=False)
        return F.pixel_shuffle(values, self.stride)


class PyramidDecoder(nn.Module):
    """The last map to full resolution in steps of two, reading both streams' earlier stages on the way.

    Each step: 1 x 1 convolution to half the channels, bilinear upsampling, plus a 1 x 1 convolution of the stage's
    maps, 3 x 3 convolution. After the first stage's maps (a quarter of the image's size) come one more step without
    maps, and a sub-pixel convolution (Shi et al., 2016).

    Args:
        config: trunk and stages.
        channels: of the last map.
    """

    def __init__(self, config: AuraNetConfig, channels: int) -> None:
        super().__init__()
        self.trunk = trunk(config, channels)
        sides = [dim * (1 + config.frequency_stream) for dim in reversed(config.dims[:-1])]
        widths = [
            config.decoder_embed_dim,
            *(16 * max(1, round(config.decoder_embed_dim / 2**k / 16)) for k in range(1, len(sides) + 2)),
        ]
        self.narrow = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(widths))
        self.lateral = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(sides, widths[1:], strict=False))
        self.mix = nn.ModuleList(
            nn.Sequential(nn.Conv2d(w, w, 3, padding=1, bias=False), nn.BatchNorm2d(w), nn.GELU()) for w in widths[1:]
        )
        self.predict = nn.Conv2d(widths[-1], 4, 3, padding=1)

    def forward(self, x: Tensor, skips: Sequence[Tensor] = ()) -> Tensor:
        """The last map (B, channels, h, w) and the earlier stages' maps, finest first, to (B, 1, H, W) logits."""
        x = self.trunk(x)
        for i, (narrow, mix) in enumerate(zip(self.narrow, self.mix, strict=True)):
            x = F.interpolate(narrow(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            if i < len(self.lateral):
                x = x + self.lateral[i](skips[-1 - i])
            x = mix(x)
        return F.pixel_shuffle(self.predict(x), 2)


def mask_decoder(config: AuraNetConfig, channels: int) -> PatchDecoder | PyramidDecoder:
    """The config's mask decoder on a last map of ``channels``.

    Call it with that map and the earlier stages' maps of :func:`skips`: (B, 1, H, W) logits come back.
    """
    decoder: PatchDecoder | PyramidDecoder
    if config.decoder == "pyramid":
        decoder = PyramidDecoder(config, channels)
    else:
        decoder = PatchDecoder(config, channels, coarse=config.decoder == "coarse")
    nn.init.constant_(cast(Tensor, decoder.predict.bias), _AUTHENTIC)
    return decoder


def skips(spatial: Sequence[Tensor], frequency: Sequence[Tensor]) -> list[Tensor]:
    """The maps of all stages but the last, finest first, the streams' channels side by side."""
    if not frequency:
        return list(spatial[:-1])
    return [torch.cat(pair, 1) for pair in zip(spatial[:-1], frequency[:-1], strict=True)]
