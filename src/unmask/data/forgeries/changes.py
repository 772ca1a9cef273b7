"""Random changes of appearance that a forgery makes to its part, and a camera or an editor to a whole frame.

The same draw can be applied to a region (then it is a forgery's trace) or to the frame (then it is a real photo's
history): detectors have to learn the inconsistency, not the change.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from unmask.core.types import UInt8Image
from unmask.data.degradations import Sampling, blur, jpeg, noise, resample, sharpen, u8

Change = Callable[[UInt8Image], UInt8Image]


def draw_colour(rng: np.random.Generator, strength: float = 1.0) -> Change:
    """Hue rotation about the grey axis, saturation, contrast, brightness and a shift per channel, as one matrix."""
    angle = np.deg2rad(rng.uniform(-12, 12)) * strength
    c, s = np.cos(angle), np.sin(angle)
    axis = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    hue = c * np.eye(3) + (1 - c) * axis + s * cross
    saturation = 1 + rng.uniform(-0.3, 0.3) * strength
    luma = np.tile([0.299, 0.587, 0.114], (3, 1))
    matrix = (luma + saturation * (np.eye(3) - luma)) @ hue * (1 + rng.uniform(-0.15, 0.15) * strength)
    middle = np.full(3, 120.0)
    shift = middle - matrix @ middle + (rng.uniform(-18, 18) + rng.uniform(-12, 12, 3)) * strength
    table = np.concatenate([matrix, shift[:, None]], 1)
    return lambda image: u8(cv2.transform(image, table))


def draw_sharpness(rng: np.random.Generator) -> Change:
    """Blur, sharpen, or resize down and up."""
    kind = rng.integers(3)
    if kind == 0:
        sigma = rng.uniform(0.5, 1.6)
        return lambda image: blur(image, sigma)
    if kind == 1:
        amount, radius = rng.uniform(0.4, 1.6), rng.uniform(0.6, 1.8)
        return lambda image: sharpen(image, amount, radius)
    factor = rng.uniform(0.35, 0.8)
    down = str(rng.choice(["area", "bilinear", "nearest"]))
    up = str(rng.choice(["bilinear", "bicubic", "lanczos"]))
    return lambda image: resample(image, factor, down, up)


def draw_codec(rng: np.random.Generator) -> Change:
    """JPEG on a grid of its own."""
    quality = int(rng.integers(35, 96))
    sampling: Sampling = "4:4:4" if rng.random() < 0.5 else "4:2:0"
    offset = (int(rng.integers(8)), int(rng.integers(8)))
    return lambda image: jpeg(image, quality, sampling, offset)


def draw_noise(rng: np.random.Generator) -> Change:
    """Gaussian grain."""
    sigma, seed = rng.uniform(1.0, 5.0), int(rng.integers(1 << 31))
    return lambda image: noise(image, sigma, np.random.default_rng(seed))


def draw_change(rng: np.random.Generator, colour: float = 0.6) -> Change:
    """One to three changes in a row: colour (with probability ``colour``), sharpness, codec, grain."""
    steps: list[Change] = []
    if rng.random() < colour:
        steps.append(draw_colour(rng))
    if rng.random() < 0.5:
        steps.append(draw_sharpness(rng))
    if rng.random() < 0.12:
        steps.append(draw_noise(rng))
    if rng.random() < 0.25 or not steps:
        steps.append(draw_codec(rng) if rng.random() < 0.5 else draw_sharpness(rng))

    def apply(image: UInt8Image) -> UInt8Image:
        for step in steps:
            image = step(image)
        return image

    return apply
