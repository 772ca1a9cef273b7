"""Metrics of one score per image: exact, with ties, in float32 up to tens of millions of scores.

The score is P(fake) or any number that grows with it; label 1 = fake, 0 = real. An image is *rejected* (called fake)
when ``score >= threshold``. FRR = share of real images rejected (FPR, BPCER); FAR = share of fake images accepted
(FNR, APCER). Every function takes :class:`Scores`, two sorted arrays, so that a threshold costs a binary search.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from unmask.core.errors import DataError
from unmask.metrics.measure import Measure, missing, ratio

Floats = npt.NDArray[Any]

FRR_POINTS = (0.001, 0.01, 0.05)
"""False-rejection rates at which FAR is reported."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Scores of real and of fake images, each sorted ascending. Build it with :func:`split_scores`."""

    real: Floats
    fake: Floats

    @property
    def one_class(self) -> str:
        """Why nothing that needs both classes can be measured; empty when both are there."""
        absent = [name for name, part in (("reals", self.real), ("fakes", self.fake)) if not part.size]
        return f"no {' and no '.join(absent)}" if absent else ""


def check_scores(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Scores as (N,) floats and labels as (N,) booleans.

    Raises:
        DataError: ``bad_labels`` (not 0 and 1, or another length) or ``nan_score`` (a nan has no rank; drop or
            repair it before, knowingly).
    """
    values = np.asarray(scores)
    truth = np.asarray(labels)
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float32 if values.dtype == np.float16 else np.float64)
    if values.ndim != 1 or truth.shape != values.shape:
        raise DataError(
            "bad_labels", f"expected scores and labels of one length (N,), got {values.shape} and {truth.shape}"
        )
    fake = truth if truth.dtype == np.bool_ else truth == 1
    if truth.dtype != np.bool_ and not bool((fake | (truth == 0)).all()):
        raise DataError("bad_labels", f"labels must be 0 (real) or 1 (fake), got {np.unique(truth)[:5].tolist()}")
    if values.size and math.isnan(float(values.max())):  # the maximum of anything with a nan is nan
        raise DataError("nan_score", f"{int(np.isnan(values).sum())} of {values.size} scores are nan: nan has no rank")
    return values, fake


def split_scores(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Scores:
    """Sort the scores of each class: (N,) scores and (N,) labels in {0, 1} to :class:`Scores`.

    Infinite scores are allowed. float32 stays float32 (half the memory, and sorted twice as fast).

    Raises:
        DataError: see :func:`check_scores`.

    >>> split_scores([0.9, 0.1, 0.4], [1, 0, 1]).fake.tolist()
    [0.4, 0.9]
    """
    values, fake = check_scores(scores, labels)
    n_fake = int(np.count_nonzero(fake))
    # Sorting with the other class moved to +inf is several times faster than selecting a class by a random mask.
    infinity = values.dtype.type(np.inf)
    real_sorted = np.where(fake, infinity, values)
    real_sorted.sort()
    fake_sorted = np.where(fake, values, infinity)
    fake_sorted.sort()
    return Scores(real_sorted[: values.size - n_fake], fake_sorted[:n_fake])


def auc(scores: Scores) -> Measure:
    """Exact area under the ROC curve: P(fake > real) + P(fake = real) / 2 (Mann and Whitney 1947).

    >>> auc(split_scores([0.1, 0.4, 0.4, 0.9], [0, 0, 1, 1])).value
    0.875
    """
    if reason := scores.one_class:
        return missing(reason)
    few, many = (scores.fake, scores.real) if scores.fake.size <= scores.real.size else (scores.real, scores.fake)
    below = np.searchsorted(many, few, side="left")
    wins = 2 * int(below.sum(dtype=np.int64))  # twice the pairs, so that ties stay whole numbers
    tied = few[many[np.minimum(below, many.size - 1)] == few]
    if tied.size:
        # +inf needles beyond the end compare equal only to a real +inf, so every member of ``tied`` has partners
        ties = np.searchsorted(many, tied, side="right") - np.searchsorted(many, tied, side="left")
        wins += int(ties.sum(dtype=np.int64))
    area = wins / (2 * few.size * many.size)
    return Measure(area if few is scores.fake else 1.0 - area)


def average_precision(scores: Scores) -> Measure:
    """Average precision, the sum of (R_k - R_{k-1}) P_k over distinct thresholds, without interpolation."""
    if not scores.fake.size:
        return missing("no fakes")
    true = scores.fake.size - np.searchsorted(scores.fake, scores.fake, side="left")
    false = scores.real.size - np.searchsorted(scores.real, scores.fake, side="left")
    return Measure(float(np.mean(true / (true + false))))


def _find(part: Floats, value: float, side: Literal["left", "right"]) -> int:
    """Binary search in the array's own type (a float64 needle would copy a float32 array)."""
    return int(np.searchsorted(part, part.dtype.type(value), side=side))


def rejected(scores: Scores, threshold: float) -> tuple[int, int]:
    """How many fakes and how many reals have ``score >= threshold``, compared in the scores' own precision.

    >>> rejected(split_scores([0.1, 0.4, 0.4, 0.9], [0, 0, 1, 1]), 0.4)
    (2, 1)
    """
    return tuple(part.size - _find(part, threshold, "left") for part in (scores.fake, scores.real))  # type: ignore[return-value]


def _next_above(scores: Scores, value: float) -> float:
    """The smallest observed score above ``value``; +inf when there is none."""
    above = [
        float(part[place]) for part in (scores.real, scores.fake) if (place := _find(part, value, "right")) < part.size
    ]
    return min(above, default=math.inf)


def eer(scores: Scores) -> Measure:
    """Equal error rate, where FAR = FRR on the ROC curve with straight lines between its points.

    Points are the distinct observed scores (ties together), so the result does not depend on the order of the input
    and is exact: two binary searches over thresholds, no curve is built.
    """
    if reason := scores.one_class:
        return missing(reason)
    n_fake, n_real = scores.fake.size, scores.real.size

    def crossed(threshold: float) -> bool:  # FRR + TPR >= 1, in whole numbers
        true, false = rejected(scores, threshold)
        return false * n_fake + true * n_real >= n_fake * n_real

    reached = -math.inf  # the largest observed threshold at which the curve has crossed
    for part in (scores.real, scores.fake):
        low, high = 0, part.size  # crossed(part[i]) is true up to some i, then false
        while low < high:
            middle = (low + high) // 2
            if crossed(part[middle]):
                low = middle + 1
            else:
                high = middle
        if low:
            reached = max(reached, float(part[low - 1]))
    beyond = (0, 0) if reached == math.inf else rejected(scores, _next_above(scores, reached))
    here = rejected(scores, reached)
    frr = (beyond[1] / n_real, here[1] / n_real)
    gap = (beyond[0] / n_fake + frr[0] - 1.0, here[0] / n_fake + frr[1] - 1.0)  # < 0 and >= 0
    share = -gap[0] / (gap[1] - gap[0])
    return Measure(frr[0] + share * (frr[1] - frr[0]))


def threshold_at_frr(scores: Scores, frr: float) -> float:
    """The smallest among all observed scores and +inf whose empirical FRR is at most ``frr``, ties together.

    >>> threshold_at_frr(split_scores([0.1, 0.4, 0.4, 0.9], [0, 0, 1, 1]), 0.5)
    0.4
    >>> threshold_at_frr(split_scores([0.1, 0.4, 0.4, 0.9], [0, 0, 1, 1]), 0.0)
    0.9
    """
    allowed = math.floor(frr * scores.real.size + 1e-9)  # 0.05 * 20 is one image, not 0.99…
    if allowed >= scores.real.size:
        return min((float(part[0]) for part in (scores.real, scores.fake) if part.size), default=math.inf)
    return _next_above(scores, float(scores.real[scores.real.size - 1 - allowed]))


def unresolvable(n: int, rate: float, *, of: str = "reals", name: str = "FRR") -> str:
    """Why ``n`` images or videos cannot carry an operating point at ``rate``; empty when they can (3 / rate of them).

    >>> unresolvable(300, 0.01), unresolvable(299, 0.01)
    ('', 'unresolvable: 299 reals, FRR 0.01 needs 300')
    """
    needed = math.ceil(3.0 / rate - 1e-9)
    return "" if n >= needed else f"unresolvable: {n} {of}, {name} {rate:g} needs {needed}"


def far_at_frr(scores: Scores, frr: float) -> Measure:
    """FAR at :func:`threshold_at_frr`: the threshold is chosen on these very scores (an oracle)."""
    if reason := scores.one_class or unresolvable(scores.real.size, frr):
        return missing(reason)
    return Measure(1.0 - rejected(scores, threshold_at_frr(scores, frr))[0] / scores.fake.size)


def tpr_at_fpr(scores: Scores, fpr: float) -> Measure:
    """1 - FAR@FRR: the share of fakes found when at most a share ``fpr`` of reals is called fake."""
    far = far_at_frr(scores, fpr)
    return far if far.reason else Measure(1.0 - far.value)


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts at one threshold."""

    tp: int
    fp: int
    tn: int
    fn: int

    def measures(self) -> dict[str, Measure]:
        """Accuracy, balanced accuracy, precision, recall (TPR), F1, FRR and FAR, each with its reason when empty."""
        n_fake, n_real = self.tp + self.fn, self.fp + self.tn
        both = "nothing there" if not n_fake + n_real else ("no reals" if n_fake else "no fakes")
        recall = ratio(self.tp, n_fake, "no fakes")
        frr = ratio(self.fp, n_real, "no reals")
        return {
            "accuracy": ratio(self.tp + self.tn, n_fake + n_real, both),
            "balanced_accuracy": (
                Measure((self.tp / n_fake + self.tn / n_real) / 2) if n_fake and n_real else missing(both)
            ),
            "precision": ratio(self.tp, self.tp + self.fp, "nothing was called fake"),
            "recall": recall,
            "f1": ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn, "no fakes and none called fake"),
            "frr": frr,
            "far": ratio(self.fn, n_fake, "no fakes"),
        }


def confusion(scores: Scores, threshold: float) -> Confusion:
    """Counts when images with ``score >= threshold`` are called fake."""
    tp, fp = rejected(scores, threshold)
    return Confusion(tp, fp, scores.real.size - fp, scores.fake.size - tp)


def roc_points(scores: Scores, most: int = 512) -> tuple[Floats, Floats, Floats]:
    """Points of the ROC curve for a figure: FPR, TPR and thresholds, each (K,), thresholds descending from +inf.

    With more than ``most`` distinct scores, thresholds are taken at quantiles of both classes; every point returned
    lies exactly on the curve.

    Raises:
        DataError: ``one_class``.
    """
    if scores.one_class:
        raise DataError("one_class", f"a ROC curve needs both classes: {scores.one_class}")
    picked = [
        part[np.linspace(0, part.size - 1, min(part.size, most)).astype(int)] for part in (scores.real, scores.fake)
    ]
    thresholds = np.unique(np.concatenate(picked))[::-1]
    tpr = 1.0 - np.searchsorted(scores.fake, thresholds, side="left") / scores.fake.size
    fpr = 1.0 - np.searchsorted(scores.real, thresholds, side="left") / scores.real.size
    start = np.zeros(1)
    return np.concatenate([start, fpr]), np.concatenate([start, tpr]), np.concatenate([[np.inf], thresholds])
