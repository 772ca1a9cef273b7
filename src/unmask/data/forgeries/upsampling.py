"""A region resized down and re-sampled up the way image generators do it; or all the frame but that region."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from unmask.core.types import Face, UInt8Image
from unmask.data.degradations import INTERPOLATIONS, u8
from unmask.data.forgeries.base import Draft
from unmask.data.forgeries.regions import HALVES, SMALL, WHOLE, outline_near, soft_region

KINDS = ("nearest", "bilinear", "bicubic", "lanczos", "transposed", "pixel_shuffle")


def resample_up(image: UInt8Image, factor: int, kind: str, rng: np.random.Generator) -> UInt8Image:
    """Down by a whole factor with area averages, and up again with one of :data:`KINDS`.

    ``transposed`` puts zeros between the pixels and spreads each by an uneven kernel (the checkerboard of Odena et al.
    2016); ``pixel_shuffle`` gives every sub-pixel phase a slightly different gain (Shi et al. 2016).
    """
    height, width = image.shape[:2]
    small = cv2.resize(image, (-(-width // factor), -(-height // factor)), interpolation=cv2.INTER_AREA)
    size = (small.shape[1] * factor, small.shape[0] * factor)
    if kind in INTERPOLATIONS:
        return u8(cv2.resize(small, size, interpolation=INTERPOLATIONS[kind]))[:height, :width]
    if kind == "transposed":
        spread = np.zeros((size[1], size[0], 3), np.float32)
        middle = factor // 2
        spread[middle::factor, middle::factor] = small
        tent = 1 - np.abs(np.arange(1 - factor, factor)) / factor
        rows, columns = tent * (1 + rng.normal(0, 0.02, (2, len(tent))))
        up = cv2.sepFilter2D(spread, -1, columns, rows, borderType=cv2.BORDER_REFLECT_101)
    else:
        up = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
        gain = 1 + rng.normal(0, 0.02, (factor, factor, 3)).astype(np.float32)
        up *= np.tile(gain, (small.shape[0], small.shape[1], 1))
    return u8(up)[:height, :width]


def draw_upsample(
    image: UInt8Image, face: Face | None, rng: np.random.Generator, donors: Sequence[UInt8Image]
) -> Draft | None:
    """Re-sample a face region (or everything else) through a factor of 2, 3 or 4."""
    parts = (WHOLE, HALVES, SMALL)[rng.integers(3)]
    outline = outline_near(image.shape[:2], face, rng, parts=parts, radius=(0.2, 0.6), on_part=0.9)
    region = soft_region(outline, image.shape[:2], rng)
    if region is None:
        return None
    factor, kind = int(rng.choice([2, 2, 3, 4])), str(rng.choice(KINDS))
    if rng.random() < 0.3:
        return Draft(resample_up(image, factor, kind, rng), image[region.box], region)
    return Draft(image, resample_up(np.ascontiguousarray(image[region.box]), factor, kind, rng), region)
