"""A 3-D head and where it looks, from dense points: the pose part of head-pose consistency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# fmt: off
INNER: dict[int, tuple[float, float, float]] = {
    70: (-0.6275, -0.1533, -0.0014), 63: (-0.5556, -0.2148, -0.0940), 105: (-0.4480, -0.2486, -0.1684),
    66: (-0.3105, -0.2445, -0.2339), 107: (-0.1572, -0.2294, -0.2653), 336: (0.1572, -0.2294, -0.2653),
    296: (0.3105, -0.2445, -0.2339), 334: (0.4480, -0.2486, -0.1684), 293: (0.5556, -0.2148, -0.0940),
    300: (0.6275, -0.1533, -0.0014), 33: (-0.5000, 0.0000, 0.0000), 133: (-0.1907, 0.0148, -0.0581),
    362: (0.1907, 0.0148, -0.0581), 263: (0.5000, 0.0000, 0.0000), 168: (0.0000, -0.0485, -0.2506),
    6: (0.0000, 0.0330, -0.2971), 197: (0.0000, 0.1109, -0.3504), 195: (0.0000, 0.1824, -0.4094),
    5: (0.0000, 0.2595, -0.4698), 4: (0.0000, 0.3545, -0.4934), 1: (0.0000, 0.4269, -0.4676),
    2: (0.0000, 0.4895, -0.2896), 48: (-0.2215, 0.3890, -0.2934), 278: (0.2215, 0.3890, -0.2934),
    98: (-0.2079, 0.4513, -0.2011), 327: (0.2079, 0.4513, -0.2011), 61: (-0.3457, 0.6645, -0.0108),
    291: (0.3457, 0.6645, -0.0108),
}
"""Brows, nose, corners of eyes and mouth (by point of the mesh): the part that a face swap replaces."""
JAW: dict[int, tuple[float, float, float]] = {
    127: (-0.7729, 0.0488, 0.5468), 234: (-0.7653, 0.2035, 0.6045), 93: (-0.7578, 0.3608, 0.6163),
    132: (-0.7371, 0.5289, 0.5944), 58: (-0.6908, 0.7048, 0.5390), 172: (-0.6204, 0.8457, 0.4347),
    136: (-0.5376, 0.9490, 0.3209), 150: (-0.4307, 1.0425, 0.2277), 149: (-0.3420, 1.1097, 0.1502),
    176: (-0.2484, 1.1688, 0.0679), 148: (-0.1393, 1.2101, 0.0121), 152: (0.0000, 1.2242, -0.0077),
    377: (0.1393, 1.2101, 0.0121), 400: (0.2484, 1.1688, 0.0679), 378: (0.3420, 1.1097, 0.1502),
    379: (0.4307, 1.0425, 0.2277), 365: (0.5376, 0.9490, 0.3209), 397: (0.6204, 0.8457, 0.4347),
    288: (0.6908, 0.7048, 0.5390), 361: (0.7371, 0.5289, 0.5944), 323: (0.7578, 0.3608, 0.6163),
    454: (0.7653, 0.2035, 0.6045), 356: (0.7729, 0.0488, 0.5468),
}
"""The outline from ear to ear by the chin, which a face swap leaves."""
# fmt: on
# Both tables: x to the right, y down, z away from the camera, from the middle of the outer eye corners, in units of
# their distance. The mean of the teacher's 3-D points over the 275 training faces that look ahead, averaged with its
# mirror image (benchmarks/head_model.py). An angle of zero is therefore the average portrait.

DISTANCE = 10.0
"""The camera stands this many eye distances away (about a metre), on the axis through the face's middle."""


@dataclass(frozen=True, slots=True, eq=False)
class HeadPose:
    """How a head stands to the camera."""

    rotation: Array
    """(3, 3) from the head's axes (x right, y down, z away) to the camera's."""
    error: float
    """Root mean square distance of the points from the projected head, in eye distances of the head as it is seen."""

    @property
    def angles(self) -> tuple[float, float, float]:
        """Pitch (up), yaw (to the right of the image) and roll (clockwise) in degrees.

        The head is rolled first, then pitched, then turned: R = Ry(-yaw) Rx(-pitch) Rz(roll).
        """
        r = self.rotation
        pitch = np.arcsin(np.clip(r[1, 2], -1, 1))
        yaw, roll = np.arctan2(-r[0, 2], r[2, 2]), np.arctan2(r[1, 0], r[1, 1])
        degrees: tuple[float, float, float] = tuple(np.rad2deg([pitch, yaw, roll]).tolist())
        return degrees


def face_camera(points: npt.NDArray[np.floating]) -> tuple[Array, float]:
    """The (3, 3) camera that looks at dense points, (468 or 478, 2), from :data:`DISTANCE`, and the eye distance in
    pixels.

    It depends on the face alone, so that cropping and resizing a photo change no angle. The eye distance is the
    head's: of the scale at which the head's points spread like the face's.
    """
    head = _table(INNER | JAW)
    seen = np.asarray(points, float)[list(INNER | JAW)]
    unit = float(np.sqrt(seen.var(0).sum() / head[:, :2].var(0).sum()))
    focal, centre = DISTANCE * unit, seen.mean(0)
    return np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]]), unit


def head_pose(
    points: npt.NDArray[np.floating], part: Sequence[int] | None = None, camera: Array | None = None
) -> HeadPose | None:
    """The pose of the head at (468 or 478, 2) dense points in pixels; None where the points have none.

    Least squares of the reprojection (``cv2.solvePnP``), begun at a head that looks into the camera.

    Args:
        points: in the order of the face mesh.
        part: points to go by, keys of :data:`INNER` and :data:`JAW`; default: all of them.
        camera: (3, 3) intrinsic matrix; default: :func:`face_camera`.
    """
    seen, table = np.asarray(points, float), INNER | JAW
    chosen = list(table if part is None else part)
    if not np.isfinite(seen[list(table)]).all() or _flatness(seen[chosen]) < 0.02:
        return None
    looked, unit = face_camera(seen)
    lens = looked if camera is None else np.asarray(camera, float)
    depth = lens[0, 0] / unit
    target = seen[chosen]
    shift = np.append((seen[list(table)].mean(0) - lens[:2, 2]) / unit, depth)
    model = _table({i: table[i] for i in chosen})
    begin = np.zeros((3, 1)), shift.reshape(3, 1)
    solved, turn, place = cv2.solvePnP(model, target, lens, None, *begin, useExtrinsicGuess=True)
    if not solved or not np.isfinite(turn).all() or place[2, 0] <= 0:
        return None
    projected = cv2.projectPoints(model, turn, place, lens, None)[0][:, 0]
    error = float(np.sqrt(np.square(projected - target).sum(1).mean()) / unit)
    return HeadPose(np.asarray(cv2.Rodrigues(turn)[0], float), error)


def _table(part: dict[int, tuple[float, float, float]]) -> Array:
    return np.array(list(part.values()), float)


def _flatness(points: Array) -> float:
    """Second over first singular value of the spread: 0 where all points lie on a line (or on one spot)."""
    first, second = np.linalg.svd(points - points.mean(0), compute_uv=False)
    return float(second / first) if first > 1e-6 else 0.0
