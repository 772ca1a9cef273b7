"""From validation logits to a calibrated score and thresholds that carry their own evidence.

The calibration is Platt's ``score = sigmoid(scale * logit + offset)``, fitted with both classes weighing the same, so
0.5 means "as likely forged as not" when half of all images are. Thresholds are set on *out-of-fold* scores: the people
are dealt into folds and each fold is calibrated on the others, so that nobody's photo helped to set its own score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from unmask.core.errors import DataError
from unmask.core.seeds import rng
from unmask.metrics.image import split_scores, threshold_at_frr, unresolvable
from unmask.metrics.statistics import clopper_pearson

Floats = npt.NDArray[np.float64]
Side = Literal["fake", "real"]
_MIN_SCALE = 1e-3


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold on the calibrated score and what it costs on the validation images it was chosen on."""

    threshold: float | None
    """None: there is too little data for this operating point (``unresolvable``), see ``reason``."""
    target: float
    """The error rate asked for, e.g. 0.01."""
    errors: int | None
    """Images on the wrong side of the threshold."""
    n: int
    """Images of the class the rate is about (reals for ``fake``, fakes for ``real``)."""
    groups: int
    """People (or videos) those images come from."""
    rate: float | None
    """``errors / n``."""
    low: float | None
    """Clopper-Pearson 95 % limits of the rate; they take images as independent, ``groups`` says how far that holds."""
    high: float | None
    reason: str = ""
    """Why there is no threshold, or why it is one above all reals (the limits then count people, not images)."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a logit becomes a score, and from which score on the tool commits itself."""

    scale: float
    offset: float
    fake: OperatingPoint
    """``fake`` at or above: at most ``target`` of the validation reals are called fake."""
    real: OperatingPoint
    """``real`` only below: at most ``target`` of the validation fakes are called real."""
    held_out: tuple[Floats, Floats]
    """Calibrated scores of the reals and of the fakes it was fitted on, ascending. Their order is that of the logits,
    whatever was fitted: a further image may be placed among them."""
    groups: int
    """People (or videos) those come from."""
    reason: str = ""
    """Not empty when the fit itself is doubtful."""

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Calibrated scores in [0, 1] of logits of any shape."""
        return _sigmoid(self.scale * np.asarray(logits, np.float64) + self.offset)

    def to_meta(self, mask: float | None = None) -> dict[str, Any]:
        """The card's entries ``calibration``, ``thresholds`` and ``held_out``; ``mask``: the mask threshold."""
        return {
            "calibration": {"scale": self.scale, "offset": self.offset},
            "thresholds": {
                "doubt": self.reason,
                "fake": self.fake.threshold,
                "real": self.real.threshold,
                "mask": mask,
                "fake_point": asdict(self.fake),
                "real_point": asdict(self.real),
            },
            "held_out": {"real": self.held_out[0].tolist(), "fake": self.held_out[1].tolist(), "groups": self.groups},
        }


def _sigmoid(x: Floats) -> Floats:
    from scipy.special import expit

    return np.asarray(expit(x), np.float64)


