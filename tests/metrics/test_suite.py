"""All metrics at once: what interval a perfect number gets."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from unmask.metrics.suite import exact_ends, image_metrics


def exact(n: int) -> tuple[float, float]:
    limits = binomtest(n, n).proportion_ci(0.95, method="exact")
    return float(limits.low), float(limits.high)


def test_perfect_answers_of_few_people_are_not_certain() -> None:
    scores = [0.1, 0.2, 0.15, 0.9, 0.8, 0.95, 0.85]
    labels = [0, 0, 0, 1, 1, 1, 1]
    groups = ["a", "a", "b", "c", "d", "e", "e"]
    found = image_metrics(scores, labels, groups)
    for name, n in (("auc", 2), ("recall", 3), ("precision", 3), ("accuracy", 5)):
        assert found[name].value == 1
        assert (found[name].low, found[name].high) == pytest.approx(exact(n)), name
    assert found["frr"].value == 0 and (found["frr"].low, found["frr"].high) == pytest.approx((0, 1 - exact(2)[0]))
    wrong = image_metrics([1 - score for score in scores], labels, groups)
    assert wrong["auc"].value == 0 and wrong["auc"].high == pytest.approx(1 - exact(2)[0])


def test_other_shares_are_resampled_by_group() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], 60)
    scores = np.clip(generator.normal(0.35 + 0.3 * labels, 0.2), 0, 1)
    found = image_metrics(scores, labels, [str(i // 2) for i in range(120)])
    for name in ("auc", "accuracy", "recall", "frr"):
        assert 0 < found[name].low < found[name].value < found[name].high < 1, name
    assert exact_ends(0.5, 10) is None and exact_ends(1.0, 0) is None
