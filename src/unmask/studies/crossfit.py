"""Out-of-fold logits of one feature: every image is scored by a probe that saw no relative of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.metrics.image import auc, split_scores
from unmask.studies.probe import STRENGTHS, Floats, Probe, fit_probes


@dataclass(frozen=True, slots=True, eq=False)
class CrossFit:
    """Logits of N images in K folds, nan where the feature has no value or too few images to train a probe on.

    Rotation ``o`` holds fold ``o`` out. Everything in it, the probe's penalty included, is chosen and trained on the
    other folds, so a second model may learn from ``inner[o]`` and be measured on ``outer`` in fold ``o``.
    """

    outer: Floats
    """(N,): fold ``o`` scored by the probe of rotation ``o``."""
    inner: Floats
    """(K, N): in row ``o``, each image outside fold ``o`` scored by a probe that saw neither fold ``o`` nor the image's
    own fold; nan in fold ``o``."""
    probes: tuple[Probe | None, ...]
    """By rotation, trained on all folds but that one."""
    whole: Probe | None
    """Trained on all images, for images of other families."""

    def held_out(self, values: npt.NDArray[Any], fold: npt.NDArray[Any]) -> Floats:
        """Logits of other rows (M, D), such as degraded ones, each by the probe that holds out its fold (M,)."""
        found = np.full(len(values), np.nan)
        for number, probe in enumerate(self.probes):
            mine = fold == number
            if probe is not None and mine.any():
                found[mine] = probe.logits(values[mine])
        return found


def _best(logits: Floats, labels: npt.NDArray[Any]) -> int:
    """Which of (C, N) logits orders best; the strongest penalty among equals."""
    areas = []
    for row in logits:
        known = ~np.isnan(row)
        areas.append(auc(split_scores(row[known], labels[known])).value)
    return 0 if np.isnan(areas).all() else int(np.nanargmax(np.round(areas, 9)))


def cross_fit(
    values: npt.NDArray[Any],
    known: npt.NDArray[np.bool_],
    labels: npt.NDArray[Any],
    fold: npt.NDArray[Any],
    strengths: Sequence[float] = STRENGTHS,
) -> CrossFit:
    """Train all probes of a feature.

    A probe without folds ``o`` and ``j`` serves both rotations, so K folds cost K (K + 1) / 2 + 1 trainings.

    Args:
        values: (N, D).
        known: (N,) false where the feature has no value.
        labels: (N,) 1 = fake.
        fold: (N,) 0 to K - 1, three or more; relatives share a fold.
        strengths: of the penalty to choose from, within each rotation.
    """
    count = int(fold.max()) + 1
    shape = (len(strengths), count, len(labels))
    inner, outer = np.full(shape, np.nan), np.full((len(strengths), len(labels)), np.nan)

    def trained(*held: int) -> list[Probe]:
        part = known & ~np.isin(fold, held)
        return fit_probes(values[part], labels[part], strengths)

    def logits(probes: Sequence[Probe], number: int) -> tuple[npt.NDArray[Any], Floats]:
        mine = np.flatnonzero(known & (fold == number))
        return mine, np.stack([probe.logits(values[mine]) for probe in probes])

    alone = [trained(number) for number in range(count)]
    for first in range(count):
        if alone[first]:
            mine, found = logits(alone[first], first)
            outer[:, mine] = found
        for second in range(first):
            if both := trained(first, second):
                for rotation, scored in ((first, second), (second, first)):
                    mine, found = logits(both, scored)
                    inner[:, rotation, mine] = found
    choice = [_best(inner[:, number], labels) for number in range(count)]
    numbers = np.arange(count)
    everything = trained()
    return CrossFit(
        outer=outer[np.asarray(choice)[fold], np.arange(len(labels))],
        inner=inner[choice, numbers],
        probes=tuple(probes[best] if probes else None for probes, best in zip(alone, choice, strict=True)),
        whole=everything[_best(outer, labels)] if everything else None,
    )
