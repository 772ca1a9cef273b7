"""True masks: from files, and of images that were generated as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from unmask.core.errors import DataError
from unmask.core.types import Face, FloatMap
from unmask.data.intake import Decoded, decode, to_stored_orientation

MaskPolicy = Literal["ones", "face", "ignore"]
"""What the true mask of a wholly generated image is: 1 everywhere, 1 in the boxes of its faces, or not known."""

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


def generated_mask(policy: MaskPolicy, shape: tuple[int, int], faces: Sequence[Face] = ()) -> FloatMap | None:
    """The mask of an image that was generated as a whole, or None where it has none to learn from.

    Args:
        policy: what counts as manipulated; ``face`` gives None where no face is known.
        shape: height and width.
        faces: in pixels of that image.

    >>> mask = generated_mask("face", (4, 6), [Face((1.2, 0, 3, 9))])
    >>> mask.sum(0).tolist()
    [0.0, 4.0, 4.0, 0.0, 0.0, 0.0]
    """
    if policy == "ones":
        return np.ones(shape, np.float32)
    if policy == "ignore" or not faces:
        return None
    mask: FloatMap = np.zeros(shape, np.float32)
    for face in faces:
        left, top, right, bottom = (max(0, round(edge)) for edge in face.box)
        mask[top:bottom, left:right] = 1
    return mask
