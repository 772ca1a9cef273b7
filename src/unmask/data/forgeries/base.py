"""What every family of forgeries speaks: a draft (counterpart, foreign content, region) and its composition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np

from unmask.core.types import Face, FloatMap, UInt8Image
from unmask.data.degradations import u8

MASK_FLOOR = 0.02
"""Weights below this are cut to zero: they would not change a pixel by more than a few levels."""


class Region(NamedTuple):
    """Where foreign content goes: a weight in [0, 1] for a box of the image, zero outside the box."""

    top: int
    left: int
    weight: FloatMap
    """(h, w), inside the image."""

    @property
    def box(self) -> tuple[slice, slice]:
        """Index of the box in an image or map."""
        return (
            slice(self.top, self.top + self.weight.shape[0]),
            slice(self.left, self.left + self.weight.shape[1]),
        )


class Draft(NamedTuple):
    """A forgery before it is composed."""

    real: UInt8Image
    """(H, W, 3), the counterpart: what the forgery looks like where the mask is zero."""
    foreign: UInt8Image
    """(h, w, 3), the foreign content of the region's box."""
    region: Region


Draw = Callable[[UInt8Image, "Face | None", np.random.Generator, Sequence[UInt8Image]], "Draft | None"]
"""``draw(image, face, rng, donors)``: one attempt at a forgery; None when this draw leads nowhere."""


@dataclass(frozen=True, slots=True)
class Forgery:
    """A family of forgeries."""

    draw: Draw
    help: str
    """One line for people."""
    least: float = 2.0
    """The forged pixels must differ from the counterpart by at least this many levels on average."""
    answers: Literal["edited", "generated"] = "edited"
    """What becomes of the photo: a part of it is edited, or all of it is generated."""
    by_default: bool = True
    """Drawn where nobody names kinds. A kind that came later is not, so that older seeds, recipes and data sets give
    what they gave."""


@dataclass(frozen=True, slots=True, eq=False)
class Forged:
    """A forged photo and everything that is known about it."""

    image: UInt8Image
    """(H, W, 3) RGB."""
    mask: FloatMap
    """(H, W) foreign-content weight times blend ratio in [0, 1]; zero where ``image`` equals ``real`` untouched."""
    real: UInt8Image
    """(H, W, 3), the real counterpart; it may differ from the photo that was given by a change of the whole frame
    (colour, sharpness, codec), so that only the *local* inconsistency tells the two apart."""
    manipulation: str
    label: int = 1


def compose(draft: Draft, name: str) -> Forged:
    """``real + weight * (foreign - real)`` inside the region, ``real`` itself outside."""
    weight = np.where(draft.region.weight < MASK_FLOOR, np.float32(0), draft.region.weight)
    box = draft.region.box
    under = draft.real[box]
    image = draft.real.copy()
    image[box] = blend(under, draft.foreign, weight)
    mask = np.zeros(draft.real.shape[:2], np.float32)
    mask[box] = weight
    return Forged(image, mask, draft.real, name)


def blend(under: UInt8Image, over: UInt8Image, weight: FloatMap) -> UInt8Image:
    """Mix two uint8 images (H, W, 3) by a weight map (H, W): 0 gives ``under`` exactly, 1 gives ``over`` exactly."""
    weight = np.ascontiguousarray(weight)
    return u8(cv2.blendLinear(over, np.ascontiguousarray(under), weight, 1 - weight))


def change_map(one: UInt8Image, other: UInt8Image) -> UInt8Image:
    """The largest difference of any channel at each pixel, (H, W) levels."""
    r, g, b = cv2.split(cv2.absdiff(one, other))
    return u8(cv2.max(cv2.max(r, g), b))


def visible(forged: Forged, region: Region, least: float) -> bool:
    """True when enough pixels changed by enough: 16 pixels, and ``least`` levels on average over the mask."""
    box = region.box
    change, weight = change_map(forged.image[box], forged.real[box]), forged.mask[box]
    inside = (weight > 0).astype(np.uint8)
    if cv2.countNonZero(change) < 16:
        return False
    return bool(cv2.mean(change, inside)[0] >= least)
