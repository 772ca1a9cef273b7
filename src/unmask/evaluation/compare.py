"""Detectors on the same images: paired differences with intervals and tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.core.errors import ConfigError, DataError
from unmask.core.files import real_path
from unmask.evaluation.predictions import Predictions, read_predictions
from unmask.metrics.measure import plain
from unmask.metrics.statistics import delong, mcnemar, paired_bootstrap_auc, paired_t
from unmask.metrics.suite import image_metrics

SHOWN = 3


def align(files: Sequence[Predictions], names: Sequence[str]) -> tuple[list[Predictions], int]:
    """The same images in the same order in every file.

    Returns:
        The files in the order of the first, without the images that lack a score in any of them, and how many those
        are.

    Raises:
        DataError: ``mismatch``, when the files list different images or labels; the message says how many and which.
    """
    order = files[0]["path"].astype(str)
    aligned = [files[0]]
    for other, name in zip(files[1:], names[1:], strict=True):
        place = {path: i for i, path in enumerate(other["path"])}
        lacking = [path for path in order if path not in place]
        extra = sorted(place.keys() - set(order))
        if lacking or extra:
            parts = [
                f"{len(paths)} only in {where} ({', '.join(paths[:SHOWN])}{', …' if len(paths) > SHOWN else ''})"
                for paths, where in ((lacking, names[0]), (extra, name))
                if paths
            ]
            raise DataError("mismatch", f"a comparison needs the same images everywhere: {'; '.join(parts)}")
        aligned.append(other.take(np.array([place[path] for path in order])))
        wrong = np.flatnonzero(aligned[-1]["label"] != aligned[0]["label"])
        if wrong.size:
            first = order[wrong[0]]
            raise DataError(
                "mismatch", f"{wrong.size} images have other labels in {name} than in {names[0]}, first {first}"
            )
    known = ~np.any([np.isnan(p["score"]) for p in aligned], axis=0)
    return [p.take(known) for p in aligned], int((~known).sum())


def _families(files: Sequence[Predictions]) -> tuple[list[str], str]:
    """What the bootstrap draws: families or groups where a file knows them, else single images."""
    for column in ("family", "group"):
        for p in files:
            if (p[column] != "").all():
                return list(p[column]), column
    return list(files[0]["path"]), "image"


def _names(paths: Sequence[str | Path], files: Sequence[Predictions]) -> list[str]:
    """A name per file: what it says itself, or the path where that does not tell them apart."""
    names = [p.name for p in files]
    return [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]


def compare(paths: Sequence[str | Path], *, seed: int = 0) -> dict[str, Any]:
    """Compare every pair of prediction files.

    Args:
        paths: two or more ``predictions.parquet``, or CSV files path,label,score.
        seed: of the bootstrap.

    Returns:
        JSON-ready: ``files`` (each with its AUC), ``pairs`` (AUC difference with DeLong and paired bootstrap by
        group, exact McNemar at 0.5 and at each file's own ``fake`` threshold, pixel F1 by paired t), counts.

    Raises:
        ConfigError: fewer than two files, or one twice.
        DataError: a bad file, files about different images, or one class only.
    """
    if len({real_path(path) for path in paths}) < max(2, len(paths)):
        raise ConfigError("bad_config", "a comparison needs two or more different files")
    files = [read_predictions(path) for path in paths]
    names = _names(paths, files)
    files, unscored = align(files, names)
    labels = files[0]["label"]
    families, unit = _families(files)
    if min((labels == 0).sum(), (labels == 1).sum()) < 2:
        raise DataError(
            "one_class",
            f"a comparison needs two reals and two fakes with a score in every file; "
            f"there are {(labels == 0).sum()} real and {(labels == 1).sum()} fake",
        )
    described = []
    for path, name, p in zip(paths, names, files, strict=True):
        area = image_metrics(p["score"], labels, families, ranking=p["logit"], seed=seed)["auc"]
        about = {key: p.about.get(key) for key in ("weights_sha256", "data_sha256", "thresholds", "matching")}
        described.append({"name": name, "path": str(path), "auc": area.as_json(), **about})
    pairs = [
        _pair(names[i], names[j], files[i], files[j], families, seed) for i, j in combinations(range(len(files)), 2)
    ]
    for pair, value in zip(pairs, holm([pair["bootstrap"]["p"] for pair in pairs]), strict=True):
        pair["p_holm"] = value
    return {
        "files": described,
        "pairs": pairs,
        "n_real": int((labels == 0).sum()),
        "n_fake": int((labels == 1).sum()),
        "n_groups": len(set(families)),
        "unit": unit,
        "n_unscored": unscored,
        "same_data": len({(d["data_sha256"], str(d["matching"])) for d in described if d["data_sha256"]}) < 2,
        "seed": seed,
    }


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction (1979); None stays None.

    >>> holm([0.01, 0.04, None])
    [0.02, 0.04, None]
    """
    known = sorted((p, i) for i, p in enumerate(values) if p is not None)
    result: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        result[i] = highest
    return result


def _numbers(test: Any) -> dict[str, Any]:
    return {key: plain(value) if isinstance(value, float) else value for key, value in asdict(test).items()}


def _pair(
    first: str, second: str, a: Predictions, b: Predictions, families: Sequence[str], seed: int
) -> dict[str, Any]:
    labels = a["label"]
    fake = labels == 1
    found: dict[str, Any] = {
        "first": first,
        "second": second,
        "delong": _numbers(delong(a["logit"], b["logit"], labels)),
        "bootstrap": _numbers(paired_bootstrap_auc(a["logit"], b["logit"], labels, families, seed=seed)),
        "mcnemar_half": None,
        "mcnemar_thresholds": None,
        "pixel_f1": None,
    }
    if all(p["score"].min() >= 0 and p["score"].max() <= 1 for p in (a, b)):
        found["mcnemar_half"] = _mcnemar(a, b, fake, 0.5, 0.5)
    if a.thresholds.fake is not None and b.thresholds.fake is not None:
        found["mcnemar_thresholds"] = _mcnemar(a, b, fake, a.thresholds.fake, b.thresholds.fake)
    if (~np.isnan(a["pixel_f1"] - b["pixel_f1"])).sum() > 1:
        found["pixel_f1"] = _numbers(paired_t(a["pixel_f1"], b["pixel_f1"]))
    return found


def _mcnemar(a: Predictions, b: Predictions, fake: npt.NDArray[np.bool_], at: float, bt: float) -> dict[str, Any]:
    return _numbers(mcnemar((a["score"] >= at) == fake, (b["score"] >= bt) == fake))
