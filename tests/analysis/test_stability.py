"""Verdict stability: what survives, what changes, the mask's overlap with itself where content moved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unmask.analysis import stability as st
from unmask.analysis.analyzer import Analyzer, load_analyzer
from unmask.analysis.judge import Bench
from unmask.cli.main import main
from unmask.core.errors import ConfigError
from unmask.core.types import DetectorOutput, Face, ViewConfig
from unmask.core.verdict import Thresholds
from unmask.data.degradations import DEGRADATIONS
from unmask.detectors.base import Detector, DetectorConfig
from unmask.detectors.weights import Calibration
from unmask.reports.evidence import Member

PLAN = st.make_plan(["jpeg", "noise", "brightness", "crop", "screenshot", "messenger"], (1, 5))
FACE = Face((95.0, 60.0, 160.0, 150.0))


class Marker(Detector[DetectorConfig]):
    """Marks the pixels that are much redder than blue; its logit is the mean brightness, from -2 to 2."""

    @property
    def localizes(self) -> bool:
        return True

    def forward(self, image: torch.Tensor) -> DetectorOutput:
        red = (image[:, :1] - image[:, 2:] - 0.35) * 40
        return DetectorOutput(4 * (image.mean((1, 2, 3)) - 0.5), red)


@pytest.fixture
def marker() -> Bench:
    detector = Marker(DetectorConfig(view=ViewConfig(size=96, margin=2.4))).eval()
    member = Member("marker", "marker", detector, "edited", Calibration(), 0.5, "0" * 64, "")
    return Bench("marker", (member,), Thresholds(0.6, 0.4), None, "0" * 64)


@pytest.fixture
def photo(portrait_pixels: np.ndarray) -> np.ndarray:
    photo = (portrait_pixels // 2 + 20).astype(np.uint8)
    photo[85:125, 105:150] = (190, 30, 30)
    return photo


def test_plan_names_every_edit_and_refuses_others() -> None:
    assert {name for name, _ in st.PLAN} == set(DEGRADATIONS) and {s for _, s in st.PLAN} == {1, 3}
    assert st.make_plan(["crop", "blur"], [3, 1, 3]) == (("blur", 1), ("blur", 3), ("crop", 1), ("crop", 3))
    with pytest.raises(ConfigError, match="did you mean 'blur'"):
        st.make_plan(["blurr"])
    with pytest.raises(ConfigError, match="1 to 5"):
        st.make_plan(None, [0])


def test_masks_agree_with_themselves_wherever_the_content_went(marker: Bench, photo: np.ndarray) -> None:
    verdict, evidence = next(Analyzer(marker).examine([photo], None))
    evidence = replace(evidence, faces=(FACE,))
    verdict, evidence = st.judge(marker, None, evidence.decoded, (FACE,), marker_scores(marker, photo))
    assert evidence.heatmap is not None and (evidence.heatmap >= 0.5).sum() > 1200
    answers = list(st.edited_answers(marker, evidence, PLAN, key="k"))
    assert [(a.edit, a.severity) for a in answers] == list(PLAN)
    for answer in answers:
        assert answer.mask_iou > 0.75, (answer.edit, answer.severity, answer.mask_iou)
    assert not any(a.place.moved for a in answers[:6]) and all(a.place.moved for a in answers[6:])
    found = st.stability(verdict, answers)
    assert found.edits == 12 and found.survived + len(found.changed) == 12
    assert found.mask_iou == pytest.approx(np.mean([a.mask_iou for a in answers]), abs=1e-6)


def marker_scores(bench: Bench, photo: np.ndarray) -> list[object]:
    return [m_scores[0] for m_scores in (st.score_images(m.detector, [photo], [[FACE]]) for m in bench.members)]


def test_a_verdict_that_rests_on_brightness_does_not_survive_it(marker: Bench, photo: np.ndarray) -> None:
    verdict, evidence = st.judge(
        marker, None, next(Analyzer(marker).examine([photo]))[1].decoded, (FACE,), marker_scores(marker, photo)
    )
    assert verdict.verdict == "real"
    found = st.with_stability(marker, verdict, evidence, plan=(("brightness", 5), ("jpeg", 1)), seed=3).stability
    assert found is not None and (found.edits, found.survived, found.share) == (2, 1, 0.5)
    assert [(c.edit, c.severity) for c in found.changed] == [("brightness", 5)]
    assert found.score_low == pytest.approx(verdict.score, abs=0.01) and found.score_high > found.score_low + 0.15


def test_draws_depend_on_key_and_seed_alone(marker: Bench, photo: np.ndarray) -> None:
    _, evidence = next(Analyzer(marker).examine([photo]))
    plan = (("noise", 5), ("crop", 5), ("text", 3))

    def scores(key: str, seed: int, plan: st.Plan = plan) -> list[float | None]:
        return [a.logit for a in st.edited_answers(marker, evidence, plan, key=key, seed=seed)]

    assert scores("a", 0) == scores("a", 0)
    assert scores("a", 0)[1:] == scores("a", 0, plan[1:]), "no edit depends on those before it"
    assert scores("a", 0) != scores("b", 0) and scores("a", 0) != scores("a", 1)


def test_masks_that_are_empty_on_both_sides_have_no_overlap() -> None:
    empty, some = np.zeros((4, 4), bool), np.eye(4, dtype=bool)
    assert np.isnan(st._iou(empty, empty.astype(np.float32)))
    assert st._iou(some, empty.astype(np.float32)) == 0
    seen = some.astype(np.float32)
    seen[:2] = np.nan
    assert st._iou(some, seen) == 1, "what was cut off counts for nothing"


def test_what_cannot_be_measured_is_a_reason(marker: Bench, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict, evidence = next(Analyzer(marker).examine([photo]))

    def fail(*args: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(st, "score_images", fail)
    told = st.with_stability(marker, verdict, evidence)
    assert told.stability is None and told.reasons[-1].startswith("no_stability: ") and "no room" in told.reasons[-1]


def test_detect_tells_it_in_table_json_and_report(
    portrait: Path,
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(st, "PLAN", PLAN[:4])
    words = ["detect", "--detector", str(tiny_weights / "edited.safetensors"), "--device", "cpu"]
    assert main([*words, "--json", str(portrait)]) == 0
    assert json.loads(capsys.readouterr().out)["stability"] is None
    assert main([*words, "--stability", "--json", "--report", str(tmp_path / "r"), str(portrait)]) == 0
    line = json.loads(capsys.readouterr().out)
    assert list(line)[-1] == "stability"
    found = line["stability"]
    assert set(found) == {"edits", "survived", "share", "score_low", "score_high", "mask_iou", "changed"}
    assert found["edits"] == 4 and found["score_low"] <= line["score"] <= found["score_high"]
    page = (tmp_path / "r" / "report.html").read_text()
    assert "Does the verdict survive" in page and f"{found['survived']} of 4" in page
    assert main([*words, "--stability", str(portrait), str(tmp_path / "absent.jpg")]) == 1
    out = capsys.readouterr().out
    assert f"{found['survived']}/4" in out and "stable:" in out
    analyzer = load_analyzer(tiny_weights / "edited.safetensors", device="cpu")
    assert analyzer(portrait).stability is None
