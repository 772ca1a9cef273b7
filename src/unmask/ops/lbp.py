"""Local binary patterns: which of its eight neighbours are not darker than a pixel."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

PATTERNS = 10
"""Rotation-invariant uniform patterns of eight neighbours: 0 to 8 bright ones in a row, and all that are not."""

_FAR, _NEAR = 70711, 29289
"""A diagonal neighbour on the unit circle, to the five digits that scikit-image keeps, is so many 100000ths of the way
from the pixel to the corner, in rows and in columns."""


def uniform_patterns(grey: Tensor) -> Tensor:
    """The rotation-invariant uniform pattern of every pixel (Ojala et al., 2002), P = 8, R = 1.

    A neighbour's bit is 1 where it is at least the pixel; the four diagonal ones are interpolated bilinearly, and
    outside the image is 0. A ring with at most two changes gets the number of its ones, 0 to 8, any other 9. Equal to
    ``skimage.feature.local_binary_pattern(grey, 8, 1, "uniform")``, but in integers: of a million pixels of photos
    three differ, where its floats miss an exact tie.

    Args:
        grey: (B, 1, H, W) uint8.

    Returns:
        (B, 1, H, W) uint8 in 0..9. Not differentiable.

    >>> uniform_patterns(torch.full((1, 1, 3, 3), 7, dtype=torch.uint8))[0, 0, 1, 1].item()  # flat: nobody is darker
    8
    """
    batch, _, height, width = grey.shape
    row = width + 2
    pixels = F.pad(grey, (1, 1, 1, 1)).flatten()  # one run: a neighbour is a shift, memory is read in order
    first = row + 1
    many = pixels.numel() - 2 * first

    def around(run: Tensor, shift: int) -> Tensor:
        return run[first + shift : first + shift + many]

    # Pixel c, corner d, the two a and b between them: the interpolated neighbour is at least c where
    # far·d + near·(a + b) >= (far + 2·near)·c (all over far; c's own share is taken to the right).
    levels = pixels.int()
    far = levels * _FAR
    span = pixels.numel() - first
    above_right = (levels[:span] + levels[first:]).mul_(_NEAR)  # entry p - row: pixels above and right of p
    above_left = (levels[1 : 1 + span] + levels[row : row + span]).mul_(_NEAR)  # entry p - first: above and left of p
    own = around(levels, 0) * (_FAR + 2 * _NEAR)
    centre = around(pixels, 0)

    def corner(shift: int, sides: Tensor) -> Tensor:
        return (around(far, shift) + sides[:many]).ge_(own).to(torch.uint8)

    def side(shift: int) -> Tensor:
        return (around(pixels, shift) >= centre).to(torch.uint8)

    ring = [
        side(1),
        corner(1 - row, above_right[1:]),
        side(-row),
        corner(-1 - row, above_left),
        side(-1),
        corner(row - 1, above_right[row:]),  # below and left of c: above and right of the lower left corner
        side(row),
        corner(row + 1, above_left[first:]),  # below and right of c: above and left of the lower right corner
    ]
    changes, ones = ring[0] ^ ring[7], ring[0].clone()
    for before, bit in pairwise(ring):
        changes += before ^ bit
        ones += bit
    patterns = torch.maximum(ones, (changes > 2).to(torch.uint8) * (PATTERNS - 1))
    return F.pad(patterns, (0, 2 * first)).view(batch, 1, height + 2, row)[..., :height, :width]


def pattern_planes(patterns: Tensor) -> Tensor:
    """(B, 1, H, W) patterns to (B, 10, H, W) planes of 0 and 1, one per pattern: their numbers are no metric space.

    >>> pattern_planes(torch.tensor([[[[0, 9]]]]))[0, :, 0].argmax(0).tolist()
    [0, 9]
    """
    kinds = torch.arange(PATTERNS, device=patterns.device, dtype=patterns.dtype).view(1, PATTERNS, 1, 1)
    return (patterns == kinds).float()


def pattern_histogram(patterns: Tensor) -> Tensor:
    """Share of each pattern: (B, C, H, W) uint8 from :func:`uniform_patterns` to (B, C, 10), summing to 1.

    >>> pattern_histogram(torch.tensor([[[[0, 9, 9, 9]]]], dtype=torch.uint8))[0, 0, [0, 9]].tolist()
    [0.25, 0.75]
    """
    batch, channels, height, width = patterns.shape
    one = torch.ones(1, 1, 1, dtype=torch.int32, device=patterns.device).expand(batch, channels, height * width)
    counts = torch.zeros(batch, channels, PATTERNS, dtype=torch.int32, device=patterns.device)
    return counts.scatter_add(2, patterns.flatten(2).long(), one).float() / (height * width)
