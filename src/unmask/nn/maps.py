"""Forensic maps as torch modules: an image in, a map aligned with it out. Streams of networks, rows of a catalogue."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from unmask.core.errors import ConfigError
from unmask.core.names import did_you_mean
from unmask.ops.colour import gradient_size, hue_plane, ycbcr
from unmask.ops.dct import GRID_FOUND, block_dct, dct_matrix, grid_offset, to_grid
from unmask.ops.lbp import PATTERNS, pattern_planes, uniform_patterns
from unmask.ops.noise import noise_residual
from unmask.ops.npr import npr
from unmask.ops.sharpness import octaves, sharpness
from unmask.ops.spectrum import log_amplitude
from unmask.ops.srm import luma
from unmask.ops.wavelets import wavelet_filters


class PixelMap(nn.Module, ABC):
    """A map of fixed channels over (B, 3, H, W) RGB in [0, 1], on any device, without trainable parameters.

    The map is float32 (B, ``channels``, H / ``stride``, W / ``stride``), of order 1, also under autocast. A subclass
    writes :meth:`compute`.
    """

    channels: int
    stride: int = 1

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, channels, H // stride, W // stride)."""
        with torch.autocast(image.device.type, enabled=False):
            return self.compute(image.float())

    @abstractmethod
    def compute(self, image: Tensor) -> Tensor:
        """The map of a float32 image, outside autocast."""


class RGB(PixelMap):
    """The pixels themselves, from [0, 1] to [-1, 1] (Rössler et al., 2019)."""

    channels = 3

    def compute(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1]."""
        return 2 * image - 1


class Noise(PixelMap):
    """The residual of a wavelet denoiser, per colour: sensor noise, and what an edit or a generator left in its place.

    Lukas, Fridrich and Goljan (2006) with their wavelet (Daubechies, 8 taps), four levels and sigma of 5 grey levels;
    no reference camera (Wu et al., 2024). In units of sigma; see :func:`unmask.ops.noise.noise_residual`.
    """

    channels = 3
    filters: Tensor

    def __init__(self, sigma: float = 5.0) -> None:
        super().__init__()
        if not sigma > 0:
            raise ConfigError("bad_config", f"map 'noise': sigma is in grey levels and over 0, got {sigma}")
        self.sigma = sigma / 255
        self.register_buffer("filters", wavelet_filters("db4"), persistent=False)

    def compute(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) signed, in units of sigma."""
        return noise_residual(image, self.filters, self.sigma) / self.sigma


class LBP(PixelMap):
    """Local binary patterns of the luma: ten planes of 0 and 1, one per rotation-invariant uniform pattern.

    Pattern numbers are no metric space, so a network gets planes and not codes (Li et al., 2020). Planes 0 to 8: so
    many neighbours in a row are at least as bright (0 a bright spot, 4 an edge, 8 flat or a dark spot); plane 9: any
    other ring. Luma is rounded to whole grey levels, so that equal pixels stay equal. No gradient flows through it.
    """

    channels = PATTERNS

    def compute(self, image: Tensor) -> Tensor:
        """(B, 10, H, W) of 0 and 1, summing to 1 over the planes."""
        return pattern_planes(uniform_patterns((luma(image) * 255).round().to(torch.uint8)))


class Colour(PixelMap):
    """Colour spaces and their first differences (Mo et al., 2022): fourteen channels.

    Channels 0 to 6: cosine and sine of the hue times the saturation (an angle is no number), saturation, value, luma,
    Cb and Cr, all within [-1, 1]. Channels 7 to 13: the lengths of their gradients.
    """

    channels = 14

    def compute(self, image: Tensor) -> Tensor:
        """(B, 14, H, W): seven planes and their gradients."""
        yuv = ycbcr(image)
        planes = torch.cat(
            [hue_plane(image), 2 * image.amax(1, keepdim=True) - 1, 2 * yuv[:, :1] - 1, 2 * yuv[:, 1:]], 1
        )
        return torch.cat([planes, gradient_size(planes)], 1)


