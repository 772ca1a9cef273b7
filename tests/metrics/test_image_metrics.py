"""Image metrics against scikit-learn, and properties that must hold for any scores."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn import metrics as sk

from unmask.core.errors import DataError
from unmask.metrics.image import (
    auc,
    average_precision,
    confusion,
    eer,
    far_at_frr,
    rejected,
    roc_points,
    split_scores,
    threshold_at_frr,
    tpr_at_fpr,
)

# few distinct values: ties within and across classes; infinities; one class down to a single image
SCORES = st.sampled_from([-math.inf, -2.0, -0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 3.0, math.inf])
EXAMPLES = st.lists(st.tuples(SCORES, st.integers(0, 1)), min_size=2, max_size=60)


def both_classes(pairs):
    labels = [label for _, label in pairs]
    return pairs if len(set(labels)) == 2 else [*pairs, (0.5, 1 - labels[0])]


def finite(scores):
    """The same order without infinities, for scikit-learn."""
    return np.nan_to_num(np.asarray(scores, float), posinf=1e6, neginf=-1e6)


def reference_eer(labels, scores):
    fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    return brentq(lambda x: 1.0 - x - interp1d(fpr, tpr)(x), 0.0, 1.0)


@given(EXAMPLES)
def test_ranking_metrics_equal_sklearn(pairs):
    scores, labels = zip(*both_classes(pairs), strict=True)
    ranked = split_scores(scores, labels)
    safe = finite(scores)
    assert auc(ranked).value == pytest.approx(sk.roc_auc_score(labels, safe), abs=1e-12)
    assert average_precision(ranked).value == pytest.approx(sk.average_precision_score(labels, safe), abs=1e-12)


@pytest.mark.parametrize("share", [0.5, 0.01, 0.999])
@pytest.mark.parametrize("kind", [np.float32, np.float64, "rounded", "constant"])
def test_metrics_of_many_scores_equal_references(share, kind):
    random = np.random.default_rng(3)
    labels = (random.random(4000) < share).astype(int)
    labels[:2] = 0, 1
    scores = random.normal(size=4000) + labels
    scores = (
        {"rounded": scores.round(1), "constant": np.full(4000, 0.5)}[kind]
        if isinstance(kind, str)
        else scores.astype(kind)
    )
    ranked = split_scores(scores, labels)
    assert auc(ranked).value == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(ranked).value == pytest.approx(sk.average_precision_score(labels, scores), abs=1e-12)
    fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    # the crossing of a piecewise linear curve with the anti-diagonal, computed by interpolation over all points
    expected = np.interp(0.0, fpr + tpr - 1.0, fpr)
    assert eer(ranked).value == pytest.approx(expected, abs=1e-12)
    for threshold in (-1.0, 0.5, 1.25, 99.0):
        guess = (scores >= threshold).astype(int)
        found = confusion(ranked, threshold).measures()
        assert found["accuracy"].value == pytest.approx(sk.accuracy_score(labels, guess))
        assert found["balanced_accuracy"].value == pytest.approx(sk.balanced_accuracy_score(labels, guess))
        assert found["recall"].value == pytest.approx(sk.recall_score(labels, guess))
        assert found["f1"].value == pytest.approx(sk.f1_score(labels, guess))
        if guess.any():
            assert found["precision"].value == pytest.approx(sk.precision_score(labels, guess))
        else:
            assert math.isnan(found["precision"].value)
            assert "nothing was called fake" in found["precision"].reason


def test_eer_equals_root_finding_on_the_curve():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 500)
    scores = random.normal(size=500) + labels
    assert eer(split_scores(scores, labels)).value == pytest.approx(reference_eer(labels, scores), abs=1e-9)


def test_eer_is_interpolated():
    # ROC points (0,0) (0,.5) (1,.5) (1,1): the anti-diagonal is crossed in the middle of the flat piece
    assert eer(split_scores([3.0, 2.0, 1.0], [1, 0, 1])).value == pytest.approx(0.5)
    assert eer(split_scores([1.0, 1.0, 1.0], [1, 0, 0])).value == pytest.approx(0.5)
    assert eer(split_scores([0.9, 0.1], [1, 0])).value == 0.0
    assert eer(split_scores([0.1, 0.9], [1, 0])).value == 1.0
    assert eer(split_scores([math.inf, math.inf], [1, 0])).value == pytest.approx(0.5)
    assert eer(split_scores([math.inf, -math.inf], [1, 0])).value == 0.0


@given(EXAMPLES)
def test_symmetries(pairs):
    scores, labels = map(np.asarray, zip(*both_classes(pairs), strict=True))
    here, mirrored = split_scores(scores, labels), split_scores(-scores, labels)
    assert auc(here).value + auc(mirrored).value == pytest.approx(1.0)
    assert eer(here).value + eer(mirrored).value == pytest.approx(1.0)
    swapped = split_scores(-scores, 1 - labels)
    assert auc(here).value == pytest.approx(auc(swapped).value)
    assert eer(here).value == pytest.approx(eer(swapped).value)
    order = np.argsort(np.arange(len(scores)) * 7919 % 61)
    assert auc(here) == auc(split_scores(scores[order], labels[order]))


@given(EXAMPLES, st.sampled_from([0.0, 0.1, 0.34, 0.5, 1.0]))
def test_threshold_at_frr_is_the_smallest_allowed(pairs, frr):
    scores, labels = map(np.asarray, zip(*both_classes(pairs), strict=True))
    threshold = threshold_at_frr(split_scores(scores, labels), frr)
    candidates = sorted({*scores.tolist(), math.inf})
    allowed = [t for t in candidates if np.mean(scores[labels == 0] >= t) <= frr + 1e-12]
    # +inf as a score can be rejected at +inf too; then nothing is allowed and +inf is the answer
    assert threshold == (allowed[0] if allowed else math.inf)


def test_far_at_frr_counts_ties_together():
    scores = [0.5] * 40 + [0.1] * 60 + [0.5] * 10 + [0.9] * 10
    labels = [0] * 100 + [1] * 20
    ranked = split_scores(scores, labels)
    assert threshold_at_frr(ranked, 0.05) == 0.9  # 40 % of reals share 0.5: rejecting them all breaks the rate
    assert far_at_frr(ranked, 0.05).value == 0.5
    assert tpr_at_fpr(ranked, 0.05).value == 0.5


def test_small_samples_are_unresolvable():
    random = np.random.default_rng(0)
    ranked = split_scores(random.random(400), np.arange(400) < 101)  # 299 reals
    found = far_at_frr(ranked, 0.01)
    assert math.isnan(found.value)
    assert found.reason == "unresolvable: 299 reals, FRR 0.01 needs 300"
    assert far_at_frr(ranked, 0.05).reason == ""


@pytest.mark.parametrize("metric", [auc, eer, lambda s: far_at_frr(s, 0.05), lambda s: tpr_at_fpr(s, 0.05)])
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_nan_with_a_reason(metric, label):
    found = metric(split_scores([0.2, 0.8], [label, label]))
    assert math.isnan(found.value)
    assert found.reason == f"no {'reals' if label else 'fakes'}"
    assert metric(split_scores([], [])).reason == "no reals and no fakes"


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="1 of 2 scores are nan"):
        split_scores([0.1, float("nan")], [0, 1])
    with pytest.raises(DataError, match="labels must be 0"):
        split_scores([0.1, 0.2], [0, 2])
    with pytest.raises(DataError, match="one length"):
        split_scores([0.1, 0.2], [0])


def test_float32_scores_are_not_copied_to_float64():
    ranked = split_scores(np.array([0.7, 0.1], np.float32), [1, 0])
    assert ranked.fake.dtype == np.float32
    assert rejected(ranked, 0.7) == (1, 0)  # the threshold is rounded like the score, as in ``scores >= 0.7``


def test_roc_points_lie_on_the_curve():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 3000)
    scores = random.normal(size=3000) + labels
    fpr, tpr, thresholds = roc_points(split_scores(scores, labels), most=100)
    assert len(fpr) <= 201
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    for f, t, threshold in zip(fpr, tpr, thresholds, strict=True):
        assert f == pytest.approx(np.mean(scores[labels == 0] >= threshold))
        assert t == pytest.approx(np.mean(scores[labels == 1] >= threshold))
