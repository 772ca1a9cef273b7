"""Fusion by attention across streams, and the same with streams that say how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.nn.attention import CrossAttention
from unmask.nn.fusion.base import FeatureFusion, Fused


class _Across(nn.Module):
    """Each stream's tokens attend to all tokens of the others, then a small network: one pre-norm block.

    All streams share its parameters. A learned token stands among the others' tokens, so that a stream may look away.
    """

    def __init__(self, dim: int, heads: int, ratio: float, streams: int) -> None:
        super().__init__()
        hidden = max(1, round(ratio * dim))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attend = CrossAttention(dim, heads)
        self.away = nn.Parameter(torch.randn(dim) * 0.02)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        others = [[j for j in range(streams) if j != i or streams == 1] for i in range(streams)]
        self.others: Tensor
        self.register_buffer("others", torch.tensor(others), persistent=False)  # (K, K - 1); one stream: itself

    def forward(self, tokens: Tensor, trust: Tensor | None = None) -> Tensor:
        """(B, K, N, dim), and the logarithm of each token's trust (B, K, N), to (B, K, N, dim)."""
        seen = self.norm1(tokens)
        context = seen[:, self.others].flatten(2, 3).flatten(0, 1)  # (B * K, (K - 1) N, dim)
        context = torch.cat([self.away.expand(context.shape[0], 1, -1), context], 1)
        bias = None
        if trust is not None:
            bias = F.pad(trust[:, self.others].flatten(2, 3).flatten(0, 1), (1, 0))  # (B * K, 1 + (K - 1) N)
        attended = self.attend.attend(seen.flatten(0, 1), context, bias)
        x = tokens + attended.reshape(tokens.shape)
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class CrossAttentionFusion(FeatureFusion):
    """Tokens of each stream attend to all tokens of the other streams; the mean over streams is the result.

    Args:
        dims: channels of each stream.
        dim: channels of the result; ``heads`` divides it.
        heads: of the attention.
        layers: rounds of attention.
        ratio: width of the small networks, in ``dim``.
    """

    line = "each stream's tokens attend to all tokens of the others (a transformer block), then the mean"
    paper = "attention (Vaswani et al., 2017), crossmodal as in Tsai et al. (2019)"
    symmetric = True

    def __init__(self, dims: Sequence[int], dim: int, heads: int = 4, layers: int = 1, ratio: float = 2.0) -> None:
        super().__init__(dims, dim)
        self.project = self._projections()
        self.layers = nn.ModuleList(_Across(dim, heads, ratio, len(self.dims)) for _ in range(layers))

    def fuse(self, streams: Sequence[Tensor]) -> Fused:
        """Read across, then average."""
        tokens = torch.stack([p(x) for p, x in zip(self.project, self.check(streams), strict=True)], 1)
        for layer in self.layers:
            tokens = layer(tokens)
        return Fused(tokens.mean(1))


class Reliability(FeatureFusion):
    """Reliability-gated cross-attention: a stream is turned down where its evidence is invalid.

    Each stream emits a quality token, read off its raw channels and averaged over its tokens (what a blur, a dark
    scene or a re-scaled JPEG grid does to it is seen there before anything is projected away). The quality tokens look
    at each other, then each gives its stream's tokens a trust ``g = sigmoid(s)`` in (0, 1). Trust counts twice: other
    streams attend to a token with ``log g`` added to its score, and the result is ``sum_i g_i x_i / sum_i g_i``.

    Args:
        dims: channels of each stream.
        dim: channels of the result; ``heads`` divides it.
        heads: of the attentions.
        layers: rounds of attention across streams.
        ratio: width of the small networks, in ``dim``.
    """

    line = "cross-attention whose streams also emit a quality token that turns them down where they are invalid"
    paper = "ours"
    symmetric = True

    def __init__(self, dims: Sequence[int], dim: int, heads: int = 4, layers: int = 1, ratio: float = 2.0) -> None:
        super().__init__(dims, dim)
        self.project = self._projections()
        self.quality = self._projections()
        self.assess = _Across(dim, heads, 1.0, len(self.dims))
        self.norm = nn.LayerNorm(dim)
        self.local = nn.Linear(dim, dim, bias=False)
        self.trust = nn.Linear(dim, 1)
        nn.init.constant_(self.trust.bias, 2.0)  # streams are let in at first
        self.layers = nn.ModuleList(_Across(dim, heads, ratio, len(self.dims)) for _ in range(layers))

    def fuse(self, streams: Sequence[Tensor]) -> Fused:
        """Assess, read across with the trust as a bias, then average by trust."""
        checked = self.check(streams)
        tokens = torch.stack([p(x) for p, x in zip(self.project, checked, strict=True)], 1)  # (B, K, N, dim)
        seen = [F.gelu(q(x)).mean(1, keepdim=True) for q, x in zip(self.quality, checked, strict=True)]
        quality = self.norm(self.assess(torch.stack(seen, 1)))  # (B, K, 1, dim)
        score = self.trust(F.gelu(quality + self.local(tokens))).squeeze(3)  # (B, K, N)
        for layer in self.layers:
            tokens = layer(tokens, F.logsigmoid(score))
        trust = score.sigmoid()
        fused = (tokens * trust[..., None]).sum(1) / trust.sum(1)[..., None].clamp(min=1e-6)
        return Fused(fused, trust.transpose(1, 2))
