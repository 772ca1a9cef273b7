from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from unmask.analysis.analyzer import load_analyzer
from unmask.analysis.standing import HeldOut, read_held_out
from unmask.cli.main import main
from unmask.core.errors import WeightsError
from unmask.training.calibrate import calibrate

scores = st.lists(st.integers(0, 20).map(lambda k: k / 20), min_size=1, max_size=40)


@given(scores, scores, st.integers(0, 20).map(lambda k: k / 20))
def test_a_standing_counts_the_held_out_images_at_or_above(real: list[float], fake: list[float], score: float) -> None:
    found = HeldOut(tuple(sorted(real)), tuple(sorted(fake)), 3).standing(score)
    assert found is not None and found.groups == 3
    for share, part in ((found.real, real), (found.fake, fake)):
        assert (share.count, share.n) == (sum(value >= score for value in part), len(part))
        limits = binomtest(share.count, share.n).proportion_ci(method="exact")
        assert (share.low, share.high) == pytest.approx((limits.low, limits.high), abs=1e-6)


def test_what_calibration_writes_places_its_own_images() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(200) % 2
    logits = generator.normal(2.0 * labels)
    fit = calibrate(logits, labels, [f"person {i // 4}" for i in range(200)])
    held_out = read_held_out(json.loads(json.dumps(fit.to_meta()))["held_out"], "test")
    assert held_out is not None and held_out.groups == 50
    middle = np.sort(logits[labels == 0])[50]  # 50 of the 100 reals lie at or above it
    found = held_out.standing(round(float(fit.apply(middle)), 6))
    assert found is not None and (found.real.count, found.real.n, found.fake.n) == (50, 100, 100)
    assert found.fake.count == (logits[labels == 1] >= middle).sum()


def test_without_a_score_or_a_record_there_is_no_standing() -> None:
    assert read_held_out({}, "old weights") is None
    assert HeldOut((0.1,), (0.2,), 1).standing(None) is None


@pytest.mark.parametrize(
    "bad",
    [
        {"real": [0.1], "groups": 1},
        {"real": [0.1], "fake": [], "groups": 1},
        {"real": [0.1], "fake": [1.5], "groups": 1},
        {"real": [True], "fake": [0.5], "groups": 1},
        {"real": "0.1", "fake": [0.5], "groups": 1},
        {"real": [0.1], "fake": [0.5], "groups": 0},
        {"real": [0.1], "fake": [0.5]},
    ],
)
def test_a_damaged_record_is_an_error(bad: dict[str, object]) -> None:
    with pytest.raises(WeightsError) as error:
        read_held_out(bad, "card.json")
    assert error.value.code == "bad_card" and "card.json" in error.value.message


def test_a_card_brings_it_to_the_answer(
    tiny_weights: Path, portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in tiny_weights.glob("*.safetensors"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
        (tmp_path / file.name).with_suffix(".json").write_bytes(file.with_suffix(".json").read_bytes())
    card = json.loads((tiny_weights / "pair.json").read_text(encoding="utf-8"))
    card["held_out"] = {"real": [0.0, 0.0, 1.0], "fake": [0.0, 1.0], "groups": 2}
    (tmp_path / "pair.json").write_text(json.dumps(card), encoding="utf-8")
    found = load_analyzer(tmp_path / "pair.json", device="cpu")(portrait)
    assert found.standing is not None and found.score is not None and 0 < found.score < 1
    assert (found.standing.real.count, found.standing.fake.count, found.standing.groups) == (1, 1, 2)
    assert json.loads(found.to_json())["standing"]["real"]["n"] == 3
    command = ["detect", str(portrait), "--detector", str(tmp_path / "pair.json"), "--report", str(tmp_path / "report")]
    assert main(command) == 0
    assert "1 of 3" in capsys.readouterr().out
    page = " ".join((tmp_path / "report" / "report.html").read_text(encoding="utf-8").split())
    assert "Of 3 genuine photos held out, <b>1</b> scores at least as high" in page
