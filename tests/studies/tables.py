"""Constructed tables of features: what each feature knows is planted, so the study's answers are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from unmask.features.table import TEXT, FeatureTable

Maker = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def gaussian(d: float, width: int = 1) -> Maker:
    """Fakes are moved by ``d`` standard deviations along one column; the others are noise."""

    def make(random: np.random.Generator, label: np.ndarray) -> np.ndarray:
        values = random.normal(size=(len(label), width))
        values[:, 0] += d * label
        return values

    return make


def table(
    features: Mapping[str, Maker],
    *,
    people: int = 60,
    per: int = 4,
    seed: int = 0,
    start: int = 0,
    cost: Mapping[str, float] | None = None,
    split: str = "",
) -> FeatureTable:
    """``people`` families of ``per`` images, every second one a fake made from the photo before it."""
    random = np.random.default_rng(seed)
    n = people * per
    label = np.arange(n) % 2
    paths = np.array([f"/none/{start + i:05d}.jpg" for i in range(n)], object)
    rows: dict[str, np.ndarray] = {name: np.full(n, "", object) for name in TEXT}
    rows |= {"path": paths, "label": label.astype(np.int64), "severity": np.zeros(n, np.int64)}
    rows["group"] = np.array([f"p{(start + i) // per}" for i in range(n)], object)
    rows["pair"] = np.where(label == 1, np.roll(paths, 1), "").astype(object)
    rows["manipulation"] = np.where(label == 1, np.where(np.arange(n) % 4 == 1, "swap", "warp"), "").astype(object)
    rows["split"] = np.full(n, split, object)
    values = {name: make(random, label).astype(np.float32) for name, make in features.items()}
    columns = {name: tuple(f"{name}_{i}" for i in range(v.shape[1])) for name, v in values.items()}
    status = {name: np.full(n, "ok", object) for name in values}
    about = {"cost_ms": dict(cost or dict.fromkeys(values, 1.0)), "versions": dict.fromkeys(values, 1)}
    return FeatureTable(rows, values, status, columns, about)


def without(found: FeatureTable, name: str, which: np.ndarray, why: str = "no_face") -> FeatureTable:
    """The same table, the feature missing on some rows."""
    values, status = dict(found.values), dict(found.status)
    values[name] = np.where(which[:, None], np.nan, values[name])
    status[name] = np.where(which, why, status[name]).astype(object)
    about = {**found.about, "cost_ms": dict(found.about["cost_ms"])}
    return FeatureTable(found.rows, values, status, found.columns, about)


def degraded(found: FeatureTable, kind: str, severity: int, values: Mapping[str, np.ndarray]) -> FeatureTable:
    """The same images, degraded: other values."""
    rows = dict(found.rows)
    rows["degradation"] = np.full(len(found), kind, object)
    rows["severity"] = np.full(len(found), severity, np.int64)
    changed = {name: np.asarray(values.get(name, old), np.float32) for name, old in found.values.items()}
    return FeatureTable(rows, changed, found.status, found.columns, found.about)
