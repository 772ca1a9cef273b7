"""Maps of one square of original pixels that show traces the eye misses; the same scales in every report."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from unmask.core.types import FloatMap, UInt8Image
from unmask.ops.npr import npr
from unmask.ops.srm import luma, srm, srm_kernels


class PixelMap(NamedTuple):
    """One picture for the report."""

    title: str
    caption: str
    values: FloatMap
    """(H, W) or (H, W, 3) in [0, 1]."""


def pixel_maps(pixels: UInt8Image) -> list[PixelMap]:
    """Residual, wavelet and spectrum maps of unresized pixels (S, S, 3).

    The neighbour residual is NPR's (Tan et al., CVPR 2024), the high-pass filters are those of the spatial rich model
    (Fridrich and Kodovsky, 2012).
    """
    import pywt

    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div(255).unsqueeze(0)  # (1, 3, S, S)
    grey = luma(image)[0, 0].numpy()
    residual = npr(image)[0].mean(0).numpy()
    high = srm(image, srm_kernels())[0].abs().mean(0).numpy()
    _, bands = pywt.dwt2(grey, "db2", mode="periodization")
    detail = np.sqrt(sum(band**2 for band in bands))
    window = np.hanning(grey.shape[0])[:, None] * np.hanning(grey.shape[1])[None]
    spectrum = np.log10(np.abs(np.fft.fftshift(np.fft.fft2((grey - grey.mean()) * window))) + 1e-3)
    return [
        PixelMap(
            "Neighbour residual",
            "Each pixel minus its neighbour in a 2x2 cell. Networks that enlarge their output leave regular cells.",
            _unit(0.5 + 4 * residual),
        ),
        PixelMap(
            "High-pass residual",
            "Strength of what remains when content is filtered away. A patch that is smoother or noisier than its "
            "surroundings may come from elsewhere; so may a blurred background.",
            _unit(np.sqrt(high * 12)),
        ),
        PixelMap(
            "Wavelet detail",
            "Finest detail by place. Blending and retouching often erase it; so do make-up, blur and compression.",
            _unit(np.sqrt(detail * 4)),
        ),
        PixelMap(
            "Spectrum",
            "Frequencies, low in the centre. Isolated bright dots away from it hint at periodic upsampling; "
            "a cross or grid of lines is usual for JPEG.",
            _unit((spectrum + 1) / 4),
        ),
    ]


def _unit(values: npt.NDArray[np.floating]) -> FloatMap:
    return values.clip(0, 1).astype(np.float32)
