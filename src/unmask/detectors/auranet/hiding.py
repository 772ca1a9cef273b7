"""Hiding patches of an image, and what is shown in their place."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.core.errors import SizeError

Fill = Literal["grain", "zero"]

_SWEEPS = 2


def hide(image: Tensor, patch: int, ratio: float, generator: torch.Generator | None = None) -> Tensor:
    """Choose ``ratio`` of the patches of each image (the same number in each, at least one hidden and one seen).

    Args:
        image: (B, 3, H, W).
        patch: side of the square patches; divides H and W.
        ratio: share that is hidden, in (0, 1).
        generator: None = torch's own, which training seeds at every step.

    Returns:
        (B, 1, H, W) in the image's type, 1 = hidden.

    Raises:
        SizeError: a side that ``patch`` does not divide, or a single patch.
    """
    height, width = image.shape[-2:]
    rows, columns = height // patch, width // patch
    if height % patch or width % patch or rows * columns < 2:
        raise SizeError(
            "bad_size", f"to hide {patch}-pixel patches an image needs two or more whole ones, got {height}x{width}"
        )
    count = min(max(round(ratio * rows * columns), 1), rows * columns - 1)
    draw = torch.rand(len(image), rows * columns, generator=generator, device=image.device)
    hidden = torch.zeros_like(draw, dtype=image.dtype).scatter_(1, draw.argsort(1)[:, :count], 1.0)
    return F.interpolate(hidden.view(-1, 1, rows, columns), scale_factor=patch, mode="nearest")


def fill_in(image: Tensor, hidden: Tensor, fill: Fill, generator: torch.Generator | None = None) -> Tensor:
    """The image with something else where ``hidden`` is 1; the hidden pixels themselves are not read.

    ``grain``: the colours around flow into the hole (a pyramid of averages of what is seen, so that they meet its rim
    without a step), with noise as strong as the image's own finest detail, so that neither an edge nor a change of
    noise draws the grid: a frequency stream would otherwise learn the grid first. ``zero``: mid-grey, flat.

    Args:
        image: (B, 3, H, W) in [0, 1].
        hidden: (B, 1, H, W), 1 = hidden.
        fill: see above.
        generator: of the noise; None = torch's own.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    seen = 1 - hidden
    if fill == "zero":
        return image * seen + 0.5 * hidden
    smooth = _inpaint(image, seen)
    noise = torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
    return image * seen + (smooth + noise * _grain(image, seen)).clamp(0, 1) * hidden


def _inpaint(image: Tensor, seen: Tensor) -> Tensor:
    """Pull-push: averages of what is seen, level by level to one cell, then back up where nothing is seen."""
    levels = [(image * seen, seen)]
    while max(levels[-1][1].shape[-2:]) > 1:
        levels.append(tuple(F.avg_pool2d(x, 2, ceil_mode=True) for x in levels[-1]))  # type: ignore[arg-type]
    colour, weight = levels[-1]
    filled = colour / weight.clamp_min(1e-6)
    for colour, weight in reversed(levels[:-1]):
        filled = F.interpolate(filled, size=colour.shape[-2:], mode="bilinear", align_corners=False)
        known = (weight > 0).to(colour)
        colour = known * colour / weight.clamp_min(1e-6)
        filled = colour + (1 - known) * filled
        for _ in range(_SWEEPS):  # towards each hidden cell being the mean of its neighbours
            smooth = F.avg_pool2d(filled, 3, 1, 1, count_include_pad=False)
            filled = colour + (1 - known) * smooth
    return filled


def _grain(image: Tensor, seen: Tensor) -> Tensor:
    """(B, 3, 1, 1) standard deviation of white noise with the seen pixels' median second difference along a row (every
    fourth row is enough)."""
    image, seen = image[:, :, ::4], seen[:, :, ::4]
    difference = (image[..., 2:] - 2 * image[..., 1:-1] + image[..., :-2]).abs()
    whole = (seen[..., 2:] * seen[..., :-2]).expand_as(difference)
    spread = torch.where(whole > 0, difference, torch.nan).flatten(2).nanmedian(2).values  # (B, 3)
    return (spread / (0.6745 * 6**0.5))[..., None, None]  # |N(0, 6 s^2)| has the median 0.6745 sqrt(6) s
