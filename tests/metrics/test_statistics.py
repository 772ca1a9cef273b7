"""Intervals and tests against scipy, statsmodels and brute force."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar
from statsmodels.stats.proportion import proportion_confint

from unmask.core.seeds import rng
from unmask.metrics.bootstrap import (
    _ap,
    _draws,
    _eer,
    _Ranked,
    _tpr_at,
    _within,
    bootstrap_auc,
    bootstrap_image,
    bootstrap_means,
    group_codes,
)
from unmask.metrics.image import auc, average_precision, eer, split_scores, tpr_at_fpr
from unmask.metrics.statistics import (
    auc_covariance,
    clopper_pearson,
    delong,
    mcnemar,
    paired_bootstrap_auc,
    paired_t,
)
from unmask.metrics.suite import image_metrics


def sample(n=300, shift=1.0, seed=0, ties=False):
    random = np.random.default_rng(seed)
    labels = (np.arange(n) % 3 == 0).astype(int)
    scores = random.normal(size=n) + shift * labels
    scores = 1 / (1 + np.exp(-scores))
    return (scores.round(1) if ties else scores), labels, [f"g{i // 4}" for i in range(n)]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0]), st.integers(0, 1)), min_size=2, max_size=40))
def test_unweighted_curves_equal_the_exact_metrics(pairs):
    scores, labels = map(np.asarray, zip(*pairs, strict=True))
    ranked = _Ranked(scores, labels == 1, np.arange(len(scores)))
    with np.errstate(all="ignore"):
        tp, fp = ranked.curve(np.ones((1, len(scores))))
        exact = split_scores(scores, labels)
        assert ranked.auc(np.ones((1, len(scores))), tp, fp)[0] == pytest.approx(auc(exact).value, nan_ok=True)
        assert _eer(tp, fp)[0] == pytest.approx(eer(exact).value, nan_ok=True)
        if labels.any():
            assert _ap(tp, fp)[0] == pytest.approx(average_precision(exact).value)


def all_pairs(scores, labels, codes, draw):
    """AUC of a resample by comparing all pairs of its images, except between two copies of one group."""
    copy = [(i, c) for i in range(len(scores)) for c in range(int(draw[codes[i]]))]
    index, number = np.array(copy).T
    s, g, fake = scores[index], codes[index], labels[index] == 1
    win = (s[fake][:, None] > s[~fake]) + 0.5 * (s[fake][:, None] == s[~fake])
    meets = (g[fake][:, None] != g[~fake]) | (number[fake][:, None] == number[~fake])
    return win[meets].mean()


@pytest.mark.parametrize("ties", [False, True])
def test_each_resample_equals_the_metrics_of_the_repeated_images(ties):
    scores, labels, groups = sample(ties=ties)
    codes, n_groups = group_codes(groups)
    drawn = bootstrap_auc(scores, labels, groups, resamples=20, seed=5)
    for value, draw in zip(drawn, np.concatenate(list(_draws(n_groups, len(scores), 20, 5))), strict=True):
        index = np.repeat(np.arange(len(scores)), draw.astype(int)[codes])
        assert value == pytest.approx(all_pairs(scores, labels, codes, draw), abs=1e-12)
        with np.errstate(all="ignore"):
            curve = _Ranked(scores, labels == 1, codes).curve(draw[None])
            precision = _ap(*curve)[0]
        repeated = split_scores(scores[index], labels[index])
        assert _eer(*curve)[0] == pytest.approx(eer(repeated).value, abs=1e-9)
        assert precision == pytest.approx(average_precision(repeated).value)
        assert _tpr_at(*curve, 0.05)[0] == pytest.approx(tpr_at_fpr(repeated, 0.05).value)


def test_draws_are_whole_groups_and_the_same_for_any_chunking():
    small = np.concatenate(list(_draws(7, 10, 50, 1)))
    assert small.shape == (50, 7)
    assert (small.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(small[:3], np.concatenate(list(_draws(7, 400_000, 3, 1))))


def test_interval_width_agrees_with_theory():
    """Independent images: the bootstrap's spread is DeLong's standard error."""
    scores, labels, _ = sample(n=600, seed=2)
    drawn = bootstrap_auc(scores, labels, [str(i) for i in range(600)], resamples=2000)
    _, covariance = auc_covariance([scores], labels)
    assert drawn.std() == pytest.approx(math.sqrt(covariance[0, 0]), rel=0.1)


def test_groups_widen_the_interval():
    scores, labels, _ = sample(n=400, seed=1)
    scores, labels = np.repeat(scores, 5), np.repeat(labels, 5)
    alone = bootstrap_image(scores, labels, [str(i) for i in range(2000)], resamples=500)["auc"]
    together = bootstrap_image(scores, labels, [str(i // 5) for i in range(2000)], resamples=500)["auc"]
    assert together[1] - together[0] > 1.8 * (alone[1] - alone[0])  # sqrt(5) in theory


def test_few_pairs_do_not_move_the_interval_off_the_estimate():
    """Each fake beats its own photo, strangers are ordered by chance: copies of a pair must not count as pairs."""
    random = np.random.default_rng(0)
    offset = np.repeat(random.normal(size=7), 2)
    labels = np.arange(14) % 2
    scores = offset + 0.01 * labels
    groups = [str(i // 2) for i in range(14)]
    value = auc(split_scores(scores, labels)).value
    drawn = bootstrap_auc(scores, labels, groups, resamples=4000)
    assert np.nanmean(drawn) == pytest.approx(value, abs=0.02)
    copies = [roc_auc_score(labels[i], scores[i]) for i in _indices(groups, 500)]
    assert np.mean(copies) > value + 0.04  # what comparing copies would give


def _indices(groups, n):
    codes, n_groups = group_codes(groups)
    for draw in np.concatenate(list(_draws(n_groups, len(groups), n, 0))):
        yield np.repeat(np.arange(len(groups)), draw.astype(int)[codes])


def test_one_swapped_pair_of_images_is_no_difference():
    """A difference that rests on two images vanishes from most resamples and must not look significant."""
    scores, labels, groups = sample(n=120)
    order = np.argsort(scores)
    swap = next(i for i in range(40, 119) if labels[order[i]] != labels[order[i + 1]])
    other = scores.copy()
    other[order[[swap, swap + 1]]] = scores[order[[swap + 1, swap]]]
    found = paired_bootstrap_auc(scores, other, labels, groups)
    assert found.difference != 0
    assert found.p > 0.3


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 1), st.integers(0, 3)), min_size=1))
def test_wins_within_groups_equal_all_pairs(rows):
    scores, labels, codes = (np.array(column) for column in zip(*rows, strict=True))
    codes = np.unique(codes, return_inverse=True)[1]
    wins, pairs = _within(scores, labels == 1, codes)
    for g in range(codes.max() + 1):
        fakes, reals = scores[(codes == g) & (labels == 1)], scores[(codes == g) & (labels == 0)]
        kernel = (fakes[:, None] > reals) + 0.5 * (fakes[:, None] == reals)
        assert (wins[g], pairs[g]) == (kernel.sum(), kernel.size)


def test_intervals_hold_every_metric_and_its_value():
    scores, labels, groups = sample(n=900)
    found = image_metrics(scores, labels, groups)
    for name, measure in found.items():
        if measure.reason:
            assert "unresolvable" in measure.reason
        else:
            assert measure.low <= measure.value <= measure.high, name
    assert found["far@frr=0.05"].low == pytest.approx(1 - found["tpr@fpr=0.05"].high)


def test_mean_interval_agrees_with_scipy():
    from scipy.stats import bootstrap

    random = np.random.default_rng(0)
    values = random.random(200)
    ours = bootstrap_means(values, [str(i) for i in range(200)], resamples=4000)
    theirs = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=rng(1)).confidence_interval
    assert ours == pytest.approx(tuple(theirs), abs=0.005)
    padded = np.append(values, [np.nan] * 10)
    assert bootstrap_means(padded, [str(i) for i in range(210)], resamples=4000) == pytest.approx(ours, abs=0.005)


def test_no_interval_from_one_group():
    assert bootstrap_image([0.1, 0.9], [0, 1], ["a", "a"]) == {}
    assert all(math.isnan(v) for v in bootstrap_means([1.0, 2.0], ["a", "a"]))
    assert math.isnan(image_metrics([0.1, 0.9], [0, 1], ["a", "a"])["auc"].low)


def naive_covariance(scores, labels):
    """DeLong's structural components by comparing all pairs, straight from the paper's definition."""
    fakes, reals = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    v10, v01 = [], []
    for s in scores:
        kernel = (s[fakes][:, None] > s[reals]) + 0.5 * (s[fakes][:, None] == s[reals])
        v10.append(kernel.mean(axis=1))
        v01.append(kernel.mean(axis=0))
    return np.cov(v10) / len(fakes) + np.cov(v01) / len(reals)


@pytest.mark.parametrize("ties", [False, True])
def test_delong_equals_all_pairs(ties):
    first, labels, _ = sample(ties=ties)
    second, _, _ = sample(seed=9, shift=0.5, ties=ties)
    areas, covariance = auc_covariance([first, second], labels)
    np.testing.assert_allclose(covariance, naive_covariance([first, second], labels), rtol=1e-10)
    assert areas == pytest.approx([roc_auc_score(labels, first), roc_auc_score(labels, second)])
    test = delong(first, second, labels)
    assert test.z == pytest.approx(test.difference / np.sqrt(np.array([1, -1]) @ covariance @ np.array([1, -1])))
    assert test.low < test.difference < test.high
    assert delong(second, first, labels).p == pytest.approx(test.p)


def test_delong_false_positive_rate():
    """Under the null, 5 % of tests reject at 5 %."""
    random = np.random.default_rng(0)
    labels = np.arange(120) % 2
    truth = random.normal(size=(400, 120)) + labels
    p = [delong(t + random.normal(size=120), t + random.normal(size=120), labels).p for t in truth]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09


def test_identical_detectors_do_not_differ():
    scores, labels, groups = sample()
    assert delong(scores, scores, labels).p == 1.0
    paired = paired_bootstrap_auc(scores, scores, labels, groups, resamples=100)
    assert (paired.difference, paired.low, paired.high, paired.p) == (0.0, 0.0, 0.0, 1.0)


def test_paired_bootstrap_agrees_with_delong_on_independent_images():
    first, labels, _ = sample(n=600, shift=1.2)
    second = first + np.random.default_rng(4).normal(size=600) * 0.2
    each = [str(i) for i in range(600)]
    paired, test = paired_bootstrap_auc(first, second, labels, each), delong(first, second, labels)
    assert paired.difference == pytest.approx(test.difference)
    assert (paired.low, paired.high) == pytest.approx((test.low, test.high), abs=0.01)
    assert (paired.p < 0.05) == (test.p < 0.05)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 5))
def test_mcnemar_equals_statsmodels(b, c, same):
    first = [True] * b + [False] * c + [True] * same
    second = [False] * b + [True] * c + [True] * same
    expected = sm_mcnemar([[same, b], [c, 0]], exact=True).pvalue if b + c else 1.0
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (b, c)
    assert found.p == pytest.approx(expected)


def test_paired_t_equals_scipy():
    random = np.random.default_rng(0)
    a, b = random.normal(size=30) + 0.2, random.normal(size=30)
    a[3] = np.nan
    expected = ttest_rel(np.delete(a, 3), np.delete(b, 3))
    found = paired_t(a, b)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert paired_t([1.0, 2.0], [1.0, 2.0]).p == 1.0
    assert math.isnan(paired_t([1.0], [0.5]).p)


@given(st.integers(1, 400), st.data())
def test_clopper_pearson_equals_statsmodels(n, data):
    k = data.draw(st.integers(0, n))
    assert clopper_pearson(k, n) == pytest.approx(proportion_confint(k, n, method="beta"), abs=1e-9)


def test_clopper_pearson_of_nothing():
    assert all(math.isnan(limit) for limit in clopper_pearson(0, 0))
