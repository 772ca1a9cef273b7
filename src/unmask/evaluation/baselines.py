"""What stands beside every detector: one number that is no detector, and a probe that sees no pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unmask.core.errors import DataError
from unmask.core.seeds import rng
from unmask.data.manifest import Row
from unmask.data.shortcuts import probe
from unmask.data.splits import families, folds

FOLDS = 5
MOST = 20_000
"""The probe learns from and is measured on at most this many images, drawn by family."""


def metadata_scores(
    features: npt.NDArray[np.float64], rows: Sequence[Row], seed: int = 0
) -> tuple[npt.NDArray[np.float64], str]:
    """Out-of-fold P(fake) of a probe on size, bytes per pixel, quantisation tables and format.

    Args:
        features: (N, D) of :func:`unmask.data.shortcuts.metadata_features`.
        rows: the N rows; their families stay whole.
        seed: of the folds and of the draw.

    Returns:
        (N,) scores, nan for rows beyond :data:`MOST`, and the reason when there is none at all.
    """
    scores = np.full(len(rows), np.nan)
    chosen = np.arange(len(rows))
    if len(rows) > MOST:
        chosen = np.sort(rng(seed, "metadata probe").permutation(len(rows))[:MOST])
    part = [rows[i] for i in chosen.tolist()]
    labels = [row.label for row in part]
    try:
        if len(set(labels)) < 2:
            raise DataError("one_class", "needs both classes")
        names = families(part)
        fold = folds(part, min(FOLDS, len(set(names))), seed)
        scores[chosen] = probe(features[chosen], labels, names, fold, seed).scores
    except DataError as error:
        return scores, f"no metadata probe: {error.message}"
    return scores, ""
