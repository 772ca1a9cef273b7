"""Does a verdict survive what happens to photos anyway? The same photo judged again after each of some benign edits.

Faces are those of the photo, moved with the content: what is measured is the detectors, not the face finder. The
edited pixels are judged as if saved without loss, with the photo's own file facts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from unmask.analysis.judge import Bench, judge
from unmask.core.errors import ConfigError, UnmaskError
from unmask.core.names import did_you_mean
from unmask.core.seeds import rng
from unmask.core.types import FloatMap
from unmask.core.verdict import EditedVerdict, Stability, Verdict
from unmask.data.degradations import DEGRADATIONS
from unmask.data.placement import Placement
from unmask.detectors.scoring import score_images
from unmask.reports.evidence import Evidence

logger = logging.getLogger(__name__)

Plan = Sequence[tuple[str, int]]
"""Names of degradations, each with a severity."""
PLAN: Plan = tuple((name, severity) for name in DEGRADATIONS for severity in (1, 3))
"""Every benign edit, light and medium: what ``unmask detect --stability`` judges."""
_IMAGES, _PIXELS = 8, 16_000_000


@dataclass(frozen=True, slots=True, eq=False)
class EditedAnswer:
    """What is said about an image after one edit."""

    edit: str
    severity: int
    verdict: Verdict
    logit: float | None
    """What orders images, see :meth:`Bench.logit`."""
    heatmap: FloatMap | None
    """Over the edited image."""
    place: Placement
    """Where the image's content lies in the edited one."""
    mask_iou: float
    """IoU of the mask of the unedited image with this one, put back; nan when both are empty or there is none."""


def make_plan(names: Sequence[str] | None = None, severities: Sequence[int] = (1, 2, 3, 4, 5)) -> Plan:
    """Every named edit (None: all) at every severity.

    Raises:
        ConfigError: ``unknown_edit``, ``bad_severity``.

    >>> make_plan(["blur"], (1, 3))
    (('blur', 1), ('blur', 3))
    """
    for name in names or ():
        if name not in DEGRADATIONS:
            hint = did_you_mean(name, DEGRADATIONS)
            raise ConfigError("unknown_edit", f"unknown edit '{name}'{hint}; known: {', '.join(DEGRADATIONS)}")
    for severity in severities:
        if severity not in (1, 2, 3, 4, 5):
            raise ConfigError("bad_severity", f"severities are 1 to 5, got {severity}")
    chosen = [name for name in DEGRADATIONS if names is None or name in names]
    return tuple((name, severity) for name in chosen for severity in sorted(set(severities)))


def edited_answers(bench: Bench, clean: Evidence, plan: Plan, *, key: str, seed: int = 0) -> Iterator[EditedAnswer]:
    """Judge an image after each edit of a plan, a few at a time, so that memory does not grow with the plan.

    Args:
        bench: the detectors.
        clean: what the verdict on the unedited image rests on.
        plan: the edits.
        key: of the random draws (the noise, the window of a crop, the place of a text); images that share it, such as
            a fake and the photo it was made from, are edited alike.
        seed: another seed, other draws.
    """
    pixels = clean.decoded.pixels
    mask = None if clean.heatmap is None else clean.heatmap >= clean.mask_threshold
    count = int(np.clip(_PIXELS // (pixels.size // 3), 1, _IMAGES))
    for start in range(0, len(plan), count):
        part = plan[start : start + count]
        made = [DEGRADATIONS[name].edit(pixels, severity, rng(seed, key, name, severity)) for name, severity in part]
        images = [image for image, _ in made]
        faces = [tuple(f for face in clean.faces if (f := place.face(face)) is not None) for _, place in made]
        by_member = [score_images(member.detector, images, faces) for member in bench.members]
        for number, ((name, severity), (image, place)) in enumerate(zip(part, made, strict=True)):
            scored = [scores[number] for scores in by_member]
            verdict, seen = judge(bench, None, replace(clean.decoded, pixels=image), faces[number], scored)
            overlap = float("nan")
            if mask is not None and seen.heatmap is not None:
                back = place.back((seen.heatmap >= seen.mask_threshold).astype(np.float32))
                overlap = _iou(mask, back)
            logit = bench.logit([s.logit for s in scored])
            yield EditedAnswer(name, severity, verdict, logit, seen.heatmap, place, overlap)


def _iou(mask: npt.NDArray[np.bool_], other: FloatMap) -> float:
    """IoU of a bool map with a map in [0, 1] cut at a half, where that is known (not nan); nan when both are empty."""
    known = ~np.isnan(other)
    marked = np.nan_to_num(other) >= 0.5
    union = int(((mask | marked) & known).sum())
    return float((mask & marked & known).sum() / union) if union else float("nan")


def stability(clean: Verdict, answers: Sequence[EditedAnswer]) -> Stability:
    """What the answers on edited versions say about the verdict on the image itself."""
    changed = [a for a in answers if a.verdict.verdict != clean.verdict]
    scores = [s for s in (clean.score, *(a.verdict.score for a in answers)) if s is not None]
    overlaps = [a.mask_iou for a in answers if not np.isnan(a.mask_iou)]
    return Stability(
        edits=len(answers),
        survived=len(answers) - len(changed),
        share=round(1 - len(changed) / len(answers), 6) if answers else 1.0,
        score_low=min(scores, default=None),
        score_high=max(scores, default=None),
        mask_iou=round(float(np.mean(overlaps)), 6) if overlaps else None,
        changed=tuple(
            EditedVerdict(a.edit, a.severity, a.verdict.verdict or "uncertain", a.verdict.score) for a in changed
        ),
    )


def with_stability(
    bench: Bench,
    verdict: Verdict,
    evidence: Evidence,
    *,
    plan: Plan = PLAN,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Verdict:
    """The verdict with its :class:`Stability`; a reason instead where that cannot be measured.

    It costs one analysis per edit of the plan.

    Args:
        bench: the detectors.
        verdict: on the photo itself.
        evidence: what it rests on.
        plan: the edits.
        seed: of their random draws, which also depend on the file's hash: the same file, the same answer.
        progress: told how many edits are done.
    """
    answers = []
    try:
        for answer in edited_answers(bench, evidence, plan, key=verdict.sha256 or "pixels", seed=seed):
            answers.append(replace(answer, heatmap=None))
            progress(len(answers))
    except Exception as error:
        logger.debug("stability failed", exc_info=error)
        told = error.message if isinstance(error, UnmaskError) else f"{type(error).__name__}: {error}"
        return replace(verdict, reasons=(*verdict.reasons, f"no_stability: it could not be measured ({told})"))
    return replace(verdict, stability=stability(verdict, answers))
