"""What the landmark network learns from: faces of real photos with the teacher's points, varied in whole batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.core.types import Face, UInt8Image
from unmask.data.degradations import jpeg
from unmask.data.faces import align, square_around
from unmask.data.intake import decode
from unmask.data.landmark_teacher import Teacher, teach
from unmask.data.landmarks import to_image
from unmask.nn.landmarks import OUTER_EYES, SIZE

KEPT = 192
"""Side of the squares kept in memory, in pixels."""
KEPT_ZOOM, LOOK_ZOOM = 0.5, 0.8
"""Zooms (see :func:`unmask.data.faces.align`) of the kept squares and of those the network looks at."""
PIVOT = np.array([0.5, 0.5 + 0.1 * KEPT_ZOOM])
"""Where the middle of the face lies in a kept square."""
TEACHER_ZOOMS = (0.7, 0.76, 0.82)
"""The teacher is asked at these zooms (squares of about 1.5 face boxes) and mirrored; the target is the mean."""
SURE, STEADY = 8.0, 0.06
"""Faces are left out where the teacher's face logit is lower, or its points at the three zooms lie farther from their
mean, in distances of the outer eye corners."""


class Examples(NamedTuple):
    """N faces and M squares without a face."""

    squares: UInt8Image
    """(N, 192, 192, 3)."""
    points: npt.NDArray[np.float32]
    """(N, 468, 3) the teacher's, x and y as fractions of the square, z in the same unit."""
    empty: UInt8Image
    """(M, 96, 96, 3)."""
    source: npt.NDArray[np.str_]
    """(N,) the photo's path."""


def teacher_points(
    teacher: Teacher, image: UInt8Image, five: npt.ArrayLike, mirror: npt.NDArray[np.int64] | None
) -> tuple[npt.NDArray[np.float32], float, float]:
    """The teacher's (468, 3) points in image pixels (z in the same unit), its face logit, and how far its answers at
    the three zooms lie from their mean, in distances of the outer eye corners."""
    cuts = [align(image, five, 192, zoom) for zoom in TEACHER_ZOOMS]
    said, logits = teach(teacher, [pixels for pixels, _ in cuts], mirror)
    looks = np.stack([to_image3(points * 192, matrix) for points, (_, matrix) in zip(said, cuts, strict=True)])
    mean = looks.mean(0)
    apart = np.linalg.norm((looks - mean)[..., :2], axis=-1).mean() / eye_distance(mean)
    return mean.astype(np.float32), float(logits.mean()), float(apart)


