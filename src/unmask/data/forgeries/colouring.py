"""Colour transfer: a region's Lab mean and spread moved towards other values (Reinhard et al. 2001)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from unmask.core.types import Face, UInt8Image
from unmask.data.degradations import u8
from unmask.data.forgeries.base import Draft
from unmask.data.forgeries.regions import HALVES, SMALL, WHOLE, outline_near, soft_region

RATIOS = (0.5, 0.75, 1.0, 1.0)


def to_lab(image: UInt8Image) -> npt.NDArray[np.float32]:
    """uint8 RGB to float CIE Lab (L in [0, 100])."""
    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab), np.float32)


def statistics(
    lab: npt.NDArray[np.float32], inside: npt.NDArray[np.bool_] | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation (above 0) of each Lab channel, over all pixels or those ``inside``."""
    mean, spread = cv2.meanStdDev(lab, mask=None if inside is None else inside.astype(np.uint8))
    return np.asarray(mean, np.float64)[:, 0], np.asarray(spread, np.float64)[:, 0] + 1e-3


def draw_colour_transfer(
    image: UInt8Image, face: Face | None, rng: np.random.Generator, donors: Sequence[UInt8Image]
) -> Draft | None:
    """Give a region (or everything else) the Lab statistics of another patch, or statistics drawn at random."""
    parts = (WHOLE, HALVES, SMALL, SMALL)[rng.integers(4)]
    outline = outline_near(image.shape[:2], face, rng, parts=parts, radius=(0.15, 0.5), on_part=0.85)
    region = soft_region(outline, image.shape[:2], rng, float(rng.choice(RATIOS)))
    if region is None:
        return None
    invert = rng.random() < 0.3
    lab = to_lab(image if invert else np.ascontiguousarray(image[region.box]))
    mean, spread = statistics(lab, None if invert else region.weight > 0.2)
    source = donors[int(rng.integers(len(donors)))] if donors and rng.random() < 0.3 else image
    if rng.random() < 0.5:
        side = max(16, min(source.shape[:2]) // 4)
        y, x = (int(rng.integers(0, n - min(side, n) + 1)) for n in source.shape[:2])
        other_mean, other_spread = statistics(to_lab(np.ascontiguousarray(source[y : y + side, x : x + side])))
        strength = rng.uniform(0.15, 0.5)
        new_mean = mean + np.clip(strength * (other_mean - mean), -14, 14)
        gain = np.clip((other_spread / spread) ** strength, 0.8, 1.25)
    else:
        new_mean = mean + rng.normal(0, (4, 5, 5))
        gain = rng.uniform(0.85, 1.2, 3)
    table = np.concatenate([np.diag(gain), (new_mean - gain * mean)[:, None]], 1)
    recoloured = u8(cv2.cvtColor(cv2.transform(lab, table), cv2.COLOR_Lab2RGB) * 255)
    if invert:
        return Draft(recoloured, image[region.box], region)
    return Draft(image, recoloured, region)
