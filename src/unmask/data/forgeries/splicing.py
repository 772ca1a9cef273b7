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


def find_centre(
    source: UInt8Image, image: UInt8Image, region: Region, rng: np.random.Generator
) -> tuple[float, float] | None:
    """Where in ``source`` to take a patch for a region of ``image``: its centre (x, y), or None where none fits.

    The patch lies inside the source; from the same photo it lies half a region's size away at least. Half of the draws
    look for a patch of about the mean colour that the region has now, so that it does not leap to the eye.
    """
    (height, width), (rows, columns) = region.weight.shape, source.shape[:2]
    step = max(4.0, min(rows, columns) / 48)
    ys, xs = np.arange(height / 2, rows - height / 2 + 1, step), np.arange(width / 2, columns - width / 2 + 1, step)
    if not len(ys) or not len(xs):
        return None
    fits = np.ones((len(ys), len(xs)), bool)
    if source is image:
        here = (region.left + width / 2, region.top + height / 2)
        fits &= np.hypot(xs[None, :] - here[0], ys[:, None] - here[1]) >= 0.5 * np.sqrt(width * height)
    if rng.random() < 0.5:
        means = cv2.blur(source, (width, height))[np.ix_(ys.astype(int), xs.astype(int))].astype(np.float32)
        now = cv2.mean(np.ascontiguousarray(image[region.box]), (region.weight > 0.5).astype(np.uint8))[:3]
        far = np.where(fits, np.abs(means - now).sum(2), np.inf)
        fits &= far <= np.quantile(far[fits], 0.15) if fits.any() else fits
    places = np.argwhere(fits)
    if not len(places):
        return None
    row, column = places[int(rng.integers(len(places)))]
    return float(xs[column]), float(ys[row])


def patch_from_elsewhere(
    image: UInt8Image,
    region: Region,
    rng: np.random.Generator,
    donors: Sequence[UInt8Image],
    *,
    share: float,
    largest: float,
) -> UInt8Image | None:
    """A patch for the region's box (h, w, 3), turned by up to 20 degrees and scaled by 0.8 to ``largest``: with
    probability ``share`` from a donor if there are any, else from elsewhere in the photo; None where none fits."""
    source = donors[int(rng.integers(len(donors)))] if donors and rng.random() < share else image
    centre = find_centre(source, image, region, rng)
    if centre is None:
        return None
    return moved_patch(source, region, centre, rng, rng.uniform(0.8, largest), rng.uniform(-20, 20))


def draw_splice(
    image: UInt8Image, face: Face | None, rng: np.random.Generator, donors: Sequence[UInt8Image]
) -> Draft | None:
    """Paste a processed patch from elsewhere over a part of the face or frame."""
    shape = image.shape[:2]
    outline = outline_near(shape, face, rng, parts=SMALL, radius=(0.12, 0.4), on_part=0.5)
    region = rasterize(outline, shape, rng) if rng.random() < 0.3 else soft_region(outline, shape, rng)
    if region is None:
        return None
    patch = patch_from_elsewhere(image, region, rng, donors, share=0.6, largest=1.3)
    if patch is None:
        return None
    if rng.random() < 0.5:  # bring its light close to the place it goes to
        inside = region.weight > 0.5
        patch = u8(patch + rng.uniform(0.5, 1.0) * (image[region.box][inside].mean(0) - patch[inside].mean(0)))
    if rng.random() < 0.7:
        patch = draw_change(rng, colour=0.4)(patch)
    return Draft(image, patch, region)
