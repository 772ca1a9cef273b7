"""A face blended with a slightly changed copy of itself.

After Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022. Departures: the hull comes from
five landmarks through an average face outline; parts of a face are blended too; the counterpart of a forgery whose
*background* was changed is that whole changed photo, so that the change itself never tells the classes apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from unmask.core.types import Face, UInt8Image
from unmask.data.degradations import u8
from unmask.data.forgeries.base import Draft, Region
from unmask.data.forgeries.changes import draw_change
from unmask.data.forgeries.regions import HALVES, SMALL, WHOLE, outline_near, soft_region

RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)


def shifted_patch(image: UInt8Image, region: Region, rng: np.random.Generator) -> UInt8Image:
    """The region's box (h, w, 3) of the image after a small random rotation, scaling and shift about its centre."""
    height, width = region.weight.shape
    size = float(np.sqrt(height * width))
    centre = (region.left + width / 2, region.top + height / 2)
    matrix = np.array(cv2.getRotationMatrix2D(centre, rng.uniform(-4, 4), 1 + rng.uniform(-0.05, 0.05)), np.float64)
    matrix[:, 2] += rng.uniform(-0.03, 0.03, 2) * size - (region.left, region.top)
    how = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    return u8(cv2.warpAffine(image, matrix, (width, height), flags=how, borderMode=cv2.BORDER_REFLECT_101))


def draw_self_blend(
    image: UInt8Image, face: Face | None, rng: np.random.Generator, donors: Sequence[UInt8Image]
) -> Draft | None:
    """Blend a hull, half, part or blob of the photo with a changed copy of the photo."""
    parts = (WHOLE, WHOLE, HALVES, SMALL)[rng.integers(4)]
    outline = outline_near(image.shape[:2], face, rng, parts=parts, radius=(0.2, 0.6), on_part=0.92)
    region = soft_region(outline, image.shape[:2], rng, float(rng.choice(RATIOS)))
    if region is None:
        return None
    change = draw_change(rng)
    if rng.random() < 0.5:  # the source is changed
        real, source = image, change(image)
    else:  # the target is
        real, source = change(image), image
    return Draft(real, shifted_patch(source, region, rng) if rng.random() < 0.6 else source[region.box], region)
