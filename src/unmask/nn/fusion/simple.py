"""Fusion without attention: concatenation, sums, gates, pooling, a tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from unmask.nn.fusion.base import FeatureFusion, Fused


class Concat(FeatureFusion):
    """``W [x_1; ...; x_K] + b``."""

    line = "all streams side by side, one linear layer"
    paper = "the usual reference"

    def __init__(self, dims: Sequence[int], dim: int) -> None:
        super().__init__(dims, dim)
        self.project = nn.Linear(sum(self.dims), dim)

    def fuse(self, streams: Sequence[Tensor]) -> Fused:
        """Concatenate and project."""
        return Fused(self.project(torch.cat(self.check(streams), 2)))


class WeightedSum(FeatureFusion):
    """``sum_i w_i P_i x_i`` with ``w`` = softmax of K learned numbers, equal at first.

    One stream has nothing to be weighed against, so no weight.
    """

    line = "each stream projected, then one learned weight per stream (softmax)"
    paper = "the scalar mix of ELMo (Peters et al., 2018) without its scale"
    symmetric = True

    def __init__(self, dims: Sequence[int], dim: int) -> None:
        super().__init__(dims, dim)
        self.project = self._projections()
        self.weights = nn.Parameter(torch.zeros(len(self.dims))) if len(self.dims) > 1 else None

    def fuse(self, streams: Sequence[Tensor]) -> Fused:
        """The weighted mean; the weights are the same for all images."""
        parts = torch.stack([p(x) for p, x in zip(self.project, self.check(streams), strict=True)], 2)
        if self.weights is None:
            return Fused(parts[:, :, 0], torch.ones_like(parts[..., 0]))
        weights = self.weights.softmax(0)
        return Fused((parts * weights[:, None]).sum(2), weights.expand(parts.shape[:3]))


class MlpFusion(FeatureFusion):
    """Two layers on the concatenation: ``W_2 gelu(W_1 [x_1; ...; x_K])``."""

    line = "all streams side by side, two linear layers with GELU between"
    paper = "the usual reference"

    def __init__(self, dims: Sequence[int], dim: int, ratio: float = 2.0) -> None:
        super().__init__(dims, dim)
        hidden = max(1, round(ratio * dim))
        self.net = nn.Sequential(nn.Linear(sum(self.dims), hidden), nn.GELU(), nn.Linear(hidden, dim))

    def fuse(self, streams: Sequence[Tensor]) -> Fused:
        """Concatenate and mix."""
        return Fused(self.net(torch.cat(self.check(streams), 2)))


class Gating(FeatureFusion):
    """Gated multimodal units: ``sum_i sigmoid(G_i [x_1; ...; x_K]) * tanh(P_i x_i)``, a gate per channel."""

    line = "each stream's channels gated by what all streams show"
    paper = "gated multimodal unit (Arevalo et al., 2017, eq. 1 for K streams)"

    def __init__(self, dims: Sequence[int], dim: int) -> None:
        super().__init__(dims, dim)
        self.project = self._projections()
        self.gate = nn.ModuleList(nn.Linear(sum(self.dims), dim) for _ in self.dims)

    def fuse(self, streams: Sequence[Tensor]) -> Fused:
        """The sum of gated streams; a stream's share is the mean of its gates."""
        checked = self.check(streams)
        seen = torch.cat(checked, 2)
        gates = torch.stack([gate(seen) for gate in self.gate], 2).sigmoid()  # (B, N, K, dim)
        parts = torch.stack([p(x) for p, x in zip(self.project, checked, strict=True)], 2).tanh()
        return Fused((gates * parts).sum(2), gates.mean(3))


class FiLM(FeatureFusion):
    """``(1 + gamma) * P x_1 + beta``, with gamma and beta a linear function of the other streams.

    The first stream is the content. A single stream modulates itself.
    """

    line = "the first stream scaled and shifted, channel by channel, by the others"
    paper = "feature-wise linear modulation (Perez et al., 2018)"

    def __init__(self, dims: Sequence[int], dim: int) -> None:
        super().__init__(dims, dim)
        self.content = nn.Linear(self.dims[0], dim)
        self.modulation = nn.Linear(sum(self.dims[1:] or self.dims), 2 * dim)

    def fuse(self, streams: Sequence[Tensor]) -> Fused:
        """Modulate the first stream."""
        checked = self.check(streams)
        gamma, beta = self.modulation(torch.cat(checked[1:] or checked, 2)).chunk(2, 2)
        return Fused((1 + gamma) * self.content(checked[0]) + beta)


class Pooling(FeatureFusion):
    """The maximum (or mean) over projected streams, channel by channel.

    Args:
        dims: channels of each stream.
        dim: channels of the result.
        how: ``max`` or ``mean``.
    """

    line = "each stream projected, then the maximum (or mean) over streams per channel"
    paper = "view pooling of MVCNN (Su et al., 2015)"
    symmetric = True

    def __init__(self, dims: Sequence[int], dim: int, how: Literal["max", "mean"] = "max") -> None:
        super().__init__(dims, dim)
        if how not in ("max", "mean"):
            raise ValueError(f"pooling takes 'max' or 'mean', got {how!r}")
        self.how = how
        self.project = self._projections()

    def fuse(self, streams: Sequence[Tensor]) -> Fused:
        """Pool; a stream's share is that of the channels it wins (mean: equal)."""
        parts = torch.stack([p(x) for p, x in zip(self.project, self.check(streams), strict=True)], 2)
        if self.how == "mean":
            return Fused(parts.mean(2), torch.full_like(parts[..., 0], 1 / len(self.dims)))
        pooled = parts.amax(2)
        return Fused(pooled, (parts.detach() >= pooled.detach()[:, :, None]).to(parts.dtype).mean(3))


class Pair(nn.Module):
    """Two token sets to one: their mean plus what a small network makes of both."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(B, N, dim) twice to (B, N, dim)."""
        mixed: Tensor = self.mix(torch.cat([first, second], 2))
        return (first + second) / 2 + mixed


class Hierarchical(FeatureFusion):
    """Neighbours are fused in pairs, the results in pairs again, until one is left; an odd one waits for its turn.

    The order of ``dims`` decides who meets whom first.
    """

    line = "pairwise, stage by stage, as a tree"
    paper = "multi-stage fusion as in hierarchical multimodal networks (Majumder et al., 2018)"

    def __init__(self, dims: Sequence[int], dim: int) -> None:
        super().__init__(dims, dim)
        self.project = self._projections()
        self.pairs = nn.ModuleList(Pair(dim) for _ in self.dims[1:])

    def fuse(self, streams: Sequence[Tensor]) -> Fused:
        """Climb the tree."""
        level = [p(x) for p, x in zip(self.project, self.check(streams), strict=True)]
        pairs = iter(self.pairs)
        while len(level) > 1:
            met = [next(pairs)(a, b) for a, b in zip(level[::2], level[1::2], strict=False)]
            level = met + level[len(level) - len(level) % 2 :]
        return Fused(level[0])
