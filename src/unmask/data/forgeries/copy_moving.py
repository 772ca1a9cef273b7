"""A region copied to another place of the same photo, slightly turned and scaled, hard-edged or feathered."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from unmask.core.types import Face, UInt8Image
from unmask.data.degradations import u8
from unmask.data.forgeries.base import Draft, Region, change_map
from unmask.data.forgeries.regions import SMALL, face_frame, outline_near, rasterize, soft_region
from unmask.data.forgeries.splicing import find_centre, moved_patch


def mirrored_patch(image: UInt8Image, region: Region, face: Face) -> UInt8Image:
    """The region's box (h, w, 3) filled from the other side of the face: an eye from the other eye."""
    frame = np.concatenate([face_frame(face), [[0, 0, 1]]])
    corner = np.array([[1, 0, region.left], [0, 1, region.top], [0, 0, 1.0]])
    matrix = frame @ np.diag([-1.0, 1, 1]) @ np.linalg.inv(frame) @ corner  # a pixel of the box to its mirror image
    size = region.weight.shape[::-1]
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return u8(cv2.warpAffine(image, matrix[:2], size, flags=how, borderMode=cv2.BORDER_REFLECT_101))


def draw_copy_move(
    image: UInt8Image, face: Face | None, rng: np.random.Generator, donors: Sequence[UInt8Image]
) -> Draft | None:
    """Cover a region with the content of a place at least half its size away; flat copies are refused."""
    shape = image.shape[:2]
    outline = outline_near(shape, face, rng, parts=SMALL, radius=(0.12, 0.4), on_part=0.5)
    region = rasterize(outline, shape, rng) if rng.random() < 0.4 else soft_region(outline, shape, rng)
    if region is None:
        return None
    if face is not None and rng.random() < 0.2:
        patch = mirrored_patch(image, region, face)
    else:
        centre = find_centre(image, image, region, rng)
        if centre is None:
            return None
        height, width = region.weight.shape
        plain = rng.random() < 0.5  # whole pixels: an exact copy
        turn, scale = (0.0, 1.0) if plain else (rng.uniform(-12, 12), rng.uniform(0.9, 1.12))
        centre = (
            float(np.rint(centre[0] - width / 2) + width / 2),
            float(np.rint(centre[1] - height / 2) + height / 2),
        )
        patch = moved_patch(image, region, centre, rng, scale, turn)
    inside = region.weight > 0.5
    change = change_map(patch, image[region.box])[inside]
    if np.mean(change > 8) < 0.3:  # nothing one could see has moved
        return None
    return Draft(image, patch, region)
