"""The distance that real photos rarely exceed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unmask.training.calibrate import far_point


@given(n=st.integers(1, 400), target=st.sampled_from([0.01, 0.05, 0.1, 0.5]), seed=st.integers(0, 20))
def test_the_next_real_is_beyond_it_as_rarely_as_promised(n: int, target: float, seed: int) -> None:
    """Leave each of n + 1 reals out in turn: at most a share ``target`` lies beyond the others' threshold."""
    x = np.random.default_rng(seed).normal(size=n + 1)
    thresholds = [far_point(np.delete(x, i), np.zeros(n), target=target)["threshold"] for i in range(n + 1)]
    if n + 1 < 1 / target - 1e-9:
        assert thresholds == [None] * (n + 1)
    else:
        beyond = np.mean([x[i] > t for i, t in enumerate(thresholds)])
        assert beyond <= target + 1e-9 and beyond >= target - 1 / (n + 1) - 1e-9


def test_fakes_do_not_move_it_and_their_share_beyond_is_told() -> None:
    reals = np.linspace(0, 1, 200)
    point = far_point(np.concatenate([reals, [0.1, 3, 4, 5]]), np.r_[np.zeros(200), np.ones(4)])
    assert point["threshold"] == far_point(reals, np.zeros(200))["threshold"] == pytest.approx(reals[198])
    assert point["fakes"] == 0.75 and point["n"] == 200
    few = far_point(reals[:98], np.zeros(98))
    assert few["threshold"] is None and "98 reals, 99 are needed" in few["reason"]
    assert far_point(reals[:99], np.zeros(99))["threshold"] == reals[98]
