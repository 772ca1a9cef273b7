"""Labelled files to predictions: decode, match, find faces, ask the detector exactly as ``unmask detect`` does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.analysis.analyzer import CHUNK_IMAGES, CHUNK_PIXELS, Analyzer
from unmask.analysis.judge import judge
from unmask.core.errors import UnmaskError
from unmask.core.files import real_path
from unmask.core.types import Face, FloatMap
from unmask.core.verdict import Verdict
from unmask.data.faces import FaceFinder, scale_face
from unmask.data.intake import Decoded, decode
from unmask.data.manifest import Row
from unmask.data.masks import read_mask
from unmask.data.shortcuts import blur_score, metadata_features
from unmask.detectors.scoring import ImageScore, score_images
from unmask.evaluation.matching import Matching, scale_mask
from unmask.evaluation.predictions import PIXEL
from unmask.evaluation.unfinished import Answer, Unfinished
from unmask.metrics.pixel import pixel_metrics
from unmask.reports.evidence import Evidence

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FileError:
    """A labelled file that could not be scored; it counts in no metric."""

    path: str
    label: int
    code: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One labelled image, decoded and matched."""

    row: Row
    decoded: Decoded
    truth: FloatMap | None
    """(H, W) true mask at the size of ``decoded``; zeros for a real image; None = not known."""
    faces: tuple[Face, ...] | None
    """As given; None = to be searched for."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What came out of a list of rows."""

    records: list[Record]
    """For :func:`unmask.evaluation.predictions.build`."""
    rows: list[Row]
    """Of the records, in their order."""
    metadata: npt.NDArray[np.float64]
    """(N, D) metadata features of the same images."""
    errors: list[FileError]


def _read(row: Row, boxes: Mapping[str, Sequence[Face]], matching: Matching) -> Item:
    original = decode(Path(row.path))
    truth = None
    if row.label == 0:
        truth = np.zeros(original.pixels.shape[:2], np.float32)
    elif row.mask:
        truth = read_mask(row.mask, original)
    decoded = matching.apply(original)
    shape = decoded.pixels.shape
    faces = boxes.get(real_path(row.path))
    return Item(
        row,
        decoded,
        None if truth is None else scale_mask(truth, (shape[0], shape[1])),
        None if faces is None else tuple(scale_face(face, original.pixels.shape, shape) for face in faces),
    )


def _record(item: Item) -> Record:
    """What needs no detector: the row's own columns and the blur baseline."""
    record = asdict(item.row)
    record["blur"] = blur_score(item.decoded.pixels)
    return record


class DetectorScorer:
    """Adds score, logit, verdict, status and pixel metrics to records."""

    def __init__(self, analyzer: Analyzer) -> None:
        self.bench = analyzer.bench
        self._finder = FaceFinder(device=str(analyzer.members[0].detector.mean.device))

    def __call__(self, items: Sequence[Item]) -> list[Record]:
        """One record per item."""
        images = [item.decoded.pixels for item in items]
        found = iter(self._finder.find([i.decoded.pixels for i in items if i.faces is None]))
        faces = [tuple(next(found)) if i.faces is None else i.faces for i in items]
        by_member = [score_images(member.detector, images, faces) for member in self.bench.members]
        return [self._answer(item, faces[k], [scored[k] for scored in by_member]) for k, item in enumerate(items)]

    def _answer(self, item: Item, faces: tuple[Face, ...], scored: Sequence[ImageScore]) -> Record:
        verdict, evidence = judge(self.bench, item.row.path, item.decoded, faces, scored)
        return self.record(item, verdict, evidence, scored)

    def record(self, item: Item, verdict: Verdict, evidence: Evidence, scored: Sequence[ImageScore]) -> Record:
        """What is kept of an answer."""
        return {
            **_record(item),
            "score": verdict.score,
            "logit": self.bench.logit([s.logit for s in scored]),
            "verdict": verdict.verdict,
            "status": verdict.status,
            **self.pixels(item, evidence),
        }

    def pixels(self, item: Item, evidence: Evidence) -> Record:
        """Pixel metrics of the map at the shipped mask threshold; empty without a map or a true mask."""
        if evidence.heatmap is None or item.truth is None:
            return {}
        heat = evidence.heatmap.clip(0.0, 1.0)  # resizing may overshoot by a rounding error
        found = pixel_metrics(heat[None], item.truth[None], evidence.mask_threshold)
        return {name: float(values[0]) for name, values in zip(PIXEL, found, strict=True)}


