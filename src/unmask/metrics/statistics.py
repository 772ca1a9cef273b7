"""Is one detector better than another on the same images? Paired tests and exact limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unmask.core.errors import DataError
from unmask.metrics.bootstrap import CONFIDENCE, bootstrap_auc, group_codes, interval
from unmask.metrics.image import auc, check_scores, split_scores
from unmask.metrics.measure import NAN

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """A difference on the same images, with its interval and two-sided p value."""

    difference: float
    low: float
    high: float
    p: float


def paired_bootstrap_auc(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    labels: npt.ArrayLike,
    groups: Sequence[str],
    *,
    resamples: int | None = None,
    seed: int = 0,
) -> PairedDifference:
    """AUC(first) - AUC(second) under resampling of whole groups, both detectors on the same resamples.

    The p value is twice the smaller tail of the resampled differences beyond 0, (k + 1) / (B + 1).
    """
    difference = auc(split_scores(first, labels)).value - auc(split_scores(second, labels)).value
    if math.isnan(difference) or group_codes(groups)[1] < 2:
        return PairedDifference(difference, NAN, NAN, NAN)
    drawn = [bootstrap_auc(s, labels, groups, resamples=resamples, seed=seed) for s in (first, second)]
    gaps = drawn[0] - drawn[1]
    low, high = interval(gaps)
    good = gaps[np.isfinite(gaps)]
    tail = min(int((good <= 0).sum()), int((good >= 0).sum()))
    return PairedDifference(difference, low, high, min(1.0, 2 * (tail + 1) / (len(good) + 1)))


def _midranks(ordered: Floats, values: Floats) -> Floats:
    """Ranks from 1 of ``values`` among the sorted ``ordered``, equal values sharing their mean rank."""
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") + 1) / 2.0


@dataclass(frozen=True, slots=True)
class DeLong:
    """Two AUCs on the same images; the test takes the images as independent (compare the bootstrap by group)."""

    first: float
    second: float
    difference: float
    low: float
    high: float
    """95 % interval of the difference."""
    z: float
    p: float


def auc_covariance(scores: Sequence[npt.ArrayLike], labels: npt.ArrayLike) -> tuple[Floats, Floats]:
    """AUCs and their covariance matrix by DeLong, DeLong and Clarke-Pearson (1988), with the midranks of Sun and Xu
    (2014): sorting instead of comparing all pairs.

    Args:
        scores: K score vectors (N,) of the same images.
        labels: (N,) 1 = fake.

    Returns:
        (K,) and (K, K).

    Raises:
        DataError: bad scores or labels, or fewer than two images of a class.
    """
    areas, fake_parts, real_parts = [], [], []
    for one in scores:
        values, fake = check_scores(one, labels)
        n_fake, n_real = int(fake.sum()), int((~fake).sum())
        if min(n_fake, n_real) < 2:
            raise DataError("one_class", f"DeLong needs two images of each class, got {n_real} real, {n_fake} fake")
        ordered = np.sort(values)
        fakes, reals = values[fake], values[~fake]
        below = _midranks(ordered, fakes) - _midranks(np.sort(fakes), fakes)  # reals below each fake
        above = n_fake - (_midranks(ordered, reals) - _midranks(np.sort(reals), reals))  # fakes above each real
        fake_parts.append(below / n_real)
        real_parts.append(above / n_fake)
        areas.append(float(fake_parts[-1].mean()))
    covariance = np.cov(fake_parts) / n_fake + np.cov(real_parts) / n_real
    return np.array(areas), np.atleast_2d(covariance)


def delong(first: npt.ArrayLike, second: npt.ArrayLike, labels: npt.ArrayLike) -> DeLong:
    """Test of AUC(first) = AUC(second) on the same images; see :func:`auc_covariance`."""
    from scipy.stats import norm

    areas, covariance = auc_covariance([first, second], labels)
    one, two = float(areas[0]), float(areas[1])
    difference = one - two
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if variance <= 1e-18:  # the same order of images: nothing varies
        same = abs(difference) < 1e-12
        z, p = (0.0, 1.0) if same else (NAN, NAN)
        return DeLong(one, two, difference, difference, difference, z, p)
    error = math.sqrt(variance)
    z = difference / error
    half = float(norm.ppf((1 + CONFIDENCE) / 2)) * error
    return DeLong(one, two, difference, difference - half, difference + half, z, float(2 * norm.sf(abs(z))))


@dataclass(frozen=True, slots=True)
class McNemar:
    """Exact McNemar test of two detectors' right and wrong answers."""

    only_first: int
    """Images that only the first answers rightly."""
    only_second: int
    p: float


def mcnemar(first_right: npt.ArrayLike, second_right: npt.ArrayLike) -> McNemar:
    """Exact two-sided McNemar test: of the images on which exactly one is right, is each as often the one?

    Args:
        first_right: (N,) booleans.
        second_right: (N,) booleans for the same images.

    >>> mcnemar([True] * 10 + [False] * 2, [False] * 10 + [True] * 2).p
    0.03857421875
    """
    from scipy.stats import binomtest

    a, b = np.asarray(first_right, bool), np.asarray(second_right, bool)
    if a.shape != b.shape:
        raise DataError("bad_labels", f"McNemar needs answers to the same images, got {a.shape} and {b.shape}")
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    if not only_first + only_second:
        return McNemar(0, 0, 1.0)
    return McNemar(only_first, only_second, float(binomtest(only_first, only_first + only_second).pvalue))


def paired_t(first: npt.ArrayLike, second: npt.ArrayLike) -> PairedDifference:
    """Paired t test of per-image (or per-seed) values, with the 95 % interval of the mean difference; pairs with a nan
    are left out. Fewer than two pairs give nan."""
    from scipy.stats import ttest_rel

    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    known = ~np.isnan(a - b)
    a, b = a[known], b[known]
    if len(a) < 2:
        return PairedDifference(float(np.mean(a - b)) if len(a) else NAN, NAN, NAN, NAN)
    if np.ptp(a - b) == 0:
        constant = float(a[0] - b[0])
        return PairedDifference(constant, constant, constant, 1.0 if constant == 0 else 0.0)
    test = ttest_rel(a, b)
    limits = test.confidence_interval(CONFIDENCE)
    return PairedDifference(float(np.mean(a - b)), float(limits.low), float(limits.high), float(test.pvalue))


def clopper_pearson(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Exact two-sided limits of a binomial proportion (Clopper and Pearson 1934); (nan, nan) for n = 0.

    >>> [round(limit, 4) for limit in clopper_pearson(0, 300)]
    [0.0, 0.0122]
    """
    from scipy.special import betaincinv  # the quantiles of a beta distribution; scipy.stats takes long to import

    if not n:
        return NAN, NAN
    tail = (1 - confidence) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return low, high
