"""A region copied to another place of the same photo, slightly turned and scaled, hard-edged or feathered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unmask.core.types import Face, UInt8Image
from unmask.data.forgeries.base import Draft, change_map
from unmask.data.forgeries.regions import SMALL, outline_near, rasterize, soft_region
from unmask.data.forgeries.splicing import moved_patch


def draw_copy_move(
    image: UInt8Image, face: Face | None, rng: np.random.Generator, donors: Sequence[UInt8Image]
) -> Draft | None:
    """Cover a region with the content of a place at least half its size away; flat copies are refused."""
    shape = image.shape[:2]
    outline = outline_near(shape, face, rng, parts=SMALL, radius=(0.12, 0.4), on_part=0.5)
    region = rasterize(outline, shape, rng) if rng.random() < 0.4 else soft_region(outline, shape, rng)
    if region is None:
        return None
    height, width = region.weight.shape
    here = np.array([region.left + width / 2, region.top + height / 2])
    if height >= 0.9 * shape[0] or width >= 0.9 * shape[1]:
        return None
    away = rng.uniform([width / 2, height / 2], [shape[1] - width / 2, shape[0] - height / 2])
    if np.hypot(*(away - here)) < 0.5 * np.sqrt(width * height):
        return None
    plain = rng.random() < 0.5
    turn, scale = (0.0, 1.0) if plain else (rng.uniform(-12, 12), rng.uniform(0.9, 1.12))
    centre = (float(np.rint(away[0] - width / 2) + width / 2), float(np.rint(away[1] - height / 2) + height / 2))
    patch = moved_patch(image, region, centre, rng, scale, turn)
    inside = region.weight > 0.5
    change = change_map(patch, image[region.box])[inside]
    if np.mean(change > 8) < 0.3:  # nothing one could see has moved
        return None
    return Draft(image, patch, region)
