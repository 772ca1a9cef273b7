"""One level of the periodised two-dimensional wavelet transform and back, as one strided convolution each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def wavelet_filters(name: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """The four separable analysis filters of a PyWavelets wavelet, ready for :func:`dwt2`.

    Args:
        name: any discrete wavelet of PyWavelets, e.g. ``haar``, ``coif1``, ``db2``.
        dtype: of the filters; the same as the image's.

    Returns:
        (4, 1, L, L), L even, in the order LL (cA), LH (cH), HL (cV), HH (cD).

    Raises:
        ValueError: PyWavelets knows no such wavelet.

    >>> wavelet_filters("haar")[:, 0].flatten(1).tolist()  # doctest: +ELLIPSIS
    [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, -0.5, -0.5], [0.5, -0.5, 0.5, -0.5], [0.5, -0.5, -0.5, 0.5]]
    """
    import pywt

    wavelet = pywt.Wavelet(name)
    # A convolution reverses its filter, torch's conv2d does not.
    low, high = (torch.tensor(taps[::-1], dtype=torch.float64) for taps in (wavelet.dec_lo, wavelet.dec_hi))
    pairs = [(low, low), (high, low), (low, high), (high, high)]  # along rows (vertical), along columns
    return torch.stack([torch.outer(down, across) for down, across in pairs])[:, None].to(dtype)


def _wrap(x: Tensor, pad: int, dim: int) -> Tensor:
    """Continue ``x`` periodically by ``pad`` on both sides."""
    side = x.shape[dim]
    return torch.cat([x.narrow(dim, side - pad, pad), x, x.narrow(dim, 0, pad)], dim)


def dwt2(x: Tensor, filters: Tensor) -> tuple[Tensor, Tensor]:
    """``pywt.dwt2(x, wavelet, mode="periodization")`` of every channel: sizes halve exactly.

    Args:
        x: (B, C, H, W), H and W even and at least ``L // 2 - 1``.
        filters: (4, 1, L, L) from :func:`wavelet_filters`, of ``x``'s dtype and device.

    Returns:
        The approximation LL (B, C, H/2, W/2), and the details (B, C, 3, H/2, W/2) in PyWavelets' order: LH (cH,
        horizontal edges), HL (cV, vertical edges), HH (cD).

    Raises:
        ValueError: an odd side, or one shorter than the filter's wrap-around.

    >>> ll, bands = dwt2(torch.ones(1, 1, 4, 4), wavelet_filters("haar"))
    >>> ll.unique().tolist(), bands.abs().max().item()
    ([2.0], 0.0)
    """
    batch, channels, height, width = x.shape
    pad = filters.shape[-1] // 2 - 1
    if height % 2 or width % 2 or min(height, width) < max(2, pad):
        raise ValueError(f"expected even sides of at least {max(2, pad + pad % 2)}, got {height}x{width}")
    flat = x.reshape(batch * channels, 1, height, width)
    if pad:
        flat = _wrap(_wrap(flat, pad, 2), pad, 3)
    parts = F.conv2d(flat, filters, stride=2).view(batch, channels, 4, height // 2, width // 2)
    return parts[:, :, 0], parts[:, :, 1:]


def idwt2(ll: Tensor, bands: Tensor, filters: Tensor) -> Tensor:
    """The inverse of :func:`dwt2` for an orthonormal wavelet (its adjoint): ``pywt.idwt2(..., "periodization")``.

    Args:
        ll: (B, C, h, w).
        bands: (B, C, 3, h, w), in the order that :func:`dwt2` gives.
        filters: (4, 1, L, L), those of the analysis.

    Returns:
        (B, C, 2h, 2w).

    >>> image = torch.rand(1, 2, 8, 12)
    >>> bool(torch.allclose(idwt2(*dwt2(image, wavelet_filters("db2")), wavelet_filters("db2")), image, atol=1e-5))
    True
    """
    batch, channels, _, h, w = bands.shape
    length = filters.shape[-1]
    reach = length // 4
    # Output 2m + phase gathers the coefficients m - j with the taps 2j + phase + length / 2 - 1.
    shift = torch.arange(reach, -reach - 1, -1, device=filters.device)
    taps = 2 * shift + torch.arange(2, device=filters.device)[:, None] + length // 2 - 1 + 2  # (2, K), after padding
    padded = F.pad(filters[:, 0], (2, 2, 2, 2))
    kernels = padded[:, taps[:, :, None, None], taps]  # (4, 2, K, 2, K)
    kernels = kernels.permute(1, 3, 0, 2, 4).reshape(4, 4, 2 * reach + 1, 2 * reach + 1)
    parts = torch.cat([ll[:, :, None], bands], 2).reshape(batch * channels, 4, h, w)
    if reach:
        parts = _wrap(_wrap(parts, reach, 2), reach, 3)
    return F.pixel_shuffle(F.conv2d(parts, kernels), 2).view(batch, channels, 2 * h, 2 * w)
