"""Retouching: a region smoothed, sharpened, or made grainy (or everything else)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from unmask.core.types import Face, UInt8Image
from unmask.data.degradations import u8
from unmask.data.forgeries.base import Draft
from unmask.data.forgeries.changes import Change, draw_noise, draw_sharpness
from unmask.data.forgeries.regions import HALVES, SMALL, WHOLE, outline_near, soft_region


def _draw_filter(rng: np.random.Generator) -> Change:
    kind = rng.integers(4)
    if kind == 0:  # edge-preserving smoothing, the beauty filter
        strength = float(rng.uniform(18, 45))
        return lambda patch: u8(cv2.bilateralFilter(patch, 5, strength, 3))
    if kind == 1:
        side = int(rng.choice([3, 5]))
        return lambda patch: u8(cv2.medianBlur(patch, side))
    return draw_sharpness(rng) if kind == 2 else draw_noise(rng)


def draw_retouch(
    image: UInt8Image, face: Face | None, rng: np.random.Generator, donors: Sequence[UInt8Image]
) -> Draft | None:
    """Filter a region of the face or frame; at times everything else instead."""
    parts = (WHOLE, HALVES, SMALL)[rng.integers(3)]
    outline = outline_near(image.shape[:2], face, rng, parts=parts, radius=(0.2, 0.5), on_part=0.85)
    region = soft_region(outline, image.shape[:2], rng)
    if region is None:
        return None
    change = _draw_filter(rng)
    if rng.random() < 0.3:
        return Draft(change(image), image[region.box], region)
    return Draft(image, change(np.ascontiguousarray(image[region.box])), region)