def baselines_only(items: Sequence[Item]) -> list[Record]:
    """Records of images that another tool has scored."""
    return [_record(item) for item in items]


def score_rows(
    rows: Sequence[Row],
    scorer: Callable[[Sequence[Item]], list[Record]],
    *,
    boxes: Mapping[str, Sequence[Face]] | None = None,
    matching: Matching | None = None,
    read: Callable[[Row], Item] | None = None,
    unfinished: Unfinished | None = None,
    chunk_images: int = CHUNK_IMAGES,
    progress: Progress | None = None,
) -> Scored:
    """Score labelled files in bounded memory; a file that cannot be scored is an error, never a number.

    Args:
        rows: what to score.
        scorer: a :class:`DetectorScorer`, or :func:`baselines_only`.
        boxes: faces by path, in pixels of the upright original; other images are searched.
        matching: brings all images to one size and quality first.
        read: gives the item of a row, for rows that are no image files; then ``boxes`` and ``matching`` are its matter.
        unfinished: what an earlier run has scored is taken from there, and every new chunk is kept there.
        chunk_images: at most this many images are scored together.
        progress: told how many rows are done, of how many.
    """
    if read is None:
        given = {real_path(path): faces for path, faces in (boxes or {}).items()}
        read = partial(_read, boxes=given, matching=matching or Matching())
    answers: dict[Row, Answer] = {}
    errors: list[FileError] = []
    if unfinished is not None:
        answers = {row: known for row in rows if (known := unfinished.get(row)) is not None}
    todo = [row for row in rows if row not in answers]
    for chunk, done in _chunks(todo, read, errors, chunk_images):
        fresh: list[tuple[Row, Answer]] = []
        for item, answer in _score(chunk, scorer):
            if isinstance(answer, FileError):
                errors.append(answer)
            else:
                fresh.append((item.row, (answer, metadata_features(item.decoded))))
        if unfinished is not None:
            unfinished.add(fresh)
        answers.update(fresh)
        if progress is not None:
            progress(len(rows) - len(todo) + done, len(rows))
    scored = [row for row in rows if row in answers]
    features = [answers[row][1] for row in scored]
    stacked = np.stack(features) if features else np.empty((0, 0))
    return Scored([answers[row][0] for row in scored], scored, stacked, errors)


def _chunks(
    rows: Sequence[Row], read: Callable[[Row], Item], errors: list[FileError], most: int
) -> Iterator[tuple[list[Item], int]]:
    """Readable images, a chunk at a time, each with the number of rows that have been read by then."""
    chunk: list[Item] = []
    pixels = 0
    for number, row in enumerate(rows, 1):
        try:
            chunk.append(read(row))
            pixels += chunk[-1].decoded.pixels.size // 3
        except UnmaskError as error:
            errors.append(FileError(row.path, row.label, error.code, error.message))
        if len(chunk) == most or pixels >= CHUNK_PIXELS or number == len(rows):
            yield chunk, number
            chunk, pixels = [], 0


def _score(
    items: Sequence[Item], scorer: Callable[[Sequence[Item]], list[Record]]
) -> Iterator[tuple[Item, Record | FileError]]:
    """Answers of a chunk; if it fails as a whole, image by image, so that a bad one spoils only itself."""
    try:
        yield from zip(items, scorer(items), strict=True)
    except Exception as error:
        if len(items) > 1:
            for item in items:
                yield from _score([item], scorer)
            return
        code = error.code if isinstance(error, UnmaskError) else "failed"
        logger.warning("%s could not be scored: %s", items[0].row.path, error, exc_info=code == "failed")
        yield items[0], FileError(items[0].row.path, items[0].row.label, code, str(error))
