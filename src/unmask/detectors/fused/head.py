"""Streams, a fusion by name, and a small head: what the fusion study trains and the detector runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.errors import ConfigError
from unmask.nn.fusion import create_fusion


class Answer(NamedTuple):
    """What a head makes of its streams."""

    logits: Tensor
    """(B,) one logit per image, positive = fake."""
    embedding: Tensor
    """(B, dim) what the last layer reads."""
    shares: Tensor | None
    """(B, N, K) how far each stream was let in; None where the fusion has no such number."""


class VectorStream(nn.Module):
    """A vector as one token: each value standardised (and kept within 8 deviations), then whether there is one.

    A row of nan (no value) becomes zeros and a mark, so that a fusion can see that the stream is invalid.

    >>> VectorStream(2).eval()(torch.tensor([[1.0, 2.0], [torch.nan, torch.nan]]))[:, 0, 2].tolist()
    [1.0, -1.0]
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.norm = nn.BatchNorm1d(width, affine=False)

    def forward(self, values: Tensor) -> Tensor:
        """(B, D), rows of nan allowed in eval mode, to (B, 1, D + 1)."""
        there = torch.isfinite(values).all(1, keepdim=True)
        ready = torch.where(there, self.norm(torch.where(there, values, 0.0)), 0.0)
        mark = 2 * there.to(values.dtype) - 1
        return torch.cat([ready.clamp(-8, 8), mark], 1).unsqueeze(1)

    @torch.no_grad()
    def standardise(self, values: Tensor) -> None:
        """Take mean and variance over the rows of (N, D) that have values, once and for all."""
        known = values[torch.isfinite(values).all(1)].double()
        if len(known):
            assert self.norm.running_mean is not None and self.norm.running_var is not None
            self.norm.running_mean.copy_(known.mean(0))
            spread = known.var(0, unbiased=False)
            # what does not vary among these images stays quiet on others
            self.norm.running_var.copy_(torch.where(spread > 1e-12 * known.mean(0).square(), spread, 1e12))


class MapStream(nn.Module):
    """A forensic map through a few convolutions to cells of ``grid`` pixels: (B, channels, h, w).

    Args:
        channels: of the map.
        stride: of the map, in pixels.
        grid: pixels per cell, at least ``stride``; both powers of two.
        width: channels after the first halving of a map of stride 1; at most four times as many later.
    """

    def __init__(self, channels: int, stride: int, grid: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.BatchNorm2d(channels, affine=False)]
        first = stride if stride > 1 else 2
        while first <= grid:
            wide = width * min(4, max(1, first // 2))
            step = 2 if first > stride else 1
            layers += [nn.Conv2d(channels, wide, 3, step, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
            channels, first = wide, 2 * first
        self.channels = channels
        self.layers = nn.Sequential(
            *layers, nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """The map to (B, channels, h, w)."""
        result: Tensor = self.layers(x)
        return result


class FusionHead(nn.Module):
    """A feature-level fusion of streams of tokens, the mean over tokens, one logit."""

    def __init__(self, dims: Sequence[int], dim: int, fusion: str, options: Mapping[str, Any], dropout: float) -> None:
        super().__init__()
        self.fusion = create_fusion(fusion, dims, dim, **options)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.label = nn.Linear(dim, 1)

    def forward(self, streams: Sequence[Tensor]) -> Answer:
        """K tensors (B, N, D_i) to logits."""
        tokens, shares = self.fusion.fuse(streams)
        embedding = F.gelu(self.norm(tokens)).mean(1)
        return Answer(self.label(self.dropout(embedding)).squeeze(1), embedding, shares)


class VectorNet(nn.Module):
    """Vectors of given widths, fused, to one logit.

    >>> VectorNet([3, 5], 8, "concat").eval()([torch.zeros(2, 3), torch.zeros(2, 5)]).logits.shape
    torch.Size([2])
    """

    def __init__(
        self,
        widths: Sequence[int],
        dim: int,
        fusion: str,
        options: Mapping[str, Any] | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not widths:
            raise ConfigError("bad_config", "a fusion needs at least one feature, got none")
        self.vectors = nn.ModuleList(VectorStream(width) for width in widths)
        self.head = FusionHead([width + 1 for width in widths], dim, fusion, options or {}, dropout)

    def forward(self, values: Sequence[Tensor]) -> Answer:
        """K tensors (B, D_i) to logits; in training the statistics of :meth:`VectorStream.standardise` stay."""
        streams = [vector(x) for vector, x in zip(self.vectors, values, strict=True)]
        answer: Answer = self.head(streams)
        return answer
