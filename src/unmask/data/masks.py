"""True masks from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unmask.core.errors import DataError
from unmask.core.types import FloatMap
from unmask.data.intake import Decoded, decode, to_stored_orientation

_INVERSE = {6: 8, 8: 6}  # every other EXIF orientation undoes itself


def read_mask(path: str | Path, image: Decoded) -> FloatMap:
    """A mask file as a map (H, W) in [0, 1] of the upright ``image``.

    The file is a grey image of the size and orientation in which the image is *stored* (before its EXIF
    orientation), 0 = untouched, 255 = wholly foreign.

    Raises:
        IntakeError: the file cannot be decoded.
        DataError: another size, colours, or values 0 and 1 where 0 and 255 are meant.
    """
    decoded = decode(Path(path))
    grey = decoded.pixels[..., 0]
    if (decoded.pixels != grey[..., None]).any():
        raise DataError("bad_mask", f"{path} has colours; a mask is grey: 0 = untouched, 255 = edited")
    if grey.max(initial=0) == 1:
        raise DataError("bad_mask", f"{path} holds only 0 and 1; a mask holds 0 (untouched) to 255 (edited)")
    mask = grey.astype(np.float32) / np.float32(255)
    if decoded.orientation == 1:
        mask = to_stored_orientation(mask, _INVERSE.get(image.orientation, image.orientation))
    if mask.shape != image.pixels.shape[:2]:
        height, width = image.pixels.shape[:2]
        came = f"{mask.shape[1]}x{mask.shape[0]}"
        raise DataError(
            "bad_mask", f"{path} has {came} pixels, its image {width}x{height}; a mask has its image's size"
        )
    return np.ascontiguousarray(mask)
