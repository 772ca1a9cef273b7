"""Re-synthesis as a forgery: of the whole photo (a generated image with a known counterpart), or of a part of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unmask.core.types import Face, UInt8Image
from unmask.data.forgeries.base import Draft, Region
from unmask.data.forgeries.processing import draw_processing
from unmask.data.forgeries.regions import HALVES, SMALL, WHOLE, outline_near, soft_region


def draw_resynthesis(
    image: UInt8Image, face: Face | None, rng: np.random.Generator, donors: Sequence[UInt8Image]
) -> Draft | None:
    """The whole photo through a small upsampling network; the mask is 1 everywhere.

    Photo and counterpart are then processed, each in its own way, most of them to one sharpness.
    """
    from unmask.data.forgeries.resynthesis import resynthesize

    real, fake = draw_processing(image, resynthesize(image, rng), rng)
    return Draft(real, fake, Region(0, 0, np.ones(image.shape[:2], np.float32)))


def draw_resynthesis_part(
    image: UInt8Image, face: Face | None, rng: np.random.Generator, donors: Sequence[UInt8Image]
) -> Draft | None:
    """A face region replaced by its own re-synthesis, as a face swap or a generative fill leaves it."""
    from unmask.data.forgeries.resynthesis import resynthesize

    parts = (WHOLE, HALVES, SMALL)[rng.integers(3)]
    outline = outline_near(image.shape[:2], face, rng, parts=parts, radius=(0.2, 0.6), on_part=0.9)
    region = soft_region(outline, image.shape[:2], rng)
    if region is None:
        return None
    return Draft(image, resynthesize(np.ascontiguousarray(image[region.box]), rng), region)
