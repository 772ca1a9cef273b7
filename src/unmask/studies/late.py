"""Late fusion: members' scores to one, by name.

Members speak in logits (0 = as likely forged as not, by their own account). Whatever a strategy learns it learns from
:class:`unmask.studies.held_out.HeldOut`, which refuses scores of images that the members were trained on. A member
without a value for an image (nan) has no say in it; an image that no member has a value for gets nan.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from unmask.core.errors import ConfigError, DataError
from unmask.core.names import did_you_mean
from unmask.metrics.image import split_scores, threshold_at_frr
from unmask.studies.held_out import HeldOut
from unmask.studies.joint import Joint, fit_joint
from unmask.studies.probe import Floats
from unmask.training.calibrate import fit_platt

_RATE = 0.05


class LateFusion(ABC):
    """Learn from held-out scores, then fuse (N, M) logits into (N,) numbers, larger = more suspicious."""

    line: ClassVar[str]
    """What it does, for people, in one line."""
    paper: ClassVar[str] = "the usual reference"

    def __init__(self) -> None:
        self._members = 0

    def fit(self, scores: HeldOut) -> LateFusion:
        """Learn what there is to learn; returns itself."""
        self._members = scores.logits.shape[1]
        self._learn(scores)
        return self

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Fuse logits (N, M) of the members it was fitted with.

        Raises:
            DataError: ``not_fitted``, or another number of members.
        """
        x = np.asarray(logits, np.float64)
        if not self._members:
            raise DataError("not_fitted", f"{type(self).__name__} must be fitted on held-out scores first")
        if x.ndim != 2 or x.shape[1] != self._members:
            raise DataError("bad_scores", f"expected logits (N, {self._members}), got {x.shape}")
        fused = self._fuse(x)
        fused[np.isnan(x).all(axis=1)] = np.nan
        return fused

    @property
    def parameters(self) -> int:
        """Numbers it learnt."""
        return 0

    def _learn(self, scores: HeldOut) -> None:  # noqa: B027
        """Nothing to learn by default."""

    @abstractmethod
    def _fuse(self, x: Floats) -> Floats: ...


def _nanmean(x: Floats, weights: Floats | None = None) -> Floats:
    """Mean over the members that have a value, (N, M) to (N,)."""
    there = ~np.isnan(x)
    weight = there * (1.0 if weights is None else weights)
    with np.errstate(invalid="ignore"):
        found: Floats = (np.where(there, x, 0.0) * weight).sum(axis=1) / weight.sum(axis=1)
    return found


class Average(LateFusion):
    """The mean of the members' logits."""

    line = "the mean of the members' logits"

    def _fuse(self, x: Floats) -> Floats:
        return _nanmean(x)


class WeightedAverage(LateFusion):
    """The weighted mean of logits; weights (not negative, summing to 1) minimise the class-balanced cross-entropy of
    ``scale * mean + offset``."""

    line = "the weighted mean of logits, weights learnt on held-out scores"

    def _learn(self, scores: HeldOut) -> None:
        from scipy.optimize import minimize
        from scipy.special import expit, softmax

        y = scores.labels
        weight = np.where(y, 0.5 / y.sum(), 0.5 / (~y).sum())
        known = ~np.isnan(scores.logits).all(axis=1)
        x, y, weight = scores.logits[known], y[known].astype(float), weight[known]
        there, filled = ~np.isnan(x), np.nan_to_num(x)

        def loss(theta: Floats) -> tuple[float, Floats]:
            share = softmax(theta[:-2])
            total = there @ share
            mean = filled @ share / total
            z = np.exp(theta[-2]) * mean + theta[-1]
            slope = weight * (expit(z) - y)
            per_mean = slope * np.exp(theta[-2])
            by_share = ((filled - there * mean[:, None]) * (per_mean / total)[:, None]).sum(axis=0)
            by_theta = share * (by_share - share @ by_share) + 2e-4 * theta[:-2]
            value = float((weight * (np.logaddexp(0, z) - y * z)).sum() + 1e-4 * (theta[:-2] ** 2).sum())
            return value, np.array([*by_theta, (slope * (z - theta[-1])).sum(), slope.sum()])

        best = minimize(loss, np.zeros(x.shape[1] + 2), jac=True, method="L-BFGS-B")
        self.weights: Floats = np.asarray(softmax(best.x[:-2]), np.float64)

    @property
    def parameters(self) -> int:
        """One weight per member."""
        return self._members

    def _fuse(self, x: Floats) -> Floats:
        return _nanmean(x, self.weights)


