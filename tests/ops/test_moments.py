"""Moments against SciPy, correlation against NumPy."""

from __future__ import annotations

import numpy as np
import scipy.stats
import torch

from unmask.ops.moments import correlation, moments


def test_moments_are_scipys() -> None:
    values = np.random.default_rng(0).gamma(2, 3, (4, 5, 500))
    found = moments(torch.from_numpy(values)).numpy()
    expected = [
        values.mean(-1),
        values.std(-1),
        scipy.stats.skew(values, axis=-1),
        scipy.stats.kurtosis(values, axis=-1),
    ]
    np.testing.assert_allclose(found, np.stack(expected, -1), rtol=1e-6)


def test_flat_samples_have_no_shape() -> None:
    mean, spread, skewness, kurtosis = moments(torch.full((1000,), 0.3)).tolist()
    assert abs(mean - 0.3) < 1e-6 and spread < 1e-6
    assert np.isnan(skewness) and np.isnan(kurtosis)
    assert correlation(torch.rand(9), torch.zeros(9)).isnan()


def test_correlation_is_numpys() -> None:
    first, second = torch.rand(2, 3, 50)
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(correlation(first, second), expected, rtol=1e-4)