class FFT(PixelMap):
    """Log-amplitude spectrum per colour, Hann window, zero frequency in the middle (Zhang et al., 2019).

    As large as the image, but its axes are frequencies and not places: see :func:`unmask.ops.spectrum.amplitude`.
    """

    channels = 3

    def compute(self, image: Tensor) -> Tensor:
        """(B, 3, H, W): ``log10(amplitude + 0.001) / 3``, from -1 (nothing) over 0 (amplitude 1)."""
        return log_amplitude(image)


class DCT(PixelMap):
    """Cosine coefficients of the luma's 8 x 8 blocks, 64 channels at an eighth of the size.

    A photo that was compressed and then cropped has its JPEG grid anywhere: with ``align`` each image's grid is found
    first and the blocks are laid on it (shifted by at most four pixels); where no grid shows they begin in the corner.
    Coefficients c, in grey levels, become ``sign(c) · log(1 + |c|) / log(1 + 1024)``: within [-1, 1], what quantisation
    set to zero stays zero, and the sign, which is the place of an edge in its block, is kept.
    """

    channels = 64
    stride = 8
    matrix: Tensor

    def __init__(self, align: bool = True) -> None:
        super().__init__()
        self.align = align
        self.register_buffer("matrix", dct_matrix(), persistent=False)

    def compute(self, image: Tensor) -> Tensor:
        """(B, 64, H // 8, W // 8): vertical frequency times 8 plus horizontal frequency."""
        found = self.coefficients(image)
        return found.sign() * found.abs().log1p() / math.log1p(1024)

    def coefficients(self, image: Tensor) -> Tensor:
        """(B, 64, H // 8, W // 8) coefficients in grey levels, mid-grey at 0, on the image's own grid."""
        grey = luma(image) * 255
        if self.align:
            offset, strength = grid_offset(grey.detach(), self.matrix)
            grey = to_grid(grey, torch.where(strength[:, None] > GRID_FOUND, offset, 0))
        return block_dct(grey - 128, self.matrix).flatten(1, 2)


class NPR(PixelMap):
    """Neighbouring pixel relationships (Tan et al., 2024): what a nearest-neighbour round trip to half size loses."""

    channels = 3

    def compute(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) signed, in [-1, 1]."""
        return npr(image, 0.5)


class Sharpness(PixelMap):
    """How much finer detail a place has than the image's typical place, in two octaves (after Li and Lyu, 2019).

    A face that was enlarged or warped into a sharper photo is darker, one from a sharper photo brighter. Logarithms of
    ratios of local energies less their median over the image, so contrast does not count; see
    :func:`unmask.ops.sharpness.sharpness`.
    """

    channels = 2

    def compute(self, image: Tensor) -> Tensor:
        """(B, 2, H, W) signed, finer octave first."""
        ratios = sharpness(octaves(image))
        flat = ratios.flatten(2)
        lower = flat.topk((flat.shape[2] + 1) // 2, largest=False, sorted=False).values  # up to the median
        return (ratios - lower.amax(2)[..., None, None]) / 2


MAPS: dict[str, type[PixelMap]] = {
    "rgb": RGB,
    "noise": Noise,
    "lbp": LBP,
    "colour": Colour,
    "fft": FFT,
    "dct": DCT,
    "npr": NPR,
    "sharpness": Sharpness,
}
"""Every map by name."""


def create_map(name: str, **options: Any) -> PixelMap:
    """Build a map.

    Raises:
        ConfigError: no such map (the message names the nearest), or an option it does not have.

    >>> import torch
    >>> create_map("dct", align=False)(torch.zeros(1, 3, 32, 48)).shape
    torch.Size([1, 64, 4, 6])
    """
    if name not in MAPS:
        hint = did_you_mean(name, MAPS)
        raise ConfigError("unknown_map", f"no map '{name}'{hint}; there are: {', '.join(MAPS)}")
    try:
        return MAPS[name](**options)
    except TypeError as error:
        raise ConfigError("bad_config", f"map '{name}': {error}") from None