class _Calibrated(LateFusion):
    """Members calibrated one by one (Platt) before they are fused."""

    def _learn(self, scores: HeldOut) -> None:
        self.scale, self.offset = np.ones(self._members), np.zeros(self._members)
        for member in range(self._members):
            x = scores.logits[:, member]
            known = ~np.isnan(x)
            y = scores.labels[known]
            if y.any() and not y.all():
                self.scale[member], self.offset[member] = fit_platt(x[known], y)

    @property
    def parameters(self) -> int:
        """A scale and an offset per member."""
        return 2 * self._members

    def calibrated(self, x: Floats) -> Floats:
        """(N, M) calibrated logits."""
        return x * self.scale + self.offset


class SoftVote(_Calibrated):
    """The mean of the members' calibrated probabilities."""

    line = "the mean of the members' calibrated probabilities"

    def _fuse(self, x: Floats) -> Floats:
        from scipy.special import expit

        return _nanmean(np.asarray(expit(self.calibrated(x)), np.float64))


class MajorityVote(_Calibrated):
    """The share of members that say forged (calibrated probability of at least one half)."""

    line = "the share of members that call it fake"

    def _fuse(self, x: Floats) -> Floats:
        z = self.calibrated(x)
        return _nanmean(np.where(np.isnan(z), np.nan, z >= 0))


class MaxConfidence(_Calibrated):
    """The calibrated logit of whichever member is surest, either way."""

    line = "the answer of whichever member is surest (calibrated)"

    def _fuse(self, x: Floats) -> Floats:
        z = self.calibrated(x)
        surest = np.nan_to_num(np.abs(z), nan=-1.0).argmax(axis=1)
        return np.take_along_axis(z, surest[:, None], 1)[:, 0]


class Threshold(LateFusion):
    """One alarm is enough: each member has a threshold that 5 % of the held-out reals reach, and the result is the
    largest margin above it, in standard deviations of that member's reals."""

    line = "one alarm is enough: the largest margin above the members' own thresholds (5 % of held-out reals)"

    def _learn(self, scores: HeldOut) -> None:
        self.threshold, self.spread = np.zeros(self._members), np.ones(self._members)
        for member in range(self._members):
            x = scores.logits[:, member]
            known = ~np.isnan(x)
            reals = x[known & ~scores.labels]
            if not len(reals):
                self.threshold[member] = np.inf
                continue
            found = threshold_at_frr(split_scores(x[known], scores.labels[known]), _RATE)
            self.threshold[member] = found if np.isfinite(found) else float(reals.max())
            self.spread[member] = max(float(reals.std()), 1e-9)

    @property
    def parameters(self) -> int:
        """A threshold and a spread per member."""
        return 2 * self._members

    def _fuse(self, x: Floats) -> Floats:
        margin = (x - self.threshold) / self.spread
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a row without any member stays nan
            return np.asarray(np.nanmax(margin, axis=1))


class Stacking(LateFusion):
    """A ridge logistic regression on the members' held-out logits; see :func:`unmask.studies.joint.fit_joint`."""

    line = "a logistic regression on the members' held-out logits"
    paper = "stacked generalization (Wolpert, 1992), weights not negative (Breiman, 1996)"

    def _learn(self, scores: HeldOut) -> None:
        self.joint: Joint = fit_joint(scores.logits, scores.labels, np.arange(self._members))

    @property
    def parameters(self) -> int:
        """Two weights per member and an offset."""
        return 2 * self._members + 1

    def _fuse(self, x: Floats) -> Floats:
        return self.joint.logits(x)


LATE: dict[str, type[LateFusion]] = {
    "average": Average,
    "weighted_average": WeightedAverage,
    "soft_vote": SoftVote,
    "majority_vote": MajorityVote,
    "max_confidence": MaxConfidence,
    "threshold": Threshold,
    "stacking": Stacking,
}
"""Every late fusion by name."""


def create_late(name: str) -> LateFusion:
    """Build a late fusion.

    Raises:
        ConfigError: no such fusion; the message names the nearest.

    >>> from unmask.studies.held_out import HeldOut, Part
    >>> held_out = HeldOut([Part(np.array([[1.0, 0.0], [-1.0, 2.0]]), np.array([True, False]), ["ann", "bob"], ())])
    >>> create_late("average").fit(held_out).apply([[1.0, 3.0], [-2.0, np.nan]]).tolist()
    [2.0, -2.0]
    """
    if name not in LATE:
        hint = did_you_mean(name, LATE)
        raise ConfigError("unknown_fusion", f"no late fusion '{name}'{hint}; there are: {', '.join(LATE)}")
    return LATE[name]()
