"""Row 10: does the inner face look where the head looks?"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from unmask.features.base import Feature, Measured, Subject
from unmask.features.head import INNER, head_pose

LARGEST_ERROR = 0.25
"""Where the points lie farther than this from any pose of the head (root mean square, in eye distances), they are no
face's, and nothing is said."""


class HeadPoseConsistency(Feature):
    """3-D head pose of the whole face against the inner face.

    A swapped face is warped to its place in the plane; the inner face then looks elsewhere than the outline (Yang, Li
    and Lyu, ICASSP 2019). Angles in degrees (see :attr:`unmask.features.head.HeadPose.angles`); ``turn.*`` is the
    rotation vector from the whole face's pose to the inner face's, ``turn.angle`` its length, ``facing.cosine`` the
    cosine between the two directions of view, ``*.error`` how far the points lie from the posed head, in eye distances.

    Departures: other points (the face mesh has no 68-point set), a head model of our own, and a camera that depends
    on the face alone instead of on the image's size, so that a crop changes nothing.
    """

    name = "head_pose"
    line = "3-D head pose of the whole face against the inner face: angles, their difference, how well each fits"
    paper = "Yang, Li and Lyu, 2019"
    kinds = ("descriptor",)
    needs = ("landmarks",)

    @property
    def columns(self) -> tuple[str, ...]:
        """16 names."""
        axes = ("pitch", "yaw", "roll")
        return (
            *(f"{part}.{axis}" for part in ("whole", "inner", "difference") for axis in axes),
            "turn.x", "turn.y", "turn.z", "turn.angle", "facing.cosine", "whole.error", "inner.error",
        )  # fmt: skip

    def _measure(self, subjects: Sequence[Subject]) -> list[Measured]:
        return [self._one(subject) for subject in subjects]

    @staticmethod
    def _one(subject: Subject) -> Measured:
        assert subject.landmarks is not None  # it is among the needs
        points = subject.landmarks.points
        whole, inner = head_pose(points), head_pose(points, list(INNER))
        if whole is None or inner is None or max(whole.error, inner.error) > LARGEST_ERROR:
            return Measured("not_applicable")
        first, second = np.array(whole.angles), np.array(inner.angles)
        difference = (second - first + 180) % 360 - 180
        turn = np.rad2deg(cv2.Rodrigues(inner.rotation @ whole.rotation.T)[0].ravel())
        cosine = inner.rotation[:, 2] @ whole.rotation[:, 2]
        rest = [np.linalg.norm(turn), cosine, whole.error, inner.error]
        return Measured("ok", np.concatenate([first, second, difference, turn, rest]).astype(np.float32))
