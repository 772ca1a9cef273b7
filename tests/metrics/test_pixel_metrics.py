"""Pixel metrics against a per-image loop over scikit-learn, and the policy on empty masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from unmask.metrics.pixel import overlap, pixel_auc, pixel_metrics
from unmask.metrics.suite import pixel_summary


def maps(kind, n=6, shape=(37, 53), seed=0):
    random = np.random.default_rng(seed)
    truth = np.zeros((n, *shape), np.float32)
    for i in range(n):
        truth[i, 3 : 10 + i, 5 : 20 + 3 * i] = random.choice([0.3, 0.7, 1.0], size=(7 + i, 15 + 3 * i))
    guess = np.clip(random.normal(0.4, 0.2, truth.shape) + 0.2 * truth, 0, 1).astype(
        kind if kind != "levels" else np.float32
    )
    if kind == "levels":
        guess = np.round(guess * 8) / np.float32(8)
    return guess, truth


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, "levels"])
def test_equal_to_sklearn_image_by_image(kind):
    guess, truth = maps(kind)
    found = pixel_metrics(guess, truth, threshold=0.5)
    for i in range(len(truth)):
        called, forged = guess[i].ravel() >= 0.5, truth[i].ravel() > 0
        assert found.f1[i] == pytest.approx(sk.f1_score(forged, called), abs=1e-12)
        assert found.iou[i] == pytest.approx(sk.jaccard_score(forged, called), abs=1e-12)
        assert found.auc[i] == pytest.approx(sk.roc_auc_score(truth[i].ravel() > 0.5, guess[i].ravel()), abs=1e-9)


@given(st.lists(st.tuples(st.sampled_from([-0.0, 0.0, 1e-30, 0.3, 0.5, 1.0]), st.booleans()), min_size=1, max_size=50))
def test_auc_with_ties_and_extremes(pairs):
    guess = np.array([[[p for p, _ in pairs]]], np.float32)
    truth = np.array([[[t for _, t in pairs]]], np.float32)
    found = pixel_auc(guess, truth)[0]
    if truth.min() == truth.max():
        assert np.isnan(found)
    else:
        assert found == pytest.approx(sk.roc_auc_score(truth.ravel(), guess.ravel()), abs=1e-12)


def test_large_map_is_exact():
    random = np.random.default_rng(1)
    truth = random.random((1, 512, 512)) < 0.3
    guess = random.random((1, 512, 512), dtype=np.float32) * 0.7 + 0.3 * truth.astype(np.float32)
    assert pixel_auc(guess, truth)[0] == pytest.approx(sk.roc_auc_score(truth.ravel(), guess.ravel()), abs=1e-12)


def test_perfect_answer_on_an_authentic_image_is_not_f1_zero():
    nothing = np.zeros((1, 8, 8), np.float32)
    found = pixel_metrics(nothing, nothing)
    assert np.isnan([found.f1[0], found.iou[0], found.auc[0]]).all()
    assert found.false_alarm[0] == 0.0
    forged = np.ones((1, 8, 8), np.float32)
    both = pixel_metrics(np.concatenate([nothing, forged]), np.concatenate([nothing, forged]))
    summary = pixel_summary(both)
    assert summary["pixel_f1"].value == 1.0  # and not 0.5
    assert summary["false_alarm_area"].value == 0.0


def test_false_alarm_is_the_share_of_pixels():
    guess = np.zeros((1, 10, 10), np.float32)
    guess[0, :2] = 0.5
    found = pixel_metrics(guess, np.zeros_like(guess), threshold=0.5)
    assert found.false_alarm[0] == pytest.approx(0.2)


def test_an_inverted_map_is_wrong():
    truth = np.zeros((1, 10, 10), np.float32)
    truth[0, :5] = 1
    found = pixel_metrics(1 - truth, truth)
    assert (found.f1[0], found.iou[0], found.auc[0]) == (0.0, 0.0, 0.0)


def test_truth_is_binarised_at_0_for_overlap_and_at_half_for_sweeps():
    truth = np.array([[[0.0, 0.2, 0.4, 0.6]]], np.float32)
    guess = np.array([[[0.1, 0.9, 0.2, 0.8]]], np.float32)
    assert overlap(guess, truth)[0][0] == pytest.approx(2 * 2 / (2 + 3))
    assert pixel_auc(guess, truth)[0] == pytest.approx(2 / 3)


def test_missed_forgery_is_zero_not_nan():
    truth = np.zeros((1, 4, 4), np.float32)
    truth[0, 0, 0] = 1
    assert overlap(np.zeros_like(truth), truth)[0][0] == 0.0


def test_bad_maps_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        pixel_metrics(np.zeros((1, 4, 4)), np.zeros((1, 4, 5)))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        pixel_auc(np.full((1, 2, 2), 1.5), np.eye(2)[None])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        pixel_auc(np.full((1, 2, 2), np.nan), np.eye(2)[None])


def test_summary_says_why_there_is_nothing():
    found = pixel_metrics(np.zeros((2, 4, 4)), np.zeros((2, 4, 4)))
    assert "no forged images" in pixel_summary(found)["pixel_f1"].reason
