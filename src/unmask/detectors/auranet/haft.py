"""HAFT, the Hierarchical Adaptive Frequency Transform: every patch's spectrum, filtered by what its ancestors hold.

Everything is a matrix from the left on maps whose channels are innermost in memory. So is the Fourier transform: for
sides of tens of cells, two matrix products per patch (along the width, along the height) take less time than a batched
FFT with the copies around it, need no complex numbers, and run wherever an exported network runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Literal, ParamSpec, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.errors import ConfigError

CELL = (4, 3)
"""Kernel and stride of the context heads: half spectra are P x (P/2 + 1), so little is left over."""
POOLED = (4, 2)
"""Cells (height, width) that a context head's features are pooled to."""
MIN_PATCH = 4
"""Smallest side of a patch: below it there are fewer than three radii."""
_EPS = 1e-2
"""Beside magnitudes of order 1 (the transform is orthonormal): the phase of an empty bin is 0 to the heads."""
_SEAM = 0.02
"""Share of the magnitude by which the angle is led to 0 at +-pi instead of jumping there."""

Context = Literal["channel", "mean"]
Binning = Literal["resampled", "floor"]
Split = Literal["levels", "half"]
P = ParamSpec("P")
Matrix = npt.NDArray[np.float32]


def _constant(make: Callable[P, tuple[Matrix, ...]]) -> Callable[P, list[Tensor]]:
    """Matrices that depend on sizes alone, computed once, as CPU tensors that graph capture takes as they are."""
    kept = cast(Callable[P, tuple[Matrix, ...]], lru_cache(maxsize=64)(make))

    @wraps(make)
    def tensors(*args: P.args, **kwargs: P.kwargs) -> list[Tensor]:
        return [torch.from_numpy(matrix) for matrix in kept(*args, **kwargs)]

    constant: Callable[P, list[Tensor]] = torch.compiler.assume_constant_result(tensors)  # type: ignore[no-untyped-call]
    return constant


def patch_size(height: int, width: int, levels: int) -> tuple[int, int]:
    """Sides of the deepest level's patches.

    Raises:
        ConfigError: the map cannot be cut into whole patches of at least :data:`MIN_PATCH` pixels.

    >>> patch_size(64, 96, 3)
    (16, 24)
    """
    n = 2 ** (levels - 1)
    if levels < 1 or height % n or width % n or min(height, width) // n < MIN_PATCH:
        raise ConfigError(
            "bad_config",
            f"{levels} HAFT levels cut a {height}x{width} map into {n}x{n} patches; expected whole patches of at least "
            f"{MIN_PATCH} pixels a side: use fewer levels or larger images",
        )
    return height // n, width // n


