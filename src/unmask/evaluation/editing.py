"""The image-editing benchmark: what benign edits do to a detector, and which malicious edits it misses.

Every image is judged as it is and after each benign edit of a plan, real and fake images alike and with the same
random draws: a fake is edited as the photo it was made from. Faces are found once, on the image itself, and move with
the content. Malicious edits are the fakes of the data, grouped by manipulation.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.analysis.analyzer import Analyzer
from unmask.analysis.judge import judge
from unmask.analysis.stability import EditedAnswer, Plan, edited_answers
from unmask.core.errors import ConfigError, DataError
from unmask.core.types import Face
from unmask.core.verdict import Thresholds
from unmask.data.manifest import Row, data_hash
from unmask.data.splits import families
from unmask.detectors.scoring import ImageScore
from unmask.evaluation.matching import Matching
from unmask.evaluation.predictions import Predictions, build
from unmask.evaluation.run import choose_split
from unmask.evaluation.scoring import DetectorScorer, FileError, Item, Progress, Record, Scored, score_rows
from unmask.evaluation.selection import check_selectable
from unmask.evaluation.unfinished import Unfinished
from unmask.metrics.image import FRR_POINTS, Scores, split_scores, threshold_at_frr, unresolvable
from unmask.metrics.pixel import overlap

Floats = npt.NDArray[np.float64]
LEAST_LEFT = 0.5
"""A fake of whose forged area less than this share is left (cropped away) counts in no number of that edit."""
NUMBERS = ("score", "logit", "pixel_f1", "pixel_iou", "false_alarm_area", "mask_iou")


@dataclass(frozen=True, slots=True, eq=False)
class Edited:
    """Answers on N images and on P edited versions of each."""

    plan: Plan
    clean: Predictions
    """The images themselves, with ``family``."""
    numbers: Mapping[str, Floats]
    """Each name of :data:`NUMBERS`, (N, P), nan where there is none."""
    verdicts: npt.NDArray[Any]
    """(N, P) texts; empty where the forged part was cropped away."""
    errors: list[FileError]

    @property
    def thresholds(self) -> Thresholds:
        """The detector's own, fixed."""
        return self.clean.thresholds

    @property
    def there(self) -> npt.NDArray[np.bool_]:
        """(N, P): True where the version counts."""
        return np.asarray(self.verdicts != "", bool)


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Thresholds carried over from other images."""

    thresholds: dict[float, float]
    """By FRR; those that the images cannot resolve are absent."""
    reasons: dict[float, str]
    """Why, for the absent ones."""
    about: dict[str, Any]


class EditingScorer(DetectorScorer):
    """Records of images that also hold the answers on their edited versions, in the plan's order."""

    def __init__(self, analyzer: Analyzer, plan: Plan, seed: int) -> None:
        super().__init__(analyzer)
        self.plan, self.seed = plan, seed

    def _answer(self, item: Item, faces: tuple[Face, ...], scored: Sequence[ImageScore]) -> Record:
        verdict, evidence = judge(self.bench, item.row.path, item.decoded, faces, scored)
        key = Path(item.row.pair or item.row.path).name  # a fake is edited like its counterpart
        answers = edited_answers(self.bench, evidence, self.plan, key=key, seed=self.seed)
        record = self.record(item, verdict, evidence, scored)
        record["edited"] = [_kept(item, answer, evidence.mask_threshold) for answer in answers]
        return record


def _kept(item: Item, answer: EditedAnswer, cut: float) -> list[Any]:
    """Numbers in the order of :data:`NUMBERS`, and the verdict; all empty where the forged part is gone."""
    truth = None if item.truth is None else answer.place.mask(item.truth)
    if truth is not None and item.truth is not None and item.row.label:
        inner, before = np.prod(answer.place.inner), np.prod(answer.place.before)
        if truth.sum() < LEAST_LEFT * item.truth.sum() * inner / before:
            return [None] * len(NUMBERS) + [""]
    found: tuple[float | None, ...] = (None, None, None)
    if truth is not None and answer.heatmap is not None:
        found = tuple(float(v[0]) for v in overlap(answer.heatmap[None], truth[None], cut))
    numbers = [answer.verdict.score, answer.logit, *found, answer.mask_iou]
    return [None if n is None or np.isnan(n) else n for n in numbers] + [answer.verdict.verdict or "uncertain"]


def limit_rows(rows: Sequence[Row], most: int | None, seed: int) -> list[Row]:
    """About ``most`` of the rows: whole families, drawn by a hash of their name, until another one would be too many.

    None: all rows. At least one family is taken, however large.

    >>> rows = [Row(f"/{n}.png", n % 2, group=str(n // 2)) for n in range(8)]
    >>> len(limit_rows(rows, 5, 0)), len(limit_rows(rows, None, 0))
    (4, 8)
    """
    if most is None or most >= len(rows):
        return list(rows)
    names = families(rows)
    sizes = Counter(names)

    def place(name: str) -> bytes:
        return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()

    chosen: set[str] = set()
    count = 0
    for name in sorted(sizes, key=place):
        if chosen and count + sizes[name] > most:
            break
        chosen.add(name)
        count += sizes[name]
    return [row for row, name in zip(rows, names, strict=True) if name in chosen]


