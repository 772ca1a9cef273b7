"""From what the detectors said about an image to the verdict: calibrate, combine, decide, and say why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from unmask.analysis.combination import calibrated, combined_logit
from unmask.analysis.domain import MIN_FACE, disagreement, is_small, is_unfamiliar, unfamiliar, warnings
from unmask.analysis.standing import HeldOut
from unmask.core.errors import UnmaskError
from unmask.core.types import Face, FloatMap
from unmask.core.verdict import FaceVerdict, Kind, Scores, Thresholds, Verdict, VerdictName
from unmask.data.intake import Decoded
from unmask.detectors.scoring import ImageScore, by_face, probability
from unmask.detectors.weights import Calibration
from unmask.reports.evidence import Evidence, Member

Results = Sequence[tuple[Member, ImageScore]]
QUESTIONS = {
    "edited": "was a real photo edited?",
    "generated": "was the image generated as a whole?",
}


@dataclass(frozen=True, slots=True)
class Bench:
    """Who judges: the detectors, how their answers combine, and from which score on there is a verdict."""

    name: str
    members: tuple[Member, ...]
    thresholds: Thresholds
    calibration: Calibration | None
    """Of the combined logit; None for a single member, which brings its own."""
    weights_sha256: str
    held_out: HeldOut | None = None
    """Scores of held-out images that an image's score is compared with."""

    def logit(self, logits: Sequence[float | None]) -> float | None:
        """What the last calibration reads, from one logit per member; a member that saw nothing (None) is left out."""
        known = [(m, logit) for m, logit in zip(self.members, logits, strict=True) if logit is not None]
        if not known:
            return None
        if not all(math.isfinite(logit) for _, logit in known):
            raise UnmaskError("bad_score", "a detector's score of this image is not a number; its weights are damaged")
        if self.calibration is None:
            return known[0][1]
        return combined_logit(*(probability(x, m.calibration.scale, m.calibration.offset) for m, x in known))

    def score(self, logits: Sequence[float | None]) -> float | None:
        """The calibrated score from one logit per member."""
        raw = self.logit(logits)
        return None if raw is None else calibrated(self.calibration or self.members[0].calibration, raw)


def judge(
    bench: Bench, path: str | None, decoded: Decoded, faces: tuple[Face, ...], scored: Sequence[ImageScore]
) -> tuple[Verdict, Evidence]:
    """The verdict on one image, with what it rests on.

    Args:
        bench: the detectors and thresholds.
        path: as it shall stand in the verdict.
        decoded: the upright image.
        faces: its faces, in the order of the answer.
        scored: what each member of the bench said, in their order.

    Raises:
        UnmaskError: ``bad_score`` when a detector answered with nan or infinity.
    """
    results = tuple(zip(bench.members, scored, strict=True))
    score = bench.score([result.logit for _, result in results])
    own = {m.answers: calibrated(m.calibration, result.logit) for m, result in results if result.logit is not None}
    scores = Scores(own.get("edited"), own.get("generated"))
    heatmap, cut = heat(decoded, results)
    doubts = warnings(decoded, faces)
    face_scores = [_face_score(bench, results, face) for face in faces]
    judged = tuple(
        FaceVerdict(
            box=(x1, y1, x2, y2),
            score=value,
            verdict=None
            if value is None
            else "uncertain"
            if doubts or is_small(face)
            else _cautious(bench.thresholds.decide(value), any(is_unfamiliar(m, r, face) for m, r in results)),
            mask_area=_marked(heatmap, face, cut),
        )
        for face, value in zip(faces, face_scores, strict=True)
        for x1, y1, x2, y2 in [[round(edge, 1) for edge in face.box]]
    )
    verdict = bench.thresholds.decide(score)
    strange = unfamiliar(results) if verdict != "fake" else ()
    told = [face.verdict for face in judged if face.verdict is not None]
    if doubts or (verdict == "fake" and told and "fake" not in told):  # only a face too small to judge stands out
        verdict = "uncertain"
    verdict = _cautious(verdict, bool(strange))
    kind: Kind | None = None
    if verdict == "fake" and (scores.edited is not None or scores.generated is not None):
        kind = "edited" if (scores.edited or 0.0) >= (scores.generated or 0.0) else "generated"
    last = bench.calibration or bench.members[0].calibration
    answer = Verdict(
        path=path,
        sha256=decoded.sha256 or None,
        status="ok" if faces else "no_face",
        verdict=verdict,
        kind=kind,
        score=score,
        scores=scores,
        thresholds=bench.thresholds,
        faces=judged,
        detector=bench.name,
        weights_sha256=bench.weights_sha256,
        reasons=(
            *(f"intake: {reason}" for reason in decoded.reasons),
            *doubts,
            *strange,
            *disagreement(results),
            *_remarks(bench, faces),
        ),
        standing=None if bench.held_out is None else bench.held_out.standing(score),
    )
    return answer, Evidence(decoded, faces, results, heatmap, cut, last)


