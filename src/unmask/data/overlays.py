"""What people lay over a photo before they share it: smoothed skin, a line of text, a sticker, the rim of a screen.

Pure functions on uint8 RGB (H, W, 3); drawn, not loaded, so that nothing but the photo and the seed matters.
"""

from __future__ import annotations

import cv2
import numpy as np

from unmask.core.types import FloatMap, UInt8Image
from unmask.data.placement import Placement

_TEXTS = ("hello", "2026", "so nice", "enjoy!", "my day", "(c) me")
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_COMPLEX)
_COLOURS = ((255, 255, 255), (255, 225, 60), (240, 80, 70), (80, 170, 250), (120, 220, 120))


def skin(image: UInt8Image) -> FloatMap:
    """(H, W) in [0, 1]: how much a pixel's colour is that of skin, smoothed.

    Skin of every tone lies in one box of chroma, 77 to 127 for Cb and 133 to 173 for Cr (Chai and Ngan, "Face
    segmentation using skin-color map in videophone applications", 1999); wood and sand do too.
    """
    luma, cr, cb = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    inside = (cr >= 133) & (cr <= 173) & (cb >= 77) & (cb <= 127) & (luma >= 30)
    sigma = max(1.0, min(image.shape[:2]) / 150)
    soft: FloatMap = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), sigma).clip(0.0, 1.0)
    return soft


def beauty(image: UInt8Image, strength: float) -> UInt8Image:
    """The beauty filter of a phone: skin smoothed with its edges kept (bilateral filter) and a little brighter.

    Args:
        image: RGB (H, W, 3).
        strength: levels of difference that are smoothed away; the skin gains a tenth of it in brightness.
    """
    smooth = cv2.bilateralFilter(image, 9, float(strength), 3.0)
    weight = skin(image)[..., None]
    mixed = image + weight * (smooth.astype(np.float32) + np.float32(strength / 10) - image)
    return np.rint(mixed).clip(0, 255).astype(np.uint8)


def text(image: UInt8Image, size: float, rng: np.random.Generator) -> UInt8Image:
    """A line of text with a dark rim in the upper or lower part of the photo.

    Args:
        image: RGB (H, W, 3).
        size: height of a capital letter over the photo's shorter side; wide lines shrink to fit.
        rng: words, letters, colour and place.
    """
    words, font = str(rng.choice(_TEXTS)), int(rng.choice(_FONTS))
    colour, low = _COLOURS[int(rng.integers(len(_COLOURS)))], bool(rng.random() < 0.7)
    across, up = rng.random(2)
    height, width = image.shape[:2]
    wanted = size * min(height, width)
    (long, tall), _ = cv2.getTextSize(words, font, 1.0, 2)
    scale = min(wanted / tall, 0.94 * width / long)
    thick = max(1, round(scale * tall / 9))
    (long, tall), below = cv2.getTextSize(words, font, scale, thick)
    room = max(height // 4 - tall - below, 1)
    y = height - below - round(up * room) - 1 if low else tall + 1 + round(up * room)
    x = round(across * max(width - long, 0))
    out = image.copy()
    cv2.putText(out, words, (x, y), font, scale, (20, 20, 20), thick + 2 * max(1, thick // 2), cv2.LINE_AA)
    cv2.putText(out, words, (x, y), font, scale, colour, thick, cv2.LINE_AA)
    return out


def sticker(image: UInt8Image, size: float, rng: np.random.Generator) -> UInt8Image:
    """A smiling face, opaque, towards one of the photo's corners.

    Args:
        image: RGB (H, W, 3).
        size: diameter over the photo's shorter side.
        rng: colour, corner and tilt.
    """
    height, width = image.shape[:2]
    radius = max(3.0, size * min(height, width) / 2)
    right, low, tilt = rng.random() < 0.5, rng.random() < 0.5, float(rng.uniform(-25, 25))
    inset = radius + rng.uniform(0.01, 0.05, 2) * min(height, width)
    colour = ((255, 205, 60), (250, 170, 190), (150, 205, 255), (170, 225, 150))[int(rng.integers(4))]
    x, y = width - inset[0] if right else inset[0], height - inset[1] if low else inset[1]
    turn = np.deg2rad(tilt)
    shift = 4  # coordinates in sixteenths of a pixel

    def at(dx: float, dy: float) -> tuple[int, int]:
        """A point of the sticker (its radius is 1) in the photo."""
        px = x + radius * (dx * np.cos(turn) - dy * np.sin(turn))
        py = y + radius * (dx * np.sin(turn) + dy * np.cos(turn))
        return round(px * 2**shift), round(py * 2**shift)

    def long(share: float) -> int:
        return max(1, int(radius * share * 2**shift))

    out = image.copy()
    cv2.circle(out, at(0, 0), long(1.0), (90, 65, 20), -1, cv2.LINE_AA, shift)
    cv2.circle(out, at(0, 0), long(0.93), colour, -1, cv2.LINE_AA, shift)
    for side in (-0.35, 0.35):
        cv2.ellipse(out, at(side, -0.25), (long(0.1), long(0.16)), tilt, 0, 360, (60, 40, 10), -1, cv2.LINE_AA, shift)
    thick = max(1, round(radius / 12))
    cv2.ellipse(out, at(0, 0.1), (long(0.55), long(0.45)), tilt, 15, 165, (60, 40, 10), thick, cv2.LINE_AA, shift)
    return out


def screenshot(image: UInt8Image, factor: float, rng: np.random.Generator) -> tuple[UInt8Image, Placement]:
    """The photo as a viewer shows it on a screen, and the whole screen saved without loss.

    Args:
        image: RGB (H, W, 3).
        factor: the size at which the photo is shown.
        rng: a dark or bright viewer, the width of its rims, the clock.

    Returns:
        The screen, and where the photo is on it.
    """
    height, width = image.shape[:2]
    inner = max(1, round(height * factor)), max(1, round(width * factor))
    bar = max(10, round(0.06 * max(inner)))
    above, below, beside = (round(bar * share) for share in rng.uniform((1.0, 0.5, 0.0), (2.0, 3.0, 1.0)))
    place = Placement((height, width), inner, above, beside, (above + inner[0] + below, inner[1] + 2 * beside))
    dark = rng.random() < 0.5
    ground, ink = ((18, 18, 20), (235, 235, 235)) if dark else ((246, 246, 248), (40, 40, 44))
    screen = place.image(image, ground)
    clock = f"{rng.integers(24):02d}:{rng.integers(60):02d}"
    scale = 0.5 * bar / 22
    thick = max(1, round(scale * 1.5))
    cv2.putText(screen, clock, (bar // 3, round(0.7 * bar)), cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thick, cv2.LINE_AA)
    long, right = round(0.8 * bar), screen.shape[1] - bar // 3
    cv2.rectangle(screen, (right - long, round(0.3 * bar)), (right, round(0.7 * bar)), ink, thick)
    full = round(long * rng.uniform(0.2, 1.0))
    cv2.rectangle(screen, (right - long, round(0.3 * bar)), (right - long + full, round(0.7 * bar)), ink, -1)
    return screen, place
