"""Ordinary processing on either side of a re-synthesised pair: what must never tell a generated image from a real one.

A decoder smooths, so a detector that sees untreated pairs learns sharpness. Here most pairs are brought to one
sharpness, by blurring or sharpening whichever side needs it, and each side has a processing history of its own.
"""

from __future__ import annotations

import cv2
import numpy as np

from unmask.core.types import UInt8Image
from unmask.data.degradations import blur, sharpen
from unmask.data.forgeries.changes import draw_codec, draw_noise, draw_sharpness


def sharpness(image: UInt8Image) -> float:
    """Standard deviation of the Laplacian of the luma, in levels."""
    return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_32F).std())


def with_sharpness(image: UInt8Image, target: float, radius: float = 1.0) -> UInt8Image:
    """Blur (Gaussian) or sharpen (unsharp mask of ``radius``) until :func:`sharpness` is ``target`` to about 3 %.

    Flat images, and targets more than fourfold unsharp masking can give, come back as near as it goes.

    >>> import numpy as np
    >>> photo = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    >>> bool(abs(sharpness(with_sharpness(photo, 40.0)) / 40 - 1) < 0.05)
    True
    """
    now = sharpness(image)
    if now < 0.1 or abs(now - target) < 0.03 * now:
        return image
    softer = target < now
    low, high = (0.2, 4.0) if softer else (0.0, 4.0)
    for _ in range(7):
        middle = (low * high) ** 0.5 if softer else (low + high) / 2
        changed = blur(image, middle) if softer else sharpen(image, middle, radius)
        if (sharpness(changed) > target) == softer:
            low = middle
        else:
            high = middle
    return changed


def draw_history(image: UInt8Image, rng: np.random.Generator) -> UInt8Image:
    """One ordinary step that a photo or a generated image meets before it is shared."""
    kind = rng.integers(4)
    if kind < 2:
        return draw_sharpness(rng)(image)
    if kind == 2:
        return draw_codec(rng)(image) if rng.random() < 0.6 else draw_noise(rng)(image)
    if rng.random() < 0.5:
        return np.asarray(cv2.medianBlur(image, 3), np.uint8)
    return np.asarray(cv2.bilateralFilter(image, 5, rng.uniform(10, 40), 2), np.uint8)


def draw_processing(
    real: UInt8Image, fake: UInt8Image, rng: np.random.Generator, matched: float = 0.9
) -> tuple[UInt8Image, UInt8Image]:
    """Give both sides a history of their own, then bring most pairs to one sharpness.

    Args:
        real: uint8 (H, W, 3).
        fake: its re-synthesis, same shape.
        rng: the draw.
        matched: probability of one sharpness: that of the fake, of the real, or one below both.
    """
    if rng.random() < 0.4:
        real = draw_history(real, rng)
    if rng.random() < 0.4:
        fake = draw_history(fake, rng)
    if rng.random() < matched:
        a, b = sharpness(real), sharpness(fake)
        draw, radius = rng.random(), rng.uniform(0.6, 1.5)
        target = b if draw < 0.4 else a if draw < 0.75 else min(a, b) * rng.uniform(0.6, 1.0)
        real, fake = with_sharpness(real, target, radius), with_sharpness(fake, target, radius)
    return real, fake
