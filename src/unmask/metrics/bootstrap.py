"""How sure are we of a number? Intervals by resampling whole groups.

Photos of one person (or frames of one video) are not independent, so resampling draws whole groups with
replacement (Efron 1979). Scores are sorted once and all resamples are weighed at once: a resample is a vector of
weights on the sorted scores.

Intervals are 95 % percentile intervals. A group drawn twice would meet its own copies: relatives would be compared with
relatives about twice as often as in the data, and where relatives are ordered better than strangers (a fake against its
own photo) AUC would move, by much when groups are few. So copies of a group are not compared with each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.core.seeds import rng
from unmask.metrics.calibration import BINS, bin_of
from unmask.metrics.image import check_scores, unresolvable
from unmask.metrics.measure import NAN

Floats = npt.NDArray[np.float64]
CONFIDENCE = 0.95
RESAMPLES = 2000
_CELLS = 1_000_000  # resamples are drawn in chunks of about this many weights, which bounds the memory


def resamples_for(n: int) -> int:
    """Resamples that keep an interval over ``n`` images within seconds: 2000, and 200 from a million images on."""
    return int(np.clip(400_000_000 // max(n, 1), 200, RESAMPLES))


def group_codes(groups: Sequence[str] | npt.NDArray[np.str_]) -> tuple[npt.NDArray[np.intp], int]:
    """Number of each image's group, (N,), and how many groups there are."""
    names, codes = np.unique(np.asarray(groups, str), return_inverse=True)
    return codes.astype(np.intp), len(names)


