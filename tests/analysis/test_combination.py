from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from unmask.analysis.combination import combined_logit, read_combination, read_thresholds
from unmask.core.errors import WeightsError
from unmask.core.verdict import Thresholds
from unmask.detectors.scoring import probability

probabilities = st.floats(0.0, 1.0)


@given(probabilities, probabilities)
def test_the_combination_is_the_probability_that_either_is_true(p: float, q: float) -> None:
    combined = expit(combined_logit(p, q))
    assert combined == pytest.approx(1 - (1 - p) * (1 - q), abs=2e-9)
    assert combined >= max(p, q) - 2e-9


@given(st.floats(0.01, 0.99))
def test_one_member_alone_is_left_as_it_is(p: float) -> None:
    assert combined_logit(p) == pytest.approx(logit(p), rel=1e-9, abs=1e-9)


@given(st.floats(-1e4, 1e4), st.floats(0.01, 50), st.floats(-50, 50))
def test_probability_equals_scipys_sigmoid(x: float, scale: float, offset: float) -> None:
    assert probability(x, scale, offset) == pytest.approx(float(expit(scale * x + offset)), rel=1e-12, abs=1e-300)


@given(probabilities, st.none() | probabilities, st.none() | probabilities)
def test_a_verdict_is_given_only_where_one_threshold_speaks(
    score: float, fake: float | None, real: float | None
) -> None:
    above = fake is not None and score >= fake
    below = real is not None and score < real
    expected = "fake" if above and not below else "real" if below and not above else "uncertain"
    assert Thresholds(fake, real).decide(score) == expected


@given(st.lists(probabilities, min_size=2, max_size=8), st.none() | probabilities, st.none() | probabilities)
def test_a_higher_score_never_sounds_more_real(scores: list[float], fake: float | None, real: float | None) -> None:
    rank = {"real": 0, "uncertain": 1, "fake": 2}
    told = [rank[Thresholds(fake, real).decide(score)] for score in sorted(scores)]
    assert told == sorted(told)


@pytest.mark.parametrize(
    ("text", "code", "word"),
    [
        (None, "no_default", "--detector"),
        ("{", "bad_card", "JSON"),
        ("[]", "bad_card", "object"),
        ('{"members": "edited"}', "bad_card", "members"),
        ('{"members": ["a"], "calibration": {"scale": -1, "offset": 0}}', "bad_card", "positive"),
        ('{"members": ["a"], "calibration": {"scale": NaN, "offset": 0}}', "bad_card", "finite"),
        ('{"members": ["a"], "thresholds": {"fake": "high"}}', "bad_card", "fake"),
        ('{"members": ["a"], "thresholds": {"real": 1.5}}', "bad_card", "real"),
    ],
)
def test_a_bad_card_is_a_typed_error(tmp_path: Path, text: str | None, code: str, word: str) -> None:
    path = tmp_path / "default.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(WeightsError) as caught:
        read_combination(path)
    assert caught.value.code == code
    assert word in caught.value.message


def test_extra_keys_of_a_card_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "default.json"
    card = {"members": ["edited"], "open": ["generated"], "counts": {"real": 3}, "thresholds": {"fake": None}}
    path.write_text(json.dumps(card), encoding="utf-8")
    combination = read_combination(path)
    assert combination.open == ("generated",)
    assert read_thresholds(combination.thresholds, "x") == Thresholds(None, None)


def test_probability_is_exact_at_the_far_ends() -> None:
    assert probability(1e308) == 1.0
    assert probability(-1e308) == 0.0
    assert np.isclose(probability(-700.0), np.exp(-700.0), rtol=1e-9)
