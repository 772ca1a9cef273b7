"""The parts of a feature study against scikit-learn, SciPy and theory."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import spearmanr
from sklearn.inspection import permutation_importance as sklearn_permutation
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score, normalized_mutual_info_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from unmask.studies.crossfit import cross_fit
from unmask.studies.forward import Costs, auc_rows, select_forward
from unmask.studies.importance import permutation_importance
from unmask.studies.joint import fit_joint, fit_logistic
from unmask.studies.probe import FEWEST, fit_probes
from unmask.studies.redundancy import (
    binned,
    label_information,
    mutual_information,
    rank_correlation,
    within_class,
)


def data(n: int, width: int, shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (np.arange(n) % 3 == 0).astype(int)  # classes of different size
    values = random.normal(size=(n, width)) * random.uniform(0.1, 10, width) + random.normal(size=width)
    values[:, 0] += shift * labels * values[:, 0].std()
    return values, labels


@pytest.mark.parametrize("width", [1, 5, 300])  # 300: wider than the images are many, so rotated
def test_a_probe_is_scikit_learns_logistic_regression(width: int) -> None:
    values, labels = data(120, width, 1.0)
    for strength, probe in zip((0.1, 10.0), fit_probes(values, labels, (0.1, 10.0)), strict=True):
        model = LogisticRegression(C=strength / width, class_weight="balanced", tol=1e-10, max_iter=10_000)
        expected = make_pipeline(StandardScaler(), model).fit(values, labels).decision_function(values)
        np.testing.assert_allclose(probe.logits(values), expected, atol=5e-3)


def test_probes_of_nothing() -> None:
    labels = np.arange(40) % 2
    (flat,) = fit_probes(np.full((40, 3), 7.0), labels, (1.0,))
    assert np.ptp(flat.logits(np.full((2, 3), 9.0))) == 0  # a constant column says nothing, whatever comes later
    assert fit_probes(np.zeros((40, 1)), (np.arange(40) < FEWEST - 1).astype(int)) == []
    assert np.isnan(flat.logits(np.full((1, 3), np.nan))).all()


@pytest.mark.parametrize("ridge", [1.0, 0.01])
def test_the_batched_solver_is_scikit_learns(ridge: float) -> None:
    sets = [data(90, 4, shift, seed) for seed, shift in enumerate((0.0, 1.0, 9.0))]  # the last one is separable
    labels = sets[0][1] == 1
    x = np.stack([(v - v.mean(0)) / v.std(0) for v, _ in sets])
    found = fit_logistic(x, labels, ridge)
    for columns, solved in zip(x, found, strict=True):
        model = LogisticRegression(C=1 / ridge, class_weight="balanced", tol=1e-12, max_iter=100_000)
        model.fit(columns, labels)
        np.testing.assert_allclose(solved, [*model.coef_[0], model.intercept_[0]], atol=2e-3, rtol=2e-3)


def test_weights_that_may_not_be_negative_are_those_of_a_bounded_optimiser() -> None:
    random = np.random.default_rng(1)
    labels = np.arange(150) % 2 == 1
    x = random.normal(size=(3, 150, 5)) + labels[:, None] * np.array([1.0, -0.6, 0.2, -0.1, -0.5])
    positive = np.array([True, True, True, True, False])
    sign = np.where(labels, 1.0, -1.0)
    for columns, solved in zip(x, fit_logistic(x, labels, positive=positive), strict=True):

        def loss(w: np.ndarray, columns: np.ndarray = columns) -> float:
            return float(np.logaddexp(0, -sign * (columns @ w[:-1] + w[-1])).sum() + 0.5 * (w[:-1] ** 2).sum())

        bounds = [(0 if one else None, None) for one in positive] + [(None, None)]
        expected = minimize(loss, np.zeros(6), method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-14}).x
        np.testing.assert_allclose(solved, expected, atol=1e-3)
        assert solved[1] == 0.0 and solved[4] < 0


def test_folds_stay_apart_and_every_score_is_from_strangers() -> None:
    """Labels that are pure memory: a probe that saw a family knows it, one that did not is at chance."""
    random = np.random.default_rng(0)
    people, per = 50, 4
    person = np.repeat(np.arange(people), per)
    labels = np.tile([0, 1, 0, 1], people)
    values = np.zeros((people * per, people))  # one column per person, whose sign is the label there
    values[np.arange(len(person)), person] = np.where(labels == 1, 1.0, -1.0) + 0.01 * random.normal(size=len(person))
    fold = person % 5
    known = np.ones(len(labels), bool)
    found = cross_fit(values, known, labels, fold)
    (saw, *_) = fit_probes(values, labels, (100.0,))
    assert roc_auc_score(labels, saw.logits(values)) > 0.99
    assert abs(roc_auc_score(labels, found.outer) - 0.5) < 0.1
    for number, row in enumerate(found.inner):
        assert np.isnan(row[fold == number]).all()
        rest = fold != number
        assert abs(roc_auc_score(labels[rest], row[rest]) - 0.5) < 0.12


def test_a_rotation_sees_nothing_of_its_fold() -> None:
    """Changing the labels of a fold changes neither its own scores nor what its rotation learns from."""
    values, labels = data(120, 6, 0.8)
    fold, known = np.arange(120) // 2 % 4, np.ones(120, bool)
    turned = np.where(fold == 2, 1 - labels, labels)
    first, second = (cross_fit(values, known, truth, fold) for truth in (labels, turned))
    np.testing.assert_array_equal(first.outer[fold == 2], second.outer[fold == 2])
    np.testing.assert_array_equal(first.inner[2], second.inner[2])
    assert not np.allclose(first.outer[fold == 1], second.outer[fold == 1])


def test_missing_values_are_scored_as_missing() -> None:
    values, labels = data(200, 2, 2.0)
    known = np.arange(200) % 7 != 0
    values[~known] = np.nan
    found = cross_fit(values, known, labels, np.arange(200) % 5)
    np.testing.assert_array_equal(np.isnan(found.outer), ~known)
    assert found.whole is not None and all(found.probes)
    nobody = cross_fit(values, np.zeros(200, bool), labels, np.arange(200) % 5)
    assert np.isnan(nobody.outer).all() and nobody.whole is None


def test_the_missing_mark_carries_what_absence_says() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(300) % 2 == 1
    logits = random.normal(size=(300, 2))
    logits[labels & (random.random(300) < 0.6), 1] = np.nan  # only fakes lack the second feature
    joint = fit_joint(logits, labels, [0, 1])
    assert roc_auc_score(labels, joint.logits(logits)) > 0.75
    assert roc_auc_score(labels, fit_joint(logits, labels, [0]).logits(logits)) < 0.6
    assert joint.logits(logits) == pytest.approx(joint.parts(logits).sum(axis=1) + joint.bias)
    assert (fit_joint(logits, labels, []).logits(logits) == 0).all()


def test_auc_rows() -> None:
    random = np.random.default_rng(0)
    labels = random.random(60) < 0.4
    scores = random.integers(0, 5, (7, 60)).astype(float)  # many ties
    np.testing.assert_allclose(auc_rows(scores, labels), [roc_auc_score(labels, row) for row in scores])


def test_permutation_importance_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(400) % 2 == 1
    logits = random.normal(size=(400, 3)) + labels[:, None] * [1.5, 1.0, 0.0]
    joint = fit_joint(logits, labels, [0, 1, 2])

    class Model:
        def fit(self, x: np.ndarray, y: np.ndarray) -> Model:
            return self

        def predict(self, x: np.ndarray) -> np.ndarray:
            return joint.logits(x)

    def scorer(model: Model, x: np.ndarray, y: np.ndarray) -> float:
        return float(roc_auc_score(y, model.predict(x)))

    expected = sklearn_permutation(Model(), logits, labels, scoring=scorer, n_repeats=60, random_state=0)
    found = permutation_importance([joint], logits, labels, np.zeros(400, np.intp), repeats=60)
    for index, one in enumerate(found):
        error = 4 * np.hypot(one.spread, expected.importances_std[index]) / 60**0.5 + 1e-4
        assert one.drop == pytest.approx(expected.importances_mean[index], abs=error)
    assert found[0].drop > found[1].drop > 0.01 > abs(found[2].drop)


def test_mutual_information_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(200, 4))
    logits[:, 1] = logits[:, 0] * 3 + 1  # the same order: one tells the other
    logits[::5, 2] = np.nan
    codes = binned(logits)
    information, normalised = mutual_information(codes)
    for i in range(4):
        for j in range(4):
            both = (codes[:, i] >= 0) & (codes[:, j] >= 0)
            pair = codes[both, i], codes[both, j]
            assert information[i, j] == pytest.approx(mutual_info_score(*pair), abs=1e-12)
            assert normalised[i, j] == pytest.approx(normalized_mutual_info_score(*pair), abs=1e-12)
    assert normalised[0, 1] == pytest.approx(1.0) and normalised[0, 3] < 0.15
    labels = logits[:, 3] > 0
    share = label_information(codes, labels)
    entropy = -sum(p * np.log(p) for p in (labels.mean(), 1 - labels.mean()))
    expected = [mutual_info_score(c[c >= 0], labels[c >= 0]) for c in codes.T]
    assert share[[0, 1, 3]] == pytest.approx(np.array(expected)[[0, 1, 3]] / entropy)
    assert share[3] > 0.9


def test_rank_correlation_is_scipys() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(120, 3))
    logits[:, 2] += logits[:, 0]
    np.testing.assert_allclose(rank_correlation(logits), spearmanr(logits).statistic)
    logits[::4, 1] = np.nan
    expected = spearmanr(logits[:, 1], logits[:, 2], nan_policy="omit").statistic
    assert rank_correlation(logits)[1, 2] == pytest.approx(expected)


def test_two_good_features_are_not_redundant_for_being_right() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(1000) % 2 == 1
    logits = random.normal(size=(1000, 2)) + 3.0 * labels[:, None]
    assert rank_correlation(logits)[0, 1] > 0.6
    assert abs(within_class(logits, labels)[0, 1]) < 0.1


def test_selection_counts_shared_work_once_and_takes_the_cheap_twin() -> None:
    random = np.random.default_rng(0)
    n = 240
    labels = np.arange(n) % 2 == 1
    good = random.normal(size=n) + 1.5 * labels
    logits = np.stack([good, good + 1e-6 * random.normal(size=n), random.normal(size=n)], axis=1)
    fold, families = np.arange(n) // 4 % 4, [str(i // 4) for i in range(n)]
    found = select_forward(logits, labels, fold, families, Costs(np.array([50.0, 0.5, 1.0])))
    assert found.chosen.features == (1,)  # the twin that costs a hundredth
    assert [len(path) for path in found.paths.values()] == [4, 4]
    assert found.paths["gain per ms"][1].features == (1,)
    shared = Costs(np.array([1.0, 1.0, 1.0]), ((frozenset({0, 1}), 7.0),))
    assert select_forward(logits, labels, fold, families, shared).paths["gain"][3].cost == 10.0
