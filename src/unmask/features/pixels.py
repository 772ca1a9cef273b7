"""Features of the pixels alone: noise, gradients, texture, colour, spectrum, block transform, resampling."""

from __future__ import annotations

from collections.abc import Sequence

from unmask.core.types import ViewConfig
from unmask.features.base import NATIVE, Feature, Measured, PixelFeature, Subject


class RawRGB(Feature):
    """Row 1: the pixels themselves, only a map."""

    name = "rgb"
    line = "normalised pixels, what every learned detector starts from"
    paper = "Rössler et al., 2019"
    kinds = ("map",)
    map_name = "rgb"

    @property
    def columns(self) -> tuple[str, ...]:
        """None: pixels are no descriptor."""
        return ()

    def _measure(self, subjects: Sequence[Subject]) -> list[Measured]:
        return [Measured("not_applicable")] * len(subjects)


class NoiseResidual(PixelFeature):
    """Row 2, see :class:`unmask.nn.maps.Noise` and :class:`unmask.nn.descriptors.NoiseStatistics`."""

    name = "noise"
    line = "sensor noise: strength, tails, ties between colours and neighbours, evenness of a wavelet-denoised residual"
    paper = "Lukas, Fridrich and Goljan, 2006; Wu et al., 2024"
    kinds = ("map", "descriptor")
    map_name = "noise"
    descriptor_name = "noise"
    view = NATIVE
    smallest = 128


class HOG(PixelFeature):
    """Row 5, see :class:`unmask.nn.descriptors.HOG`."""

    name = "hog"
    line = "histograms of oriented gradients over the face"
    paper = "Dalal and Triggs, 2005; Megahed and Han, 2020"
    kinds = ("descriptor",)
    descriptor_name = "hog"
    view = ViewConfig(kind="face", size=128, margin=1.6)


class LBP(PixelFeature):
    """Row 6, see :class:`unmask.nn.maps.LBP` and :class:`unmask.nn.descriptors.LBPHistogram`."""

    name = "lbp"
    line = "local binary patterns of luma and chroma: shares of the ten uniform patterns"
    paper = "Ojala et al., 2002; Li et al., 2020"
    kinds = ("map", "descriptor")
    map_name = "lbp"
    descriptor_name = "lbp"
    view = NATIVE
    smallest = 128


class GLCM(PixelFeature):
    """Row 7, see :class:`unmask.nn.descriptors.GLCM`."""

    name = "glcm"
    line = "grey-level co-occurrence: contrast, homogeneity, energy, correlation, entropy at eight offsets"
    paper = "Haralick et al., 1973; Xu et al., 2020"
    kinds = ("descriptor",)
    descriptor_name = "glcm"
    view = NATIVE
    smallest = 128


class Colour(PixelFeature):
    """Row 8, see :class:`unmask.nn.maps.Colour` and :class:`unmask.nn.descriptors.ColourStatistics`. A grey photo is
    ``not_applicable``.
    """

    name = "colour"
    line = "moments of hue, saturation, value, luma, Cb, Cr and of their gradients, over the face"
    paper = "Mo et al., 2022"
    kinds = ("map", "descriptor")
    map_name = "colour"
    descriptor_name = "colour"


class Spectrum(PixelFeature):
    """Row 15, see :class:`unmask.nn.maps.FFT` and :class:`unmask.nn.descriptors.RadialSpectrum`.

    A square of 160 pixels, and none of an image that is smaller: repeated pixels would have a spectrum of their own.
    """

    name = "fft"
    line = "power by spatial frequency, all directions together"
    paper = "Zhang et al., 2019; Frank et al., 2020"
    kinds = ("map", "descriptor")
    map_name = "fft"
    descriptor_name = "fft"
    view = ViewConfig(kind="native", size=160, crops=1)
    smallest = 160


class DCT(PixelFeature):
    """Row 16, see :class:`unmask.nn.maps.DCT` and :class:`unmask.nn.descriptors.DCTBeta`."""

    name = "dct"
    line = "Laplace scale of the 63 AC coefficients of 8 x 8 blocks, on the JPEG grid"
    paper = "Giudice et al., 2021"
    kinds = ("map", "descriptor")
    map_name = "dct"
    descriptor_name = "dct"
    view = NATIVE
    smallest = 128


class NPR(PixelFeature):
    """Row 17, see :class:`unmask.nn.maps.NPR` and :class:`unmask.nn.descriptors.NPRStatistics`."""

    name = "npr"
    line = "traces of up-sampling: differences within and between the 2 x 2 cells of neighbouring pixels"
    paper = "Tan et al., 2024"
    kinds = ("map", "descriptor")
    map_name = "npr"
    descriptor_name = "npr"
    view = NATIVE
    smallest = 128
