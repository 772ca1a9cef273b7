"""Two quick features and a folder of portraits, to extract from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unmask.features.base import Feature, Measured, PixelFeature, Subject


class Means(PixelFeature):
    name, line, paper, kinds = "means", "mean and spread of each channel", "none", ("descriptor",)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"{what} {c}" for what in ("mean", "std") for c in "rgb")

    def describe(self, pixels: Tensor) -> Tensor:
        return torch.cat([pixels.mean((2, 3)), pixels.std((2, 3))], 1)


class MeansAgain(Means):
    version = 2


class EyeDistance(Feature):
    name, line, paper, kinds, needs = "eyes", "distance of the eyes", "none", ("descriptor",), ("face",)
    columns = ("pixels",)

    def _measure(self, subjects: Sequence[Subject]) -> list[Measured]:
        found = []
        for subject in subjects:
            assert subject.face is not None and subject.landmarks is None
            points = subject.face.points
            value = [] if points is None else [np.hypot(*np.subtract(points[0], points[1]))]
            found.append(Measured("ok", np.array(value, np.float32)) if value else Measured("no_landmarks"))
        return found


class Spread(Feature):
    name, line, paper, kinds, needs = "spread", "spread of the landmarks", "none", ("descriptor",), ("landmarks",)
    columns = ("x", "y")

    def _measure(self, subjects: Sequence[Subject]) -> list[Measured]:
        return [Measured("ok", s.landmarks.points.std(0)) for s in subjects if s.landmarks is not None]


class Fails(Means):
    name = "fails"

    def describe(self, pixels: Tensor) -> Tensor:
        raise ZeroDivisionError("a bug")


def portraits(folder: Path, astronaut: Path, count: int = 6) -> Path:
    """``real/`` and ``fake/`` with crops of the astronaut, each other, and one broken file; returns ``folder``."""
    with Image.open(astronaut) as image:
        image = image.convert("RGB")
        for i in range(count):
            place = folder / ("fake" if i % 2 else "real")
            place.mkdir(parents=True, exist_ok=True)
            image.crop((90 + 3 * i, 0, 346 + 3 * i, 256)).save(place / f"{i}.png")
    (folder / "real" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return folder
