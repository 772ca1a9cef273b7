"""Calibration error and Brier score against torchmetrics and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from unmask.metrics.calibration import brier, expected_calibration_error, reliability


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    scores = random.random(5000)
    return scores, (random.random(5000) < scores**2).astype(int)


def test_ece_equals_torchmetrics(data):
    from torchmetrics.functional.classification import binary_calibration_error

    scores, labels = data
    expected = binary_calibration_error(torch.tensor(scores), torch.tensor(labels), n_bins=15, norm="l1")
    assert expected_calibration_error(scores, labels).value == pytest.approx(float(expected), abs=1e-6)


def test_brier_equals_sklearn(data):
    scores, labels = data
    assert brier(scores, labels).value == pytest.approx(brier_score_loss(labels, scores), abs=1e-12)


def test_reliability_equals_sklearn(data):
    scores, labels = data
    table = reliability(scores, labels, bins=10)
    share, mean = calibration_curve(labels, scores, n_bins=10)
    np.testing.assert_allclose(table.share_fake, share)
    np.testing.assert_allclose(table.mean_score, mean)
    assert table.counts.sum() == 5000


def test_edges_and_empty_bins():
    table = reliability([0.0, 1.0, 1.0], [0, 1, 0], bins=4)
    assert table.counts.tolist() == [1, 0, 0, 2]
    assert math.isnan(table.mean_score[1])
    assert expected_calibration_error([0.0, 1.0], [0, 1]).value == 0.0
    assert expected_calibration_error([1.0, 0.0], [0, 1]).value == 1.0


@pytest.mark.parametrize("metric", [brier, expected_calibration_error])
def test_scores_that_are_no_probabilities_have_none(metric):
    found = metric([-3.0, 2.0], [0, 1])
    assert math.isnan(found.value)
    assert "not probabilities" in found.reason
    assert metric([], []).reason == "nothing there"
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        reliability([-3.0, 2.0], [0, 1])
