"""Bring every image to one size and one JPEG quality, so that neither tells the classes apart."""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from unmask.core.errors import ConfigError
from unmask.core.types import FloatMap
from unmask.data.intake import Decoded, decode


@dataclass(frozen=True, slots=True)
class Matching:
    """What is done to both classes alike before they are scored. Nothing by default."""

    size: int | None = None
    """Longer side in pixels; smaller images are enlarged too."""
    jpeg_quality: int | None = None
    """Re-encoded as JPEG (4:2:0) of this quality; with a size only, as lossless PNG."""

    def __post_init__(self) -> None:
        if self.size is not None and not 16 <= self.size <= 8192:
            raise ConfigError("bad_config", f"--size must be 16 to 8192 pixels, got {self.size}")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise ConfigError("bad_config", f"--jpeg-quality must be 1 to 100, got {self.jpeg_quality}")

    @property
    def active(self) -> bool:
        """False when images are scored as they are stored."""
        return self.size is not None or self.jpeg_quality is not None

    def apply(self, decoded: Decoded) -> Decoded:
        """The image as if it had been stored at the common size and quality, its metadata included.

        The detector and both baselines see this file, not the original.
        """
        if not self.active:
            return decoded
        pixels = decoded.pixels
        if self.size is not None and max(pixels.shape[:2]) != self.size:
            height, width = _scaled(pixels.shape[0], pixels.shape[1], self.size)
            how = cv2.INTER_AREA if height < pixels.shape[0] else cv2.INTER_CUBIC
            pixels = cv2.resize(pixels, (width, height), interpolation=how).astype(np.uint8)
        buffer = io.BytesIO()
        if self.jpeg_quality is None:
            Image.fromarray(pixels).save(buffer, "PNG")
        else:
            Image.fromarray(pixels).save(buffer, "JPEG", quality=self.jpeg_quality, subsampling="4:2:0")
        return decode(buffer.getvalue())


def _scaled(height: int, width: int, size: int) -> tuple[int, int]:
    longer = max(height, width)
    return max(1, round(height * size / longer)), max(1, round(width * size / longer))


def scale_mask(mask: FloatMap, shape: tuple[int, int]) -> FloatMap:
    """A true mask (H, W) at the size of the matched image; area averages, so that no forged pixel is lost."""
    if mask.shape == shape:
        return mask
    how = cv2.INTER_AREA if shape[0] < mask.shape[0] else cv2.INTER_LINEAR
    resized: FloatMap = cv2.resize(mask, shape[::-1], interpolation=how).astype(np.float32).clip(0.0, 1.0)
    return resized