def _padded(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of a half spectrum, each continued by empty bins to whole cells of the context heads."""
    return -(-height // CELL[0]) * CELL[0], -(-(width // 2 + 1) // CELL[1]) * CELL[1]


@_constant
def _transform(height: int, width: int) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """The orthonormal DFT of real patches as matrices: along the width, along the height, and back again.

    With V columns and U rows of a padded half spectrum (padding is zero): (2 V, width) and (2 U, 2 height) forward,
    (2 height, 2 U) and (width, 2 V) back. Real and imaginary parts are blocks of U or V rows in a spectrum; in between
    they are blocks within each row of the patch.
    """
    rows, columns = _padded(height, width)
    half = width // 2 + 1
    turn = 2 * np.pi / width * np.outer(np.arange(half), np.arange(width))
    across = np.zeros((2, columns, width))
    across[:, :half] = np.stack([np.cos(turn), -np.sin(turn)]) / np.sqrt(width)
    twice = np.where(2 * np.arange(columns) % width == 0, 1.0, 2.0)[:, None]  # columns that stand for their conjugates
    turn = 2 * np.pi / height * np.outer(np.arange(height), np.arange(height))
    cos, sin = (np.zeros((rows, height)) for _ in range(2))
    cos[:height], sin[:height] = np.cos(turn) / np.sqrt(height), np.sin(turn) / np.sqrt(height)
    down = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)])  # (re or im, rows, height, re or im)
    matrices = (
        across.reshape(-1, width),
        down.reshape(2 * rows, -1),
        down.reshape(2 * rows, -1).T,
        (across * twice).reshape(-1, width).T,
    )
    first, second, third, fourth = (np.ascontiguousarray(m, dtype=np.float32) for m in matrices)
    return first, second, third, fourth


def radial_basis(height: int, width: int, bins: int, binning: Binning = "resampled") -> tuple[Matrix, Matrix]:
    """The linear map from a radial profile to a filter on a patch's half spectrum (as of ``torch.fft.rfft2``).

    A bin's radius is its Chebyshev distance from DC. ``resampled``: each axis counts ``|k| / (P // 2)``, so the profile
    spans radius 0 (DC) to 1 (Nyquist); it is interpolated linearly, antialiased by a wider hat when a patch has fewer
    radii than the profile has bins, so that every bin is used at every size. ``floor``: the plan's
    ``w[floor(max(|u|, |v|))]`` in frequency steps, clamped to the last bin.

    Args:
        height: of the patch.
        width: of the patch.
        bins: length of the profile.
        binning: one of the two.

    Returns:
        Two (height, width // 2 + 1, bins) maps, for magnitude and phase. Weights of a bin sum to 1; the second is 0
        where a bin is its own conjugate, because turning such a bin would make a real signal complex.
    """
    rows = np.minimum(np.arange(height), height - np.arange(height))[:, None]
    columns = np.arange(width // 2 + 1)[None]
    if binning == "floor":
        position, reach = np.minimum(np.maximum(rows, columns), bins - 1), 1.0
    else:
        position = (bins - 1) * np.maximum(rows / (height // 2), columns / (width // 2))
        reach = max(1.0, (bins - 1) / (max(height, width) // 2))
    hat = np.maximum(0.0, 1 - np.abs(position[..., None] - np.arange(bins)) / reach)
    magnitude = (hat / hat.sum(-1, keepdims=True)).astype(np.float32)
    own_conjugate = (2 * rows % height == 0) & (2 * columns % width == 0)
    return magnitude, magnitude * ~own_conjugate[..., None]


@_constant
def _bases(height: int, width: int, bins: int, binning: Binning) -> tuple[Matrix, ...]:
    """:func:`radial_basis` on the padded half spectrum, as (U * V, bins) matrices."""
    rows, columns = _padded(height, width)
    pad = ((0, rows - height), (0, columns - width // 2 - 1), (0, 0))
    return tuple(np.pad(basis, pad).reshape(-1, bins) for basis in radial_basis(height, width, bins, binning))


@_constant
def _pooling(height: int, width: int) -> tuple[Matrix]:
    """Adaptive average pooling to :data:`POOLED` as a matrix (pooled cells, height * width)."""
    sides = []
    for side, cells in zip((height, width), POOLED, strict=True):
        start, end = np.arange(cells) * side // cells, -(-(np.arange(1, cells + 1) * side) // cells)
        inside = (np.arange(side) >= start[:, None]) & (np.arange(side) < end[:, None])
        sides.append(inside / inside.sum(1, keepdims=True))
    return (np.kron(*sides).astype(np.float32),)


def angle(re: Tensor, im: Tensor, size: Tensor) -> Tensor:
    """Of complex numbers of magnitude ``size`` > 0, in radians, continuous: ``2 atan(im / (1.02 size + re))``.

    Without the 2 % that is ``atan2``, which jumps by 2 pi at negative real numbers: scaled, rounding errors of a bin
    there would turn it either way. Here such a bin's angle is 0, so that no gain turns it.

    >>> angle(torch.tensor([1.0, 0.0, -1.0]), torch.tensor([0.0, 1.0, 1e-7]), torch.ones(3))
    tensor([0.0000e+00, 1.5510e+00, 1.0000e-05])
    """
    return 2 * (im / ((1 + _SEAM) * size + re)).atan()


def _left(matrix: Tensor, x: Tensor) -> Tensor:
    """``matrix @ x`` for every matrix of (N, K, C), without copies."""
    return torch.bmm(matrix.expand(x.shape[0], *matrix.shape), x)


def _doubled(x: Tensor, n: int) -> Tensor:
    """Every patch's values for its four children: (B * n * n, K, C) to (B * 2n * 2n, K, C)."""
    return x.view(-1, n, n, *x.shape[1:]).repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(0, 2)


class ContextHead(nn.Module):
    """A small CNN over half spectra, the same for every channel: (N, inputs, U, V, C) to (N, dim, C), N patches.

    A convolution of 4 x 3 bins with that stride, ReLU, average pooling to 4 x 2 (where in the spectrum something lies
    is what a filter has to know) and a linear layer, into whose weight the pooling is folded. Written as matrix
    products, because convolution kernels handle thousands of small maps badly, above all in the backward pass.
    """

    def __init__(self, inputs: int, dim: int, width: int = 16) -> None:
        super().__init__()
        self.conv = nn.Linear(inputs * CELL[0] * CELL[1], width)
        self.out = nn.Linear(width * POOLED[0] * POOLED[1], dim)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, inputs, U, V, C), U and V multiples of the kernel's sides, to (N, dim, C)."""
        count, inputs, height, width, channels = maps.shape
        grid = height // CELL[0], width // CELL[1]
        cells = maps.view(count, inputs, grid[0], CELL[0], grid[1], CELL[1], channels).permute(0, 2, 4, 1, 3, 5, 6)
        x = _left(self.conv.weight, cells.reshape(count * grid[0] * grid[1], -1, channels))
        x = x.add_(self.conv.bias[:, None]).relu_().view(count, -1, channels)  # (N, grid cells * conv width, C)
        (pool,) = (m.to(x.device) for m in _pooling(*grid))
        weight = pool.t() @ self.out.weight.view(len(self.out.weight), len(pool), -1)  # (dim, grid cells, conv width)
        return _left(weight.flatten(1), x).add_(self.out.bias[:, None])


class ProfileMLP(nn.Module):
    """From concatenated contexts to a radial profile: Linear, ReLU, Linear (zero at the start), tanh."""

    def __init__(self, inputs: int, dim: int, bins: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, dim)
        self.profile = nn.Linear(dim, bins)
        nn.init.zeros_(self.profile.weight)
        nn.init.zeros_(self.profile.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """What the hidden layer gave, (N, dim, C), to gain - 1, (N, bins, C) in (-1, 1)."""
        return _left(self.profile.weight, F.relu(hidden)).add_(self.profile.bias[:, None]).tanh()


class HAFT(nn.Module):
    """Filters every patch of the deepest level by two radial profiles that the contexts of all levels decide.

    Level m cuts the map into (2^m)^2 patches. Magnitude (log) and phase (cosine and sine) of a patch's orthonormal
    Fourier transform go through the CNN heads of the level; the contexts of a deepest patch's ancestors, each with its
    level's embedding, are concatenated, and two MLPs give the profiles. Gains are ``1 + tanh``, multiplying the
    magnitude and the phase angle; the last layer starts at zero, so the module starts as the identity.

    Args:
        levels: L of the hierarchy, at least 1.
        bins: values of a radial profile.
        context_dim: length of a magnitude or phase context.
        context: ``channel``: every channel of every patch has its own profiles; ``mean``: the channels of a patch
            share profiles, decided from their mean.
        binning: how a profile becomes a filter, see :func:`radial_basis`.
        split: what of the concatenated contexts the two MLPs read. ``levels``: one the magnitude vectors of all levels,
            the other the phase vectors; ``half``: the plan's first and second half, whatever they hold.

    >>> haft, x = HAFT(2), torch.rand(1, 3, 16, 16)
    >>> torch.allclose(haft(x), x, atol=1e-5)
    True
    """

    def __init__(
        self,
        levels: int,
        *,
        bins: int = 16,
        context_dim: int = 64,
        context: Context = "channel",
        binning: Binning = "resampled",
        split: Split = "levels",
    ) -> None:
        super().__init__()
        self.levels, self.bins, self.context, self.binning, self.split = levels, bins, context, binning, split
        self.magnitude_heads = nn.ModuleList(ContextHead(1, context_dim) for _ in range(levels))
        self.phase_heads = nn.ModuleList(ContextHead(2, context_dim) for _ in range(levels))
        self.level_embedding = nn.Embedding(levels, 2 * context_dim)
        self.mlps = nn.ModuleList(ProfileMLP(levels * context_dim, context_dim, bins) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape and dtype, channels last in memory.

        Raises:
            ConfigError: the map cannot be cut, see :func:`patch_size`.
        """
        height, width = patch_size(x.shape[-2], x.shape[-1], self.levels)
        batch, channels = x.shape[:2]
        n = 2 ** (self.levels - 1)
        rows, columns = _padded(height, width)
        with torch.autocast(x.device.type, enabled=False):
            signal = x.float()
            (magnitude, phase), polar = self._deviations(signal)
            spectrum, size = self._spectrum(signal, n) if self.context == "mean" else polar
            re, im = spectrum.flatten(2, 3).unbind(1)  # (N, U * V, C)
            flat, turning = (m.to(x.device) for m in _bases(height, width, self.bins, self.binning))  # (U * V, bins)
            gain = 1 + _left(flat, magnitude)
            turn = _left(turning, phase) * angle(re, im, size.flatten(1, 3))  # angle * (gain - 1)
            cos, sin = gain * turn.cos(), gain * turn.sin()
            filtered = torch.stack([re * cos - im * sin, re * sin + im * cos], 1).view(re.shape[0], 2 * rows, -1)
            _, _, up, back = (m.to(x.device) for m in _transform(height, width))
            between = _left(up, filtered).view(-1, 2 * columns, channels)  # (N * P, 2 * V, C)
            patches = _left(back, between).view(batch, n, n, height, width, channels).transpose(2, 3)
        return patches.reshape(batch, *x.shape[2:], channels).permute(0, 3, 1, 2).to(x.dtype)

    @torch.no_grad()
    def profiles(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The learnt gains of magnitude and phase: each (B, C, n, n, bins) in (0, 2), C = 1 for ``context="mean"``.

        n is the number of patches along a side; bin 0 is DC and the last bin Nyquist (with ``resampled`` binning).
        """
        n = 2 ** (self.levels - 1)
        with torch.autocast(x.device.type, enabled=False):
            deviations, _ = self._deviations(x.float())
        magnitude, phase = (1 + d.view(x.shape[0], n, n, self.bins, -1).permute(0, 4, 1, 2, 3) for d in deviations)
        return magnitude, phase

    @staticmethod
    def _spectrum(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Each patch's half spectrum, padded to whole cells: (B, C, H, W) to (B * n * n, 2, U, V, C); 2 = re, im.

        And its magnitude (B * n * n, 1, U, V, C), which has a finite gradient where it is 0.
        """
        batch, channels, height, width = x.shape
        height, width = height // n, width // n
        rows, columns = _padded(height, width)
        across, down, _, _ = (m.to(x.device) for m in _transform(height, width))
        patches = x.permute(0, 2, 3, 1).reshape(batch, n, height, n, width, channels).transpose(2, 3)
        between = _left(across, patches.reshape(-1, width, channels))  # (N * P, 2 * V, C)
        spectrum = _left(down, between.view(-1, 2 * height, columns * channels)).view(-1, 2, rows, columns, channels)
        return spectrum, spectrum.square().sum(1, keepdim=True).clamp_min(1e-12).sqrt()

    def _deviations(self, x: Tensor) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
        """Gain - 1 of magnitude and phase, two (B * n * n, bins, C or 1), and what they were decided from, at last."""
        if self.context == "mean":
            x = x.mean(1, keepdim=True)
        embedding = self.level_embedding.weight.view(self.levels, 2, -1)
        if self.split == "levels":
            embedding = embedding.transpose(0, 1)
        mlps = [cast(ProfileMLP, mlp) for mlp in self.mlps]
        # The hidden layers; what the level embeddings add to them is the same for all patches.
        sums = [
            F.linear(part, mlp.hidden.weight, mlp.hidden.bias)[:, None].expand(x.shape[0], -1, x.shape[1])
            for mlp, part in zip(mlps, embedding.reshape(2, -1), strict=True)
        ]
        for level in range(self.levels):
            n = 2**level
            spectrum, size = self._spectrum(x, n)
            maps = (size.log1p(), spectrum / (size + _EPS))
            if level:
                sums = [_doubled(part, n // 2) for part in sums]
            for kind, head in enumerate((self.magnitude_heads[level], self.phase_heads[level])):
                vector = head(maps[kind])
                dim = vector.shape[1]
                part, slot = (kind, level) if self.split == "levels" else divmod(2 * level + kind, self.levels)
                # A share of a linear layer on all levels' contexts: computed once per patch, not once per descendant.
                weight = mlps[part].hidden.weight[:, slot * dim : (slot + 1) * dim]
                sums[part] = torch.baddbmm(sums[part], weight.expand(vector.shape[0], -1, -1), vector)
        deviations = [mlp(hidden) for mlp, hidden in zip(mlps, sums, strict=True)]
        return deviations, (spectrum, size)
