"""What a camera adds to a scene: the residual of a wavelet denoiser."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.ops.wavelets import dwt2, idwt2

REACH = 4
"""Half the side of the largest square over which a coefficient's variance is estimated."""


def least_local_mean(x: Tensor) -> Tensor:
    """The least of the means of (B, C, H, W) over squares of 3, 5, 7 and 9 around each place, zero outside.

    >>> least_local_mean(torch.ones(1, 1, 20, 20))[0, 0, 0, [0, 4, 9]].tolist()  # a corner sees 4 of 9, 25 of 81
    [0.30864197..., 0.55555558..., 0.55555558...]
    """
    height, width = x.shape[-2:]
    padded = F.pad(x, (REACH, REACH, REACH, REACH))
    along = padded[..., REACH : REACH + width]
    least = None
    for reach in range(1, REACH + 1):
        along = along + padded[..., REACH - reach : REACH - reach + width]
        along = along + padded[..., REACH + reach : REACH + reach + width]
        whole = along[..., REACH - reach : REACH - reach + height, :]
        for row in range(REACH - reach + 1, REACH + reach + 1):
            whole = whole + along[..., row : row + height, :]
        mean = whole / (2 * reach + 1) ** 2
        least = mean if least is None else torch.minimum(least, mean)
    assert least is not None
    return least


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
        own = (least_local_mean(power) - noise).clamp_min(0).view_as(bands)
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
