"""When does a feature die? Scorers trained on images as they are, applied to degraded images of unseen families."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.metrics.bootstrap import bootstrap_auc, interval
from unmask.metrics.image import auc, split_scores
from unmask.metrics.measure import Measure, missing
from unmask.studies.probe import Floats

RESAMPLES = 1000
CHANCE = 0.5


def auc_measure(
    logits: Floats, labels: npt.NDArray[np.bool_], families: Sequence[str], seed: int = 0, resamples: int = RESAMPLES
) -> Measure:
    """AUC of the images that have a logit, with its interval by family; a reason where there is none."""
    known = ~np.isnan(logits)
    if not known.any():
        return missing("no image has a value")
    found = auc(split_scores(logits[known], labels[known]))
    if found.reason:
        return found
    names = [name for name, there in zip(families, known.tolist(), strict=True) if there]
    if len(set(names)) < 2:
        return found
    drawn = bootstrap_auc(logits[known], labels[known], names, resamples=resamples, seed=seed)
    return Measure(found.value, *interval(drawn))


def first_death(cells: Sequence[Mapping[str, Any]]) -> int | None:
    """The first severity at which the interval reaches chance; None when it stays above at all that were measured.

    >>> first_death([{"severity": 0, "auc": {"low": 0.8}}, {"severity": 1, "auc": {"low": 0.48}}])
    1
    """
    for cell in sorted(cells, key=lambda cell: cell["severity"]):
        low = cell["auc"]["low"]
        if low is not None and low <= CHANCE:
            return int(cell["severity"])
    return None


def in_words(cells: Sequence[Mapping[str, Any]]) -> str:
    """The verdict of a curve.

    >>> in_words([{"severity": 0, "auc": {"low": 0.8}}, {"severity": 2, "auc": {"low": 0.6}}])
    'survives severity 2'
    >>> in_words([{"severity": 0, "auc": {"low": 0.8}}, {"severity": 2, "auc": {"low": None}}])
    'cannot be told'
    """
    dead = first_death(cells)
    if dead == 0:
        return "not alive on these images as they are"
    if dead is not None:
        return f"dies at severity {dead}"
    measured = [cell["severity"] for cell in cells if cell["severity"] and cell["auc"]["low"] is not None]
    if not measured:
        return "cannot be told"
    return f"survives severity {max(measured)}"


def survival(
    clean: Mapping[str, Floats],
    degraded: Mapping[str, Floats],
    *,
    labels: npt.NDArray[np.bool_],
    paths: npt.NDArray[Any],
    families: Sequence[str],
    degraded_labels: npt.NDArray[np.bool_],
    degraded_paths: npt.NDArray[Any],
    degraded_families: Sequence[str],
    kinds: npt.NDArray[Any],
    severities: npt.NDArray[np.int64],
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """One curve per degradation and scorer, as JSON values.

    Args:
        clean: by scorer, (N,) out-of-fold logits of the images as they are.
        degraded: by scorer, (M,) logits of the degraded rows by the models that never saw their family.
        labels, paths, families: of the N images.
        degraded_labels, degraded_paths, degraded_families, kinds, severities: of the M rows.
        seed: of the bootstrap.

    Yields:
        ``degradation``, ``scorer``, ``cells`` by severity (0: the same images as they are) with ``n_real``,
        ``n_fake``, ``coverage`` and ``auc``; ``dies_at`` and ``words``.
    """
    groups, degraded_groups = np.array(families, object), np.array(degraded_families, object)
    for kind in sorted(set(kinds)):
        mine = kinds == kind
        same = np.isin(paths, degraded_paths[mine])
        levels = [(0, clean, same, labels, groups)]
        for severity in sorted(set(severities[mine].tolist())):
            levels.append((severity, degraded, mine & (severities == severity), degraded_labels, degraded_groups))
        for scorer in degraded:
            cells = []
            for severity, logits, which, truth, names in levels:
                if not which.any():
                    continue
                values, fake = logits[scorer][which], truth[which]
                found = auc_measure(values, fake, list(names[which]), seed)
                there = ~np.isnan(values)
                cells.append(
                    {
                        "severity": int(severity),
                        "n_real": int((there & ~fake).sum()),
                        "n_fake": int((there & fake).sum()),
                        "coverage": float(there.mean()),
                        "auc": found.as_json(),
                    }
                )
            yield {
                "degradation": str(kind),
                "scorer": scorer,
                "cells": cells,
                "dies_at": first_death(cells),
                "words": in_words(cells),
            }
