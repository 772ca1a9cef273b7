"""Content from elsewhere cloned in seamlessly: its gradients, on the light and colour of the place it goes to.

After Perez, Gangnet and Blake, "Poisson Image Editing", SIGGRAPH 2003: what editors do for healing and for pasting
without a visible edge. Unlike ``splice`` there is no step of colour at the outline. Never another person's face: the
caller gives the donors and vouches that no face is in them. Not OpenCV's ``seamlessClone``: it solves over the whole
rectangle and so changes pixels outside the mask as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array, eye_array
from scipy.sparse.linalg import spsolve

from unmask.core.types import Face, FloatMap, UInt8Image
from unmask.data.degradations import u8
from unmask.data.forgeries.base import Draft, Region
from unmask.data.forgeries.regions import SMALL, outline_near, rasterize
from unmask.data.forgeries.splicing import patch_from_elsewhere


def membrane(values: FloatMap, inside: npt.NDArray[np.bool_]) -> FloatMap:
    """The harmonic function inside that meets ``values`` outside: the five-point Laplace equation, solved directly.

    Args:
        values: (h, w, 3); what they are inside does not matter.
        inside: (h, w), not everywhere true. Where it meets the array's edge, the function is level across that edge.

    Returns:
        (h, w, 3) float32, ``values`` themselves outside. Time grows somewhat faster than the pixels inside.
    """
    count = int(np.count_nonzero(inside))
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(count)
    number = np.pad(number, 1, mode="reflect")
    rim = np.pad(np.where(inside[..., None], 0, values).astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="reflect")
    ys, xs = np.nonzero(inside)
    right, rows, columns = np.zeros((count, 3)), [], []
    for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2)):
        right += rim[ys + dy, xs + dx]
        neighbour = number[ys + dy, xs + dx]
        rows.append(np.flatnonzero(neighbour >= 0))
        columns.append(neighbour[rows[-1]])
    row, column = np.concatenate(rows), np.concatenate(columns)
    matrix = 4 * eye_array(count, format="csc") - csc_array((np.ones(len(row)), (row, column)), (count, count))
    found = np.array(values, np.float32)
    found[inside] = spsolve(matrix, right).reshape(-1, 3)
    return found


def cloned(image: UInt8Image, patch: UInt8Image, region: Region) -> UInt8Image:
    """``patch`` (h, w, 3) cloned into the region's box of ``image`` (H, W, 3); returns the box, (h, w, 3).

    The patch plus the membrane of what image and patch differ by on the outline: the solution of equation 4 of the
    paper for the patch's gradients (equation 10). Nothing changes where the region's weight is at most a half.
    """
    inside = region.weight > 0.5
    under = image[region.box].astype(np.float32)
    return u8(np.where(inside[..., None], patch + membrane(under - patch, inside), under))


def draw_seamless(
    image: UInt8Image, face: Face | None, rng: np.random.Generator, donors: Sequence[UInt8Image]
) -> Draft | None:
    """Clone a patch from elsewhere over a part of the face or frame."""
    shape = image.shape[:2]
    outline = outline_near(shape, face, rng, parts=SMALL, radius=(0.12, 0.4), on_part=0.6)
    region = rasterize(outline, shape, rng, elastic=float(rng.choice([0.0, 0.03, 0.06])))
    if region is None:
        return None
    patch = patch_from_elsewhere(image, region, rng, donors, share=0.5, largest=1.25)
    return None if patch is None else Draft(image, cloned(image, patch, region), region)
