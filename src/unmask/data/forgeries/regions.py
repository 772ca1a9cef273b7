"""Regions of a face or of a frame: hulls from five landmarks, sub-regions, ellipses, blobs; elastic, feathered."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from unmask.core.types import Face
from unmask.data.forgeries.base import Region

Points = npt.NDArray[np.float64]

# The unit face frame: origin between the eyes, distance between the eyes = 1, y down. The outline is our own
# estimate of where jaw, brows and forehead lie on an average adult face.
FIVE: Points = np.array([(-0.5, 0.0), (0.5, 0.0), (0.0, 0.58), (-0.42, 1.15), (0.42, 1.15)])
_JAW = [(-1.02, 0.0), (-1.0, 0.45), (-0.93, 0.9), (-0.77, 1.35), (-0.5, 1.72), (-0.2, 1.9), (0.0, 1.93)]
_BROWS = [(-0.9, -0.36), (-0.55, -0.5), (-0.15, -0.42)]
_FOREHEAD = [(-0.92, -0.4), (-0.75, -0.8), (-0.4, -1.05), (0.0, -1.12)]


def _both_sides(half: list[tuple[float, float]]) -> Points:
    return np.array(half + [(-x, y) for x, y in half if x != 0])


def _ellipse(x: float, y: float, rx: float, ry: float, n: int = 14) -> Points:
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1)


_FACE = np.concatenate([_both_sides(_JAW), _both_sides(_FOREHEAD)])
PARTS: dict[str, Points] = {
    "face": _FACE,
    "below_brows": np.concatenate([_both_sides(_JAW), _both_sides(_BROWS)]),
    "inner": np.concatenate([_both_sides(_BROWS), _ellipse(0.0, 1.15, 0.62, 0.45)]),
    "oval": _ellipse(0.0, 0.5, 0.95, 1.35, 20),
    "lower": np.array([(x, y) for x, y in _both_sides(_JAW) if y > 0.4] + [(-0.5, 0.5), (0.5, 0.5)]),
    "upper": np.concatenate([_both_sides(_FOREHEAD), np.array([(-1.0, 0.3), (1.0, 0.3)])]),
    "left_half": np.array([(x, y) for x, y in _FACE if x <= 0]),
    "right_half": np.array([(x, y) for x, y in _FACE if x >= 0]),
    "eyes": np.concatenate([_ellipse(-0.5, 0.0, 0.4, 0.24), _ellipse(0.5, 0.0, 0.4, 0.24)]),
    "left_eye": _ellipse(-0.5, 0.0, 0.36, 0.22),
    "right_eye": _ellipse(0.5, 0.0, 0.36, 0.22),
    "nose": np.array([(-0.14, -0.05), (0.14, -0.05), (0.34, 0.66), (0.0, 0.8), (-0.34, 0.66)]),
    "mouth": _ellipse(0.0, 1.17, 0.52, 0.27),
    "chin": _ellipse(0.0, 1.65, 0.5, 0.28),
    "left_cheek": _ellipse(-0.62, 0.62, 0.3, 0.34),
    "right_cheek": _ellipse(0.62, 0.62, 0.3, 0.34),
    "forehead": _ellipse(0.0, -0.72, 0.7, 0.3),
}
WHOLE = ("face", "below_brows", "inner", "oval")
HALVES = ("lower", "upper", "left_half", "right_half")
SMALL = ("eyes", "left_eye", "right_eye", "nose", "mouth", "chin", "left_cheek", "right_cheek", "forehead")


def face_frame(face: Face) -> Points:
    """The 2 x 3 affine map from the unit face frame to pixels: a least-squares fit to the five points.

    From the box where points are missing or nearly collapse (a profile).
    """
    if face.points is not None:
        unit = np.concatenate([FIVE, np.ones((5, 1))], 1)
        fit = np.linalg.lstsq(unit, np.asarray(face.points, np.float64), rcond=None)[0].T
        stretch = np.linalg.svd(fit[:, :2], compute_uv=False)
        if stretch[1] > 0.45 * stretch[0]:
            return np.asarray(fit)
    x1, y1, x2, y2 = face.box
    sx, sy = (x2 - x1) / 2.1, (y2 - y1) / 2.9
    return np.array([[sx, 0, (x1 + x2) / 2], [0, sy, y1 + sy]])


def hull(face: Face, part: str, rng: np.random.Generator) -> Points:
    """A jittered convex hull (n, 2), in pixels, of a random subset of one part's points (names in PARTS)."""
    points = PARTS[part]
    if len(points) > 6:
        points = points[rng.random(len(points)) > rng.uniform(0, 0.3)]
        if len(points) < 3:
            points = PARTS[part]
    spread = np.ptp(points, axis=0)
    points = points.mean(0) + (points - points.mean(0)) * rng.uniform(0.85, 1.15, 2)
    points = points + rng.normal(0, 0.025, points.shape) * spread
    frame = face_frame(face)
    return np.asarray(cv2.convexHull((points @ frame[:, :2].T + frame[:, 2]).astype(np.float32))[:, 0], np.float64)


