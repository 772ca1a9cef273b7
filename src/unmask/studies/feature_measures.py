"""The numbers of one scorer in a feature study: over all its images, within pairs, and by manipulation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.data.manifest import Row
from unmask.metrics.bootstrap import bootstrap_image, bootstrap_means
from unmask.metrics.image import auc, average_precision, far_at_frr, split_scores
from unmask.metrics.measure import Measure, missing
from unmask.studies.probe import Floats
from unmask.studies.survival import auc_measure

FRR = (0.01, 0.05)
METRICS = ("auc", "ap", *(f"far@frr={point:g}" for point in FRR), "pair_order")
FEWEST = 8
"""Fakes of a manipulation below which it has no number of its own."""


def pair_order(logits: Floats, rows: Sequence[Row], families: Sequence[str], seed: int = 0) -> Measure:
    """Share of fakes that score above the photo they were made from, a tie counting half."""
    place = {row.path: i for i, row in enumerate(rows)}
    fakes = [i for i, row in enumerate(rows) if row.label and row.pair in place]
    reals = [place[rows[i].pair] for i in fakes]
    wins = (np.sign(logits[fakes] - logits[reals]) + 1) / 2
    if np.isnan(wins).all():
        return missing("no pair with two values" if fakes else "no fake with its counterpart among the images")
    limits = bootstrap_means(wins, [families[i] for i in fakes], seed=seed)
    return Measure(float(np.nanmean(wins)), *limits)


def scorer_measures(
    logits: Floats, labels: npt.NDArray[np.bool_], rows: Sequence[Row], families: Sequence[str], seed: int = 0
) -> dict[str, Measure]:
    """AUC, AP, FAR at 1 and 5 % FRR and order within pairs of (N,) logits, over the images that have one."""
    known = ~np.isnan(logits)
    if not known.any():
        return {name: missing("no image has a value") for name in METRICS}
    names = [name for name, there in zip(families, known.tolist(), strict=True) if there]
    scores = split_scores(logits[known], labels[known])
    found = {"auc": auc(scores), "ap": average_precision(scores)}
    found |= {f"far@frr={point:g}": far_at_frr(scores, point) for point in FRR}
    if not scores.one_class:
        limits = bootstrap_image(logits[known], labels[known], names, frr_points=FRR, seed=seed)
        found = {
            name: measure if measure.reason or name not in limits else Measure(measure.value, *limits[name])
            for name, measure in found.items()
        }
    return found | {"pair_order": pair_order(logits, rows, families, seed)}


def by_manipulation(
    logits: Floats, labels: npt.NDArray[np.bool_], rows: Sequence[Row], families: Sequence[str], seed: int = 0
) -> dict[str, Measure]:
    """AUC per manipulation of at least :data:`FEWEST` fakes, against their own photos where these are known, else
    against all reals."""
    kinds = np.array([row.manipulation for row in rows], object)
    paths = np.array([row.path for row in rows], object)
    names = np.array(families, object)
    found = {}
    for kind in sorted(set(kinds[labels]) - {""}):
        fakes = labels & (kinds == kind)
        if fakes.sum() < FEWEST:
            continue
        own = ~labels & np.isin(paths, [row.pair for row, mine in zip(rows, fakes.tolist(), strict=True) if mine])
        which = fakes | (own if own.any() else ~labels)
        found[kind] = auc_measure(logits[which], labels[which], list(names[which]), seed)
    return found


def coverage(logits: Floats, labels: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Share of images, of reals and of fakes that have a number."""
    there = ~np.isnan(logits)
    parts = {"all": there, "real": there[~labels], "fake": there[labels]}
    return {name: float(part.mean()) if part.size else None for name, part in parts.items()}
