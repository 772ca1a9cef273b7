"""``unmask evaluate`` as functions: a detector, or another tool's scores, on labelled images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.analysis.analyzer import Analyzer
from unmask.core.errors import DataError
from unmask.core.types import Face
from unmask.core.verdict import Thresholds
from unmask.data.manifest import Row, check_rows, data_hash, read_manifest
from unmask.data.sources import index_folder
from unmask.data.splits import families
from unmask.evaluation.baselines import metadata_scores
from unmask.evaluation.matching import Matching
from unmask.evaluation.predictions import Predictions, build, read_predictions
from unmask.evaluation.scoring import DetectorScorer, FileError, Progress, Scored, baselines_only, score_rows
from unmask.evaluation.selection import check_selectable
from unmask.evaluation.tables import TableRow, subsets, table_row
from unmask.evaluation.unfinished import Unfinished
from unmask.evaluation.videos import VideoScorer
from unmask.training.calibrate import calibrate


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Everything an evaluation found; :func:`unmask.evaluation.output.write_evaluation` puts it on disk."""

    predictions: Predictions
    table: list[TableRow]
    errors: list[FileError]


def read_rows(source: str | Path, progress: Progress | None = None) -> tuple[list[Row], list[FileError]]:
    """Labelled rows of a manifest file, or of a folder whose folder names give the labels.

    Returns:
        The rows, and for a folder the files that cannot be used (label -1: not known).
    """
    if Path(source).is_dir():
        index = index_folder(source, progress=progress)
        return index.rows, [FileError(p.path, -1, p.code, p.message) for p in index.problems]
    return list(read_manifest(source).rows), []


def choose_split(rows: Sequence[Row], split: str | None) -> list[Row]:
    """The rows to report on: those of ``split``; unasked ``test`` where rows have splits, else all.

    Raises:
        DataError: no row is left; the message counts the splits there are.
    """
    if split is None:
        split = "test" if any(row.split for row in rows) else ""
    chosen = [row for row in rows if row.split == split] if split else list(rows)
    if not chosen:
        counts = {s: sum(row.split == s for row in rows) for s in ("train", "val", "test", "")}
        have = ", ".join(f"{n} {s or 'without a split'}" for s, n in counts.items() if n) or "no row"
        raise DataError("empty_split", f"no row has split '{split}' (there are: {have}); name one with --split")
    return chosen


