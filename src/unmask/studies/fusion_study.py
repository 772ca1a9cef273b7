"""How should the evidence be joined? Every fusion on the same features, images, folds and seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from unmask.core.errors import ConfigError, DataError
from unmask.core.names import did_you_mean
from unmask.nn.fusion import EARLY, FUSIONS
from unmask.studies.crossfit import CrossFit, cross_fit
from unmask.studies.feature_measures import by_manipulation, scorer_measures
from unmask.studies.feature_rows import StudyRows
from unmask.studies.fusion_compare import Judge, Trial, correct
from unmask.studies.fusion_heads import HeadSettings, head_cost, head_out_of_fold, tensors
from unmask.studies.fusion_late import late_out_of_fold
from unmask.studies.fusion_maps import MapSettings, maps_out_of_fold
from unmask.studies.late import LATE
from unmask.studies.probe import STRENGTHS, Floats

Json = dict[str, Any]
REFERENCE = "concat"
ALWAYS = (REFERENCE, "reliability")
"""Feature-level methods that get all seeds whatever their rank: the reference, and our own."""
MAPS = "maps: "
"""How the name of a fusion of maps begins where the same strategy also fuses vectors."""


def pick_methods(names: Sequence[str] | None, maps: bool) -> tuple[str, ...]:
    """The strategies to study; all by default, early ones only with maps.

    Raises:
        ConfigError: an unknown name (the message names the nearest), or an early fusion without maps.
    """
    every = [*FUSIONS, *LATE, *EARLY]
    for name in names or ():
        if name not in every:
            hint = did_you_mean(name, every)
            raise ConfigError("unknown_fusion", f"no fusion '{name}'{hint}; there are: {', '.join(every)}")
        if name in EARLY and not maps:
            raise ConfigError(
                "not_a_map", f"early fusion '{name}' takes maps, and a table of features holds vectors: name --maps"
            )
    return tuple(dict.fromkeys(names)) if names else tuple(n for n in every if maps or n not in EARLY)


@dataclass(eq=False)
class FusionStudy:
    """What to run, and what came of it."""

    data: StudyRows
    methods: tuple[str, ...]
    maps: tuple[str, ...] = ()
    images: Tensor | None = None
    """(N, 3, S, S) uint8, for fusions of maps."""
    seeds: int = 3
    finalists: int = 3
    head: HeadSettings = field(default_factory=HeadSettings)
    map_settings: MapSettings = field(default_factory=MapSettings)
    strengths: Sequence[float] = STRENGTHS
    seed: int = 0
    progress: Callable[[int, int], None] | None = None
    trials: list[Trial] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.seeds < 1 or self.finalists < 1:
            raise ConfigError("bad_config", f"seeds and finalists are 1 or more, got {self.seeds}, {self.finalists}")
        if len(self.data.names) < 2 and not self.maps:
            raise DataError("one_feature", f"there is nothing to fuse: one feature ({self.data.names[0]}); name more")
        self.values = tensors(self.data.table.values, self.data.names)
        self._folds = int(self.data.fold.max()) + 1
        feature, late, early = (sum(m in table for m in self.methods) for table in (FUSIONS, LATE, EARLY))
        nets = feature + (early + len(self._map_methods) - early + len(self.maps) if self.maps else 0)
        self._total = len(self.data.names) + late + self._folds * nets
        self._done = 0

    def _tick(self) -> None:
        self._done += 1
        if self.progress:
            self.progress(min(self._done, self._total), self._total)

    @property
    def _map_methods(self) -> list[str]:
        """Of maps: the early fusions, and for comparison the two feature-level ones that always get all seeds."""
        if not self.maps:
            return []
        return [*(m for m in self.methods if m in EARLY), *(m for m in ALWAYS if m in self.methods)]

    def run(self) -> Json:
        """Run everything; JSON-ready."""
        fits = self._singles()
        self._late(fits)
        for method in self.methods:
            if method in FUSIONS and len(self.data.names) > 1:
                widths = [x.shape[1] for x in self.values]
                took, count = head_cost(widths, method, self.head)
                self.trials.append(Trial(method, "feature", self.data.names, self._measuring() + took, count))
                self._again(self.trials[-1])
        for method in [*(MAPS + name for name in self.maps), *self._map_methods] if self.maps else []:
            single = method.startswith(MAPS)
            level = "single" if single else "early" if method in EARLY else "feature"
            inputs = (method.removeprefix(MAPS),) if single else self.maps
            name = method if single or method in EARLY else MAPS + method
            self.trials.append(Trial(name, level, inputs, 0.0, 0))  # type: ignore[arg-type]
            self._again(self.trials[-1])
        judge = Judge(self.data.labels, self.data.families, self.seed)
        finalists = self._finalists(judge)
        for trial in finalists:
            while len(trial.logits) < self.seeds:
                self._total += self._folds
                self._again(trial)
        return self._report(Judge(self.data.labels, self.data.families, self.seed), finalists)

    def _measuring(self) -> float:
        return self.data.costs(range(len(self.data.names)))

    def _singles(self) -> list[CrossFit]:
        data, fits = self.data, []
        for index, name in enumerate(data.names):
            values = data.table.values[name]
            fit = cross_fit(values, data.known(name), data.labels, data.fold, self.strengths)
            fits.append(fit)
            trial = Trial(name, "single", (name,), data.costs([index]), values.shape[1] + 1)
            trial.logits.append(_filled(fit.outer))
            self.trials.append(trial)
            self._tick()
        return fits

    def _late(self, fits: Sequence[CrossFit]) -> None:
        data = self.data
        members = sum(len(data.table.columns[name]) + 1 for name in data.names)
        for method in self.methods:
            if method in LATE and len(fits) > 1:
                logits, fusion = late_out_of_fold(fits, method, data.labels, data.families, data.fold)
                trial = Trial(method, "late", data.names, self._measuring(), members + fusion.parameters)
                trial.logits.append(_filled(logits))
                self.trials.append(trial)
                self._tick()

    def _again(self, trial: Trial) -> None:
        """Another seed of a trained trial."""
        data, seed = self.data, self.seed + len(trial.logits)
        if trial.level == "feature" and not trial.name.startswith(MAPS):
            logits, shares = head_out_of_fold(
                self.values, data.labels, data.fold, trial.name, seed, self.head, self._tick
            )
            trial.shares = shares if trial.shares is None else trial.shares
        else:
            assert self.images is not None
            fusion = REFERENCE if trial.level == "single" else trial.name.removeprefix(MAPS)
            config = self.map_settings.config(trial.inputs, fusion)
            found = maps_out_of_fold(self.images, data.labels, data.fold, config, seed, self.map_settings, self._tick)
            logits, trial.cost_ms, trial.parameters = found
        trial.logits.append(_filled(logits))

    def _finalists(self, judge: Judge) -> list[Trial]:
        """The trained trials nearest the top with the first seed, the reference and our own."""
        trained = [t for t in self.trials if t.level in ("feature", "early") or t.name.startswith(MAPS)]
        ranked = sorted(trained, key=lambda t: -t.area(judge.labels))
        always = [t for t in ranked if t.name.removeprefix(MAPS) in ALWAYS]
        return list(dict.fromkeys([*ranked[: self.finalists], *always]))

    def _report(self, judge: Judge, finalists: Sequence[Trial]) -> Json:
        data = self.data
        singles = [t for t in self.trials if t.level == "single"]
        best_single = max(singles, key=lambda t: t.area(data.labels))
        by_name = {t.name: t for t in self.trials}
        reference = by_name.get(REFERENCE)
        chosen, how = judge.choose(self.trials)
        lines = []
        for trial in sorted(self.trials, key=lambda t: -t.area(data.labels)):
            measures = scorer_measures(trial.logits[0], data.labels, data.rows, data.families, self.seed)
            kinds = by_manipulation(trial.logits[0], data.labels, data.rows, data.families, self.seed)
            lines.append(
                {
                    "name": trial.name,
                    "level": trial.level,
                    "inputs": list(trial.inputs),
                    "cost_ms": trial.cost_ms,
                    "parameters": trial.parameters,
                    "seeds": len(trial.logits),
                    "finalist": trial in finalists,
                    "auc": judge.area(trial).as_json(),
                    "auc_by_seed": [Trial("", "late", (), 0, 0, [x]).area(data.labels) for x in trial.logits],
                    "metrics": {name: m.as_json() for name, m in measures.items()},
                    "by_manipulation": {name: m.as_json() for name, m in kinds.items()},
                    "against_single": None if trial is best_single else judge.against(trial, best_single),
                    "against_concat": None
                    if reference is None or trial is reference
                    else judge.against(trial, reference),
                    "shares": self._shares(trial),
                }
            )
        for key in ("against_single", "against_concat"):
            correct([found for line in lines if isinstance(found := line[key], dict)])
        return {
            "data": {
                "n_real": int((~data.labels).sum()),
                "n_fake": int(data.labels.sum()),
                "families": len(set(data.families)),
                "folds": self._folds,
                "cost_known": data.cost_known,
                "sha256": data.data_sha256,
            },
            "features": list(data.names),
            "maps": list(self.maps),
            "trials": lines,
            "best_single": best_single.name,
            "choice": {"name": chosen.name, **how},
            "feature_level": self.best_feature_level(judge),
            "seed": self.seed,
        }

    def best_feature_level(self, judge: Judge | None = None) -> str | None:
        """The feature-level fusion of the table's features that the same rule chooses; None without any."""
        judge = judge or Judge(self.data.labels, self.data.families, self.seed)
        mine = [t for t in self.trials if t.level == "feature" and not t.name.startswith(MAPS)]
        return judge.choose(mine)[0].name if mine else None

    def _shares(self, trial: Trial) -> Json | None:
        """Mean share of each feature where it has a value and where it has none."""
        if trial.shares is None:
            return None
        found: Json = {}
        for index, name in enumerate(trial.inputs):
            known = self.data.known(name)
            parts = {"valid": trial.shares[known, index], "missing": trial.shares[~known, index]}
            found[name] = {key: float(np.nanmean(part)) if part.size else None for key, part in parts.items()}
        return found


def _filled(logits: Floats) -> Floats:
    """An image that nothing is known about is undecided: 0."""
    return np.nan_to_num(logits, nan=0.0)
