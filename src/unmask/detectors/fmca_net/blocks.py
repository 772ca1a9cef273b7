"""FMCA-Net's own parts: token weights, the wavelet branch, the exchange between both, the gated fusion."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.nn.attention import CrossAttention
from unmask.ops.wavelets import dwt2, wavelet_filters


class FTMA(nn.Module):
    """Forgery-aware Token Multi-scale Attention: tokens are weighed anew by what they hold at several widths.

    ``x + alpha * weights(x) * x``, where the weights are sigmoids of LayerNorm, one (Linear, GELU, Linear) per width,
    and a projection of them all back to the tokens' channels.

    Args:
        dim: channels of the tokens.
        widths: of the paths, as shares of ``dim``.
        mean: average the weights over the tokens.
        alpha: start of the learnt strength.
    """

    def __init__(self, dim: int, widths: Sequence[float], *, mean: bool, alpha: float) -> None:
        super().__init__()
        self.mean = mean
        self.norm = nn.LayerNorm(dim)
        sides = [max(1, round(share * dim)) for share in widths]
        self.paths = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, side), nn.GELU(), nn.Linear(side, side)) for side in sides
        )
        self.project = nn.Linear(sum(sides), dim)
        self.alpha = nn.Parameter(torch.tensor(float(alpha)))

    def weights(self, x: Tensor) -> Tensor:
        """(B, N, dim) tokens to weights in (0, 1): (B, N, dim), or (B, 1, dim) with ``mean``."""
        x = self.norm(x)
        weights = torch.sigmoid(self.project(torch.cat([path(x) for path in self.paths], 2)))
        return weights.mean(1, keepdim=True) if self.mean else weights

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, dim) to the same."""
        return x + self.alpha * (self.weights(x) * x)


class FrequencyBranch(nn.Module):
    """Orthonormal Haar bands of each colour, then plain convolutions.

    Args:
        channels: after each 3 x 3 convolution.
        strides: of each.
        standardize: batch-norm the bands first.
    """

    filters: Tensor

    def __init__(self, channels: Sequence[int], strides: Sequence[int], *, standardize: bool) -> None:
        super().__init__()
        self.register_buffer("filters", wavelet_filters("haar"), persistent=False)
        self.norm = nn.BatchNorm2d(12) if standardize else nn.Identity()
        layers: list[nn.Module] = []
        for (into, out), stride in zip(itertools.pairwise([12, *channels]), strides, strict=True):
            layers += [nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.GELU()]
        self.layers = nn.Sequential(*layers)

    def bands(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], even sides, to (B, 12, H/2, W/2) in float32: LL of R, G, B, then LH, HL, HH of each.

        Names and signs are PyWavelets' (cA, cH, cV, cD).
        """
        with torch.autocast(image.device.type, enabled=False):
            ll, details = dwt2(image.float(), self.filters)
        return torch.cat([ll, details.flatten(1, 2)], 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, channels[-1], h, w)."""
        x: Tensor = self.layers(self.norm(self.bands(image)))
        return x


class SFCM(nn.Module):
    """Spatial-Frequency Cross Module: each set of tokens queries the other, ``LayerNorm(x + gate * attended)``.

    The sets may differ in number.

    Args:
        dim: channels of both; ``heads`` divides it.
        heads: of each attention.
        dropout: on what is added.
        gate: start of the learnt gates, before the sigmoid.
        both: False leaves the frequency tokens as they are.
    """

    def __init__(self, dim: int, heads: int, *, dropout: float, gate: float, both: bool = True) -> None:
        super().__init__()
        ways = 1 + both
        self.attend = nn.ModuleList(CrossAttention(dim, heads) for _ in range(ways))
        self.gates = nn.Parameter(torch.full((ways,), float(gate)))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(ways))
        self.dropout = nn.Dropout(dropout)

    def forward(self, spatial: Tensor, frequency: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, dim) and (B, M, dim) to tokens like them."""
        gates = torch.sigmoid(self.gates)
        pairs = ((spatial, frequency), (frequency, spatial))
        mixed = [
            norm(x + gate * self.dropout(attend(x, other)))
            for (x, other), attend, norm, gate in zip(pairs, self.attend, self.norms, gates, strict=False)
        ]
        return mixed[0], mixed[1] if len(mixed) == 2 else frequency

    def reading(self, spatial: Tensor, frequency: Tensor) -> Tensor:
        """(B, N, M): how much each spatial token reads of each frequency token, mean over heads; rows sum to 1."""
        attend: CrossAttention = self.attend[0]  # type: ignore[assignment]
        q, k = (
            x.unflatten(2, (attend.heads, -1)).transpose(1, 2) for x in (attend.query(spatial), attend.key(frequency))
        )
        scores: Tensor = q @ k.mT * q.shape[-1] ** -0.5  # (B, heads, N, M)
        return scores.softmax(3).mean(1)


class GSFC(nn.Module):
    """Gated Spatial-Frequency Concatenation: ``[f_s, sigmoid(gamma) * compressed f_f]``.

    Args:
        dim: channels of the frequency summary.
        features: what it is compressed to.
        gamma: start of the learnt gate, before the sigmoid; None = no gate.
    """

    def __init__(self, dim: int, features: int, gamma: float | None) -> None:
        super().__init__()
        self.compress = nn.Linear(dim, features)
        self.gamma = None if gamma is None else nn.Parameter(torch.tensor(float(gamma)))

    def forward(self, spatial: Tensor, frequency: Tensor) -> Tensor:
        """(B, C) and (B, dim) to (B, C + features)."""
        compressed = self.compress(frequency)
        if self.gamma is not None:
            compressed = torch.sigmoid(self.gamma) * compressed
        return torch.cat([spatial, compressed], 1)


def to_grid(x: Tensor, height: int, width: int) -> Tensor:
    """(B, C, h, w) averaged to (B, height * width, C) tokens, row by row."""
    return F.adaptive_avg_pool2d(x, (height, width)).flatten(2).transpose(1, 2)
