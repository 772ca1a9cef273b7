"""Late fusions of probes: fitted, in each rotation, on scores of images that the probes never saw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unmask.core.errors import DataError
from unmask.studies.crossfit import CrossFit
from unmask.studies.held_out import HeldOut, Part
from unmask.studies.late import LateFusion, create_late
from unmask.studies.probe import Floats
from unmask.training.calibrate import fit_platt


def rotation(
    fits: Sequence[CrossFit],
    number: int,
    labels: npt.NDArray[np.bool_],
    families: npt.NDArray[np.object_],
    fold: npt.NDArray[np.intp],
) -> HeldOut:
    """What rotation ``number`` may learn from: every fold ``j`` but its own, scored by probes that saw neither fold."""
    parts = []
    for other in sorted(set(fold.tolist()) - {number}):
        mine = fold == other
        seen = set(families[(fold != number) & ~mine])
        logits = np.stack([fit.inner[number][mine] for fit in fits], axis=1)
        parts.append(Part(logits, labels[mine], list(families[mine]), seen))
    return HeldOut(parts)


def late_out_of_fold(
    fits: Sequence[CrossFit],
    method: str,
    labels: npt.NDArray[np.bool_],
    families: Sequence[str],
    fold: npt.NDArray[np.intp],
) -> tuple[Floats, LateFusion]:
    """Fit a late fusion in each rotation, apply it to the fold that was left out, in calibrated logits.

    Returns:
        (N,) logits, nan where no feature has a value, and the last rotation's fusion.
    """
    outer = np.stack([fit.outer for fit in fits], axis=1)
    names = np.array(list(families), object)
    found = np.full(len(labels), np.nan)
    fusion: LateFusion = create_late(method)
    for number in range(int(fold.max()) + 1):
        held_out = rotation(fits, number, labels, names, fold)
        fusion = create_late(method).fit(held_out)
        fused = fusion.apply(held_out.logits)
        known = ~np.isnan(fused)
        if not held_out.labels[known].any() or held_out.labels[known].all():
            raise DataError(
                "too_few_families",
                f"without fold {number} the features have no held-out score of both classes to learn from; use more "
                "people, fewer folds (3 or more), or features that more images have",
            )
        scale, offset = fit_platt(fused[known], held_out.labels[known])
        mine = fold == number
        found[mine] = scale * fusion.apply(outer[mine]) + offset
    return found, fusion
