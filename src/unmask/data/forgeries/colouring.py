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
    inside = lab.reshape(-1, 3) if invert else lab[region.weight > 0.2]
    mean, spread = inside.mean(0), inside.std(0) + 1e-3
    source = donors[int(rng.integers(len(donors)))] if donors and rng.random() < 0.3 else image
    if rng.random() < 0.5:
        side = max(16, min(source.shape[:2]) // 4)
        y, x = (int(rng.integers(0, n - min(side, n) + 1)) for n in source.shape[:2])
        other = to_lab(np.ascontiguousarray(source[y : y + side, x : x + side])).reshape(-1, 3)
        strength = rng.uniform(0.15, 0.5)
        new_mean = mean + np.clip(strength * (other.mean(0) - mean), -14, 14)
        gain = np.clip((other.std(0) / spread) ** strength, 0.8, 1.25)
    else:
        new_mean = mean + rng.normal(0, (4, 5, 5))
        gain = rng.uniform(0.85, 1.2, 3)
    lab = ((lab - mean) * gain + new_mean).astype(np.float32)
    recoloured = u8(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB) * 255)
    if invert:
        return Draft(recoloured, image[region.box], region)
    return Draft(image, recoloured, region)
