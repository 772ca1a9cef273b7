from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from unmask.analysis.judge import Bench, heat, judge
from unmask.core.errors import UnmaskError
from unmask.core.types import Face, ViewConfig
from unmask.core.verdict import Thresholds
from unmask.data.intake import Decoded
from unmask.data.views import views
from unmask.detectors.base import Detector, DetectorConfig
from unmask.detectors.scoring import ImageScore, reduce_logits
from unmask.detectors.weights import Calibration
from unmask.reports.evidence import Member

SIZE = 200
BIG = Face((20, 20, 100, 110))
OTHER = Face((110, 60, 170, 130))
SMALL = Face((150, 10, 180, 40))


class Stub(Detector[DetectorConfig]):
    """A detector that is never run: only its declared properties are read."""

    def __init__(self, kind: Any, localizes: bool) -> None:
        super().__init__(DetectorConfig(view=ViewConfig(kind=kind, size=64, crops=2)))
        self._localizes = localizes

    @property
    def localizes(self) -> bool:
        return self._localizes


def member(answers: Any, kind: str = "face", localizes: bool = False, calibration: Calibration | None = None) -> Member:
    return Member(
        answers, "stub", Stub(kind, localizes), answers, calibration or Calibration(), 0.5, "0" * 64, "unmask train x"
    )


def picture(**changes: Any) -> Decoded:
    facts: dict[str, Any] = {
        "pixels": np.full((SIZE, SIZE, 3), 128, np.uint8), "format": "PNG", "mode": "RGB", "stored_size": (SIZE, SIZE),
        "orientation": 1, "sha256": "ab" * 32, "n_bytes": 1000, "quantization": None, "exif": {}, "icc": None,
        "frames": 1, "reasons": (),
    }  # fmt: skip
    return Decoded(**(facts | changes))


def said(who: Member, faces: list[Face], logits: list[float], mask: float | None = None, **changes: Any) -> ImageScore:
    cut = tuple(views(picture(**changes).pixels, faces, who.detector.config.view))[: len(logits)]
    assert len(cut) == len(logits)
    values = np.array(logits, np.float32)
    masks = None if mask is None else np.full((len(cut), 64, 64), mask, np.float32)
    return ImageScore(reduce_logits(who.detector, values, cut), values, masks, cut)


def bench(*members: Member, fake: float | None = 0.9, real: float | None = 0.1, name: str = "test") -> Bench:
    return Bench(name, members, Thresholds(fake, real), Calibration() if len(members) > 1 else None, "f" * 64)


def codes(reasons: tuple[str, ...]) -> set[str]:
    return {reason.split(":")[0] for reason in reasons}


def test_the_most_suspicious_face_speaks_for_the_image() -> None:
    who = member("edited")
    faces = [BIG, OTHER]
    verdict, _ = judge(bench(who), "a.jpg", picture(), tuple(faces), [said(who, faces, [-4.0, 4.0])])
    assert (verdict.verdict, verdict.kind, verdict.status) == ("fake", "edited", "ok")
    assert [face.verdict for face in verdict.faces] == ["real", "fake"]
    assert verdict.score == verdict.faces[1].score == verdict.scores.edited
    assert codes(verdict.reasons) == {"open_question"}  # whether it was generated


def test_two_questions_are_combined_and_the_stronger_one_is_the_kind() -> None:
    edited, generated = member("edited"), member("generated", kind="native")
    results = [said(edited, [BIG], [-3.0]), said(generated, [BIG], [3.0, 5.0])]
    verdict, _ = judge(bench(edited, generated), "a.jpg", picture(), (BIG,), results)
    p_edited, p_generated = 1 / (1 + np.exp(3.0)), 1 / (1 + np.exp(-4.0))
    assert verdict.score == pytest.approx(1 - (1 - p_edited) * (1 - p_generated), abs=1e-6)
    assert (verdict.verdict, verdict.kind) == ("fake", "generated")
    assert verdict.faces[0].score == verdict.score
    assert not verdict.reasons


def test_a_frame_detector_gives_no_face_a_score_of_its_own() -> None:
    who = member("generated", kind="native")
    verdict, _ = judge(bench(who), None, picture(), (BIG,), [said(who, [BIG], [5.0, 5.0])])
    assert verdict.verdict == "fake"
    assert (verdict.faces[0].score, verdict.faces[0].verdict, verdict.faces[0].mask_area) == (None, None, None)


def test_without_a_face_there_is_a_score_but_no_verdict() -> None:
    who = member("edited")
    verdict, _ = judge(bench(who), "a.jpg", picture(), (), [said(who, [], [9.0])])
    assert (verdict.status, verdict.verdict, verdict.kind) == ("no_face", "uncertain", None)
    assert verdict.score is not None and verdict.score > 0.99
    assert "no_face" in codes(verdict.reasons)


def test_nothing_to_look_at_is_uncertain_without_a_score() -> None:
    who = member("edited")
    verdict, _ = judge(bench(who), "a.jpg", picture(), (), [ImageScore(None, np.zeros(0, np.float32), None, ())])
    assert (verdict.status, verdict.verdict, verdict.score) == ("no_face", "uncertain", None)


