"""Greedy forward selection of features against cost, on training images only.

Two paths are walked, from no feature to all: ``gain`` adds the feature that raises the AUC most, ``gain per ms`` the
one that raises it most per millisecond. The AUC is that of the joint model, cross-validated over the training folds.
Of all sets on both paths the chosen one is the cheapest whose AUC lies within one standard error of the best set's (the
rule of Breiman et al. 1984), the error being that of the paired difference under resampling of whole families.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unmask.metrics.bootstrap import bootstrap_auc
from unmask.studies.joint import fit_logistic, make_columns
from unmask.studies.probe import Floats

RULES = ("gain", "gain per ms")
_RESAMPLES = 300


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """What sets of features cost per image: what each takes, and once what several of them share (landmarks)."""

    own: Floats
    """(F,)"""
    shared: tuple[tuple[frozenset[int], float], ...] = ()
    """Features that share a piece of work, and what it takes."""

    def __call__(self, features: Iterable[int]) -> float:
        """Cost of a set.

        >>> costs = Costs(np.array([1.0, 2.0, 3.0]), ((frozenset({1, 2}), 10.0),))
        >>> costs([0]), costs([0, 1]), costs([0, 1, 2])
        (1.0, 13.0, 16.0)
        """
        index = list(features)
        once = sum(cost for members, cost in self.shared if not members.isdisjoint(index))
        return float(self.own[index].sum()) + once


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A set of features on a path."""

    features: tuple[int, ...]
    """In the order they were added."""
    cost: float
    auc: float
    """Cross-validated on the training images: what the selection saw, so it flatters."""
    logits: Floats
    """(n,) behind that AUC."""


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """What a forward selection found on some training images."""

    paths: dict[str, list[Step]]
    """By rule: F + 1 steps, the first without any feature."""
    chosen: Step


def auc_rows(scores: Floats, labels: npt.NDArray[np.bool_]) -> Floats:
    """AUC of each row of (m, n) scores, ties counting half (Mann and Whitney 1947).

    >>> auc_rows(np.array([[0.1, 0.4, 0.4, 0.9]]), np.array([False, False, True, True])).tolist()
    [0.875]
    """
    from scipy.stats import rankdata

    fakes = int(labels.sum())
    ranks = rankdata(scores, axis=1)[:, labels].sum(axis=1)
    area: Floats = (ranks - fakes * (fakes + 1) / 2) / (fakes * (len(labels) - fakes))
    return area


class _Scored:
    """The cross-validated joint logits of any set of features."""

    def __init__(self, logits: Floats, labels: npt.NDArray[np.bool_], fold: npt.NDArray[np.intp]) -> None:
        self.labels = labels
        self.width = logits.shape[1]
        self.gappy = np.asarray(np.isnan(logits).any(axis=0), bool)
        self.folds = []
        for number in range(int(fold.max()) + 1):
            mine = fold == number
            if not mine.any():  # the fold that is held out
                continue
            columns = make_columns(logits[~mine])
            self.folds.append((mine, columns(logits[~mine]), columns(logits[mine])))

    def add(self, chosen: Sequence[int], candidates: Sequence[int]) -> Floats:
        """Logits (m, n) of the sets ``chosen`` + one candidate each."""
        base = [*chosen, *(self.width + f for f in chosen if self.gappy[f])]
        more = [[f, self.width + f] if self.gappy[list(candidates)].any() else [f] for f in candidates]
        index = np.array([[*base, *extra] for extra in more])  # (m, p)
        found = np.empty((len(candidates), len(self.labels)))
        for mine, train, held in self.folds:
            x = np.ascontiguousarray(np.swapaxes(train[:, index], 0, 1))  # (m, n, p)
            solved = fit_logistic(x, self.labels[~mine], positive=index < self.width)
            found[:, mine] = np.einsum("nmp,mp->mn", held[:, index], solved[:, :-1]) + solved[:, -1:]
        return found


def _walk(scored: _Scored, costs: Costs, rule: str) -> list[Step]:
    labels = scored.labels
    steps = [Step((), 0.0, 0.5, np.zeros(len(labels)))]
    left = list(range(scored.width))
    while left:
        last = steps[-1]
        logits = scored.add(last.features, left)
        areas = auc_rows(logits, labels)
        gains = areas - last.auc
        prices = [costs((*last.features, f)) for f in left]
        if rule == "gain per ms" and gains.max() > 0:
            gains = gains / np.maximum(np.array(prices) - last.cost, 1e-6)
        # of equal gains the cheapest, then the first
        best = min(range(len(left)), key=lambda i: (-round(float(gains[i]), 12), prices[i], left[i]))
        features = (*last.features, left.pop(best))
        steps.append(Step(features, prices[best], float(areas[best]), logits[best]))
    return steps


def select_forward(
    logits: Floats,
    labels: npt.NDArray[np.bool_],
    fold: npt.NDArray[np.intp],
    families: Sequence[str],
    costs: Costs,
    seed: int = 0,
) -> Selection:
    """Walk both paths and choose.

    Args:
        logits: (n, F) out-of-fold logits of the training images, nan where a feature has no value.
        labels: (n,) true = fake.
        fold: (n,) the fold of each, relatives together.
        families: n names, drawn whole for the standard error.
        costs: of sets of the F features.
        seed: of the resamples.
    """
    scored = _Scored(logits, labels, fold)
    paths = {rule: _walk(scored, costs, rule) for rule in RULES}
    steps = [step for path in paths.values() for step in path]
    best = max(steps, key=lambda step: (round(step.auc, 12), -step.cost))

    def drawn(step: Step) -> Floats:
        return bootstrap_auc(step.logits, labels, families, resamples=_RESAMPLES, seed=seed)

    reference = drawn(best)
    within = []
    for step in steps:
        if step.cost <= best.cost:
            error = float(np.nanstd(reference - drawn(step)))
            if best.auc - step.auc <= error:
                within.append(step)
    return Selection(paths, min(within, key=lambda step: (step.cost, len(step.features), -step.auc)))
