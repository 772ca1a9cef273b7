"""The features of a data set, measured once: in parallel, cached, with bounded memory, safe to interrupt."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unmask.core.errors import ConfigError, DataError
from unmask.core.files import real_path
from unmask.core.types import Face, Landmarks
from unmask.core.version import __version__
from unmask.data.clips import Video, as_videos
from unmask.data.degradations import DEGRADATIONS
from unmask.data.manifest import Row, data_hash
from unmask.data.parallel import Progress, in_processes
from unmask.features.base import Feature
from unmask.features.measuring import AS_IT_IS, Answer, Measurer, Task
from unmask.features.table import NUMBERS, TEXT, FeatureTable


class Unmeasured(NamedTuple):
    """An image or video that could not be measured; it is not in the table."""

    path: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class Extraction:
    """What :func:`extract_features` found."""

    table: FeatureTable
    errors: list[Unmeasured]


def parse_degradations(words: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """``NAME`` (severities 1 to 5), ``NAME:3`` or ``NAME:1,3,5`` to names with a severity, each once.

    Raises:
        ConfigError: ``bad_config``: no such degradation, or another severity.

    >>> parse_degradations(["jpeg:1,5", "blur:2"])
    (('jpeg', 1), ('jpeg', 5), ('blur', 2))
    """
    found: dict[tuple[str, int], None] = {}
    for word in words:
        name, colon, levels = word.partition(":")
        if name not in DEGRADATIONS:
            raise ConfigError("bad_config", f"no degradation '{name}'; there are: {', '.join(DEGRADATIONS)}")
        severities = levels.split(",") if colon else list("12345")
        if not set(severities) <= set("12345"):
            raise ConfigError("bad_config", f"severities are 1 to 5, as in {name}:3 or {name}:1,3,5; got '{word}'")
        found |= {(name, int(severity)): None for severity in severities}
    return tuple(found)


def extract_features(
    rows: Sequence[Row],
    features: Sequence[Feature],
    *,
    boxes: Mapping[str, Sequence[Face]] | None = None,
    landmarks: Mapping[str, Sequence[Landmarks]] | None = None,
    degradations: Sequence[tuple[str, int]] = (),
    videos: bool = False,
    seed: int = 0,
    jobs: int | None = None,
    cache: str | Path | None = None,
    about: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Extraction:
    """Measure features of labelled images.

    The values are the same whatever ``jobs`` and ``cache`` are. Memory holds the table and per process a few images,
    of a video the frames that are looked at (32 around the middle, or as many as a detector's clips have).

    Args:
        rows: the images; each gives a row as it is, and one per degradation.
        features: from :func:`unmask.features.catalogue.find_features`.
        boxes: faces by path, in pixels of the upright image; the faces of other images are searched. Degraded images
            have the face of the image as it is.
        landmarks: dense points by path, as :func:`unmask.data.landmarks.read_landmarks` gives them, in place of our own
            network's for all images: a face on which none lie (:func:`unmask.data.landmarks.landmarks_of`) has none.
            Degraded images have those of the image as it is, moved as the edit moves it.
        degradations: names of :data:`unmask.data.degradations.DEGRADATIONS` with severities.
        videos: the rows are frames, and what is measured are their videos (:func:`unmask.data.clips.as_videos`): a row
            of the table each, known by the hash of all its frames. Features of single images see the middle frame, and
            the face is that of the middle frame. All frames are degraded with one and the same draw.
        seed: of the degradations.
        jobs: processes; None = one per core.
        cache: folder of a :class:`unmask.features.cache.FeatureCache`; None = nothing is kept.
        about: entries for the table (command, manifest ...).
        progress: told how many images are done, of how many.

    Raises:
        ConfigError: no feature, or one that is only a map.
        DataError: ``other_landmarks``: landmarks are given, and for none of the images; ``nothing_measured``: every
            image failed; ``worker_died``; ``mixed_labels``, ``mixed_frames``: what a folder holds is no single video.
    """
    if not features:
        raise ConfigError("bad_config", "name at least one feature")
    for feature in features:
        if not feature.columns:
            raise ConfigError("bad_config", f"feature '{feature.name}' is only a map: it has no values for a table")
    given = {real_path(path): tuple(faces) for path, faces in (boxes or {}).items()}
    wholes = as_videos(rows) if videos else [Video(row, (row,)) for row in rows]
    dense = None if landmarks is None else {real_path(path): tuple(found) for path, found in landmarks.items()}
    tasks = [_task([frame.path for frame in whole.frames], given, dense) for whole in wholes]
    if dense is not None and not any(real_path(_middle(task.paths)) in dense for task in tasks):
        hint = f"the first image is '{_middle(tasks[0].paths)}', their first '{next(iter(landmarks or {}), '')}'"
        raise DataError("other_landmarks", f"landmarks are given, and for none of the {len(tasks)} images; {hint}")
    states = (AS_IT_IS, *degradations)
    work = Measurer(tuple(features), states, seed, None if cache is None else Path(cache))
    gathered = _Gathered(features, states, len(wholes))
    errors: list[Unmeasured] = []
    answers = in_processes(work, tasks, jobs=_jobs(jobs), progress=progress)
    for (row, _), answer in zip(wholes, answers, strict=True):
        if answer.code:
            errors.append(Unmeasured(row.path, answer.code, answer.message))
        else:
            gathered.add(row, answer)
    if not gathered.rows:
        first = f": {errors[0].path}: {errors[0].message}" if errors else ""
        what = "videos" if videos else "images"
        raise DataError("nothing_measured", f"none of the {len(wholes)} {what} could be measured{first}")
    facts = {
        "data_sha256": data_hash(rows),
        "unmask": __version__,
        "versions": {feature.name: feature.version for feature in features},
        "weights": {feature.name: feature.fingerprint for feature in features if feature.fingerprint},
        "seed": seed,
        **({"unit": "videos", "frames": len(rows)} if videos else {}),
        "errors": len(errors),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
    }
    return Extraction(gathered.table(facts | dict(about or {})), errors)


def _task(
    paths: Sequence[str],
    boxes: Mapping[str, tuple[Face, ...]],
    landmarks: Mapping[str, tuple[Landmarks, ...]] | None,
) -> Task:
    """An image, or the frames of a video, with the faces of the middle one and their landmarks."""
    middle = real_path(_middle(paths))
    return Task(tuple(paths), boxes.get(middle), None if landmarks is None else landmarks.get(middle, ()))


def _middle(paths: Sequence[str]) -> str:
    return paths[len(paths) // 2]


def _jobs(jobs: int | None) -> int:
    if jobs is not None and jobs < 1:
        raise ConfigError("bad_config", f"--jobs must be 1 or more, got {jobs}")
    return jobs or os.cpu_count() or 1


class _Gathered:
    """Answers as they come, in arrays that are there from the start."""

    def __init__(self, features: Sequence[Feature], states: Sequence[tuple[str, int]], count: int) -> None:
        self.rows: list[tuple[Row, str]] = []
        self._features, self._states = features, states
        size = count * len(states)
        self._values = {f.name: np.full((size, len(f.columns)), np.nan, np.float32) for f in features}
        self._status = {f.name: np.full(size, "", object) for f in features}
        self._ms: dict[str, list[float]] = defaultdict(list)
        self._shared: dict[str, list[float]] = defaultdict(list)

    def add(self, row: Row, answer: Answer) -> None:
        """The states of one image."""
        start = len(self.rows) * len(self._states)
        self.rows.append((row, answer.sha256))
        for at, entries in enumerate(answer.states, start):
            for name, (measured, ms) in entries.items():
                self._status[name][at] = measured.status
                if measured.values is not None:
                    self._values[name][at] = measured.values
                    self._ms[name].append(ms)
        for what, ms in answer.shared_ms.items():
            self._shared[what].append(ms)

    def table(self, about: Mapping[str, Any]) -> FeatureTable:
        """Everything that was added."""
        count = len(self.rows) * len(self._states)
        records = [
            {name: getattr(row, name, "") for name in (*TEXT, *NUMBERS)}
            | {"sha256": sha256, "degradation": degradation, "severity": severity}
            for row, sha256 in self.rows
            for degradation, severity in self._states
        ]
        arrays = {name: np.array([r[name] for r in records], object) for name in TEXT}
        arrays |= {name: np.array([r[name] for r in records], np.int64) for name in NUMBERS}
        cost = {name: _median(ms) for name, ms in self._ms.items()}
        shared = {what: _median(ms) for what, ms in self._shared.items()}
        return FeatureTable(
            arrays,
            {name: values[:count] for name, values in self._values.items()},
            {name: status[:count] for name, status in self._status.items()},
            {feature.name: tuple(feature.columns) for feature in self._features},
            {**about, "cost_ms": cost, "shared_ms": shared},
        )


def _median(values: Sequence[float]) -> float:
    return round(float(np.median(values)), 3)