@pytest.mark.parametrize(
    ("small", "big", "expected"), [(5.0, -5.0, "uncertain"), (5.0, 5.0, "fake"), (-5.0, -5.0, "real")]
)
def test_a_face_too_small_to_judge_condemns_nobody(small: float, big: float, expected: str) -> None:
    who = member("edited")
    faces = [BIG, SMALL]
    verdict, _ = judge(bench(who), "a.jpg", picture(), tuple(faces), [said(who, faces, [big, small])])
    assert verdict.verdict == expected
    assert verdict.faces[1].verdict == "uncertain"
    assert "small_faces" in codes(verdict.reasons)


def test_doubts_about_the_picture_leave_the_score_and_take_the_verdict() -> None:
    who = member("edited")
    heavy = {0: tuple([255] * 64)}
    for change, code in (
        ({"pixels": np.zeros((90, 200, 3), np.uint8)}, "tiny_image"),
        ({"quantization": heavy, "format": "JPEG"}, "heavy_compression"),
    ):
        result = said(who, [BIG], [6.0], **{k: v for k, v in change.items() if k == "pixels"})
        verdict, _ = judge(bench(who), "a.jpg", picture(**change), (BIG,), [result])
        assert verdict.verdict == verdict.faces[0].verdict == "uncertain"
        assert verdict.score is not None and verdict.score > 0.9
        assert code in codes(verdict.reasons)


def test_a_missing_threshold_is_said_and_its_verdict_never_given() -> None:
    who = member("both")
    verdict, _ = judge(bench(who, real=None), "a.jpg", picture(), (BIG,), [said(who, [BIG], [-9.0])])
    assert verdict.verdict == "uncertain"
    assert codes(verdict.reasons) == {"unresolved_threshold"}
    assert (verdict.scores.edited, verdict.scores.generated) == (None, None)


def test_a_detector_for_both_questions_names_no_kind() -> None:
    who = member("both")
    verdict, _ = judge(bench(who), "a.jpg", picture(), (BIG,), [said(who, [BIG], [9.0])])
    assert (verdict.verdict, verdict.kind) == ("fake", None)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_an_error(bad: float) -> None:
    who = member("edited")
    with pytest.raises(UnmaskError) as caught:
        judge(bench(who), "a.jpg", picture(), (BIG,), [said(who, [BIG], [bad])])
    assert caught.value.code == "bad_score"


def test_the_heat_map_lies_where_the_views_looked() -> None:
    who = member("edited", localizes=True)
    result = said(who, [BIG], [1.0], mask=0.75)
    heatmap, cut = heat(picture(), [(who, result)])
    assert heatmap is not None and heatmap.shape == (SIZE, SIZE) and cut == 0.5
    x1, y1, x2, y2 = result.views[0].box
    inside = np.zeros((SIZE, SIZE), bool)
    inside[max(y1, 0) : y2, max(x1, 0) : x2] = True
    assert np.allclose(heatmap[inside], 0.75) and not heatmap[~inside].any()
    verdict, evidence = judge(bench(who), "a.jpg", picture(), (BIG, SMALL), [said(who, [BIG, SMALL], [1.0, 0.0], 0.75)])
    assert [face.mask_area for face in verdict.faces] == [1.0, 1.0]
    assert evidence.heatmap is not None


def test_a_face_seen_in_two_squares_is_their_mean() -> None:
    who = member("edited", localizes=True)
    view = replace(who.detector.config.view, margin=1.0, wider=(2.0,))
    who.detector.config = replace(who.detector.config, view=view)
    close, wide = views(picture().pixels, [BIG], view)
    masks = np.stack([np.full((64, 64), value, np.float32) for value in (0.9, 0.5)])
    logits = np.array([3.0, 1.0], np.float32)
    result = ImageScore(reduce_logits(who.detector, logits, (close, wide)), logits, masks, (close, wide))
    assert result.logit == pytest.approx(2.0)
    verdict, evidence = judge(bench(who), "a.jpg", picture(), (BIG,), [result])
    assert verdict.faces[0].score == pytest.approx(verdict.score)
    assert evidence.heatmap is not None
    x1, y1, x2, y2 = close.box
    assert np.allclose(evidence.heatmap[y1:y2, x1:x2], 0.7)
    outside = np.ones((SIZE, SIZE), bool)
    outside[y1:y2, x1:x2] = False
    x1, y1, x2, y2 = wide.box
    assert outside[y1:y2, x1:x2].any()
    assert np.allclose(evidence.heatmap[y1:y2, x1:x2][outside[y1:y2, x1:x2]], 0.5)


def test_mask_area_counts_the_pixels_of_the_box_inside_the_image() -> None:
    who = member("edited", localizes=True)
    over_the_edge = Face((-40, -40, 40, 40))
    result = said(who, [over_the_edge], [1.0], mask=0.4)
    verdict, _ = judge(bench(who), "a.jpg", picture(), (over_the_edge,), [result])
    assert verdict.faces[0].mask_area == 0.0


def test_intake_reasons_are_passed_on() -> None:
    who = member("both")
    decoded = picture(reasons=("CMYK was converted",))
    verdict, _ = judge(bench(who), "a.jpg", decoded, (BIG,), [said(who, [BIG], [0.0])])
    assert verdict.reasons == ("intake: CMYK was converted",)
