"""What a face generator of one small size leaves: a face aligned, made small, blurred and warped back.

After Li and Lyu, "Exposing DeepFake Videos By Detecting Face Warping Artifacts", CVPR Workshops 2019: no generator is
needed to make such negatives. ``upsample`` re-samples a region by whole factors on the photo's own grid; here the grid
is turned and the factor is any number, as alignment makes them, and a Gaussian blur stands between. Departures:
outlines as of every other kind, soft edges, and, without a face, a region anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from unmask.core.types import Face, UInt8Image
from unmask.data.degradations import u8
from unmask.data.forgeries.base import Draft, Region
from unmask.data.forgeries.regions import WHOLE, face_frame, outline_near, soft_region


def warped_back(image: UInt8Image, region: Region, factor: float, degrees: float, sigma: float) -> UInt8Image:
    """The region's box (h, w, 3) after a turn by ``degrees``, ``factor`` of its size, a blur and the way back.

    Args:
        image: RGB (H, W, 3).
        region: where.
        factor: size of the aligned face over its size in the photo.
        degrees: how far the aligned face is turned, counter-clockwise.
        sigma: of the Gaussian blur, in pixels of the aligned face; its kernel has 5 x 5 pixels, as published.
    """
    height, width = region.weight.shape
    side = int(np.ceil(factor * np.hypot(height, width))) + 6
    centre = (region.left + (width - 1) / 2, region.top + (height - 1) / 2)
    there = np.array(cv2.getRotationMatrix2D(centre, degrees, factor), np.float64)
    there[:, 2] += (side - 1) / 2 - np.array(centre)
    border = cv2.BORDER_REFLECT_101
    small = cv2.warpAffine(image, there, (side, side), flags=cv2.INTER_LINEAR, borderMode=border)
    small = cv2.GaussianBlur(small, (5, 5), sigma)
    back = there.copy()
    back[:, 2] += there[:, :2] @ (region.left, region.top)  # from pixels of the box
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return u8(cv2.warpAffine(small, back, (width, height), flags=flags, borderMode=border))


def draw_face_warp(
    image: UInt8Image, face: Face | None, rng: np.random.Generator, donors: Sequence[UInt8Image]
) -> Draft | None:
    """Align a face (to its eyes, give or take), shrink, blur and warp it back inside its outline."""
    outline = outline_near(image.shape[:2], face, rng, parts=WHOLE, radius=(0.25, 0.6), on_part=1.0)
    region = soft_region(outline, image.shape[:2], rng)
    if region is None:
        return None
    degrees, spread = 0.0, 30.0
    if face is not None:
        frame = face_frame(face)
        degrees, spread = float(np.degrees(np.arctan2(frame[1, 0], frame[0, 0]))), 8.0
    degrees += float(rng.uniform(-spread, spread))
    factor, sigma = float(np.exp(rng.uniform(np.log(0.3), np.log(0.9)))), float(rng.uniform(0.4, 1.6))
    return Draft(image, warped_back(image, region, factor, degrees, sigma), region)
