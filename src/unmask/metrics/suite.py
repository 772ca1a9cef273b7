"""All metrics of a set of images at once, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unmask.metrics.bootstrap import bootstrap_image, bootstrap_means
from unmask.metrics.calibration import brier, expected_calibration_error
from unmask.metrics.image import (
    FRR_POINTS,
    auc,
    average_precision,
    confusion,
    eer,
    far_at_frr,
    split_scores,
    tpr_at_fpr,
)
from unmask.metrics.measure import Measure
from unmask.metrics.pixel import PixelMetrics
from unmask.metrics.statistics import clopper_pearson


def image_metrics(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    groups: Sequence[str] | None = None,
    *,
    ranking: npt.ArrayLike | None = None,
    threshold: float = 0.5,
    seed: int = 0,
) -> dict[str, Measure]:
    """Every image metric by name.

    A share of 0 or 1, and an AUC of 0 or 1, show no spread when resampled: their limits are the exact ones (Clopper and
    Pearson) for as many images as there are groups, and for as many pairs as the class with fewer groups has of them.

    Args:
        scores: (N,) calibrated P(fake); other scores give everything but ``ece`` and ``brier``.
        labels: (N,) 1 = fake.
        groups: N names for intervals by group bootstrap; None: no intervals.
        ranking: (N,) what orders the images for AUC, AP, EER, TPR@FPR and FAR@FRR, e.g. logits, which no sigmoid has
            rounded together; default the scores.
        threshold: for accuracy, precision, recall, F1, FRR and FAR; never chosen on these scores.
        seed: of the bootstrap.

    >>> found = image_metrics([0.1, 0.9], [0, 1])
    >>> found["auc"].value, found["tpr@fpr=0.01"].reason
    (1.0, 'unresolvable: 1 reals, FRR 0.01 needs 300')
    """
    ranked = split_scores(scores if ranking is None else ranking, labels)
    found = {"auc": auc(ranked), "ap": average_precision(ranked), "eer": eer(ranked)}
    found |= confusion(split_scores(scores, labels), threshold).measures()
    found |= {f"tpr@fpr={point:g}": tpr_at_fpr(ranked, point) for point in FRR_POINTS}
    found |= {f"far@frr={point:g}": far_at_frr(ranked, point) for point in FRR_POINTS}
    found |= {"ece": expected_calibration_error(scores, labels), "brier": brier(scores, labels)}
    if groups is None:
        return found
    limits = bootstrap_image(
        scores, labels, groups, ranking=ranking, threshold=threshold, frr_points=FRR_POINTS, seed=seed
    )
    label, called = np.asarray(labels) == 1, np.asarray(scores, np.float64) >= threshold
    name_of = np.asarray(groups, str)
    of = {"accuracy": np.ones_like(label), "precision": called, "frr": ~label, "recall": label, "far": label}
    counted = {name: len(set(name_of[which].tolist())) for name, which in of.items()}
    counted |= {name: counted["far"] for name in found if "@" in name}
    counted["auc"] = min(counted["frr"], counted["far"])
    return {
        name: measure
        if measure.reason or name not in limits
        else Measure(measure.value, *(exact_ends(measure.value, counted.get(name, 0)) or limits[name]))
        for name, measure in found.items()
    }


def exact_ends(value: float, n: int) -> tuple[float, float] | None:
    """Limits of a share of 0 or 1 of ``n`` independent cases; None for any other share, or when n is 0.

    >>> [round(limit, 2) for limit in exact_ends(1.0, 7)]
    [0.59, 1.0]
    """
    return clopper_pearson(round(value * n), n) if n and value in (0.0, 1.0) else None


def pixel_summary(values: PixelMetrics, groups: Sequence[str] | None = None, *, seed: int = 0) -> dict[str, Measure]:
    """Means over images: ``pixel_f1``, ``pixel_iou``, ``pixel_auc`` over forged ones, ``false_alarm_area`` over
    authentic ones, each with its interval when groups are given."""
    result = {}
    for name, column in zip(("pixel_f1", "pixel_iou", "pixel_auc", "false_alarm_area"), values, strict=True):
        known = ~np.isnan(column)
        if not known.any():
            kind = "authentic" if name == "false_alarm_area" else "forged"
            result[name] = Measure(float("nan"), reason=f"no {kind} images with a known mask and a predicted map")
            continue
        limits = bootstrap_means(column, groups, seed=seed) if groups is not None else ()
        result[name] = Measure(float(column[known].mean()), *limits)
    return result