def fit_platt(logits: Floats, labels: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """``(scale, offset)`` that minimise the class-balanced cross-entropy; ``scale`` stays positive (order is kept).

    Targets are softened by the class counts as in Platt, "Probabilistic outputs for support vector machines" (1999),
    so that perfectly separated classes give a finite scale.
    """
    from scipy.optimize import minimize

    fakes, reals = int(labels.sum()), int((~labels).sum())
    target = np.where(labels, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    weight = np.where(labels, 0.5 / fakes, 0.5 / reals)
    spread = float(logits.std()) or 1.0
    x = logits / spread

    def loss(theta: Floats) -> tuple[float, Floats]:
        z = theta[0] * x + theta[1]
        residual = weight * (_sigmoid(z) - target)
        return float(np.sum(weight * (np.logaddexp(0, z) - target * z))), np.array([residual @ x, residual.sum()])

    best = minimize(
        loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(_MIN_SCALE * spread, None), (None, None)]
    )
    return float(best.x[0] / spread), float(best.x[1])


def _folds(groups: npt.NDArray[np.str_], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """A fold number per image: whole groups, dealt out in an order that depends on the seed only."""
    names, code = np.unique(groups, return_inverse=True)
    order = rng(seed, "calibration folds").permutation(len(names))
    fold = np.empty(len(names), np.int64)
    fold[order] = np.arange(len(names)) % folds
    return fold[code]


def out_of_fold(
    logits: npt.ArrayLike, labels: npt.ArrayLike, groups: Sequence[str], *, folds: int = 5, seed: int = 0
) -> Floats:
    """(N,) scores, each from a calibration fitted on the other folds' people.

    A fold whose rest has one class only is calibrated on everything (there is nothing else to fit).
    """
    x, y = np.asarray(logits, np.float64), np.asarray(labels).astype(bool)
    scores = np.empty_like(x)
    fold = _folds(np.asarray(groups, str), folds, seed)
    for k in range(folds):
        held = fold == k
        rest = ~held if y[~held].any() and not y[~held].all() else np.ones_like(held)
        scale, offset = fit_platt(x[rest], y[rest])
        scores[held] = _sigmoid(scale * x[held] + offset)
    return scores


def _point(
    observed: Floats, own: npt.NDArray[np.bool_], groups: npt.NDArray[np.str_], target: float, side: Side
) -> OperatingPoint:
    """The observed score at which at most ``target`` of the ``own`` class fall on the wrong side: the smallest such
    score for ``fake``, the largest for ``real``; equal scores fall together.

    Too few reals to show ``target``, but at least ``1 / target - 1`` people: ``fake`` starts above every one of them.
    A further person's score is above that with a probability of at most 1 / (people + 1), since any order of people
    is equally likely; that expectation is what the rate asks for, and the limits say how loosely it is known.
    """
    scores, people = observed[own], len(np.unique(groups[own]))
    n = len(scores)
    missing = (
        unresolvable(n, target) if side == "fake" else unresolvable(n, target, of="forged images", name="a rate of")
    )
    threshold, note = math.inf, ""
    if side == "fake" and missing and people + 1 >= 1 / target:
        missing, note = (
            "",
            f"too few to show {target:g}: above all {people} people, 1 in {people + 1} is expected above",
        )
    if not missing and side == "fake":
        threshold = threshold_at_frr(split_scores(observed, ~own), 0.0 if note else target)
        missing = "" if threshold < math.inf else "unresolvable: no image scores above the highest real ones"
    elif not missing:
        threshold = float(np.sort(scores)[math.floor(target * n + 1e-9)])
    if missing:
        return OperatingPoint(None, target, None, n, people, None, None, None, missing)
    wrong = int((scores >= threshold).sum() if side == "fake" else (scores < threshold).sum())
    low, high = clopper_pearson(wrong, people if note else n)
    return OperatingPoint(threshold, target, wrong, n, people, wrong / n, low, high, note)


def far_point(nearest: npt.ArrayLike, labels: npt.ArrayLike, *, target: float = 0.01) -> dict[str, Any]:
    """The distance to the nearest remembered real image beyond which an image is like nothing known to be real.

    Split conformal: with ``n`` held-out reals, the ``ceil((n + 1) (1 - target))``-th smallest distance; a further real
    image, taken as exchangeable with them, lies farther with a probability of at most ``target`` (Vovk et al.,
    "Algorithmic Learning in a Random World", 2005).

    Args:
        nearest: (N,) distances of held-out images.
        labels: (N,) 1 = fake.
        target: share of real images called far.

    Returns:
        ``threshold`` (None with fewer than ``1 / target - 1`` reals), ``target``, ``n``, ``fakes``, the share of the
        fakes beyond it, and a ``reason`` where there is no threshold.

    >>> far_point([0.01 * i for i in range(199)] + [5.0, 0.5], [0] * 199 + [1, 1])["threshold"]
    1.97
    """
    x, y = np.asarray(nearest, np.float64), np.asarray(labels).astype(bool)
    reals = np.sort(x[~y])
    rank = math.ceil((len(reals) + 1) * (1 - target) - 1e-9)
    if rank > len(reals) or not len(reals):
        reason = f"unresolvable: {len(reals)} reals, {math.ceil(1 / target - 1)} are needed for {target:g}"
        return {"threshold": None, "target": target, "n": len(reals), "fakes": None, "reason": reason}
    threshold = float(reals[rank - 1])
    beyond = float((x[y] > threshold).mean()) if y.any() else None
    return {"threshold": threshold, "target": target, "n": len(reals), "fakes": beyond, "reason": ""}


def missing_verdicts(thresholds: Mapping[str, Any]) -> str:
    """Which verdicts weights with these thresholds can never give, why, and what to do: one line, or an empty one.

    Args:
        thresholds: the card's entry, see :meth:`Calibration.to_meta`.

    >>> generator = np.random.default_rng(0)
    >>> fit = calibrate(generator.normal(size=80), np.arange(80) % 2, [f"person {i // 8}" for i in range(80)])
    >>> missing_verdicts(fit.to_meta()["thresholds"])[:65]
    "no verdict but 'uncertain' can be given with these weights: 'fake"
    """
    missing = [side for side in ("fake", "real") if thresholds.get(side) is None]
    if not missing:
        return ""
    reasons = []
    for side in missing:
        point = thresholds.get(f"{side}_point")
        if point is None:
            reasons = [str(thresholds.get("doubt") or "they are not calibrated")]
            break
        needed, people = math.ceil(3 / point["target"] - 1e-9), math.ceil(1 / point["target"] - 1 - 1e-9)
        if point["n"] >= needed or (side == "fake" and point["groups"] >= people):
            reasons.append(f"'{side}': {point['reason']}, train longer or on more photos")
        elif side == "fake":
            came = f"there are {point['n']}, of {point['groups']}"
            reasons.append(f"'fake' needs {needed} real validation images or images of {people} people, {came}")
        else:
            reasons.append(f"'real' needs {needed} forged validation images, there are {point['n']}")
    verdicts = "no verdict but 'uncertain' can" if len(missing) == 2 else f"the verdict '{missing[0]}' can never"
    advice = "for more validation images: more photos, a larger validation.share or validation.calibration_samples"
    return f"{verdicts} be given with these weights: {'; '.join(reasons)} ({advice})"


def calibrate(
    logits: npt.ArrayLike,
    labels: npt.ArrayLike,
    groups: Sequence[str],
    *,
    false_rejection: float = 0.01,
    missed: float = 0.05,
    folds: int = 5,
    seed: int = 0,
) -> Calibration:
    """Fit scale, offset and both thresholds on held-out people.

    Args:
        logits: (N,) any monotone score, larger = more suspicious; never of images the detector was trained on.
        labels: (N,) 1 = fake.
        groups: N names; images of one person share one.
        false_rejection: at most this share of the reals scores at or above ``fake.threshold``.
        missed: at most this share of the fakes scores below ``real.threshold``.

    Raises:
        DataError: one class only, a logit that is not finite, lengths that differ, fewer than two groups.

    >>> generator = np.random.default_rng(0)
    >>> labels = np.arange(1000) % 2
    >>> fit = calibrate(generator.normal(3 * labels), labels, [f"person {i // 10}" for i in range(1000)])
    >>> fit.fake.errors, fit.fake.n, fit.real.errors, fit.fake.threshold > fit.real.threshold
    (5, 500, 25, True)
    """
    x, y, g = np.asarray(logits, np.float64), np.asarray(labels).astype(bool), np.asarray(groups, str)
    if not x.shape == y.shape == g.shape or x.ndim != 1:
        raise DataError(
            "bad_scores", f"logits, labels and groups must be of one length, got {x.shape}, {y.shape}, {g.shape}"
        )
    if not np.isfinite(x).all():
        raise DataError("bad_scores", f"{int((~np.isfinite(x)).sum())} of {len(x)} logits are not finite numbers")
    if not y.any() or y.all():
        raise DataError("one_class", "calibration needs real and forged images, got one class only")
    if len(np.unique(g)) < 2:
        raise DataError("one_group", "calibration needs images of at least two groups (people), got one")
    folds = min(folds, len(np.unique(g)))
    scale, offset = fit_platt(x, y)
    doubtful = "the score does not separate real from forged validation images" if scale <= 2 * _MIN_SCALE else ""
    scores = out_of_fold(x, y, groups, folds=folds, seed=seed)
    fake = _point(scores, ~y, g, false_rejection, "fake")
    real = _point(scores, y, g, missed, "real")
    final = _sigmoid(scale * x + offset).round(6)
    held_out = np.sort(final[~y]), np.sort(final[y])
    return Calibration(scale, offset, fake, real, held_out, len(np.unique(g)), doubtful)