def _cautious(verdict: VerdictName, unfamiliar: bool) -> VerdictName:
    """What is like nothing known to be real, and like nothing known to be fake either, is not called real."""
    return "uncertain" if unfamiliar and verdict == "real" else verdict


def heat(decoded: Decoded, results: Results) -> tuple[FloatMap | None, float]:
    """The localizer's map (H, W) over the whole upright image and its threshold: the mean over the squares of a face
    that show a place, the maximum over faces; over native squares their maximum."""
    for member, result in results:
        if member.detector.localizes:
            height, width = decoded.pixels.shape[:2]
            blank: FloatMap = np.zeros((height, width), np.float32)
            if result.view_masks is None:
                return blank, member.mask_threshold
            together = member.detector.config.view.kind == "face"
            groups = by_face(result.views) if together else [[n] for n in range(len(result.views))]
            maps = (_joined(result, group, (height, width)) for group in groups)
            return reduce(np.maximum, maps, blank), member.mask_threshold
    return None, 0.5


def _joined(result: ImageScore, group: Sequence[int], shape: tuple[int, int]) -> FloatMap:
    """The mean over the views of a group that show a place, 0 where none does."""
    assert result.view_masks is not None
    pairs = [(result.views[n], result.view_masks[n]) for n in group]
    if len(pairs) == 1:
        return pairs[0][0].to_image(pairs[0][1], shape)
    total = sum(view.to_image(values, shape) for view, values in pairs)
    shown = sum(view.to_image(np.ones_like(values), shape) for view, values in pairs)
    return np.asarray(total / np.maximum(shown, 1), np.float32)


def _face_score(bench: Bench, results: Results, face: Face) -> float | None:
    """The combined score with the views of this face; None when no member looks at faces one by one."""
    logits: list[float | None] = []
    alone = False
    for member, result in results:
        logit = result.logit
        if member.detector.config.view.kind == "face":
            own = [n for n, view in enumerate(result.views) if view.face is face]
            if own:
                logit, alone = float(result.view_logits[own].mean()), True
        logits.append(logit)
    return bench.score(logits) if alone else None


def _marked(heatmap: FloatMap | None, face: Face, cut: float) -> float | None:
    """Share of the face box's pixels at or above the mask threshold."""
    if heatmap is None:
        return None
    x1, y1, x2, y2 = face.box
    inside = heatmap[max(math.floor(y1), 0) : max(math.ceil(y2), 0), max(math.floor(x1), 0) : max(math.ceil(x2), 0)]
    return round(float((inside >= cut).mean()), 6) if inside.size else 0.0


def _remarks(bench: Bench, faces: Sequence[Face]) -> list[str]:
    """What limits every answer of this bench, and which faces were too small."""
    remarks = []
    small = sum(map(is_small, faces))
    if small and small < len(faces):
        remarks.append(f"small_faces: {small} of {len(faces)} faces have fewer than {MIN_FACE} pixels and no verdict")
    answered = {member.answers for member in bench.members}
    if "both" not in answered:
        remarks += [
            f"open_question: {question} No loaded detector answers this well, so the verdict does not cover it"
            for name, question in QUESTIONS.items()
            if name not in answered
        ]
    missing = [name for name in ("fake", "real") if getattr(bench.thresholds, name) is None]
    if missing:
        remarks.append(
            f"unresolved_threshold: the weights carry no threshold for {' or '.join(missing)} "
            "(too little validation data, or a question left open), so that verdict is never given"
        )
    return remarks
