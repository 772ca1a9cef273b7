"""Is a score of 0.8 right eight times out of ten? Reliability, calibration error and Brier score."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unmask.metrics.image import check_scores
from unmask.metrics.measure import Measure, missing

BINS = 15
NOT_PROBABILITIES = "scores are not probabilities (outside [0, 1])"


class Reliability(NamedTuple):
    """Per bin of predicted probability, each (BINS,)."""

    edges: npt.NDArray[np.float64]
    """(BINS + 1,) equally wide bins over [0, 1]; a score on an edge belongs to the bin above, 1.0 to the last."""
    counts: npt.NDArray[np.int64]
    mean_score: npt.NDArray[np.float64]
    """Mean P(fake) of the bin's images; nan where it is empty."""
    share_fake: npt.NDArray[np.float64]
    """Observed share of fakes; nan where it is empty."""


def bin_of(scores: npt.NDArray[np.float64], bins: int = BINS) -> npt.NDArray[np.intp]:
    """Index of each score's bin, (N,) in [0, bins)."""
    return np.minimum((scores * bins).astype(np.intp), bins - 1)


def reliability(scores: npt.ArrayLike, labels: npt.ArrayLike, bins: int = BINS) -> Reliability:
    """The reliability diagram's numbers (Guo et al. 2017, for the probability of the class *fake*).

    Raises:
        DataError: bad scores or labels.
        ValueError: scores outside [0, 1].
    """
    values, fake = check_scores(scores, labels)
    if not _probabilities(values):
        raise ValueError(f"reliability needs scores in [0, 1], got [{values.min()}, {values.max()}]")
    place = bin_of(values.astype(np.float64), bins)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_score = np.bincount(place, weights=values, minlength=bins) / counts
        share_fake = np.bincount(place, weights=fake, minlength=bins) / counts
    return Reliability(np.linspace(0.0, 1.0, bins + 1), counts, mean_score, share_fake)


def _probabilities(values: npt.NDArray[np.floating]) -> bool:
    return not values.size or bool(values.min() >= 0.0 and values.max() <= 1.0)


def expected_calibration_error(scores: npt.ArrayLike, labels: npt.ArrayLike, bins: int = BINS) -> Measure:
    """ECE: the mean over images of |mean score - share of fakes| in the image's bin.

    >>> expected_calibration_error([0.25, 0.25, 0.25, 0.25], [0, 0, 0, 1]).value
    0.0
    """
    values, _ = check_scores(scores, labels)
    if not values.size:
        return missing("nothing there")
    if not _probabilities(values):
        return missing(NOT_PROBABILITIES)
    table = reliability(scores, labels, bins)
    gaps = np.abs(np.nan_to_num(table.mean_score - table.share_fake))
    return Measure(float(np.dot(gaps, table.counts) / values.size))


def brier(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Measure:
    """Mean squared difference between P(fake) and the label (Brier 1950).

    >>> brier([0.0, 0.5], [0, 1]).value
    0.125
    """
    values, fake = check_scores(scores, labels)
    if not values.size:
        return missing("nothing there")
    if not _probabilities(values):
        return missing(NOT_PROBABILITIES)
    return Measure(float(np.mean((values.astype(np.float64) - fake) ** 2)))
