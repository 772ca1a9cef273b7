"""What stands beside every feature: the untrained blur score, and a probe that sees only file metadata."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from unmask.core.errors import IntakeError
from unmask.data.intake import decode
from unmask.data.manifest import Row
from unmask.data.parallel import in_threads
from unmask.data.shortcuts import METADATA_FEATURES, blur_score, metadata_features
from unmask.evaluation.baselines import metadata_scores
from unmask.studies.probe import Floats

BASELINES = ("blur", "metadata")


def baseline_scores(
    rows: Sequence[Row], seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> tuple[dict[str, Floats], str]:
    """(N,) scores by baseline, nan where an image cannot be read, and the reason when there are none.

    Every image is decoded once; without its files a study goes on without baselines.
    """
    if not all(Path(row.path).is_file() for row in rows):
        return {}, "the image files are not at hand"

    def look(row: Row) -> tuple[float, Floats]:
        try:
            decoded = decode(Path(row.path))
        except IntakeError:
            return np.nan, np.full(len(METADATA_FEATURES), np.nan)
        return blur_score(decoded.pixels), metadata_features(decoded)

    found = list(in_threads(look, rows, progress=progress))
    blur, features = np.array([b for b, _ in found]), np.stack([f for _, f in found])
    scores = {"blur": blur}
    readable = ~np.isnan(blur)
    if readable.any():
        probed, why = metadata_scores(features[readable], [rows[i] for i in np.flatnonzero(readable).tolist()], seed)
        if not why:
            scores["metadata"] = np.full(len(rows), np.nan)
            scores["metadata"][readable] = probed
    return scores, ""
