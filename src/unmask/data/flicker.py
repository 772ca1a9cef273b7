"""Clips with a planted flicker that no single frame shows: the test that a detector of clips must pass.

A still becomes a clip by a slow pan and zoom, sensor noise and a slightly unsteady exposure. Both classes carry an
altered patch (an offset of brightness and a fine texture). In a genuine clip it is drawn once and moves with the
picture; in a forged one it is drawn anew, from the same distribution, for every frame, as a swap made frame by frame
would. Single frames of both classes then have one and the same distribution, so whatever looks at frames alone is right
half of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from unmask.core.seeds import rng
from unmask.core.types import Face, UInt8Image
from unmask.data.degradations import u8
from unmask.data.manifest import Row

MANIPULATION = "flicker"


@dataclass(frozen=True)
class FlickerConfig:
    """How a still becomes a clip; levels are of 255."""

    frames: int = 8
    size: int = 96
    """Side of the frames."""
    patch: float = 0.22
    """Radius of the altered patch over the side; it lies near the middle."""
    brightness: float = 6.0
    """Deviation of the patch's offset, in levels."""
    texture: float = 6.0
    """Deviation of the patch's texture, in levels."""
    noise: float = 2.0
    """Sensor noise of every frame, in levels."""
    exposure: float = 0.01
    """Deviation of each frame's factor."""
    pan: float = 0.06
    """Most that the picture moves over the clip, over the side; the zoom changes by as much."""


def smooth_still(size: int, generator: np.random.Generator) -> UInt8Image:
    """A picture (size, size, 3) of smooth shapes at several scales, around mid-grey."""
    picture = np.full((size, size, 3), 128, np.float32)
    for cells, weight in ((3, 40.0), (8, 20.0), (24, 10.0)):
        field = generator.standard_normal((cells, cells, 3), dtype=np.float32)
        picture += weight * cv2.resize(field, (size, size), interpolation=cv2.INTER_CUBIC)
    return u8(picture)


def flicker_clip(still: UInt8Image, forged: bool, config: FlickerConfig, generator: np.random.Generator) -> UInt8Image:
    """A clip (T, size, size, 3) of a square still (S, S, 3); the same draw gives the same path in both classes."""
    count, side = config.frames, still.shape[0]
    first, last = generator.uniform(-config.pan, config.pan, (2, 2)) * config.size
    zoom = 1 + generator.uniform(0, config.pan, 2)
    centre = side * (0.5 + generator.uniform(-0.06, 0.06, 2))
    exposure = 1 + config.exposure * generator.standard_normal(count)
    offsets, textures = _patches(config, side, count if forged else 1, generator)
    y, x = np.mgrid[:side, :side]
    away = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (config.patch * side) ** 2
    mask = np.exp(-(away**2)).astype(np.float32)[..., None]  # (S, S, 1), flat inside
    frames = []
    for t in range(count):
        part, share = t if forged else 0, t / max(count - 1, 1)
        altered = still + mask * (offsets[part] + textures[part])
        scale = config.size / side * (zoom[0] * (1 - share) + zoom[1] * share)
        shift = config.size / 2 - scale * side / 2 + first * (1 - share) + last * share
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        size = (config.size, config.size)
        frame = cv2.warpAffine(altered, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        frames.append(exposure[t] * frame)
    noise = config.noise * generator.standard_normal((count, config.size, config.size, 3), dtype=np.float32)
    return u8(np.stack(frames) + noise)


def _patches(
    config: FlickerConfig, side: int, count: int, generator: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Offsets (count, 1, 1, 1) and textures (count, S, S, 1), in levels."""
    offsets = config.brightness * generator.standard_normal((count, 1, 1, 1), dtype=np.float32)
    fields = generator.standard_normal((count, side, side), dtype=np.float32)
    soft = np.stack([cv2.GaussianBlur(field, (0, 0), 0.012 * side) for field in fields])
    return offsets, (config.texture / soft.std() * soft)[..., None].astype(np.float32)


def write_flicker(
    folder: Path, stills: Sequence[tuple[str, UInt8Image]], config: FlickerConfig, seed: int = 0, split: str = ""
) -> tuple[list[Row], dict[str, list[Face]]]:
    """One genuine and one forged video per still, as folders of PNG frames.

    Args:
        folder: gets ``real/NAME/0000.png`` ... and ``flicker/NAME/0000.png`` ...
        stills: names (the videos' groups) and square pictures.
        config: of the clips.
        seed: of every draw.
        split: of the rows.

    Returns:
        The frames' rows, and by path the box of the face (the middle of the frame).
    """
    from PIL import Image

    rows: list[Row] = []
    for name, still in stills:
        for label, kind in enumerate(("real", MANIPULATION)):
            place = folder / kind / name
            place.mkdir(parents=True, exist_ok=True)
            for t, frame in enumerate(flicker_clip(still, bool(label), config, rng(seed, name, "flicker"))):
                file = place / f"{t:04d}.png"
                Image.fromarray(frame).save(file)
                manipulation = MANIPULATION if label else ""
                rows.append(Row(str(file), label, group=name, split=split, source="flicker", manipulation=manipulation))
    inner = 0.5 * config.size / 1.6
    box = (config.size / 2 - inner, config.size / 2 - inner, config.size / 2 + inner, config.size / 2 + inner)
    return rows, {row.path: [Face(box)] for row in rows}
