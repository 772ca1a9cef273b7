"""What the joint model loses without a feature: by shuffling it among unseen images, and by leaving it out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from unmask.core.seeds import rng
from unmask.metrics.statistics import PairedDifference, paired_bootstrap_auc
from unmask.studies.forward import auc_rows
from unmask.studies.joint import Joint, fit_joint
from unmask.studies.probe import Floats

REPEATS = 30


class Permuted(NamedTuple):
    """AUC lost when a feature is shuffled (Breiman 2001): mean over the shuffles, and their standard deviation."""

    drop: float
    spread: float


def permutation_importance(
    joints: Sequence[Joint],
    logits: Floats,
    labels: npt.NDArray[np.bool_],
    fold: npt.NDArray[np.intp],
    repeats: int = REPEATS,
    seed: int = 0,
) -> list[Permuted]:
    """Shuffle each feature (its value and whether it is missing) among the images of each held-out fold.

    Args:
        joints: by fold, each fitted on the other folds, all on the same features.
        logits: (N, F) outer logits.
        labels: (N,) true = fake.
        fold: (N,).
        repeats: shuffles.
        seed: of the shuffles; all features are shuffled alike.

    Returns:
        One per feature of the joint models.
    """
    count = len(joints[0].chosen)
    parts, total = np.empty((len(labels), count)), np.empty(len(labels))
    shuffled = np.empty((repeats, len(labels)), np.intp)
    generator = rng(seed, "permutation")
    for number, joint in enumerate(joints):
        mine = np.flatnonzero(fold == number)
        parts[mine] = joint.parts(logits[mine])
        total[mine] = parts[mine].sum(axis=1) + joint.bias
        shuffled[:, mine] = mine[np.argsort(generator.random((repeats, len(mine))), axis=1)]
    whole = auc_rows(total[None], labels)[0]
    found = []
    for part in parts.T:
        drops = whole - auc_rows(total - part + part[shuffled], labels)
        found.append(Permuted(float(drops.mean()), float(drops.std(ddof=1)) if repeats > 1 else 0.0))
    return found


def leave_one_out(
    inner: Floats,
    outer: Floats,
    labels: npt.NDArray[np.bool_],
    fold: npt.NDArray[np.intp],
    families: Sequence[str],
    seed: int = 0,
) -> list[PairedDifference]:
    """Out-of-fold AUC of the joint model of all features minus that of all but one, by feature, paired.

    Args:
        inner: (K, N, F), see :class:`unmask.studies.crossfit.CrossFit`.
        outer: (N, F).
        labels: (N,) true = fake.
        fold: (N,).
        families: N names, drawn whole.
        seed: of the bootstrap.
    """
    everything = np.arange(outer.shape[1])
    full = out_of_fold(inner, outer, labels, fold, [everything] * len(inner))
    found = []
    for feature in everything:
        kept = np.delete(everything, feature)
        without = out_of_fold(inner, outer, labels, fold, [kept] * len(inner))
        found.append(paired_bootstrap_auc(full, without, labels, families, seed=seed))
    return found


def out_of_fold(
    inner: Floats,
    outer: Floats,
    labels: npt.NDArray[np.bool_],
    fold: npt.NDArray[np.intp],
    chosen: Sequence[npt.ArrayLike],
) -> Floats:
    """(N,) logits of joint models of the features ``chosen[o]``, fitted on ``inner[o]``, applied to fold ``o``."""
    found = np.empty(len(labels))
    for number, features in enumerate(chosen):
        held = fold == number
        joint = fit_joint(inner[number][~held], labels[~held], features)
        found[held] = joint.logits(outer[held])
    return found
