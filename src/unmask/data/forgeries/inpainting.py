"""A part removed and filled in: by OpenCV's two inpainters, a pyramid fill, or a healing brush."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from unmask.core.types import Face, FloatMap, UInt8Image
from unmask.data.degradations import u8
from unmask.data.forgeries.base import Draft
from unmask.data.forgeries.regions import SMALL, outline_near, rasterize


def pyramid_fill(image: UInt8Image, hole: FloatMap) -> UInt8Image:
    """Fill where ``hole`` is 1 by averages of what is known, coarse to fine (pull-push).

    Args:
        image: (h, w, 3) uint8.
        hole: (h, w) float32, 1 = unknown.
    """
    known = (1 - hole)[..., None]
    levels = [np.concatenate([image * known, known], 2).astype(np.float32)]
    while min(levels[-1].shape[:2]) > 2 and levels[-1][..., 3].min() < 0.5:
        levels.append(np.asarray(cv2.pyrDown(levels[-1]), np.float32))
    top = levels[-1]
    fill = top[..., :3] / np.maximum(top[..., 3:], 1e-3)
    for level in levels[-2::-1]:
        below = cv2.resize(fill, (level.shape[1], level.shape[0]), interpolation=cv2.INTER_LINEAR)
        fill = level[..., :3] + np.maximum(1 - level[..., 3:], 0) * below
    return u8(fill)


def draw_inpaint(
    image: UInt8Image, face: Face | None, rng: np.random.Generator, donors: Sequence[UInt8Image]
) -> Draft | None:
    """Remove an eye, a mouth, a blemish, an accessory or any blob and fill it in."""
    shape = image.shape[:2]
    outline = outline_near(shape, face, rng, parts=SMALL, radius=(0.08, 0.28), on_part=0.55)
    region = rasterize(outline, shape, rng, elastic=float(rng.choice([0.0, 0.05])))
    if region is None or region.weight.mean() > 0.97:
        return None
    patch, hole = np.ascontiguousarray(image[region.box]), region.weight
    small = np.count_nonzero(hole) < 2500  # the two classic ones are slow: milliseconds per thousand pixels
    kind = rng.integers(4)
    if kind < 2 and small:
        how = cv2.INPAINT_TELEA if kind == 0 else cv2.INPAINT_NS
        filled = u8(cv2.inpaint(patch, hole.astype(np.uint8), float(rng.uniform(2, 5)), how))
    else:
        filled = pyramid_fill(patch, hole)
        if kind >= 2:  # healing brush: the texture of a place nearby on top
            dx, dy = (rng.choice([-1, 1], 2) * rng.uniform(0.5, 1.0, 2) * hole.shape[::-1]).astype(int)
            top = int(np.clip(region.top + dy, 0, shape[0] - hole.shape[0]))
            left = int(np.clip(region.left + dx, 0, shape[1] - hole.shape[1]))
            near = image[top : top + hole.shape[0], left : left + hole.shape[1]]
            texture = near.astype(np.float32) - cv2.GaussianBlur(near, (0, 0), float(rng.uniform(1.5, 4)))
            filled = u8(filled + texture * np.float32(rng.uniform(0.5, 1.0)))
    return Draft(image, filled, region)
