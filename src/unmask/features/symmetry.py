"""Row 11: facial symmetry, the face against its mirror image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from unmask.core.types import FloatMap, UInt8Image
from unmask.data.faces import align
from unmask.data.landmarks import five_points
from unmask.features.base import Feature, Measured, Status, Subject
from unmask.nn.landmarks import COUNT, mirror_order

Points = npt.NDArray[np.float64]

SIZE = 128
"""Side of the square with the face upright, in pixels."""
MEASURES = ("light", "detail", "colour", "structure")
REGIONS = ("face", "eyes", "mouth")
_FIVE_MIRRORED = (1, 0, 2, 4, 3)
_SMALLEST = 24.0  # what the five points span, in pixels of the image


class Symmetry(Feature):
    """Pixel and structural differences between a face and its mirror image.

    The midline is the line about which the face's points mirror onto each other best: the dense landmarks, or the five
    points where no landmarks were found. The face is turned until it stands upright in the middle of a square, and
    compared with its mirror image: in luma (``light``), in luma over its local mean and spread (``detail``), in chroma
    (``colour``) and as 1 - SSIM (``structure``), over the whole face, about the eyes and about the mouth. ``points`` is
    how far the points miss their mirrored partners, over their spread; head pose shows there too.
    """

    name = "symmetry"
    line = "the face against its mirror image: light, detail, colour, structure, and its points"
    paper = "Li et al., 2019"
    kinds = ("map", "descriptor")
    needs = ("landmarks",)

    @property
    def columns(self) -> tuple[str, ...]:
        """``MEASURE REGION``, then the points."""
        return (*(f"{measure} {region}" for measure in MEASURES for region in REGIONS), "points")

    def _lacking(self, subject: Subject) -> Status | None:
        lacking = super()._lacking(subject)
        five = subject.face is not None and subject.face.points is not None
        return None if lacking == "no_landmarks" and five else lacking

    def _measure(self, subjects: Sequence[Subject]) -> list[Measured]:
        return [self._one(subject) for subject in subjects]

    def _one(self, subject: Subject) -> Measured:
        points, mirrored, five = _points(subject)
        if np.ptp(five, axis=0).max() < _SMALLEST:
            return Measured("too_small")
        differences = mirror_differences(upright(subject.image, points, mirrored, five))
        values = np.einsum("mhw,rhw->mr", differences, _regions()).ravel()
        return Measured("ok", np.array([*values, misfit(points, mirrored)], np.float32))

    def asymmetry_map(self, subject: Subject) -> FloatMap | None:
        """(4, 128, 128): :func:`mirror_differences` of the upright face; None where the feature has no value.

        It depends on the points and not on the pixels alone, so it is no stream of a network.
        """
        if self.measure([subject])[0].status != "ok":
            return None
        return mirror_differences(upright(subject.image, *_points(subject)))


def midline(points: npt.ArrayLike, mirrored: npt.ArrayLike) -> tuple[complex, complex]:
    """The mirror that best takes points to their partners: ``z`` to ``a conj(z) + b``, ``|a| = 1``.

    Least squares in closed form, with points (N, 2) as complex numbers x + iy.

    >>> a, b = midline([(0, 0), (4, 0), (2, 9)], [(4, 0), (0, 0), (2, 9)])
    >>> [round(x, 6) + 0.0 for x in (a.real, a.imag, b.real, b.imag)]
    [-1.0, 0.0, 4.0, 0.0]
    """
    p, q = _complex(points), _complex(mirrored)
    direction = ((q - q.mean()) * (p - p.mean())).sum()
    a = direction / abs(direction) if abs(direction) > 0 else -1.0
    return complex(a), complex(q.mean() - a * p.mean().conjugate())


def misfit(points: npt.ArrayLike, mirrored: npt.ArrayLike) -> float:
    """Root mean square distance from mirrored points to their partners, over the points' spread; 0 = symmetric."""
    a, b = midline(points, mirrored)
    p, q = _complex(points), _complex(mirrored)
    return float(np.sqrt((abs(a * p.conj() + b - q) ** 2).mean() / (abs(p - p.mean()) ** 2).mean()))


def upright(image: UInt8Image, points: Points, mirrored: Points, five: Points) -> UInt8Image:
    """The face in a (128, 128, 3) square with its midline as the middle column.

    Args:
        image: (H, W, 3) RGB.
        points: (N, 2) that tell the midline.
        mirrored: their partners on the other side.
        five: (5, 2) that tell how large the face is and where on the midline.
    """
    a, b = midline(points, mirrored)
    z = _complex(five)
    even = (z + a * z[list(_FIVE_MIRRORED)].conj() + b) / 2  # symmetric about the midline, like what they are laid onto
    return align(image, np.stack([even.real, even.imag], 1), SIZE)[0]


def mirror_differences(pixels: UInt8Image) -> FloatMap:
    """Differences of a (S, S, 3) square from its mirror image, in the order of :data:`MEASURES`: (4, S, S).

    Luma and chroma are in [0, 1]; SSIM is that of Wang et al. (2004) with a Gaussian window of sigma 1.5.
    """
    planes = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb).astype(np.float64) / 255
    other = planes[:, ::-1]
    light = abs(planes[..., 0] - other[..., 0])
    fine = planes[..., 0] - cv2.GaussianBlur(planes[..., 0], (0, 0), 4)
    fine /= np.sqrt(cv2.GaussianBlur(fine**2, (0, 0), 4)) + 0.02
    detail = abs(fine - fine[:, ::-1])
    colour = abs(planes[..., 1:] - other[..., 1:]).sum(2)
    structure = 1 - _ssim(planes[..., 0], other[..., 0])
    return np.stack([light, detail, colour, structure]).astype(np.float32)


def _ssim(x: Points, y: Points) -> Points:
    def mean(v: Points) -> Points:
        return np.asarray(cv2.GaussianBlur(np.ascontiguousarray(v), (11, 11), 1.5, borderType=cv2.BORDER_REFLECT))

    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))


def _regions() -> Points:
    """(3, S, S) weights that sum to 1 each: face, eyes, mouth of an upright face, in the order of :data:`REGIONS`."""
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    face = ((x - 0.5) / 0.26) ** 2 + ((y - 0.59) / 0.36) ** 2 <= 1
    parts = np.stack([face, face & (abs(y - 0.47) < 0.08), face & (abs(y - 0.76) < 0.08)]).astype(np.float64)
    return np.asarray(parts / parts.sum((1, 2), keepdims=True))


def _points(subject: Subject) -> tuple[Points, Points, Points]:
    """The points that tell the midline, their partners in the same order, and the five points."""
    if subject.landmarks is not None:
        dense = np.asarray(subject.landmarks.points[:COUNT], np.float64)  # without irises, which follow the gaze
        return dense, dense[mirror_order()], five_points(dense)
    assert subject.face is not None and subject.face.points is not None
    five = np.asarray(subject.face.points, np.float64)
    return five, five[list(_FIVE_MIRRORED)], five


def _complex(points: npt.ArrayLike) -> npt.NDArray[np.complex128]:
    return np.asarray(np.asarray(points, np.float64) @ np.array([1, 1j]), np.complex128)
