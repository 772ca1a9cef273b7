"""All models of a feature study: probes, joint models and selections, by rotation and on all images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unmask.features.table import FeatureTable
from unmask.studies.crossfit import CrossFit, cross_fit
from unmask.studies.feature_rows import NOT_MEASURED, StudyRows
from unmask.studies.forward import Selection, select_forward
from unmask.studies.importance import out_of_fold
from unmask.studies.joint import Joint, fit_joint
from unmask.studies.probe import STRENGTHS, Floats

ALL, CHOSEN = "all features", "chosen"


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """Everything trained on N images with F features in K folds. Rotation ``o`` never saw fold ``o``."""

    data: StudyRows
    fits: tuple[CrossFit, ...]
    """By feature."""
    inner: Floats
    """(K, N, F), see :class:`unmask.studies.crossfit.CrossFit`."""
    outer: Floats
    """(N, F)"""
    joints: tuple[Joint, ...]
    """By rotation, of all features."""
    selections: tuple[Selection, ...]
    """By rotation."""
    choices: tuple[Joint, ...]
    """By rotation, of the features that it chose."""
    final: Selection
    """On all images."""

    def out_of_fold(self) -> dict[str, Floats]:
        """(N,) logits by scorer: every feature, all together, the chosen ones."""
        data = self.data
        found = {name: fit.outer for name, fit in zip(data.names, self.fits, strict=True)}
        sets = {
            ALL: [joint.chosen for joint in self.joints],
            CHOSEN: [np.array(selection.chosen.features, np.intp) for selection in self.selections],
        }
        for name, chosen in sets.items():
            found[name] = out_of_fold(self.inner, self.outer, data.labels, data.fold, chosen)
        return found

    def degraded(self) -> dict[str, Floats]:
        """(M,) logits of the degraded rows by scorer, each by models that never saw its family."""
        data = self.data
        found = {
            name: fit.held_out(data.degraded.values[name], data.degraded_fold)
            for name, fit in zip(data.names, self.fits, strict=True)
        }
        logits = np.stack(list(found.values()), axis=-1)  # (M, F)
        for scorer, models in ((ALL, self.joints), (CHOSEN, self.choices)):
            found[scorer] = np.full(len(logits), np.nan)
            for number, model in enumerate(models):
                mine = (data.degraded_fold == number) & self._measured(data.degraded, model.chosen)
                found[scorer][mine] = model.logits(logits[mine])
        return found

    def on(self, table: FeatureTable) -> dict[str, Floats]:
        """Logits of other families' images by scorer, by the models of all N images."""
        data = self.data
        logits = np.full((len(table), len(data.names)), np.nan)
        for index, (name, fit) in enumerate(zip(data.names, self.fits, strict=True)):
            if fit.whole is not None:
                logits[:, index] = fit.whole.logits(table.values[name])
        found: dict[str, Floats] = {name: logits[:, index] for index, name in enumerate(data.names)}
        for scorer, chosen in ((ALL, range(len(data.names))), (CHOSEN, self.final.chosen.features)):
            scored = fit_joint(self.outer, data.labels, list(chosen)).logits(logits)
            found[scorer] = np.where(self._measured(table, chosen), scored, np.nan)
        return found

    def _measured(self, table: FeatureTable, features: Iterable[int]) -> npt.NDArray[np.bool_]:
        """Rows on which nobody has left a feature out of measuring: a joint model has no say on the others."""
        found = np.ones(len(table), bool)
        for index in features:
            found &= table.status[self.data.names[index]] != NOT_MEASURED
        return found


def fit_models(
    data: StudyRows,
    *,
    seed: int = 0,
    strengths: Sequence[float] = STRENGTHS,
    tick: Callable[[], None] = lambda: None,
) -> Models:
    """Train everything.

    Args:
        data: see :func:`unmask.studies.feature_rows.study_rows`.
        seed: of the resamples behind standard errors.
        strengths: of the probes' penalty to choose from.
        tick: called F + K + 1 times.
    """
    fits = []
    for name in data.names:
        fits.append(cross_fit(data.table.values[name], data.known(name), data.labels, data.fold, strengths))
        tick()
    inner, outer = (np.stack(parts, axis=-1) for parts in ([f.inner for f in fits], [f.outer for f in fits]))
    families = np.array(data.families, object)
    joints, selections, choices = [], [], []
    for number in range(len(inner)):
        train = data.fold != number
        logits, labels = inner[number][train], data.labels[train]
        joints.append(fit_joint(logits, labels, np.arange(len(fits))))
        found = select_forward(logits, labels, data.fold[train], list(families[train]), data.costs, seed)
        selections.append(found)
        choices.append(fit_joint(logits, labels, found.chosen.features))
        tick()
    final = select_forward(outer, data.labels, data.fold, data.families, data.costs, seed)
    tick()
    return Models(data, tuple(fits), inner, outer, tuple(joints), tuple(selections), tuple(choices), final)


def stability(models: Models) -> Mapping[str, int]:
    """In how many rotations each feature was chosen."""
    chosen = [selection.chosen.features for selection in models.selections]
    return {name: sum(index in part for part in chosen) for index, name in enumerate(models.data.names)}
