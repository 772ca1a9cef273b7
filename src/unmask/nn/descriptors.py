"""Forensic descriptors as torch modules: a batch of views in, one vector each out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from unmask.core.errors import ConfigError
from unmask.core.names import did_you_mean
from unmask.nn.maps import DCT, Colour, Noise
from unmask.ops.colour import ycbcr
from unmask.ops.dct import BLOCK, laplace_scale
from unmask.ops.glcm import PROPERTIES, co_occurrence, co_occurrence_properties, pair_offset
from unmask.ops.hog import hog
from unmask.ops.lbp import PATTERNS, pattern_histogram, uniform_patterns
from unmask.ops.moments import correlation, moments
from unmask.ops.npr import npr
from unmask.ops.spectrum import radial_power
from unmask.ops.srm import luma

_RGB = ("red", "green", "blue")
_BINS = 64


class PixelDescriptor(nn.Module, ABC):
    """A vector of named entries per image of (B, 3, H, W) RGB in [0, 1], on any device, without trainable parameters.

    Float32, also under autocast. An entry that an image leaves undefined (the kurtosis of a flat image) is nan, never
    a number that looks like data. A subclass writes :meth:`compute`.
    """

    names: tuple[str, ...]
    """Of the entries, in order."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, D), in the order of :attr:`names`."""
        with torch.autocast(image.device.type, enabled=False):
            return self.compute(image.float())

    @abstractmethod
    def compute(self, image: Tensor) -> Tensor:
        """The entries of float32 images, outside autocast."""


class NoiseStatistics(PixelDescriptor):
    """How strong the noise residual of :class:`unmask.nn.maps.Noise` is, how heavy its tails, how alike colours and
    neighbours are (demosaicing ties both), and how evenly it lies over the image (8 x 8 patches).
    """

    names = (
        *(f"std_{colour}" for colour in _RGB),
        *(f"kurtosis_{colour}" for colour in _RGB),
        *("correlation_red_green", "correlation_red_blue", "correlation_green_blue"),
        *(f"lag_{down}_{across}" for down, across in ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0))),
        *("patch_spread", "patch_range"),
    )
    """Standard deviations in grey levels; lags in rows and columns; spread and range of the patches' log deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.map = Noise()

    def compute(self, image: Tensor) -> Tensor:
        """(B, 16)."""
        residual = self.map(image) * (self.map.sigma * 255)  # in grey levels
        residual = torch.where(residual.abs() < 1e-3, 0, residual)  # of a flat image: rounding
        flat = residual.flatten(2)
        whole = moments(flat)  # (B, 3, 4)
        colours = correlation(flat[:, [0, 0, 1]], flat[:, [1, 2, 2]])
        grey = luma(residual)[:, 0]
        height, width = grey.shape[-2:]
        lags = [
            correlation(grey[:, down:, across:].flatten(1), grey[:, : height - down, : width - across].flatten(1))
            for down, across in ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
        ]
        patches = grey[:, : height // 8 * 8, : width // 8 * 8].reshape(-1, 8, height // 8, 8, width // 8)
        strength = (patches.square().mean((2, 4)).sqrt() + 0.01).log().flatten(1)  # (B, 64)
        spread = torch.stack([strength.std(1), strength.amax(1) - strength.amin(1)], 1)
        return torch.cat([whole[..., 1], whole[..., 3], colours, torch.stack(lags, 1), spread], 1)


class HOG(PixelDescriptor):
    """Histograms of oriented gradients of the luma, as ``skimage.feature.hog`` gives them (Megahed, 2020)."""

    def __init__(self, size: int = 128, cell: int = 32, block: int = 2) -> None:
        super().__init__()
        if not 0 < cell * block <= size:
            raise ConfigError("bad_config", f"descriptor 'hog': {block} cells of {cell} do not fit into {size} pixels")
        self.size, self.cell, self.block = size, cell, block
        along = size // cell - block + 1
        self.names = tuple(
            f"block_{row}_{column}_cell_{r}_{c}_{20 * angle}"
            for row in range(along)
            for column in range(along)
            for r in range(block)
            for c in range(block)
            for angle in range(9)
        )
        """Row and column of the block, row and column of the cell in it, first degree of the direction."""

    def compute(self, image: Tensor) -> Tensor:
        """(B, 3, size, size) to (B, D)."""
        return hog(luma(image), self.cell, self.block).flatten(1)


class LBPHistogram(PixelDescriptor):
    """Shares of the ten uniform patterns in luma, Cb and Cr, as ``skimage.feature.local_binary_pattern`` finds them.

    Chroma is where generators copy cameras least well (Li et al., 2020).
    """

    names = tuple(f"{plane}_{pattern}" for plane in ("luma", "cb", "cr") for pattern in range(PATTERNS))
    middle: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("middle", torch.tensor([0.0, 128.0, 128.0]).view(3, 1, 1), persistent=False)

    def compute(self, image: Tensor) -> Tensor:
        """(B, 30)."""
        levels = (ycbcr(image) * 255).round() + self.middle  # (B, 3, H, W); the chroma of a grey is 128
        levels = levels.clamp(0, 255).to(torch.uint8).flatten(0, 1)[:, None]
        return pattern_histogram(uniform_patterns(levels)).view(image.shape[0], -1)


class GLCM(PixelDescriptor):
    """Grey-level co-occurrence of the luma at 256 levels: seven measures at two distances in four directions.

    All levels are kept: what resampling and generators change is a matter of few grey levels (Xu et al., 2020).
    """

    pairs = tuple((distance, degrees) for distance in (1, 3) for degrees in (0, 45, 90, 135))
    names = tuple(f"{measure}_{distance}_{degrees}" for distance, degrees in pairs for measure in PROPERTIES)

    def compute(self, image: Tensor) -> Tensor:
        """(B, 56)."""
        grey = (luma(image) * 255).round().to(torch.uint8)
        found = [co_occurrence_properties(co_occurrence(grey, pair_offset(*pair))) for pair in self.pairs]
        return torch.cat(found, 1)


class ColourStatistics(PixelDescriptor):
    """Mean, deviation, skewness and kurtosis of every channel of :class:`unmask.nn.maps.Colour` (Mo et al., 2022).

    A grey photo has no colour: nan.
    """

    names = tuple(
        f"{prefix}{plane}_{moment}"
        for prefix in ("", "gradient_")
        for plane in ("hue_cos", "hue_sin", "saturation", "value", "luma", "cb", "cr")
        for moment in ("mean", "std", "skewness", "kurtosis")
    )

    def __init__(self) -> None:
        super().__init__()
        self.map = Colour()

    def compute(self, image: Tensor) -> Tensor:
        """(B, 56)."""
        return moments(self.map(image).flatten(2)).flatten(1)


class RadialSpectrum(PixelDescriptor):
    """Logarithm (base 10) of the luma's power by spatial frequency, all directions together (Frank et al., 2020)."""

    names = tuple(f"power_{(step + 0.5) / _BINS * 0.5**0.5:.3f}" for step in range(_BINS))
    """The middle of each step, in cycles per pixel."""

    def compute(self, image: Tensor) -> Tensor:
        """(B, 64); floor of 1e-8, a fortieth of a grey level."""
        return (radial_power(luma(image), _BINS) * 1e8 + 1).log10() - 8  # an ONNX optimizer drops sums with 1e-8


