"""Fusions against each other: paired statistics over seeds, and the rule by which one is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from unmask.evaluation.compare import holm
from unmask.metrics.bootstrap import bootstrap_auc, interval
from unmask.metrics.image import auc, split_scores
from unmask.metrics.measure import Measure, plain
from unmask.metrics.statistics import delong, mcnemar
from unmask.studies.probe import Floats

Level = Literal["single", "early", "feature", "late"]
RESAMPLES = 1000


@dataclass(eq=False)
class Trial:
    """One strategy on one set of inputs, out of fold."""

    name: str
    level: Level
    inputs: tuple[str, ...]
    """Features or maps."""
    cost_ms: float
    """Processor milliseconds per image: measuring the inputs and fusing them."""
    parameters: int
    logits: list[Floats] = field(default_factory=list)
    """By seed, (N,); 0 = undecided, also where nothing has a value."""
    shares: Floats | None = None
    """(N, K): how far each input was let in, with the first seed."""

    def area(self, labels: npt.NDArray[np.bool_]) -> float:
        """AUC, the mean over seeds."""
        return float(np.mean([auc(split_scores(x, labels)).value for x in self.logits]))


class Judge:
    """The same images, labels, families and resamples for all trials."""

    def __init__(self, labels: npt.NDArray[np.bool_], families: Sequence[str], seed: int) -> None:
        self.labels, self.families, self.seed = labels, list(families), seed
        self._drawn: dict[int, Floats] = {}

    def resampled(self, trial: Trial) -> Floats:
        """(RESAMPLES,) AUC of each resample of families, the mean over seeds."""
        if id(trial) not in self._drawn:
            rows = [
                bootstrap_auc(x, self.labels, self.families, resamples=RESAMPLES, seed=self.seed) for x in trial.logits
            ]
            self._drawn[id(trial)] = np.mean(rows, axis=0)
        return self._drawn[id(trial)]

    def area(self, trial: Trial) -> Measure:
        """AUC over all seeds, with its interval by family."""
        return Measure(trial.area(self.labels), *interval(self.resampled(trial)))

    def against(self, trial: Trial, reference: Trial) -> dict[str, Any]:
        """Paired: AUC difference by bootstrap of families (all seeds), DeLong and McNemar at 0 (first seed)."""
        gaps = self.resampled(trial) - self.resampled(reference)
        good = gaps[np.isfinite(gaps)]
        low, high = interval(gaps)
        tail = min(int((good <= 0).sum()), int((good >= 0).sum()))
        test = delong(trial.logits[0], reference.logits[0], self.labels)
        right = [(x.logits[0] >= 0) == self.labels for x in (trial, reference)]
        return {
            "reference": reference.name,
            "difference": trial.area(self.labels) - reference.area(self.labels),
            "low": plain(low),
            "high": plain(high),
            "p": min(1.0, 2 * (tail + 1) / (len(good) + 1)),
            "delong": {key: plain(value) for key, value in asdict(test).items()},
            "mcnemar": asdict(mcnemar(*right)),
        }

    def choose(self, trials: Sequence[Trial]) -> tuple[Trial, dict[str, Any]]:
        """The cheapest whose AUC lies within one standard error of the best's; the error is that of their paired
        difference under resampling of families. Equal costs (to 1 %): the fewest parameters."""
        best = max(trials, key=lambda t: t.area(self.labels))
        near = []
        for trial in trials:
            gap = best.area(self.labels) - trial.area(self.labels)
            error = float(np.nanstd(self.resampled(best) - self.resampled(trial)))
            if gap <= error:
                near.append(trial)
        least = min(trial.cost_ms for trial in near)
        chosen = min((t for t in near if t.cost_ms <= 1.01 * least), key=lambda t: (t.parameters, -t.area(self.labels)))
        return chosen, {"best": best.name, "within_one_error": [trial.name for trial in near]}


def correct(lines: Sequence[dict[str, Any]]) -> None:
    """Add ``p_holm`` to comparisons with one reference."""
    for line, value in zip(lines, holm([line["p"] for line in lines]), strict=True):
        line["p_holm"] = value
