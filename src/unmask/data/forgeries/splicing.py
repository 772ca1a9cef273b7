"""Content from elsewhere pasted in: a processed patch of the same photo, or a face-free patch of another photo.

Never another person's face: donors are given by the caller, who vouches that no face is in them.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from unmask.core.types import Face, UInt8Image
from unmask.data.degradations import u8
from unmask.data.forgeries.base import Draft, Region
from unmask.data.forgeries.changes import draw_change
from unmask.data.forgeries.regions import SMALL, outline_near, rasterize, soft_region


def moved_patch(
    source: UInt8Image, region: Region, centre: tuple[float, float], rng: np.random.Generator, scale: float, turn: float
) -> UInt8Image:
    """The patch of ``source`` about ``centre`` (x, y), scaled and turned, as the region's box (h, w, 3)."""
    height, width = region.weight.shape
    matrix = cv2.getRotationMatrix2D(centre, turn, scale)
    matrix[:, 2] += (width / 2 - centre[0], height / 2 - centre[1])
    if rng.random() < 0.3:  # mirrored
        matrix[0] *= -1
        matrix[0, 2] += width - 1
    how = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    return u8(cv2.warpAffine(source, matrix, (width, height), flags=how, borderMode=cv2.BORDER_REFLECT_101))


def any_centre(source: UInt8Image, region: Region, rng: np.random.Generator) -> tuple[float, float]:
    """A random patch centre (x, y) such that a box of the region's size lies inside the source where it can."""
    spare = np.array(source.shape[1::-1]) - region.weight.shape[::-1]
    x, y = np.array(source.shape[1::-1]) / 2 + rng.uniform(-0.5, 0.5, 2) * np.maximum(spare, 0)
    return float(x), float(y)


def draw_splice(
    image: UInt8Image, face: Face | None, rng: np.random.Generator, donors: Sequence[UInt8Image]
) -> Draft | None:
    """Paste a processed patch from elsewhere over a part of the face or frame."""
    shape = image.shape[:2]
    outline = outline_near(shape, face, rng, parts=SMALL, radius=(0.12, 0.4), on_part=0.5)
    region = rasterize(outline, shape, rng) if rng.random() < 0.3 else soft_region(outline, shape, rng)
    if region is None:
        return None
    source = donors[int(rng.integers(len(donors)))] if donors and rng.random() < 0.6 else image
    patch = moved_patch(
        source, region, any_centre(source, region, rng), rng, rng.uniform(0.8, 1.3), rng.uniform(-20, 20)
    )
    if rng.random() < 0.5:  # bring its light close to the place it goes to
        inside = region.weight > 0.5
        patch = u8(patch + rng.uniform(0.5, 1.0) * (image[region.box][inside].mean(0) - patch[inside].mean(0)))
    if rng.random() < 0.7:
        patch = draw_change(rng, colour=0.4)(patch)
    return Draft(image, patch, region)