def run_editing(
    analyzer: Analyzer,
    rows: Sequence[Row],
    plan: Plan,
    *,
    calibration: Sequence[Row] = (),
    boxes: Mapping[str, Sequence[Face]] | None = None,
    matching: Matching | None = None,
    problems: Sequence[FileError] = (),
    about: Mapping[str, Any] | None = None,
    seed: int = 0,
    unfinished: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Edited, Calibration | None]:
    """Judge every image and its edited versions; and images for thresholds that are carried over.

    Args:
        analyzer: from :func:`unmask.load`.
        rows: what to measure.
        plan: the benign edits.
        calibration: other images, see :func:`calibration_rows`; they are judged unedited.
        boxes: faces by path; other images are searched.
        matching: one size and JPEG quality for all images, before anything else.
        problems: files that could not even be listed; they join the errors.
        about: entries for the report.
        seed: of the edits' draws.
        unfinished: keep what is scored in this file, and go on from there if an earlier run has left it.
        progress: told how many images are done, of how many.

    Raises:
        ConfigError: ``other_settings``: the unfinished benchmark had other weights or settings.
        DataError: ``nothing_scored``.
    """
    matching, bench = matching or Matching(), analyzer.bench
    kept = None
    if unfinished is not None:
        members = [(m.sha256, m.calibration, m.mask_threshold, m.detector.config) for m in bench.members]
        places = sorted((str(path), tuple(faces)) for path, faces in (boxes or {}).items())
        settings = (members, bench.calibration, bench.thresholds, matching, places, tuple(plan), seed)
        kept = Unfinished(unfinished, "editing", *settings)
    total = len(rows) + len(calibration)

    def told(done: int, _: int, before: int = 0) -> None:
        if progress is not None:
            progress(before + done, total)

    scored = score_rows(
        rows,
        EditingScorer(analyzer, plan, seed),
        boxes=boxes,
        matching=matching,
        unfinished=kept,
        chunk_images=1,
        progress=told,
    )
    facts = {
        "name": bench.name,
        "thresholds": {"fake": bench.thresholds.fake, "real": bench.thresholds.real},
        "mask_thresholds": {m.name: m.mask_threshold for m in bench.members if m.detector.localizes},
        "weights_sha256": bench.weights_sha256,
        "data_sha256": data_hash(rows),
        "split": "/".join(sorted({row.split or "none" for row in rows})),
        "matching": {"size": matching.size, "jpeg_quality": matching.jpeg_quality},
        "edits": [list(step) for step in plan],
        "seed": seed,
    }
    edited = _stacked(scored, plan, facts | dict(about or {}), problems)
    if not calibration:
        return edited, None
    others = score_rows(
        calibration,
        DetectorScorer(analyzer),
        boxes=boxes,
        matching=matching,
        unfinished=kept,
        progress=lambda done, n: told(done, n, len(rows)),
    )
    edited.errors.extend(others.errors)
    return edited, _carried_over(others)


def _stacked(scored: Scored, plan: Plan, about: Mapping[str, Any], problems: Sequence[FileError]) -> Edited:
    errors = [*problems, *scored.errors]
    for record, family in zip(scored.records, families(scored.rows), strict=True):
        record["family"] = family
    clean = build(scored.records, about)
    if not len(clean) or np.isnan(clean["score"]).all():
        first = f": {errors[0].path}: {errors[0].message}" if errors else ""
        raise DataError("nothing_scored", f"none of the images could be scored ({len(errors)} errors){first}")
    table = [[version[:-1] for version in record["edited"]] for record in scored.records]
    values = np.array(table, np.float64).reshape(len(clean), len(plan), len(NUMBERS))  # None becomes nan
    verdicts = np.array([[version[-1] for version in r["edited"]] for r in scored.records], object)
    numbers = {name: values[..., k] for k, name in enumerate(NUMBERS)}
    return Edited(plan, clean, numbers, verdicts.reshape(len(clean), len(plan)), errors)


def calibration_rows(source: Sequence[Row], reported: Sequence[Row]) -> list[Row]:
    """The rows that thresholds may be chosen on: split ``val`` of the source, or all of a source without splits.

    Raises:
        DataError: ``empty_split``; ``leak``: a person or photo is among the reported ones too.
        ConfigError: ``select_on_test``.
    """
    chosen = choose_split(source, "val" if any(row.split for row in source) else None)
    check_selectable([row.split for row in chosen if row.split], "thresholds")
    paths = {row.path for row in reported}
    both = [*reported, *(row for row in chosen if row.path not in paths)]
    kin = dict(zip((row.path for row in both), families(both), strict=True))
    shared = {kin[row.path] for row in chosen} & {kin[row.path] for row in reported}
    if shared:
        raise DataError(
            "leak",
            f"{len(shared)} families (people, photos) would be calibrated on and reported on, e.g. '{min(shared)}'; "
            "split by group with `unmask data split`",
        )
    return chosen


def _carried_over(scored: Scored) -> Calibration:
    """Thresholds on the logit of the calibration images at each of :data:`FRR_POINTS`."""
    logits = np.array([np.nan if r["logit"] is None else r["logit"] for r in scored.records], np.float64)
    labels = np.array([row.label for row in scored.rows], int)
    known = ~np.isnan(logits)
    scores: Scores = split_scores(logits[known], labels[known])
    if not scores.real.size:
        raise ConfigError("bad_config", "the calibration data has no real image with a score")
    reasons = {x: why for x in FRR_POINTS if (why := unresolvable(scores.real.size, x))}
    about = {
        "data_sha256": data_hash(scored.rows),
        "n_real": int(scores.real.size),
        "n_fake": int(scores.fake.size),
        "n_families": len(set(families(scored.rows))),
    }
    return Calibration({x: threshold_at_frr(scores, x) for x in FRR_POINTS if x not in reasons}, reasons, about)
