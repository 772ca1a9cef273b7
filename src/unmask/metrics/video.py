"""From frames to videos: one score per video, under a key that cannot merge two videos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unmask.core.errors import DataError
from unmask.metrics.image import check_scores


class Videos(NamedTuple):
    """One entry per video, in order of first appearance."""

    keys: tuple[tuple[str, ...], ...]
    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]


def video_scores(scores: npt.ArrayLike, labels: npt.ArrayLike, keys: Sequence[tuple[str, ...]]) -> Videos:
    """Mean frame score of each video.

    Args:
        scores: (N,) one per frame.
        labels: (N,) 0 or 1.
        keys: N whole identities of the frames' videos, e.g. ``(source, manipulation, video)``. The folder's name is
            not enough: four manipulations of one video share it, and merged they make another, better-looking AUC.

    Raises:
        DataError: ``mixed_labels``: frames of one key are both real and fake, so the key names two videos.

    >>> video_scores([0.2, 0.4, 0.9], [0, 0, 1], [("real", "000"), ("real", "000"), ("swap", "000")]).scores.round(3)
    array([0.3, 0.9])
    """
    values, fake = check_scores(scores, labels)
    if len(keys) != len(values):
        raise DataError("bad_labels", f"expected one key per frame, got {len(keys)} keys and {len(values)} scores")
    place: dict[tuple[str, ...], int] = {}
    index = np.fromiter((place.setdefault(key, len(place)) for key in keys), np.intp, len(keys))
    frames = np.bincount(index, minlength=len(place))
    fakes = np.bincount(index, weights=fake, minlength=len(place))
    mixed = np.flatnonzero((fakes > 0) & (fakes < frames))
    names = tuple(place)
    if mixed.size:
        raise DataError(
            "mixed_labels",
            f"{mixed.size} video keys hold real and fake frames, first {names[mixed[0]]}: "
            "a key must name one video, add the manipulation to it",
        )
    means = np.bincount(index, weights=values.astype(np.float64), minlength=len(place)) / np.maximum(frames, 1)
    return Videos(names, means, (fakes > 0).astype(np.int64))
