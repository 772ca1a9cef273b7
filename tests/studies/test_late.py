"""Late fusion: known votes, known weights, and no way to learn from scores of training images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from unmask.core.errors import ConfigError, DataError
from unmask.studies.held_out import HeldOut, Part
from unmask.studies.late import LATE, LateFusion, Stacking, Threshold, WeightedAverage, create_late
from unmask.training.calibrate import fit_platt


def members(n: int = 2000, d: tuple[float, ...] = (1.5, 1.0, 0.0), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood ratios of independent normal members: their sum is the best there is."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 2 == 1
    x = random.normal(size=(n, len(d))) + np.outer(labels, d)
    return x * d - np.square(d) / 2, labels


def held_out(x: np.ndarray, labels: np.ndarray) -> HeldOut:
    return HeldOut([Part(x, labels, [f"p{i // 2}" for i in range(len(x))], ())])


def fitted(name: str, x: np.ndarray, labels: np.ndarray) -> LateFusion:
    return create_late(name).fit(held_out(x, labels))


def test_scores_of_training_images_are_refused() -> None:
    x, labels = members(200)
    families = [f"p{i // 2}" for i in range(200)]
    clean = Part(x[:100], labels[:100], families[:100], families[100:])
    other = Part(x[100:], labels[100:], families[100:], families[:100])
    assert len(HeldOut([clean, other]).labels) == 200
    with pytest.raises(DataError, match="50 families are scored by models that were trained on them") as caught:
        HeldOut([clean, other._replace(trained_on=families)])
    assert caught.value.code == "leak"
    for name in LATE:  # raw arrays are no way round
        with pytest.raises(AttributeError):
            create_late(name).fit(x)  # type: ignore[arg-type]


def test_why_training_scores_are_refused() -> None:
    """A member that memorised its training images looks perfect there; held out, it is noise and gets no weight."""
    x, labels = members(600, (1.0, 0.0))
    memorised = x.copy()
    memorised[:, 1] = np.where(labels, 5.0, -5.0)
    right, wrong = fitted("stacking", x, labels), fitted("stacking", memorised, labels)
    fresh, truth = members(2000, (1.0, 0.0), seed=1)
    fresh[:, 1] = np.random.default_rng(2).normal(size=2000)
    assert roc_auc_score(truth, right.apply(fresh)) > roc_auc_score(truth, wrong.apply(fresh)) + 0.1


def test_known_votes() -> None:
    x, labels = members()
    z = np.array([[1.0, 2.0, -3.0], [-1.0, -2.0, 3.0], [4.0, np.nan, 2.0], [np.nan] * 3])
    np.testing.assert_allclose(fitted("average", x, labels).apply(z), [0, 0, 3, np.nan])
    voting = fitted("majority_vote", x, labels)
    voting.scale, voting.offset = np.ones(3), np.zeros(3)  # type: ignore[attr-defined]
    np.testing.assert_allclose(voting.apply(z), [2 / 3, 1 / 3, 1, np.nan])
    surest = fitted("max_confidence", x, labels)
    surest.scale, surest.offset = np.ones(3), np.zeros(3)  # type: ignore[attr-defined]
    np.testing.assert_allclose(surest.apply(z), [-3, 3, 4, np.nan])


def test_soft_vote_is_the_mean_of_platt_probabilities() -> None:
    x, labels = members()
    expected = np.mean([expit(a * x[:, i] + b) for i in range(3) for a, b in [fit_platt(x[:, i], labels)]], axis=0)
    np.testing.assert_allclose(fitted("soft_vote", x, labels).apply(x), expected)


def test_weights_are_those_of_scikit_learns_logistic_regression() -> None:
    """Log-likelihood ratios are to be added as they are: weights near 1 : 1 once one of them is shrunk by 4."""
    x, labels = members(20000, (1.5, 1.0, 0.0))
    x[:, 2] = np.random.default_rng(3).normal(size=len(x))
    x[:, 1] /= 4
    fusion = fitted("weighted_average", x, labels)
    assert isinstance(fusion, WeightedAverage)
    theirs = np.clip(LogisticRegression(C=np.inf).fit(x, labels).coef_[0], 0, None)
    np.testing.assert_allclose(fusion.weights, theirs / theirs.sum(), atol=0.02)
    assert fusion.weights[1] > 3 * fusion.weights[0] > 10 * fusion.weights[2]


def test_one_alarm_is_enough_and_five_percent_of_reals_ring_it() -> None:
    x, labels = members(4000, (2.0,))
    fusion = fitted("threshold", x, labels)
    assert isinstance(fusion, Threshold)
    assert np.mean(fusion.apply(x)[~labels] >= 0) == pytest.approx(0.05, abs=1e-3)
    assert fusion.threshold[0] == pytest.approx(2 * norm.ppf(0.95) - 2, abs=0.15)
    both = fitted("threshold", *members(4000, (2.0, 2.0)))
    quiet = np.array([[-5.0, -5.0], [9.0, -5.0], [-5.0, 9.0]])
    assert (both.apply(quiet) >= 0).tolist() == [False, True, True]


@pytest.mark.parametrize("name", LATE)
def test_two_complementary_members_beat_each(name: str) -> None:
    x, labels = members(3000, (1.2, 1.2))
    fresh, truth = members(3000, (1.2, 1.2), seed=1)
    single = max(roc_auc_score(truth, fresh[:, i]) for i in range(2))
    found = roc_auc_score(truth, fitted(name, x, labels).apply(fresh))
    assert found > single + (0.02 if name not in ("majority_vote", "threshold") else -0.06)
    best = norm.cdf(1.2)  # of two independent members, d' = 1.2 * sqrt(2)
    assert found < best + 0.02
    if name in ("average", "weighted_average", "stacking"):
        assert found == pytest.approx(best, abs=0.02)


@pytest.mark.parametrize("name", LATE)
def test_members_may_change_places_and_be_missing(name: str) -> None:
    x, labels = members(600)
    x[::5, 1] = np.nan
    order = [2, 0, 1]
    straight, moved = fitted(name, x, labels), fitted(name, x[:, order], labels)
    np.testing.assert_allclose(moved.apply(x[:, order]), straight.apply(x), atol=1e-3)
    assert np.isfinite(straight.apply(x)).all() and straight.parameters >= 0
    x[:3] = np.nan
    assert np.isnan(straight.apply(x)[:3]).all()


def test_a_noise_member_is_left_out_by_stacking() -> None:
    x, labels = members(2000, (1.5, 1.0, 0.0))
    x[:, 2] = np.random.default_rng(3).normal(size=len(x))
    fusion = fitted("stacking", x, labels)
    assert isinstance(fusion, Stacking)
    weights = fusion.joint.weights[0] / x.std(axis=0)
    assert weights[2] < 0.1 * weights[1]


def test_wrong_use_is_told() -> None:
    x, labels = members(100)
    with pytest.raises(DataError, match="fitted on held-out scores"):
        create_late("average").apply(x)
    with pytest.raises(DataError, match=r"\(N, 3\)"):
        fitted("average", x, labels).apply(x[:, :2])
    with pytest.raises(ConfigError, match="did you mean 'stacking'"):
        create_late("staking")
    with pytest.raises(DataError, match="one class"):
        held_out(x, np.ones(100, bool))
    for bad in (x[:, 0], x[:50]):
        with pytest.raises(DataError, match="expected logits"):
            HeldOut([Part(bad, labels, ["a"] * 100, ())])
    with pytest.raises(DataError, match="one or more parts"):
        HeldOut([])