class DCTBeta(PixelDescriptor):
    """Laplace scale of the 63 AC coefficients of 8 x 8 blocks, on the JPEG grid (Giudice et al., 2021).

    Natural logarithm of ``beta + 0.1`` in grey levels. Beta is the mean magnitude, the maximum-likelihood estimate; the
    paper's is the standard deviation over the square root of two, which a few strong edges decide.
    """

    names = tuple(f"beta_{u}_{v}" for u in range(BLOCK) for v in range(BLOCK) if u or v)
    """Vertical and horizontal frequency."""

    def __init__(self) -> None:
        super().__init__()
        self.map = DCT()

    def compute(self, image: Tensor) -> Tensor:
        """(B, 63)."""
        return (laplace_scale(self.map.coefficients(image)[:, 1:]) + 0.1).log()


class NPRStatistics(PixelDescriptor):
    """How much pixels differ within 2 x 2 cells, and how differently within than between them (Tan et al., 2024).

    Up-sampling leaves neighbours in a cell more alike than neighbours across its border, wherever the cells begin.
    """

    names = (
        *(f"{colour}_{place}" for colour in _RGB for place in ("right", "below", "diagonal")),
        *(f"{colour}_{what}" for what in ("zeros", "kurtosis") for colour in _RGB),
        *(f"{colour}_uneven_{way}" for way in ("across", "down") for colour in _RGB),
    )
    """Log mean difference to the cell's first pixel in grey levels, share of zeros, kurtosis, log ratio of the
    differences within and between cells (without its sign)."""

    def compute(self, image: Tensor) -> Tensor:
        """(B, 21)."""
        height, width = (side // 2 * 2 for side in image.shape[-2:])
        image = image[..., :height, :width] * 255
        found = npr(image, 0.5)
        places = torch.stack([found[..., ::2, 1::2], found[..., 1::2, ::2], found[..., 1::2, 1::2]], 2).flatten(3)
        size = (places.abs().mean(3) + 0.01).log()  # (B, 3 colours, 3 places)
        zeros = (places == 0).float().mean((2, 3))
        uneven = [_uneven(image), _uneven(image.mT)]
        return torch.cat([size.flatten(1), zeros, moments(places.flatten(2))[..., 3], *uneven], 1)


def _uneven(image: Tensor) -> Tensor:
    """(B, 3): log ratio of the mean differences between even columns and the next, and odd ones and the next."""
    steps = (image[..., 1:] - image[..., :-1]).abs()
    within, between = (steps[..., start::2].mean((2, 3)) + 0.01 for start in (0, 1))
    return (within / between).log().abs()


DESCRIPTORS: dict[str, type[PixelDescriptor]] = {
    "noise": NoiseStatistics,
    "hog": HOG,
    "lbp": LBPHistogram,
    "glcm": GLCM,
    "colour": ColourStatistics,
    "fft": RadialSpectrum,
    "dct": DCTBeta,
    "npr": NPRStatistics,
}
"""Every descriptor by name."""


def create_descriptor(name: str, **options: Any) -> PixelDescriptor:
    """Build a descriptor.

    Raises:
        ConfigError: no such descriptor (the message names the nearest), or an option it does not have.

    >>> descriptor = create_descriptor("lbp")
    >>> descriptor(torch.zeros(1, 3, 32, 32)).shape, len(descriptor.names)
    (torch.Size([1, 30]), 30)
    """
    if name not in DESCRIPTORS:
        hint = did_you_mean(name, DESCRIPTORS)
        raise ConfigError("unknown_descriptor", f"no descriptor '{name}'{hint}; there are: {', '.join(DESCRIPTORS)}")
    try:
        return DESCRIPTORS[name](**options)
    except TypeError as error:
        raise ConfigError("bad_config", f"descriptor '{name}': {error}") from None
