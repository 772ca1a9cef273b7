"""Which evidence helps, at what cost, and when does it die? A study of the features of a data set.

Every number that is reported stems from models that saw no relative of the image they score; what is chosen (a probe's
penalty, a set of features) is chosen within the training folds, so the whole procedure is what the numbers judge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from unmask.core.errors import DataError
from unmask.data.manifest import data_hash
from unmask.data.splits import families
from unmask.features.table import FeatureTable
from unmask.metrics.measure import Measure, plain
from unmask.studies import redundancy
from unmask.studies.baselines import BASELINES, baseline_scores
from unmask.studies.feature_measures import by_manipulation, coverage, scorer_measures
from unmask.studies.feature_models import ALL, CHOSEN, Models, fit_models, stability
from unmask.studies.feature_rows import StudyRows, join_tables, rows_of
from unmask.studies.forward import RULES
from unmask.studies.importance import leave_one_out, out_of_fold, permutation_importance
from unmask.studies.probe import STRENGTHS, Floats
from unmask.studies.survival import auc_measure, survival

Json = dict[str, Any]


def study_features(
    data: StudyRows,
    *,
    test: FeatureTable | None = None,
    seed: int = 0,
    strengths: Sequence[float] = STRENGTHS,
    progress: Callable[[int, int], None] | None = None,
) -> Json:
    """Study the features of some images.

    Args:
        data: see :func:`unmask.studies.feature_rows.study_rows`.
        test: other people, on whom the finished models are measured once; relatives of the studied images are left out.
        seed: of resamples and shuffles.
        strengths: of the probes' penalty to choose from.
        progress: told the parts done, of how many.

    Returns:
        JSON-ready: ``data``, ``baselines``, ``features`` (best first), ``joint``, ``shown`` (the chosen set's interval
        lies above chance), ``selection``, ``redundancy``, ``survival``, ``test``.

    Raises:
        DataError: tables that do not fit, or a test table of relatives only.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):  # small matrices: more threads only wait for each other
        return _study(data, test, seed, strengths, progress)


def _study(
    data: StudyRows,
    test: FeatureTable | None,
    seed: int,
    strengths: Sequence[float],
    progress: Callable[[int, int], None] | None,
) -> Json:
    folds = int(data.fold.max()) + 1
    done, total = 0, 2 * len(data.names) + folds + 5

    def tick() -> None:
        nonlocal done
        if progress:
            progress(done, total)
        done += 1

    tick()
    strangers = None if test is None else _strangers(data, test)
    baselines, why = baseline_scores(data.rows, seed)
    models = fit_models(data, seed=seed, strengths=strengths, tick=tick)
    scorers = models.out_of_fold()
    lines = _features(models, scorers, seed, tick)
    paths = _paths(models, seed)
    tick()
    curves = list(_survival(models, scorers, seed))
    tick()
    joint = _joint(models, scorers, seed)
    low = joint[CHOSEN]["metrics"]["auc"]["low"]
    found = {
        "data": _counts(data, folds),
        "baselines": {
            name: _measures(baselines[name], data, seed) if name in baselines else {"reason": why or "not available"}
            for name in BASELINES
        },
        "features": lines,
        "joint": joint,
        "shown": low is not None and low > 0.5,
        "selection": {"paths": paths, "front": _front(paths)},
        "redundancy": _redundancy(models),
        "survival": curves,
        "test": None if strangers is None else _test(models, *strangers, seed),
        "seed": seed,
    }
    tick()
    return found


def _json(measures: Mapping[str, Measure]) -> Json:
    return {name: measure.as_json() for name, measure in measures.items()}


def _measures(logits: Floats, data: StudyRows, seed: int) -> Json:
    return _json(scorer_measures(logits, data.labels, data.rows, data.families, seed))


def _kinds(logits: Floats, data: StudyRows, seed: int) -> Json:
    return _json(by_manipulation(logits, data.labels, data.rows, data.families, seed))


def _counts(data: StudyRows, folds: int) -> Json:
    kinds = Counter(row.manipulation or "not named" for row in data.rows if row.label)
    return {
        "n_real": int((~data.labels).sum()),
        "n_fake": int(data.labels.sum()),
        "families": len(set(data.families)),
        "without_group": sum(not row.group for row in data.rows),
        "folds": folds,
        "manipulations": dict(sorted(kinds.items())),
        "degraded_rows": len(data.degraded),
        "degraded_left_out": data.strangers,
        "cost_known": data.cost_known,
        "sha256": data.data_sha256,
    }


def _features(models: Models, scorers: Mapping[str, Floats], seed: int, tick: Callable[[], None]) -> list[Json]:
    """A line per feature, the best first."""
    data = models.data
    permuted = permutation_importance(models.joints, models.outer, data.labels, data.fold, seed=seed)
    gaps = leave_one_out(models.inner, models.outer, data.labels, data.fold, data.families, seed)
    tick()
    informed = redundancy.label_information(redundancy.binned(models.outer), data.labels).tolist()
    times = stability(models)
    lines: list[Json] = []
    for index, name in enumerate(data.names):
        line = {
            "name": name,
            "width": len(data.table.columns[name]),
            "cost_ms": float(data.costs.own[index]) if data.cost_known else None,
            "coverage": coverage(scorers[name], data.labels),
            "status": dict(sorted(Counter(data.table.status[name].tolist()).items())),
            "metrics": _measures(scorers[name], data, seed),
            "label_information": plain(informed[index]),
            "permutation": permuted[index]._asdict(),
            "leave_one_out": {key: plain(getattr(gaps[index], key)) for key in ("difference", "low", "high", "p")},
            "chosen_in_folds": times[name],
            "by_manipulation": _kinds(scorers[name], data, seed),
        }
        lines.append(line)
        tick()
    return sorted(lines, key=lambda line: -float(line["metrics"]["auc"]["value"] or 0.0))