def blob(centre: Points, radius: float, rng: np.random.Generator) -> Points:
    """A random outline (n, 2) about a point: an ellipse, a rotated rectangle or an uneven polygon."""
    kind, aspect, turn = rng.integers(3), np.exp(rng.uniform(-0.6, 0.6)), rng.uniform(0, np.pi)
    if kind == 0:
        shape = _ellipse(0, 0, 1, 1, 24)
    elif kind == 1:
        shape = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]) * 0.85
    else:
        shape = _ellipse(0, 0, 1, 1, 9) * rng.uniform(0.55, 1.15, (9, 1))
    shape = shape * radius * np.array([np.sqrt(aspect), 1 / np.sqrt(aspect)])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(shape @ rotation.T + centre)


def rasterize(
    outline: Points,
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    feather: float = 0.0,
    elastic: float = 0.0,
) -> Region | None:
    """An outline as a region of an image of ``shape`` (H, W).

    Args:
        outline: (n, 2) polygon in pixels; may reach over the frame.
        shape: image height and width.
        rng: the elastic field's draw.
        feather: sigma of the Gaussian edge over the region's size (square root of its box area); 0 = a hard edge.
        elastic: standard deviation of the outline's displacement over the region's size.

    Returns:
        The region inside the frame, or None when less than 30 % of it, or fewer than 16 pixels, are.
    """
    low, high = outline.min(0), outline.max(0)
    size = float(np.sqrt(np.prod(np.maximum(high - low, 4.0))))
    pad = size * (3 * feather + 2.5 * elastic) + 3
    left, top = np.floor(low - pad).astype(int)
    width, height = np.ceil(high + pad).astype(int) - (left, top)
    if left >= shape[1] or top >= shape[0] or left + width <= 0 or top + height <= 0:
        return None
    scale = min(1.0, 128 / max(width, height))  # a coarse grid is enough for a smooth edge
    grid = np.zeros((max(8, round(height * scale)), max(8, round(width * scale))), np.float32)
    to_grid = np.array([grid.shape[1] / width, grid.shape[0] / height])
    corners = np.rint((outline - (left, top)) * to_grid * 16 - 8).astype(np.int32)
    cv2.fillPoly(grid, [corners], (1.0,), lineType=cv2.LINE_AA if feather else cv2.LINE_8, shift=4)
    grid = np.minimum(grid, 1.0)
    if elastic:
        push = rng.standard_normal((5, 5, 2), dtype=np.float32) * np.float32(elastic * size * scale)
        field = cv2.resize(push, (grid.shape[1], grid.shape[0]), interpolation=cv2.INTER_CUBIC)
        ys, xs = np.indices(grid.shape, np.float32)
        grid = np.asarray(cv2.remap(grid, xs + field[..., 0], ys + field[..., 1], cv2.INTER_LINEAR), np.float32)
    if feather:
        grid = np.asarray(cv2.GaussianBlur(grid, (0, 0), max(0.3, feather * size * scale)), np.float32)
    grid[[0, -1]] = 0
    grid[:, [0, -1]] = 0
    weight = np.asarray(cv2.resize(grid, (int(width), int(height)), interpolation=cv2.INTER_LINEAR), np.float32)
    if not feather:
        weight = (weight > 0.5).astype(np.float32)
    area = np.count_nonzero(weight > 0.5)
    y0, x0 = max(0, -top), max(0, -left)
    weight = weight[y0 : shape[0] - top, x0 : shape[1] - left]
    if np.count_nonzero(weight > 0.5) < max(16, 0.3 * area):
        return None
    return Region(int(top + y0), int(left + x0), np.clip(weight, 0, 1))


def outline_near(
    shape: tuple[int, int],
    face: Face | None,
    rng: np.random.Generator,
    *,
    parts: tuple[str, ...] = (),
    radius: tuple[float, float] = (0.1, 0.3),
    on_part: float = 0.7,
) -> Points:
    """An outline to forge: one of the face's parts, else a blob on or near the face, else a blob anywhere.

    Args:
        shape: image height and width.
        face: the face, or None.
        rng: the draw.
        parts: face parts to choose from (names in :data:`PARTS`).
        radius: range of a blob's radius, over the face's (or, without one, the frame's) shorter side.
        on_part: probability of a part where there is a face.
    """
    if face is not None and parts and rng.random() < on_part:
        return hull(face, str(rng.choice(parts)), rng)
    if face is not None and rng.random() < 0.8:
        x1, y1, x2, y2 = face.box
        centre = np.array([(x1 + x2) / 2, (y1 + y2) / 2]) + rng.uniform(-0.7, 0.7, 2) * (x2 - x1, y2 - y1)
        side = min(x2 - x1, y2 - y1)
    else:
        centre = rng.uniform(0.1, 0.9, 2) * (shape[1], shape[0])
        side = min(shape) * 0.6
    return blob(centre, max(5.0, side * float(rng.uniform(*radius))), rng)


def soft_region(outline: Points, shape: tuple[int, int], rng: np.random.Generator, ratio: float = 1.0) -> Region | None:
    """Rasterize with a random elastic outline and Gaussian edge, times a blend ratio."""
    feather = float(np.exp(rng.uniform(np.log(0.008), np.log(0.09))))
    region = rasterize(outline, shape, rng, feather=feather, elastic=float(rng.choice([0.0, 0.03, 0.06])))
    return region._replace(weight=region.weight * np.float32(ratio)) if region else None
