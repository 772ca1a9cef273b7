"""Dense points of faces in photos: cut, looked at twice, mapped back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from unmask.core.types import Face, Landmarks, UInt8Image
from unmask.data.faces import align
from unmask.nn.landmarks import FIVE, SIZE, load_landmark_network

Points = npt.NDArray[np.float64]

IN_BOX: Points = np.array([(0.285, 0.4), (0.715, 0.4), (0.5, 0.597), (0.285, 0.74), (0.715, 0.74)])
"""Where the five points lie in the box of an upright face, as fractions of its sides: mean over the training photos."""


def five_points(points: npt.ArrayLike) -> Points:
    """(468, 2) dense points to the (5, 2) of :attr:`unmask.core.types.Face.points`.

    >>> five_points(np.zeros((468, 2))).shape
    (5, 2)
    """
    dense = np.asarray(points, float)
    return np.stack([dense[list(part)].mean(0) for part in FIVE])


def to_image(points: npt.ArrayLike, matrix: Points) -> Points:
    """Undo the (2, 3) map from image to square that :func:`unmask.data.faces.align` gives: (..., 2) to (..., 2)."""
    return (np.asarray(points, float) - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T


class LandmarkFinder:
    """The 468 points of the MediaPipe face mesh for given faces of an image.

    Each face is turned upright by its five points (by its box where it has none), looked at, cut again by what was
    found and looked at once more. The mesh has no irises.

    Args:
        device: where the network runs, e.g. ``"cpu"`` or ``"cuda"``.
        min_size: faces whose box has a shorter longer side, in pixels, get no landmarks.
        min_score: faces that the network is less sure of get none.
        batch: faces looked at together; bounds the memory.

    Raises:
        WeightsError: the shipped weights are missing or damaged.

    >>> LandmarkFinder().find(np.zeros((64, 64, 3), np.uint8), [Face((0, 0, 20, 20))])
    [None]
    """

    def __init__(self, device: str = "cpu", min_size: float = 32, min_score: float = 0.5, batch: int = 32) -> None:
        self.network = load_landmark_network().to(device)
        self.device, self.min_size, self.min_score, self.batch = device, min_size, min_score, batch

    def find(self, image: UInt8Image, faces: Sequence[Face]) -> list[Landmarks | None]:
        """Dense points of each face, in continuous pixels of the (H, W, 3) uint8 RGB image, or None."""
        found: list[Landmarks | None] = [None] * len(faces)
        able = [i for i, face in enumerate(faces) if _side(face) >= self.min_size]
        for start in range(0, len(able), self.batch):
            part = able[start : start + self.batch]
            points = self.look(image, [_start(faces[i]) for i in part])[0]
            points, scores = self.look(image, [five_points(p) for p in points])
            for i, dense, score in zip(part, points, scores.tolist(), strict=True):
                if score >= self.min_score:
                    found[i] = Landmarks(dense.astype(np.float32), score)
        return found

    def look(self, image: UInt8Image, fives: Sequence[Points]) -> tuple[Points, npt.NDArray[np.float32]]:
        """One look at the faces with these (5, 2) points: (N, 468, 2) in image pixels and (N,) scores in [0, 1]."""
        cuts = [align(image, five, SIZE) for five in fives]
        squares = torch.from_numpy(np.stack([pixels for pixels, _ in cuts])).to(self.device)
        with torch.inference_mode():
            dense, logits = self.network(squares.permute(0, 3, 1, 2).float() / 255)
        square_points = (dense * SIZE).cpu().numpy()
        points = np.stack([to_image(p, matrix) for p, (_, matrix) in zip(square_points, cuts, strict=True)])
        return points, logits.sigmoid().cpu().numpy()


def _side(face: Face) -> float:
    x1, y1, x2, y2 = face.box
    return max(x2 - x1, y2 - y1)


def _start(face: Face) -> Points:
    """The face's five points, or where they would be in its box."""
    if face.points is not None and np.ptp(face.points, axis=0).max() > 0:
        return np.array(face.points, float)
    x1, y1, x2, y2 = face.box
    return (x1, y1) + IN_BOX * (x2 - x1, y2 - y1)