def _joint(models: Models, scorers: Mapping[str, Floats], seed: int) -> Json:
    data = models.data
    sets = [selection.chosen for selection in models.selections]
    costs: dict[str, Json] = {
        ALL: {"features": list(data.names), "cost_ms": data.costs(range(len(data.names)))},
        CHOSEN: {
            "features": [data.names[index] for index in models.final.chosen.features],
            "cost_ms": models.final.chosen.cost,
            "cost_ms_by_fold": float(np.mean([step.cost for step in sets])),
            "by_fold": [[data.names[index] for index in step.features] for step in sets],
        },
    }
    return {
        name: {"metrics": _measures(scorers[name], data, seed), "by_manipulation": _kinds(scorers[name], data, seed)}
        | cost
        for name, cost in costs.items()
    }


def _paths(models: Models, seed: int) -> dict[str, list[Json]]:
    """By rule, a line per step: the set found on all images, and the out-of-fold AUC of the step (each fold scored by
    the set of the same size that its own training images chose)."""
    data = models.data
    found: dict[str, list[Json]] = {}
    for rule in RULES:
        lines = found[rule] = []
        for size, step in enumerate(models.final.paths[rule]):
            sets = [selection.paths[rule][size] for selection in models.selections]
            area = Measure(0.5)
            if size:
                chosen = [np.array(other.features, np.intp) for other in sets]
                logits = out_of_fold(models.inner, models.outer, data.labels, data.fold, chosen)
                area = auc_measure(logits, data.labels, data.families, seed)
            lines.append(
                {
                    "step": size,
                    "added": data.names[step.features[-1]] if size else None,
                    "cost_ms": step.cost,
                    "auc_chosen_on": step.auc,
                    "cost_ms_by_fold": float(np.mean([other.cost for other in sets])),
                    "auc": area.as_json(),
                }
            )
    return found


def _front(paths: Mapping[str, Sequence[Json]]) -> list[Json]:
    """The steps that no other step beats in both cost and out-of-fold AUC, cheapest first."""
    steps = [{"rule": rule, **line} for rule, lines in paths.items() for line in lines]
    steps = [step for step in steps if step["auc"]["value"] is not None]
    front: list[Json] = []
    for step in sorted(steps, key=lambda step: (step["cost_ms_by_fold"], -step["auc"]["value"])):
        if not front or step["auc"]["value"] > front[-1]["auc"]["value"]:
            front.append({key: step[key] for key in ("rule", "step", "cost_ms_by_fold", "auc")})
    return front


def _redundancy(models: Models) -> Json:
    information, normalised = redundancy.mutual_information(redundancy.binned(models.outer))
    matrices = {
        "spearman": redundancy.rank_correlation(models.outer),
        "spearman_within_class": redundancy.within_class(models.outer, models.data.labels),
        "mutual_information": information,
        "normalised_information": normalised,
    }
    found: Json = {"names": list(models.data.names), "bins": redundancy.BINS}
    return found | {name: [[plain(v) for v in row] for row in m.tolist()] for name, m in matrices.items()}


def _survival(models: Models, scorers: Mapping[str, Floats], seed: int) -> Iterator[Json]:
    data = models.data
    rows = data.degraded.rows
    if not len(data.degraded):
        return iter(())
    return survival(
        scorers,
        models.degraded(),
        labels=data.labels,
        paths=data.table.rows["path"],
        families=data.families,
        degraded_labels=rows["label"] == 1,
        degraded_paths=rows["path"],
        degraded_families=data.degraded_families,
        kinds=rows["degradation"],
        severities=rows["severity"],
        seed=seed,
    )


def _strangers(data: StudyRows, test: FeatureTable) -> tuple[FeatureTable, list[str], int]:
    """The images of a test table (as they are) without relatives among the studied ones, their families, and how many
    relatives were left out."""
    there = test.take(test.rows["degradation"] == "")
    joined = join_tables([data.table, there])
    names = families(rows_of(joined))
    relatives = set(names[: len(data.rows)])
    kept = np.array([place >= len(data.rows) and name not in relatives for place, name in enumerate(names)], bool)
    if not kept.any():
        raise DataError("relatives", "the test table has no image of a family that is not among the studied ones")
    family = [name for name, stays in zip(names, kept.tolist(), strict=True) if stays]
    return joined.take(kept), family, len(there) - len(family)


def _test(models: Models, table: FeatureTable, family: list[str], relatives: int, seed: int) -> Json:
    """The models trained on all studied images, on other people's images as they are."""
    rows = rows_of(table)
    labels = np.array([row.label == 1 for row in rows], bool)
    scored = {}
    for name, logits in models.on(table).items():
        scored[name] = {
            "metrics": _json(scorer_measures(logits, labels, rows, family, seed)),
            "coverage": coverage(logits, labels),
            "by_manipulation": _json(by_manipulation(logits, labels, rows, family, seed)),
        }
    return {
        "n_real": int((~labels).sum()),
        "n_fake": int(labels.sum()),
        "families": len(set(family)),
        "relatives_left_out": relatives,
        "sha256": data_hash(rows),
        "scorers": scored,
    }
