"""The block transform of JPEG: 8 x 8 cosine coefficients, and where the grid of an earlier compression lies."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.ops.noise import fold

BLOCK = 8
GRID_FOUND = 0.05
"""Least :func:`grid_offset` strength that speaks of a grid; photos without one stay under it from 128 pixels up."""
_PROBES = ((1, 3), (3, 1), (2, 4), (4, 2), (3, 5), (5, 3), (4, 6), (6, 4))
"""Vertical and horizontal frequencies of the coefficients that look for the grid: those that compression zeroes at low
and at high qualities."""


def dct_matrix() -> Tensor:
    """(8, 8) float32 orthonormal DCT-II: row = frequency, column = place.

    >>> matrix = dct_matrix()
    >>> bool(torch.allclose(matrix @ matrix.T, torch.eye(8), atol=1e-6))
    True
    """
    place = torch.arange(BLOCK, dtype=torch.float64)
    matrix = torch.cos(torch.pi / (2 * BLOCK) * (2 * place + 1) * place[:, None]) / 2
    return torch.cat([matrix[:1] / 2**0.5, matrix[1:]]).float()


def block_dct(grey: Tensor, matrix: Tensor) -> Tensor:
    """Orthonormal DCT-II of every 8 x 8 block from the upper left corner on: ``scipy.fft.dctn(block, norm="ortho")``.

    Args:
        grey: (B, 1, H, W), sides of at least 8; rows and columns after the last whole block are left out.
        matrix: (8, 8) from :func:`dct_matrix`.

    Returns:
        (B, 8, 8, H // 8, W // 8) in the unit of ``grey``: vertical frequency, horizontal frequency, block row, block
        column; a view, in whose memory each block's coefficients follow each other.

    >>> round(block_dct(torch.ones(1, 1, 8, 8), dct_matrix()).flatten()[0].item(), 5)
    8.0
    """
    batch, _, height, width = grey.shape
    h, w = height // BLOCK, width // BLOCK
    pixels = grey[..., : h * BLOCK, : w * BLOCK].reshape(-1, BLOCK)
    across = (pixels @ matrix.T).view(batch * h, BLOCK, w * BLOCK)  # (B·h, row in the block, w·v)
    found = torch.bmm(across.mT, matrix.T.expand(batch * h, BLOCK, BLOCK))  # (B·h, w·v, u): turned on the way
    return found.view(batch, h, w, BLOCK, BLOCK).permute(0, 4, 3, 1, 2)


def grid_offset(grey: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Where the blocks of an earlier JPEG compression begin, from the zeros it left (after Nikoukhah et al., 2021).

    At each of the 64 positions of the grid, count the block coefficients that are nearly zero (under half a grey
    level): quantisation makes many where blocks are those of the compression, and only there. Eight coefficients of
    middle frequency are counted, which is as sure as all 64 and seven times cheaper.

    Args:
        grey: (B, 1, H, W) luma in grey levels (0 to 255).
        matrix: (8, 8) from :func:`dct_matrix`.

    Returns:
        (B, 2) int64, row and column of the first block, 0..7, and (B,) strength: how much larger the share of zeros
        is there than on average at the other positions, in [0, 1]. Under :data:`GRID_FOUND` there is no telling (never
        compressed, compressed at the best quality, or resized since). Sides under 16 give 0 and 0.
    """
    batch, _, height, width = grey.shape
    rows, columns = (height - BLOCK + 1) // BLOCK, (width - BLOCK + 1) // BLOCK
    if not rows or not columns:
        return torch.zeros(batch, 2, dtype=torch.int64, device=grey.device), grey.new_zeros(batch)
    down, across = (torch.tensor(part, device=grey.device) for part in zip(*_PROBES, strict=True))
    probes = matrix[down][:, :, None] * matrix[across][:, None]  # (8, 8, 8) cosine pictures
    found = F.conv2d(grey, probes[:, None])  # (B, 8, H - 7, W - 7): a block at every pixel
    zeros = (found.abs() < 0.5).to(grey.dtype).mean(1)[:, : rows * BLOCK, : columns * BLOCK]
    share = zeros.view(batch, rows, BLOCK, columns, BLOCK).mean((1, 3)).flatten(1)  # (B, 64) by position of the grid
    most, where = share.max(1)
    strength = most - (share.sum(1) - most) / (BLOCK * BLOCK - 1)
    return torch.stack([where // BLOCK, where % BLOCK], 1), strength


def to_grid(grey: Tensor, offset: Tensor) -> Tensor:
    """Shift (B, 1, H, W) so that the blocks that begin at ``offset`` begin at the upper left corner.

    The shift is at most four pixels, so that blocks stay where they are in the image; what comes in from outside is
    mirrored.

    Args:
        grey: (B, 1, H, W).
        offset: (B, 2) int64, row and column, from :func:`grid_offset`.

    >>> to_grid(torch.arange(10.0).view(1, 1, 1, 10), torch.tensor([[0, 2]]))[0, 0, 0, :3].tolist()
    [2.0, 3.0, 4.0]
    """
    batch, channels, height, width = grey.shape
    start = (offset + BLOCK // 2) % BLOCK - BLOCK // 2  # (B, 2) in -4..3
    rows = fold(start[:, :1] + torch.arange(height, device=grey.device), height)  # (B, H)
    columns = fold(start[:, 1:] + torch.arange(width, device=grey.device), width)
    moved = grey.gather(2, rows[:, None, :, None].expand(batch, channels, height, width))
    return moved.gather(3, columns[:, None, None, :].expand(batch, channels, height, width))


def laplace_scale(values: Tensor) -> Tensor:
    """Scale beta of a Laplace distribution around 0, by maximum likelihood: the mean magnitude over the last two axes.

    >>> laplace_scale(torch.tensor([[[-2.0, 0.0, 1.0, 3.0]]])).item()
    1.5
    """
    return values.abs().mean((-2, -1))