def _draws(n_groups: int, n_images: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each group is drawn, in chunks (b, n_groups) that hold ``resamples`` rows together."""
    generator = rng(seed, "bootstrap")
    chunk = max(1, _CELLS // max(n_images, n_groups, 1))
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        picked = generator.integers(0, n_groups, (rows, n_groups)) + np.arange(rows)[:, None] * n_groups
        counts = np.bincount(picked.reshape(-1), minlength=rows * n_groups)
        yield counts.reshape(rows, n_groups).astype(np.float64)


def interval(values: Floats, centre: float | None = None) -> tuple[float, float]:
    """95 % percentile interval of resampled values; (nan, nan) when fewer than half of them exist.

    Args:
        values: one per resample, nan where the metric does not exist.
        centre: shift the interval by the resamples' bias, so that their mean lies here, and keep it within [0, 1].
    """
    good = values[np.isfinite(values)]
    if not len(good) or 2 * len(good) < len(values):
        return NAN, NAN
    limits = np.quantile(good, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    if centre is not None:
        limits = (limits - good.mean() + centre).clip(0.0, 1.0)
    return float(limits[0]), float(limits[1])


def bootstrap_means(
    values: npt.ArrayLike, groups: Sequence[str], *, resamples: int | None = None, seed: int = 0
) -> tuple[float, float]:
    """Interval of the mean of (N,) values; nan values (metric does not exist there) are left out."""
    data = np.asarray(values, np.float64)
    known = ~np.isnan(data)
    if not known.any():
        return NAN, NAN
    codes, n_groups = group_codes(np.asarray(groups, str)[known])
    if n_groups < 2:
        return NAN, NAN
    sums = np.bincount(codes, weights=data[known], minlength=n_groups)
    sizes = np.bincount(codes, minlength=n_groups).astype(np.float64)
    means = [
        (draw @ sums) / (draw @ sizes)
        for draw in _draws(n_groups, n_groups, resamples or resamples_for(n_groups), seed)
    ]
    return interval(np.concatenate(means))


class _Ranked:
    """Scores sorted once; every resample weighs them anew."""

    def __init__(self, scores: npt.NDArray[Any], fake: npt.NDArray[np.bool_], codes: npt.NDArray[np.intp]) -> None:
        order = np.argsort(-scores, kind="stable")
        ordered = scores[order]
        self.codes = codes[order]
        self.fake = fake[order].astype(np.float64)
        self.ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # last of each run of equal scores
        self.own_wins, self.own_pairs = _within(scores, fake, codes)

    def curve(self, draw: Floats) -> tuple[Floats, Floats]:
        """Cumulative weights of fakes and of reals by descending distinct score, (b, K) each, for (b, G) draws."""
        real = draw[:, self.codes]  # (b, N)
        fake = real * self.fake
        real -= fake
        np.cumsum(fake, axis=1, out=fake)
        np.cumsum(real, axis=1, out=real)
        if len(self.ends) < len(self.codes):
            fake, real = fake[:, self.ends], real[:, self.ends]
        return fake, real

    def auc(self, draw: Floats, tp: Floats, fp: Floats) -> Floats:
        """AUC of each draw, (b,), copies of a group not compared with each other; nan where a class is missing."""
        doubled = tp * 2.0  # tp at a threshold plus tp before it
        doubled[:, 1:] -= np.diff(tp)
        doubled[:, 0] -= tp[:, 0]
        wins = np.einsum("bk,bk->b", doubled, np.diff(fp, prepend=0.0)) / 2.0
        copies = draw * (draw - 1.0)
        area: Floats = (wins - copies @ self.own_wins) / (tp[:, -1] * fp[:, -1] - copies @ self.own_pairs)
        return area


def _within(
    scores: npt.NDArray[Any], fake: npt.NDArray[np.bool_], codes: npt.NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """Fakes that beat a real of their own group (ties a half), and such pairs there are: (n_groups,) each."""
    n_groups = int(codes.max()) + 1
    order = np.lexsort((scores, codes))
    values, kinds, groups = scores[order], fake[order], codes[order]
    run = np.cumsum(np.append(True, (values[1:] != values[:-1]) | (groups[1:] != groups[:-1]))) - 1
    reals = np.bincount(run, weights=~kinds)
    total = np.cumsum(reals)
    first = np.searchsorted(groups, np.arange(n_groups))
    before_group = np.append(0.0, total)[run[first]]  # reals in earlier groups
    below = total[run] - reals[run] / 2 - before_group[groups]
    wins = np.bincount(groups, weights=below * kinds, minlength=n_groups)
    sizes = [np.bincount(groups, weights=part, minlength=n_groups) for part in (kinds, ~kinds)]
    return wins.astype(np.float64), (sizes[0] * sizes[1]).astype(np.float64)


# Each takes (b, K) cumulative weights ``tp`` and ``fp`` and gives (b,); nan where a resample has one class only.
def _ap(tp: Floats, fp: Floats) -> Floats:
    precision = np.nan_to_num(tp / (tp + fp))
    result: Floats = np.einsum("bk,bk->b", np.diff(tp, prepend=0.0), precision) / tp[:, -1]
    return result


def _eer(tp: Floats, fp: Floats) -> Floats:
    rows = np.arange(len(tp))
    fakes, reals = tp[:, -1], fp[:, -1]
    gap = tp / fakes[:, None] + fp / reals[:, None] - 1.0  # rises from -1 to 1
    at = np.argmax(gap >= -1e-12, axis=1)
    before = np.where(at > 0, gap[rows, at - 1], -1.0)
    frr = np.where(at > 0, fp[rows, at - 1], 0.0) / reals
    share = np.clip(-before / (gap[rows, at] - before), 0.0, 1.0)
    return np.where(fakes * reals > 0, frr + share * (fp[rows, at] / reals - frr), np.nan)


def _tpr_at(tp: Floats, fp: Floats, fpr: float) -> Floats:
    last = (fp <= fpr * fp[:, -1:] + 1e-9).sum(axis=1) - 1  # the last threshold that keeps to the rate
    found = np.where(last >= 0, tp[np.arange(len(tp)), last], 0.0)
    return np.where(fp[:, -1] > 0, found / tp[:, -1], np.nan)


def bootstrap_image(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    groups: Sequence[str],
    *,
    ranking: npt.ArrayLike | None = None,
    threshold: float = 0.5,
    frr_points: Sequence[float] = (),
    resamples: int | None = None,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Intervals by group for every image metric, all from the same resamples.

    Args:
        scores: (N,) P(fake) (or any score: then ``ece`` and ``brier`` have no meaning).
        labels: (N,) 1 = fake.
        groups: N names; whole groups are drawn with replacement.
        ranking: (N,) what orders the images (e.g. logits, before a sigmoid rounds them together); default the scores.
        threshold: for ``accuracy``, ``precision``, ``recall``, ``f1``, ``frr``, ``far``.
        frr_points: rates for ``tpr@fpr=…`` and ``far@frr=…``; those the data cannot resolve are left out.
        resamples: how many; default by size (:func:`resamples_for`).
        seed: another seed, other resamples.

    Returns:
        Metric name to (low, high); (nan, nan) where there are fewer than two groups or mostly one-class resamples.
    """
    values, fake = check_scores(scores, labels)
    codes, n_groups = group_codes(groups)
    n_real = int((~fake).sum())
    points = [p for p in frr_points if not unresolvable(n_real, p)]
    if n_groups < 2:
        return {}
    order = values if ranking is None else check_scores(ranking, labels)[0]
    ranked = _Ranked(order, fake, codes)
    # what is a ratio of sums needs only the sums of each group
    called = values >= values.dtype.type(threshold)
    parts = [called & fake, called & ~fake, ~called & ~fake, ~called & fake]
    counts = np.stack([np.bincount(codes, weights=p, minlength=n_groups) for p in parts], axis=1)  # (G, 4)
    clipped = np.clip(values.astype(np.float64), 0.0, 1.0)
    squared = np.bincount(codes, weights=(clipped - fake) ** 2, minlength=n_groups)
    gaps = np.bincount(codes * BINS + bin_of(clipped), weights=clipped - fake, minlength=n_groups * BINS)

    def metrics(draw: Floats) -> dict[str, Floats]:
        curve = ranked.curve(draw)
        tp, fp, tn, fn = (draw @ counts).T
        total = tp + fp + tn + fn
        with np.errstate(invalid="ignore", divide="ignore"):
            return {f"tpr@fpr={point:g}": _tpr_at(*curve, point) for point in points} | {
                "auc": ranked.auc(draw, *curve),
                "ap": _ap(*curve),
                "eer": _eer(*curve),
                "accuracy": (tp + tn) / total,
                "balanced_accuracy": (tp / (tp + fn) + tn / (tn + fp)) / 2,
                "precision": tp / (tp + fp),
                "recall": tp / (tp + fn),
                "f1": 2 * tp / (2 * tp + fp + fn),
                "frr": fp / (fp + tn),
                "far": fn / (tp + fn),
                "brier": (draw @ squared) / total,
                "ece": np.abs(draw @ gaps.reshape(n_groups, BINS)).sum(axis=1) / total,
            }

    estimates = metrics(np.ones((1, n_groups)))
    chunks: dict[str, list[Floats]] = {name: [] for name in estimates}
    for draw in _draws(n_groups, len(values), resamples or resamples_for(len(values)), seed):
        for name, part in metrics(draw).items():
            chunks[name].append(part)
    # order statistics keep the bias of copies, and calibration error that of noise
    centred = {"ap", "eer", "ece", *(f"tpr@fpr={point:g}" for point in points)}
    result = {
        name: interval(np.concatenate(parts), float(estimates[name][0]) if name in centred else None)
        for name, parts in chunks.items()
    }
    for point in points:
        low, high = result[f"tpr@fpr={point:g}"]
        result[f"far@frr={point:g}"] = (1 - high, 1 - low)
    return result


def bootstrap_auc(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    groups: Sequence[str],
    *,
    resamples: int | None = None,
    seed: int = 0,
) -> Floats:
    """AUC of each resample, (resamples,); the same seed and groups draw the same images for another detector."""
    values, fake = check_scores(scores, labels)
    codes, n_groups = group_codes(groups)
    ranked = _Ranked(values, fake, codes)
    draws = _draws(n_groups, len(values), resamples or resamples_for(len(values)), seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.concatenate([ranked.auc(draw, *ranked.curve(draw)) for draw in draws])
