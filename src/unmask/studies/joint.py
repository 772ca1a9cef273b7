"""The joint model: a logistic regression on the features' out-of-fold logits (stacking, Wolpert 1992).

A feature enters as two columns: its logit, standardised, and whether it is missing. A missing logit is filled with the
training images' median, so the second column carries what "no value" says by itself. Features of any width weigh alike,
and shuffling a feature's images means shuffling its two columns.

Weights of logits are never negative (as in Breiman 1996, Stacked regressions): a probe that orders images it never saw
wrongly is left out, not turned round. Out-of-fold logits of noise lean to the wrong side, because what is high by
chance in the training folds is low in the rest; a free weight would take that for knowledge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unmask.studies.probe import Floats

RIDGE = 1.0
"""Penalty ``RIDGE / 2 * sum(weights ** 2)`` against the summed loss (C = 1 of scikit-learn); the bias is free."""
_STEPS = 30


def _loss(margin: Floats, weight: Floats, weights: Floats, ridge: float) -> Floats:
    """(m,): weighted logistic loss of (m, n) margins (logit times ±1) and the penalty of (m, p) weights."""
    losses: Floats = (weight * np.logaddexp(0.0, -margin)).sum(axis=-1) + ridge / 2 * (weights**2).sum(axis=-1)
    return losses


def fit_logistic(
    x: Floats,
    labels: npt.NDArray[np.bool_],
    ridge: float = RIDGE,
    positive: npt.NDArray[np.bool_] | None = None,
) -> Floats:
    """Ridge logistic regressions, a batch at once, by Newton's method with step halving; classes weigh alike.

    Args:
        x: (m, n, p) columns of each problem.
        labels: (n,) the same for all, true = fake; both classes present.
        ridge: see :data:`RIDGE`.
        positive: (m, p) or (p,) columns whose weight may not be negative: those that come out negative are taken away,
            and the rest is fitted again until none is.

    Returns:
        (m, p + 1): weights, then the bias.
    """
    found = _newton(x, labels, ridge)
    if positive is None:
        return found
    kept = np.ones((len(x), x.shape[-1]), bool)
    while (wrong := (found[:, :-1] < 0) & positive & kept).any():
        kept &= ~wrong
        again = wrong.any(axis=1)
        found[again] = _newton(x[again] * kept[again][:, None, :], labels, ridge)
    return found


def _newton(x: Floats, labels: npt.NDArray[np.bool_], ridge: float) -> Floats:
    n, width = x.shape[-2:]
    sign = np.where(labels, 1.0, -1.0)
    weight = n / 2 / np.where(labels, labels.sum(), (~labels).sum())
    full = np.concatenate([x, np.ones((*x.shape[:-1], 1))], axis=-1)  # (..., n, p + 1)
    turned = np.ascontiguousarray(np.swapaxes(full, -1, -2))
    penalty = np.full(width + 1, ridge)
    penalty[-1] = 1e-9  # keeps the matrix invertible
    found = np.zeros((*x.shape[:-2], width + 1))
    margin = np.zeros(x.shape[:-1])
    loss = _loss(margin, weight, found[..., :-1], ridge)
    for _ in range(_STEPS):
        share = 1 / (1 + np.exp(np.clip(margin, -500, 500)))  # how wrong each image still is
        slope = (turned @ (weight * share * sign)[..., None])[..., 0] - penalty * found
        bend = (turned * (weight * share * (1 - share))[..., None, :]) @ full + np.diag(penalty)
        step = np.linalg.solve(bend, slope[..., None])[..., 0]
        size = np.ones(loss.shape)
        for _ in range(12):
            trial = found + size[..., None] * step
            trial_margin = (full @ trial[..., None])[..., 0] * sign
            trial_loss = _loss(trial_margin, weight, trial[..., :-1], ridge)
            worse = trial_loss > loss + 1e-9
            if not worse.any():
                break
            size = np.where(worse, size / 2, size)
        else:
            keep = worse  # no shorter step helps: these are at their minimum
            trial, trial_margin = (
                np.where(keep[..., None], found, trial),
                np.where(keep[..., None], margin, trial_margin),
            )
            trial_loss = np.where(keep, loss, trial_loss)
        found, margin, gain, loss = trial, trial_margin, loss - trial_loss, trial_loss
        if (gain < 1e-8 * n).all():
            break
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """How logits (n, F) become columns (n, 2 F); everything comes from the training images."""

    median: Floats
    centre: Floats
    scale: Floats
    """(2 F,), infinite for columns that say nothing."""

    def __call__(self, logits: Floats) -> Floats:
        """(n, F) with nan to (n, 2 F): logits, then whether they are missing."""
        absent = np.isnan(logits)
        raw = np.concatenate([np.where(absent, self.median, logits), absent], axis=1)
        ready: Floats = (raw - self.centre) / self.scale
        return ready


def make_columns(logits: Floats) -> Columns:
    """Learn medians, means and deviations of (n, F) training logits; a feature without any value says nothing."""
    absent = np.isnan(logits)
    there = ~absent.all(axis=0)
    median = np.zeros(logits.shape[1])
    median[there] = np.nanmedian(logits[:, there], axis=0)
    raw = np.concatenate([np.where(absent, median, logits), absent], axis=1)
    spread = raw.std(axis=0)
    return Columns(median, raw.mean(axis=0), np.where(spread > 1e-9, spread, np.inf))


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """A fitted joint model of some of F features."""

    columns: Columns
    chosen: npt.NDArray[np.intp]
    weights: Floats
    """(2, k): of the logits and of the missing marks, by chosen feature."""
    bias: float

    def parts(self, logits: Floats) -> Floats:
        """What each chosen feature adds: (n, F) to (n, k)."""
        x = self.columns(logits)
        width = logits.shape[1]
        found: Floats = x[:, self.chosen] * self.weights[0] + x[:, width + self.chosen] * self.weights[1]
        return found

    def logits(self, logits: Floats) -> Floats:
        """(n, F) logits of the features to (n,) of the joint model; without features all are 0."""
        found: Floats = self.parts(logits).sum(axis=1) + self.bias
        return found


def fit_joint(logits: Floats, labels: npt.NDArray[np.bool_], chosen: npt.ArrayLike) -> Joint:
    """Fit the joint model of the ``chosen`` features (indices) on (n, F) logits that are out-of-fold themselves."""
    columns = make_columns(logits)
    index = np.asarray(chosen, np.intp)
    if not index.size:
        return Joint(columns, index, np.zeros((2, 0)), 0.0)
    width = logits.shape[1]
    ready = columns(logits)[:, np.concatenate([index, width + index])]
    (solved,) = fit_logistic(ready[None], labels, positive=np.arange(2 * index.size) < index.size)
    return Joint(columns, index, solved[:-1].reshape(2, -1), float(solved[-1]))
