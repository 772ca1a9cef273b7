"""Calibration against scikit-learn and SciPy, thresholds against their definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.core.errors import DataError
from unmask.metrics.statistics import clopper_pearson
from unmask.training.calibrate import (
    calibrate,
    fit_platt,
    missing_verdicts,
    out_of_fold,
)


def scores(n: int = 1000, gap: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    people = [f"p{i // 10}" for i in range(n)]
    offset = np.repeat(generator.normal(size=-(-n // 10)), 10)[:n]
    return generator.normal(gap * labels) + offset, labels, people


def test_fit_equals_sklearn_with_platts_targets() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    x, y, _ = scores(400, 1.0)
    y = y.astype(bool)
    y[:100] = False  # unbalanced
    scale, offset = fit_platt(x, y)
    fakes, reals = y.sum(), (~y).sum()
    target = np.where(y, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    weight = np.where(y, 0.5 / fakes, 0.5 / reals)
    model = linear.LogisticRegression(C=1e12, tol=1e-10, max_iter=10_000).fit(
        np.concatenate([x, x])[:, None],
        np.concatenate([np.ones(400), np.zeros(400)]),
        sample_weight=400 * np.concatenate([weight * target, weight * (1 - target)]),
    )
    assert scale == pytest.approx(model.coef_[0, 0], rel=1e-3)
    assert offset == pytest.approx(model.intercept_[0], abs=1e-3)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_fit_does_not_depend_on_the_logits_unit(factor: float) -> None:
    x, y, _ = scores()
    one, many = fit_platt(x, y.astype(bool)), fit_platt(factor * x, y.astype(bool))
    assert many[0] * factor == pytest.approx(one[0], rel=1e-3) and many[1] == pytest.approx(one[1], rel=1e-2)


def test_separable_and_reversed_scores_keep_a_finite_positive_scale() -> None:
    y = np.arange(100) % 2 == 1
    scale, _ = fit_platt(np.where(y, 1.0, -1.0), y)
    assert 0 < scale < 100
    reversed_scale, _ = fit_platt(np.where(y, -1.0, 1.0), y)
    assert reversed_scale > 0
    assert calibrate(np.where(y, -1.0, 1.0), y, [str(i) for i in range(100)]).reason


def test_limits_equal_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for errors, n in [(0, 10), (3, 300), (10, 10)]:
        expected = stats.binomtest(errors, n).proportion_ci(0.95, "exact")
        assert clopper_pearson(errors, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(n=st.integers(700, 900), gap=st.floats(0, 5), seed=st.integers(0, 50), ties=st.booleans())
@settings(max_examples=25, deadline=None)
def test_thresholds_keep_their_promise_and_are_tight(n: int, gap: float, seed: int, ties: bool) -> None:
    x, y, people = scores(n, gap, seed)
    x = np.round(x) if ties else x
    fit = calibrate(x, y, people)
    s = out_of_fold(x, y, people)
    real, fake = s[y == 0], s[y == 1]
    if fit.fake.threshold is not None:
        wrong = int((real >= fit.fake.threshold).sum())
        assert wrong == fit.fake.errors <= 0.01 * len(real)
        lower = s[s < fit.fake.threshold].max()
        assert (real >= lower).sum() > 0.01 * len(real), "the next lower observed score breaks the promise"
    assert fit.real.threshold is not None
    assert int((fake < fit.real.threshold).sum()) == fit.real.errors <= 0.05 * len(fake)
    above = s[s > fit.real.threshold]
    assert not len(above) or (fake < above.min()).sum() > 0.05 * len(fake)


def test_too_few_images_are_unresolvable_with_a_reason() -> None:
    x, y, people = scores(200)
    fit = calibrate(x, y, people)
    assert fit.fake.threshold is None and "needs 300" in fit.fake.reason and fit.fake.n == 100
    assert fit.real.threshold is not None and fit.real.groups == 20
    assert fit.to_meta(0.4)["thresholds"]["fake"] is None and fit.to_meta(0.4)["thresholds"]["mask"] == 0.4


def test_a_hundred_people_give_a_threshold_above_all_of_them() -> None:
    x, y, _ = scores(240, 4.0)
    people = [f"p{i // 2}" for i in range(240)]
    point = calibrate(x, y, people).fake
    s = out_of_fold(x, y, people)
    assert point.threshold == s[s > s[y == 0].max()].min()
    assert (point.errors, point.groups, point.low) == (0, 120, 0.0) and "1 in 121" in point.reason
    assert point.high == pytest.approx(clopper_pearson(0, 120)[1])
    ninety = calibrate(x[:180], y[:180], people[:180]).fake
    assert ninety.threshold is None and "unresolvable" in ninety.reason


def test_nobody_helps_to_set_their_own_score() -> None:
    """Changing one person's logits leaves that person's out-of-fold calibration unchanged."""
    x, y, people = scores(300)
    mine = np.array([p == "p7" for p in people])
    before = out_of_fold(x, y, people)
    moved = x.copy()
    moved[mine & (y == 1)] += 5
    after = out_of_fold(moved, y, people)
    same = mine & (y == 0)
    np.testing.assert_array_equal(before[same], after[same])
    assert not np.array_equal(before[~mine], after[~mine])


def test_deterministic_and_free_of_order() -> None:
    x, y, people = scores(400)
    order = np.random.default_rng(1).permutation(400)
    a, b = calibrate(x, y, people), calibrate(x[order], y[order], [people[i] for i in order])
    assert a.scale == pytest.approx(b.scale) and a.real.threshold == pytest.approx(b.real.threshold)


@pytest.mark.parametrize(
    ("x", "y", "g", "code"),
    [
        ([0.0, 1.0], [1, 1], ["a", "b"], "one_class"),
        ([0.0, 1.0], [0, 1], ["a", "a"], "one_group"),
        ([0.0, np.nan], [0, 1], ["a", "b"], "bad_scores"),
        ([0.0, 1.0], [0, 1], ["a"], "bad_scores"),
    ],
)
def test_bad_input(x: list[float], y: list[int], g: list[str], code: str) -> None:
    with pytest.raises(DataError) as caught:
        calibrate(x, y, g)
    assert caught.value.code == code


def test_verdicts_that_can_never_be_given_and_what_would_help() -> None:
    x, y, people = scores(1000)
    assert missing_verdicts(calibrate(x, y, people).to_meta()["thresholds"]) == ""
    few = missing_verdicts(calibrate(x[:40], y[:40], people[:40]).to_meta()["thresholds"])
    assert "no verdict but 'uncertain'" in few and "300 real" in few and "99 people" in few and "60 forged" in few
    one = missing_verdicts({"fake": 0.9, "real": None, "real_point": {"target": 0.05, "n": 12, "groups": 6}})
    assert one.startswith("the verdict 'real' can never be given") and "300" not in one and "there are 12" in one
    assert "one class only" in missing_verdicts({"fake": None, "real": None, "doubt": "one class only"})
    high = {"target": 0.01, "n": 400, "groups": 9, "reason": "no image scores above"}
    assert "train longer" in missing_verdicts({"fake": None, "real": 0.1, "fake_point": high})
