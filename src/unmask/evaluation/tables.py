"""From predictions to table rows: all images, each source, each manipulation, each beside the two baselines.

A row's fakes are held against the fairest reals there are: their **own counterparts** (the photos they were made
from) where the manifest names them, else the reals of the **same source**, else **all** reals; the row says which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from unmask.data.manifest import Row
from unmask.evaluation.baselines import metadata_scores
from unmask.evaluation.predictions import PIXEL, Predictions
from unmask.metrics.bootstrap import bootstrap_means
from unmask.metrics.measure import Measure, missing
from unmask.metrics.pixel import PixelMetrics
from unmask.metrics.statistics import clopper_pearson
from unmask.metrics.suite import exact_ends, image_metrics, pixel_summary

Mask = npt.NDArray[np.bool_]
RANKED = ("auc", "ap", "eer")


class Subset(NamedTuple):
    """The images of one table row."""

    kind: str
    """``all``, ``source`` or ``manipulation``."""
    name: str
    against: str
    """Which reals the fakes are held against."""
    which: Mask


def subsets(predictions: Predictions) -> Iterator[Subset]:
    """The rows of every table, in order; a row that would repeat the first one is left out."""
    fake = predictions["label"] == 1
    everything = np.ones(len(fake), bool)
    yield Subset("all", f"all {predictions.unit}", "all reals", everything)
    for kind in ("source", "manipulation"):
        names = predictions[kind].astype(str)
        chosen = np.unique(names[fake] if kind == "manipulation" else names)
        for name in chosen[chosen != ""]:
            mine = names == name
            fakes = mine & fake
            reals, against = (mine & ~fake, "") if not fakes.any() else _reals(predictions, fakes)
            which = fakes | reals
            if not which.all():
                yield Subset(kind, str(name), against, which)


def _reals(predictions: Predictions, fakes: Mask) -> tuple[Mask, str]:
    """The fairest reals for these fakes."""
    real = predictions["label"] == 0
    pairs = predictions["pair"][fakes]
    own = real & np.isin(predictions["path"].astype(str), pairs[pairs != ""].astype(str))
    if own.any():
        known = int(np.isin(pairs.astype(str), predictions["path"][own].astype(str)).sum())
        return own, "own counterparts" if known == len(pairs) else f"own counterparts (of {known} of {len(pairs)})"
    sources = predictions["source"].astype(str)
    same = real & np.isin(sources, np.unique(sources[fakes]))
    if same.any() and not np.array_equal(same, real):
        return same, "reals of the same source"
    return real, "all reals"


@dataclass(frozen=True, slots=True, eq=False)
class TableRow:
    """Everything measured on one subset."""

    subset: Subset
    n_real: int
    n_fake: int
    n_families: int
    n_unscored: int
    """Images without a score (nothing to look at); in no metric, but ``uncertain`` in the verdicts."""
    metrics: dict[str, Measure]
    pixel: dict[str, Measure]
    pair_order: Measure
    """Share of fakes that score above their own counterpart; a tie is a half."""
    baselines: dict[str, dict[str, Measure]]
    """``blur`` and ``metadata``, each with ``auc``, ``ap`` and ``eer``."""
    verdicts: dict[str, Any] | None
    """Counts and rates at the shipped thresholds, see :func:`verdict_counts`; None without thresholds."""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kind": self.subset.kind,
            "name": self.subset.name,
            "against": self.subset.against,
            "n_real": self.n_real,
            "n_fake": self.n_fake,
            "n_families": self.n_families,
            "n_unscored": self.n_unscored,
            "metrics": {name: m.as_json() for name, m in self.metrics.items()},
            "pixel": {name: m.as_json() for name, m in self.pixel.items()},
            "pair_order": self.pair_order.as_json(),
            "baselines": {b: {name: m.as_json() for name, m in found.items()} for b, found in self.baselines.items()},
            "verdicts": self.verdicts,
        }


def _ranked(
    values: npt.NDArray[Any], labels: npt.NDArray[Any], families: Sequence[str], seed: int
) -> dict[str, Measure]:
    """AUC, AP and EER of a baseline, which is no probability."""
    known = ~np.isnan(values)
    if not known.any():
        return {name: missing("not available") for name in RANKED}
    found = image_metrics(values[known], labels[known], np.asarray(families)[known].tolist(), seed=seed)
    return {name: found[name] for name in RANKED}


def _pair_order(part: Predictions, seed: int) -> Measure:
    place = {path: i for i, path in enumerate(part["path"])}
    fakes = [i for i in np.flatnonzero(part["label"] == 1) if part["pair"][i] in place]
    if not fakes:
        return missing("no fake with its counterpart among the images")
    reals = [place[part["pair"][i]] for i in fakes]
    wins = (np.sign(part["logit"][fakes] - part["logit"][reals]) + 1) / 2
    if np.isnan(wins).all():
        return missing("no scored pair")
    value, families = float(np.nanmean(wins)), list(part["family"][fakes])
    limits = exact_ends(value, len(set(families))) or bootstrap_means(wins, families, seed=seed)
    return Measure(value, *limits)


def rate(count: int, n: int) -> dict[str, float | int | None]:
    """``count`` of ``n`` with Clopper-Pearson limits."""
    low, high = clopper_pearson(count, n)
    return {
        "count": count,
        "n": n,
        "rate": count / n if n else None,
        "low": low if n else None,
        "high": high if n else None,
    }


def verdict_counts(part: Predictions) -> dict[str, Any] | None:
    """What the verdicts say, images without a score included (they are ``uncertain``).

    Returns:
        For ``real`` and ``fake`` images the rate of each verdict; ``coverage`` (share with a verdict other than
        ``uncertain``), and ``error`` (share of wrong ones among those), each with exact limits that take images as
        independent. None when there are no verdicts.
    """
    verdicts, fake = part["verdict"].astype(str), part["label"] == 1
    if not (verdicts != "").any():
        return None
    result: dict[str, Any] = {}
    for name, mine in (("real", ~fake), ("fake", fake)):
        n = int(mine.sum())
        result[name] = {v: rate(int((verdicts[mine] == v).sum()), n) for v in ("fake", "real", "uncertain")}
    decided = np.isin(verdicts, ("fake", "real"))
    wrong = decided & ((verdicts == "fake") != fake)
    result["coverage"] = rate(int(decided.sum()), len(part))
    result["error"] = rate(int(wrong.sum()), int(decided.sum()))
    return result


def table_row(
    subset: Subset, predictions: Predictions, features: npt.NDArray[np.float64] | None, rows: Sequence[Row], seed: int
) -> TableRow:
    """Measure one subset; the metadata probe is trained (out of fold) on this subset alone."""
    part = predictions.take(subset.which)
    labels, families = part["label"], list(part["family"])
    scored = part.scored
    found = image_metrics(scored["score"], scored["label"], list(scored["family"]), ranking=scored["logit"], seed=seed)
    baselines = {"blur": _ranked(part["blur"], labels, families, seed)}
    if features is None:
        baselines["metadata"] = {name: missing("the image files are not at hand") for name in RANKED}
    else:
        index = np.flatnonzero(subset.which)
        probed, why = metadata_scores(features[index], [rows[i] for i in index.tolist()], seed)
        baselines["metadata"] = (
            {name: missing(why) for name in RANKED} if why else _ranked(probed, labels, families, seed)
        )
    pixel = PixelMetrics(*(part[name] for name in PIXEL))
    return TableRow(
        subset=subset,
        n_real=int((labels == 0).sum()),
        n_fake=int((labels == 1).sum()),
        n_families=len(set(families)),
        n_unscored=len(part) - len(scored),
        metrics=found,
        pixel=pixel_summary(pixel, families, seed=seed),
        pair_order=_pair_order(part, seed),
        baselines=baselines,
        verdicts=verdict_counts(part),
    )
