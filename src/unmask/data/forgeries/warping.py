"""Local warps: swirl, bulge or pinch, and push. The mask is the set of displaced pixels."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from unmask.core.types import Face, UInt8Image
from unmask.data.degradations import u8
from unmask.data.forgeries.base import Draft, Region
from unmask.data.forgeries.regions import PARTS, face_frame

MOVED = 0.25
"""A pixel counts as displaced when its content moved by at least this many pixels."""
_PLACES = ("left_eye", "right_eye", "nose", "mouth", "chin", "left_cheek", "right_cheek", "forehead")


def draw_warp(
    image: UInt8Image, face: Face | None, rng: np.random.Generator, donors: Sequence[UInt8Image]
) -> Draft | None:
    """Swirl, swell, shrink or push one to three places of the face, or one of the frame."""
    height, width = image.shape[:2]
    if face is not None and rng.random() < 0.85:
        names = rng.choice(_PLACES, int(rng.choice([1, 1, 1, 2, 3])), replace=False)
        frame = face_frame(face)
        centres = [frame[:, :2] @ (PARTS[str(n)].mean(0) + rng.normal(0, 0.08, 2)) + frame[:, 2] for n in names]
        unit = float(np.sqrt(abs(np.linalg.det(frame[:, :2]))))
        radius = unit * float(rng.uniform(0.45, 1.0))
    else:
        centres = [rng.uniform(0.15, 0.85, 2) * (width, height)]
        radius = min(height, width) * float(rng.uniform(0.12, 0.3))
    radius = max(radius, 8.0)
    low, high = np.min(centres, 0) - radius, np.max(centres, 0) + radius
    left, top = np.maximum(np.floor(low), 0).astype(int)
    right, bottom = np.minimum(np.ceil(high), (width, height)).astype(int)
    if right - left < 6 or bottom - top < 6:
        return None
    xs = np.arange(left, right, dtype=np.float32)[None, :]
    ys = np.arange(top, bottom, dtype=np.float32)[:, None]
    move_x = np.zeros((bottom - top, right - left), np.float32)
    move_y = np.zeros_like(move_x)
    still = np.zeros(move_x.shape, bool)
    axis, squeeze = rng.uniform(0, np.pi), np.float32(rng.uniform(1.0, 2.0))
    cos_axis, sin_axis = np.float32(np.cos(axis)), np.float32(np.sin(axis))
    kind, amount = rng.integers(3), float(rng.uniform(0.35, 1.0) * rng.choice([-1, 1]))
    direction = rng.uniform(0, 2 * np.pi)
    for x, y in centres:
        dx, dy = xs - np.float32(x), ys - np.float32(y)
        long, short = dx * cos_axis + dy * sin_axis, (dy * cos_axis - dx * sin_axis) * squeeze
        fall = np.maximum(0, 1 - (long * long + short * short) / np.float32(radius * radius)) ** 2
        still = np.maximum(still, fall > 0.5)  # the eye of the storm is part of it
        if kind == 0:  # swirl
            angle = fall * np.float32(0.9 * amount)
            cos, sin = np.cos(angle), np.sin(angle)
            move_x += dx * cos - dy * sin - dx
            move_y += dx * sin + dy * cos - dy
        elif kind == 1:  # bulge or pinch
            move_x -= dx * fall * np.float32(0.55 * amount)
            move_y -= dy * fall * np.float32(0.55 * amount)
        else:  # push
            move_x += fall * np.float32(0.28 * amount * radius * np.cos(direction))
            move_y += fall * np.float32(0.28 * amount * radius * np.sin(direction))
    how = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4]))
    warped = u8(cv2.remap(image, xs + move_x, ys + move_y, how, borderMode=cv2.BORDER_REFLECT_101))
    weight = ((move_x * move_x + move_y * move_y >= MOVED * MOVED) | still).astype(np.float32)
    return Draft(image, warped, Region(int(top), int(left), weight))
