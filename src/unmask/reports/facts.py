"""Plain facts about a file, for the report and for the analyzer's caution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# ITU-T T.81 (1992), tables K.1 (luminance), in natural order; a scaled copy of it is what nearly every encoder writes.
_LUMINANCE = np.array(
    [16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29,
     51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121,
     120, 101, 72, 92, 95, 98, 112, 100, 103, 99]
)  # fmt: skip


def printable(text: str) -> str:
    r"""The text with everything a terminal or page could stumble over written as an escape.

    >>> printable("a\nb\x1b[31m\udcff.jpg")
    'a\\nb\\x1b[31m\\udcff.jpg'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class JpegQuality(NamedTuple):
    """The libjpeg quality setting whose luminance table is nearest to the file's."""

    quality: int
    """1 to 100."""
    standard: bool
    """True when the table is exactly the one libjpeg writes at that quality."""


@cache
def _standard_tables() -> npt.NDArray[np.int64]:
    """(100, 64) sorted luminance tables of libjpeg's qualities 1 to 100 (``jpeg_quality_scaling``)."""
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.sort(((_LUMINANCE[None] * scale[:, None] + 50) // 100).clip(1, 255), axis=1)


def jpeg_quality(quantization: Mapping[int, Sequence[int]] | None) -> JpegQuality | None:
    """Estimate the quality setting from the quantisation tables; None without tables.

    The values are compared sorted, so that it does not matter whether a decoder gives them in zigzag order.

    >>> import io; from PIL import Image
    >>> buffer = io.BytesIO(); Image.new("RGB", (16, 16)).save(buffer, "JPEG", quality=83)
    >>> jpeg_quality(Image.open(buffer).quantization)
    JpegQuality(quality=83, standard=True)
    """
    if not quantization:
        return None
    table = np.sort(np.asarray(quantization[min(quantization)], np.int64))
    if table.shape != (64,):
        return None
    distance = np.abs(_standard_tables() - table).sum(axis=1)
    # several qualities can share a table (1 and 2 saturate): the lowest one is named
    best = int(distance.argmin())
    return JpegQuality(best + 1, bool(distance[best] == 0))