def to_image3(points: npt.NDArray[np.float32], matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Like :func:`unmask.data.landmarks.to_image` for (468, 3) points: the depth keeps the unit of x and y."""
    depth = points[:, 2:] / np.sqrt(np.linalg.det(matrix[:, :2]))
    return np.concatenate([to_image(points[:, :2], matrix), depth], 1)


def eye_distance(points: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Distance of the outer eye corners in the plane: (..., 468, 2 or 3) to (...)."""
    left, right = (points[..., i, :2] for i in OUTER_EYES)
    distance: npt.NDArray[np.floating] = np.linalg.norm(left - right, axis=-1)
    return distance


def find_mirror(teacher: Teacher, squares: Sequence[UInt8Image]) -> npt.NDArray[np.int64]:
    """Which point takes whose place when the image is mirrored, from the teacher's own answers: (468,).

    The one-to-one assignment with the least mean distance between the points of each square and the mirrored points
    of its mirror image.
    """
    from scipy.optimize import linear_sum_assignment

    here, _ = teach(teacher, squares)
    there, _ = teach(teacher, [square[:, ::-1] for square in squares])
    there[..., 0] = 1 - there[..., 0]
    cost = np.mean([np.linalg.norm(a[:, None] - b[None], axis=-1) for a, b in zip(here, there, strict=True)], 0)
    _, order = linear_sum_assignment(cost + cost.T)  # symmetric: a pair is a pair from both sides
    return np.asarray(order, np.int64)


def collect(
    boxes: Mapping[str, Sequence[Face]], teacher: Teacher, mirror: npt.NDArray[np.int64], random: np.random.Generator
) -> Examples:
    """Every face of at least 48 pixels in the photos named by ``boxes``, and two squares without a face per photo."""
    squares, points, empty, source = [], [], [], []
    for path, faces in boxes.items():
        image = decode(path).pixels
        for face in faces:
            if face.points is None or max(face.box[2] - face.box[0], face.box[3] - face.box[1]) < 48:
                continue
            dense, logit, apart = teacher_points(teacher, image, face.points, mirror)
            if logit < SURE or apart > STEADY:
                continue
            square, matrix = align(image, face.points, KEPT, KEPT_ZOOM)
            flat = dense[:, :2] @ matrix[:, :2].T + matrix[:, 2]
            depth = dense[:, 2:] * np.sqrt(np.linalg.det(matrix[:, :2]))
            squares.append(square)
            points.append((np.concatenate([flat, depth], 1) / KEPT).astype(np.float32))
            source.append(path)
        empty += empty_squares(image, faces, random, 2)
    return Examples(np.stack(squares), np.stack(points), np.stack(empty), np.array(source))


def empty_squares(
    image: UInt8Image, faces: Sequence[Face], random: np.random.Generator, count: int
) -> list[UInt8Image]:
    """Random squares that hold no centre of a face and do not touch the middle of any."""
    found: list[UInt8Image] = []
    height, width = image.shape[:2]
    for _ in range(12 * count):
        side = int(min(height, width) * random.uniform(0.15, 0.7))
        x, y = int(random.integers(width - side + 1)), int(random.integers(height - side + 1))
        cores = [square_around(face, 0.7) for face in faces]
        if len(found) < count and side >= 24 and not any(_meet((x, y, x + side, y + side), core) for core in cores):
            cut = image[y : y + side, x : x + side]
            found.append(cv2.resize(cut, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.uint8))
    return found


def _meet(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


class Varied(NamedTuple):
    """A batch as the network sees it."""

    image: Tensor
    """(B, 3, 96, 96) in [0, 1]."""
    points: Tensor
    """(B, 468, 2) fractions of the square."""
    face: Tensor
    """(B,) 1 = a face where it belongs, 0 = none, or far off."""


def vary(
    squares: UInt8Image, points: Tensor, mirror: Tensor, random: np.random.Generator, lost: int = 0, plain: bool = False
) -> Varied:
    """Turn, scale, shift, shear and mirror faces, with their points.

    Half of the faces lie as in a second look (a few degrees and per cent off), half as in a first one by a box (to 35
    degrees, 0.7 to 1.4 times, a tenth of the square); the last ``lost`` are thrown so far off that they do not count.

    Args:
        squares: (B, 192, 192, 3).
        points: (B, 468, 2) fractions of these squares.
        mirror: (468,).
        random: the only source of randomness.
        lost: how many of the batch.
        plain: cut as the finder does, vary nothing.
    """
    n = len(squares)
    wide = np.where(random.random(n) < 0.5, 1.0, 0.12)
    turn = np.deg2rad(35) * wide * random.uniform(-1, 1, n)
    grow = np.exp(0.34 * wide * random.uniform(-1, 1, n))
    shift = 0.1 * wide[:, None] * random.uniform(-1, 1, (n, 2))
    squeeze, shear = 0.12 * random.uniform(-1, 1, n), 0.1 * random.uniform(-1, 1, n)
    flip = random.random(n) < 0.5
    if lost:
        off = random.uniform(0, 2 * np.pi, lost)
        shift[-lost:] = random.uniform(0.45, 0.8, (lost, 1)) * np.stack([np.cos(off), np.sin(off)], 1)
        over = random.random(lost) < 0.5
        turn[-lost:] = np.where(over, np.deg2rad(random.uniform(75, 285, lost)), turn[-lost:])
        shift[-lost:][over] = 0
    if plain:
        turn, grow, shift, squeeze, shear, flip = (
            0 * turn,
            1 + 0 * grow,
            0 * shift,
            0 * squeeze,
            0 * shear,
            flip & False,
        )
    cos, sin = np.cos(turn) * grow, np.sin(turn) * grow
    form = np.stack([np.stack([1 + squeeze, shear], -1), np.stack([0 * shear, 1 - squeeze], -1)], -2)
    form[flip, :, 0] *= -1
    matrix = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2) @ form * (LOOK_ZOOM / KEPT_ZOOM)
    pivot = torch.from_numpy(PIVOT).float()
    goal = torch.from_numpy(np.array([0.5, 0.5 + 0.1 * LOOK_ZOOM]) + shift).float()[:, None]  # (B, 1, 2)
    there = torch.from_numpy(matrix).float()  # (B, 2, 2) square to look
    looks = [_warp(*pair) for pair in zip(squares, matrix, goal[:, 0].double().numpy(), strict=True)]
    image = torch.from_numpy(np.stack(looks)).permute(0, 3, 1, 2) / 255
    flat = torch.where(torch.from_numpy(flip)[:, None, None], points[:, mirror], points)
    face = torch.ones(n)
    face[n - lost :] = 0
    return Varied(image, (flat - pivot) @ there.mT + goal, face)


def _warp(square: UInt8Image, matrix: npt.NDArray[np.float64], goal: npt.NDArray[np.float64]) -> UInt8Image:
    """One square as the network sees it; OpenCV reads only what it needs (15 times faster than a batch in torch)."""
    linear = matrix * (SIZE / KEPT)
    shift = goal * SIZE - linear @ (PIVOT * KEPT) + linear @ (0.5, 0.5) - 0.5  # whole numbers are pixel centres
    warp = np.concatenate([linear, shift[:, None]], 1)
    return cv2.warpAffine(square, warp, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT_101).astype(np.uint8, copy=False)


def weather(image: Tensor, random: np.random.Generator) -> Tensor:
    """What cameras and the web do to squares, and things before faces: (B, 3, S, S) in [0, 1] to the same.

    Occlusion, tone and colour for all; low resolution, blur, JPEG and noise each for a share drawn anew.
    """
    n = len(image)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(random.uniform(low, high, (n, *shape))).float()

    axis = torch.linspace(0, 1, image.shape[-1])
    half, centre = draw(0.04, 0.25, 2, 1), draw(0, 1, 2, 1)
    near = ((axis - centre) / half).abs()  # (B, 2, S)
    x, y = near[:, 0, None, :], near[:, 1, :, None]
    oval = (draw(0, 1) < 0.5)[:, None, None]
    inside = torch.where(oval, x.square() + y.square() < 1, (x < 1) & (y < 1)) & (draw(0, 1) < 0.35)[:, None, None]
    other = torch.where((draw(0, 1) < 0.5)[:, None, None, None], draw(0, 1, 3, 1, 1), image.roll(1, 0).flip(-2))
    image = torch.where(inside[:, None], other, image)
    grey = image.mean(1, keepdim=True)
    image = grey + (image - grey) * draw(-0.2, 1.6, 1, 1, 1).clamp(0) * draw(0.9, 1.1, 3, 1, 1)
    bent = random.permutation(n)[: n // 2]
    image[bent] = image[bent].clamp(0, 1) ** torch.exp(draw(-0.6, 0.6, 1, 1, 1)[bent])
    image = image * draw(0.85, 1.15, 3, 1, 1)
    image = ((image - 0.5) * draw(0.5, 1.4, 1, 1, 1) + 0.5 + draw(-0.15, 0.15, 1, 1, 1)).clamp(0, 1)
    share = np.array_split(random.permutation(n), 6)  # two of six stay sharp
    for part in share[:2]:
        side = int(image.shape[-1] * np.exp(random.uniform(np.log(0.15), np.log(0.8))))
        small = F.interpolate(image[part], (side, side), mode="bilinear", antialias=True)
        mode = str(random.choice(["bilinear", "bicubic"]))
        image[part] = F.interpolate(small, image.shape[-2:], mode=mode, align_corners=False).clamp(0, 1)
    for part in share[2:4]:
        tap = torch.exp(-0.5 * (torch.arange(-4.0, 5) / float(random.uniform(0.4, 2))) ** 2)
        tap = (tap / tap.sum()).expand(3, 1, 1, 9)
        blurred = F.conv2d(F.pad(image[part], (4, 4, 0, 0), mode="reflect"), tap, groups=3)
        image[part] = F.conv2d(F.pad(blurred, (0, 0, 4, 4), mode="reflect"), tap.mT, groups=3)
    seed = torch.Generator().manual_seed(int(random.integers(1 << 31)))
    rough = random.permutation(n)[: n // 2]
    image[rough] += draw(0, 0.08, 1, 1, 1)[rough] * torch.randn(image[rough].shape, generator=seed)
    image = image.clamp(0, 1)
    chosen = random.permutation(n)[: n // 3]
    return _jpegs(image, chosen.tolist(), random)


def _jpegs(image: Tensor, chosen: Sequence[int], random: np.random.Generator) -> Tensor:
    """Those squares through JPEG; the codec takes one at a time."""
    for i in chosen:
        pixels = (image[i].permute(1, 2, 0) * 255).round().byte().numpy()
        image[i] = torch.from_numpy(jpeg(pixels, int(random.integers(15, 95)))).permute(2, 0, 1) / 255
    return image