def evaluate_detector(
    analyzer: Analyzer,
    rows: Sequence[Row],
    *,
    boxes: Mapping[str, Sequence[Face]] | None = None,
    matching: Matching | None = None,
    problems: Sequence[FileError] = (),
    about: Mapping[str, Any] | None = None,
    seed: int = 0,
    unfinished: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score labelled images exactly as ``unmask detect`` would, and measure the answers.

    With a detector of clips the rows are frames, and their videos are scored (:mod:`unmask.evaluation.videos`).

    Args:
        analyzer: from :func:`unmask.load`.
        rows: what to score.
        boxes: faces by path; other images are searched.
        matching: one size and JPEG quality for both classes.
        problems: files that could not even be listed; they join the errors.
        about: entries for the report (command, manifest …).
        seed: of the bootstrap and the metadata probe.
        unfinished: keep what is scored in this file, and go on from there if an earlier run has left it.
        progress: told how many rows are done, of how many.

    Raises:
        ConfigError: ``other_settings``: the unfinished evaluation had other weights or settings.
        DataError: nothing could be scored; of videos: ``too_short``, ``mixed_labels``, ``mixed_frames``.
    """
    matching = matching or Matching()
    bench = analyzer.bench
    videos = None
    if analyzer.takes_clips:
        videos = VideoScorer(analyzer, rows, boxes, matching)
    kept = None
    if unfinished is not None:
        members = [(m.sha256, m.calibration, m.mask_threshold, m.detector.config) for m in bench.members]
        places = sorted((str(path), tuple(faces)) for path, faces in (boxes or {}).items())
        settings = (members, bench.calibration, bench.thresholds, matching, places)
        kept = Unfinished(unfinished, *settings, files=None if videos is None else videos.files)
    if videos is None:
        scorer = DetectorScorer(analyzer)
        scored = score_rows(rows, scorer, boxes=boxes, matching=matching, unfinished=kept, progress=progress)
    else:
        scored = score_rows(
            list(videos.videos), videos, read=videos.read, unfinished=kept, chunk_images=1, progress=progress
        )
    facts = {
        "name": bench.name,
        "thresholds": {"fake": bench.thresholds.fake, "real": bench.thresholds.real},
        "mask_thresholds": {m.name: m.mask_threshold for m in bench.members if m.detector.localizes},
        "weights_sha256": bench.weights_sha256,
        **({} if videos is None else videos.about),
    }
    return _measure(scored, facts | _facts(rows, matching, seed) | dict(about or {}), problems, seed, have_images=True)


def read_scores(path: str | Path, rows: Sequence[Row] | None = None) -> tuple[list[Row], Predictions]:
    """Another tool's scores, in the order of the rows.

    Args:
        path: CSV or Parquet with path, label, score; relative paths are relative to its folder.
        rows: of a manifest; every one must have a score. None: the file's own columns make the rows.

    Raises:
        DataError: a bad file; rows without a score, or labels that disagree (how many, and the first).
    """
    predictions = read_predictions(path)
    folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120 (resolve() would replace links)
    places = [os.path.normpath(os.path.join(folder, p)) for p in predictions["path"]]  # noqa: PTH118
    if rows is None:
        names = ("group", "split", "source", "manipulation")
        rows = [
            Row(place, int(predictions["label"][i]), **{n: predictions[n][i] for n in names})
            for i, place in enumerate(places)
        ]
        pairs = [p and os.path.normpath(os.path.join(folder, p)) for p in predictions["pair"]]  # noqa: PTH118
        rows = [replace(row, pair=pair) for row, pair in zip(rows, pairs, strict=True)]
        check_rows(rows)
        return list(rows), predictions
    at = {place: i for i, place in enumerate(places)}
    lacking = [row.path for row in rows if row.path not in at]
    if lacking:
        raise DataError("no_score", f"{path} has no score for {len(lacking)} of {len(rows)} images, first {lacking[0]}")
    index = np.array([at[row.path] for row in rows])
    wrong = np.flatnonzero(predictions["label"][index] != [row.label for row in rows])
    if wrong.size:
        first = rows[int(wrong[0])].path
        raise DataError("bad_labels", f"{path}: {wrong.size} labels disagree with the manifest, first {first}")
    return list(rows), predictions.take(index)


def evaluate_scores(
    rows: Sequence[Row],
    scores: Predictions,
    *,
    split: str | None = None,
    calibrate_on: str | None = None,
    matching: Matching | None = None,
    problems: Sequence[FileError] = (),
    about: Mapping[str, Any] | None = None,
    seed: int = 0,
    unfinished: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure another tool's scores next to the same baselines.

    Args:
        rows: of all splits, in the order of ``scores``.
        scores: from :func:`read_scores`.
        split: reported; see :func:`choose_split`.
        calibrate_on: split on which calibration and thresholds are chosen; None leaves the scores as they are and
            gives no verdicts. Choosing on test data, or on what is reported, is refused.
        matching: for the baselines only.
        problems: see :func:`evaluate_detector`, like the rest.
        about: entries for the report.
        seed: of folds, bootstrap and probe.
        unfinished: for the baselines; see :func:`evaluate_detector`.
        progress: told how many rows are done, of how many.

    Raises:
        ConfigError: ``select_on_test``, ``other_settings``.
    """
    reported = choose_split(rows, split)
    facts: dict[str, Any] = {"name": scores.name, "thresholds": scores.about.get("thresholds")}
    values = dict(zip((row.path for row in rows), zip(scores["score"], scores["logit"], strict=True), strict=True))
    thresholds = scores.thresholds
    if calibrate_on is not None:
        part = [row for row in rows if row.split == calibrate_on]
        check_selectable([calibrate_on], "thresholds", reported=reported[0].split)
        if not part:
            raise DataError("empty_split", f"no row has split '{calibrate_on}' to choose thresholds on")
        _, logits = np.array([values[row.path] for row in part]).T
        fit = calibrate(logits, [row.label for row in part], families(part), seed=seed)
        thresholds = Thresholds(fit.fake.threshold, fit.real.threshold)
        meta = fit.to_meta()
        facts |= {key: meta[key] for key in ("calibration", "thresholds")}
        facts |= {"calibrated_on": {"split": calibrate_on, "n": len(part)}}
        values = {path: (float(fit.apply(logit)), logit) for path, (_, logit) in values.items()}
    have_images = all(Path(row.path).is_file() for row in reported)
    if have_images:
        kept = None if unfinished is None else Unfinished(unfinished, "baselines", matching or Matching())
        scored = score_rows(reported, baselines_only, matching=matching, unfinished=kept, progress=progress)
    else:
        scored = Scored([asdict(row) for row in reported], list(reported), np.empty((0, 0)), [])
    for record in scored.records:
        score, logit = values[record["path"]]
        has_score = not np.isnan(score)
        verdict = thresholds.decide(score if has_score else None) if thresholds != Thresholds() else ""
        record |= {"score": score, "logit": logit, "verdict": verdict, "status": "ok"}
    facts |= _facts(reported, matching or Matching(), seed) | dict(about or {})
    return _measure(scored, facts, problems, seed, have_images=have_images)


def _facts(rows: Sequence[Row], matching: Matching, seed: int) -> dict[str, Any]:
    return {
        "data_sha256": data_hash(rows),
        "split": "/".join(sorted({row.split or "none" for row in rows})),
        "matching": {"size": matching.size, "jpeg_quality": matching.jpeg_quality},
        "seed": seed,
    }


def _measure(
    scored: Scored, about: Mapping[str, Any], problems: Sequence[FileError], seed: int, *, have_images: bool
) -> Evaluation:
    errors = [*problems, *scored.errors]
    unit = about.get("unit", "images")
    if not scored.records:
        raise DataError("nothing_scored", f"none of the {unit} could be scored ({len(errors)} errors){_first(errors)}")
    for record, family in zip(scored.records, families(scored.rows), strict=True):
        record["family"] = family
    predictions = build(scored.records, about)
    if np.isnan(predictions["score"]).all():
        raise DataError("nothing_scored", f"none of the {len(predictions)} {unit} has a score (no face found?)")
    features: npt.NDArray[np.float64] | None = scored.metadata if have_images else None
    if features is not None:
        predictions.columns["metadata"][:] = metadata_scores(features, scored.rows, seed)[0]
    table = [table_row(s, predictions, features, scored.rows, seed) for s in subsets(predictions)]
    return Evaluation(predictions, table, errors)


def _first(errors: Sequence[FileError]) -> str:
    return f": {errors[0].path}: {errors[0].message}" if errors else ""
