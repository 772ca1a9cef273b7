"""What a camera adds to a scene: the residual of a wavelet denoiser."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.ops.wavelets import dwt2, idwt2

WINDOWS = (3, 5, 7, 9)
"""Sides of the squares over which a coefficient's variance is estimated; the least estimate counts."""


def local_mean(x: Tensor, side: int) -> Tensor:
    """Mean of (B, C, H, W) over the square of odd ``side`` around each place, only what lies inside the image.

    >>> local_mean(torch.tensor([[[[1.0, 2.0, 6.0]]]]), 3).flatten().tolist()
    [1.5, 3.0, 4.0]
    """
    half = side // 2
    along = F.avg_pool2d(x, (1, side), 1, (0, half), count_include_pad=False)
    return F.avg_pool2d(along, (side, 1), 1, (half, 0), count_include_pad=False)


def noise_residual(image: Tensor, filters: Tensor, sigma: float, levels: int = 4) -> Tensor:
    """Image minus its denoised self: Wiener filtering of wavelet coefficients (Mihcak et al., 1999; Lukas et al.,
    2006, appendix).

    Per level and band, a coefficient's own variance is estimated as ``v = min_w max(0, mean_w(c²) - sigma²)`` over
    squares of 3, 5, 7 and 9; the denoiser keeps ``c · v / (v + sigma²)``, so the residual keeps ``c · sigma² /
    (v + sigma²)``, and nothing of the coarsest approximation.

    Departure: the image is continued by mirroring (16 pixels and up to the next multiple of ``2 ** levels``), so that
    the periodic transform does not tie its opposite borders together.

    Args:
        image: (B, C, H, W), of any size.
        filters: (4, 1, L, L) of an orthonormal wavelet from :func:`unmask.ops.wavelets.wavelet_filters`; the paper's
            is ``db4`` (8 taps).
        sigma: standard deviation of the noise that is looked for, in the image's unit; the paper's is 5 grey levels.
        levels: of the transform.

    Returns:
        (B, C, H, W) signed, in the image's unit; noise of standard deviation well under ``sigma`` over a smooth scene
        comes back whole, edges do not.
    """
    height, width = image.shape[-2:]
    step = 2**levels
    below, right = ((-side) % step + step for side in (height, width))
    approximation = _mirror(image, step, step, below, right)
    noise = sigma**2
    kept = []
    for _ in range(levels):
        approximation, bands = dwt2(approximation, filters)
        power = bands.flatten(1, 2).square()  # (B, 3C, h, w)
        excess = local_mean(power, WINDOWS[0])
        for side in WINDOWS[1:]:
            excess = torch.minimum(excess, local_mean(power, side))
        own = (excess - noise).clamp_min(0).view_as(bands)
        kept.append(bands * (noise / (own + noise)))
    residual = torch.zeros_like(approximation)
    for bands in reversed(kept):
        residual = idwt2(residual, bands, filters)
    return residual[..., step : step + height, step : step + width]


def _mirror(x: Tensor, top: int, left: int, below: int, right: int) -> Tensor:
    """Continue (B, C, H, W) by mirroring at its edge pixels, by more than its size if need be."""
    height, width = x.shape[-2:]
    rows = fold(torch.arange(-top, height + below, device=x.device), height)
    columns = fold(torch.arange(-left, width + right, device=x.device), width)
    return x[..., rows, :][..., columns]


def fold(index: Tensor, n: int) -> Tensor:
    """Positions outside 0..n-1 mirrored back at the centres of the edge pixels.

    >>> fold(torch.arange(-2, 5), 3).tolist()
    [2, 1, 0, 1, 2, 1, 0]
    """
    if n == 1:
        return torch.zeros_like(index)
    return (n - 1) - ((index % (2 * (n - 1))) - (n - 1)).abs()
