"""One image file, or one video of frames, to the features of each of its states, in whatever process this runs."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unmask.core.errors import DataError, UnmaskError
from unmask.core.files import sha256_file
from unmask.core.seeds import rng
from unmask.core.types import Face, Landmarks, UInt8Image
from unmask.core.version import __version__
from unmask.data.clips import frames_hash
from unmask.data.degradations import DEGRADATIONS
from unmask.data.faces import FaceFinder
from unmask.data.intake import decode
from unmask.data.landmarks import LandmarkFinder, landmarks_of
from unmask.features.base import Feature, Measured, Subject
from unmask.features.cache import Entry, FeatureCache
from unmask.nn.landmarks import ASSET

logger = logging.getLogger(__name__)

AS_IT_IS = ("", 0)
_SEARCHED = f"searched, unmask {__version__}"


class Task(NamedTuple):
    """One image file, or the frames of one video."""

    paths: tuple[str, ...]
    """The image; or the frames in order, of which the middle one stands for the video where one image is looked at."""
    faces: tuple[Face, ...] | None
    """Of the image or the middle frame, as given; None = to be searched for."""
    landmarks: tuple[Landmarks, ...] | None = None
    """Of its faces, as given: none of them is looked for; None = to be looked for."""


class Answer(NamedTuple):
    """What came of a task."""

    sha256: str
    states: list[dict[str, Entry]]
    """By state, by feature; empty where the image could not be used."""
    shared_ms: dict[str, float]
    """Processor milliseconds of what features share (``decode``, ``faces``, ``landmarks``), where it was done."""
    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class Measurer:
    """Measures the features of one image file or video after the other; travels to the workers.

    Every feature sees one image or video at a time, as many frames of it as it looks at, and landmarks only where it
    needs them: its values depend neither on the other features asked for, nor on the number of processes, nor on what
    the cache holds. Of a video every frame is hashed, and only those that a feature looks at are decoded.
    """

    features: tuple[Feature, ...]
    states: tuple[tuple[str, int], ...] = (AS_IT_IS,)
    """Names of :data:`unmask.data.degradations.DEGRADATIONS` with a severity; ``("", 0)``: as it is."""
    seed: int = 0
    """Of the degradations: equal for all images, so that a photo and its fake meet the same noise."""
    cache: Path | None = None
    """Folder of a :class:`unmask.features.cache.FeatureCache`."""

    def __call__(self, task: Task) -> Answer:
        """Never raises for what a file holds, nor for what a feature makes of it."""
        shared: dict[str, float] = {}
        try:
            return self._known(task) or self._fresh(task, shared)
        except UnmaskError as error:
            return Answer("", [], shared, error.code, error.message)

    def _known(self, task: Task) -> Answer | None:
        """The answer if the cache holds all of it; the files are hashed and not decoded."""
        if self.cache is None or not all(Path(path).is_file() for path in task.paths):
            return None
        try:
            sha256 = frames_hash([sha256_file(path) for path in task.paths])
        except OSError:  # decoding will say what is wrong
            return None
        cache = FeatureCache(self.cache)
        found = []
        for state in self.states:
            entries = cache.read(sha256, self._place(task, state))
            if not all(_holds(entries, f, task.landmarks) for f in self.features):
                return None
            found.append({f.name: entries[feature_key(f, task.landmarks)] for f in self.features})
        return Answer(sha256, found, {})

    def _fresh(self, task: Task, shared: dict[str, float]) -> Answer:
        cache = FeatureCache(self.cache) if self.cache is not None else None
        start = time.process_time()
        count, middle = len(task.paths), len(task.paths) // 2
        wanted = {middle}.union(*(feature.looked_at(count) for feature in self.features))
        frames = {i: decode(Path(task.paths[i])) for i in sorted(wanted)}
        sha256 = frames_hash([frames[i].sha256 if i in frames else _hash(task.paths[i]) for i in range(count)])
        shared["decode"] = _ms_since(start)
        face = self._face(task, sha256, frames[middle].pixels, cache, shared)
        given = landmarks_of(face, task.landmarks) if face is not None and task.landmarks else None
        found = []
        for state in self.states:
            place = self._place(task, state)
            entries = cache.read(sha256, place) if cache is not None else {}
            lacking = [f for f in self.features if not _holds(entries, f, task.landmarks)]
            if lacking:
                seen = {
                    i: degraded(Subject(frame.pixels, face, given), *state, self.seed) for i, frame in frames.items()
                }
                clips = [tuple(seen[i].image for i in feature.looked_at(count)) for feature in lacking]
                found_here, fault = _measure(lacking, seen[middle], clips, shared, search=task.landmarks is None)
                fresh = {feature_key(f, task.landmarks): found_here[f.name] for f in lacking if f.name in found_here}
                if cache is not None:
                    cache.add(sha256, place, fresh)
                if fault is not None:
                    raise fault
                entries = entries | fresh
            found.append({f.name: entries[feature_key(f, task.landmarks)] for f in self.features})
        return Answer(sha256, found, shared)

    def _place(self, task: Task, state: tuple[str, int]) -> dict[str, Any]:
        """The state's entry in the cache: all that values depend on beside the image and the feature."""
        if task.faces is None:
            face: Any = _SEARCHED
        else:
            largest = _largest(task.faces)
            face = largest and {"box": largest.box, "points": largest.points}
        name, severity = state
        return {"face": face} | ({"degradation": name, "severity": severity, "seed": self.seed} if name else {})

    def _face(
        self, task: Task, sha256: str, pixels: UInt8Image, cache: FeatureCache | None, shared: dict[str, float]
    ) -> Face | None:
        """The largest face, given or found in the image as it is."""
        if task.faces is not None:
            return _largest(task.faces)
        place = self._place(task, AS_IT_IS)
        entry = cache.read(sha256, place).get("face") if cache is not None else None
        if entry is None:
            start = time.process_time()
            faces = _face_finder().find([pixels])[0]
            shared["faces"] = _ms_since(start)
            entry = Entry(_as_values(faces[0] if faces else None), shared["faces"])
            if cache is not None:
                cache.add(sha256, place, {"face": entry})
        return _as_face(entry.measured)


def feature_key(feature: Feature, given: Sequence[Landmarks] | None = None) -> str:
    """What a feature's values depend on beside the image: its name and version, this package's, weights, landmarks.

    Args:
        feature: a feature, which may need landmarks.
        given: the landmarks that are given for the image's faces; None = our own network's.
    """
    weights = f", weights {feature.fingerprint}" if feature.fingerprint else ""
    landmarks = ""
    if "landmarks" in feature.needs:
        landmarks = f", landmarks {_landmark_weights()[:16] if given is None else _hash_of(given)}"
    return f"{feature.name} v{feature.version}, unmask {__version__}{weights}{landmarks}"


def _hash_of(given: Sequence[Landmarks]) -> str:
    """``given`` and the start of a hash of all that is given; of nothing too."""
    digest = hashlib.sha256()
    for landmarks in given:
        digest.update(f"{landmarks.points.shape} {landmarks.score!r} ".encode())
        digest.update(np.ascontiguousarray(landmarks.points, "<f4").tobytes())
    return f"given {digest.hexdigest()[:16]}"


def _holds(entries: Mapping[str, Entry], feature: Feature, given: Sequence[Landmarks] | None) -> bool:
    entry = entries.get(feature_key(feature, given))
    return entry is not None and (entry.measured.values is None or len(entry.measured.values) == len(feature.columns))


def degraded(subject: Subject, name: str, severity: int, seed: int) -> Subject:
    """An image, its face and landmarks under a degradation (an empty name: as it is); the draw depends on nothing else.

    The landmarks go where the edit takes what they lie on.
    """
    if not name:
        return subject
    pixels, place = DEGRADATIONS[name].edit(subject.image, severity, rng(seed, "degrade", name, severity))
    face, landmarks = subject.face and place.face(subject.face), subject.landmarks
    return Subject(pixels, face, place.landmarks(landmarks) if landmarks is not None and face is not None else None)


def _hash(path: str) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise DataError("unreadable", f"'{path}' cannot be read: {error.strerror}") from None


def _measure(
    features: list[Feature],
    subject: Subject,
    clips: Sequence[tuple[UInt8Image, ...]],
    shared: dict[str, float],
    *,
    search: bool,
) -> tuple[dict[str, Entry], DataError | None]:
    """Entries by name, and what went wrong with the first feature that raised.

    Args:
        features: which to measure.
        subject: with given landmarks, where there are any.
        clips: the frames each feature looks at.
        shared: where the cost of landmarks is noted.
        search: our own network looks for landmarks.
    """
    dense, subject = subject, replace(subject, landmarks=None)
    if search and subject.face is not None and any("landmarks" in f.needs for f in features):
        start = time.process_time()
        dense = replace(subject, landmarks=_landmark_finder().find(subject.image, [subject.face])[0])
        shared["landmarks"] = shared.get("landmarks", 0.0) + _ms_since(start)
    entries, fault = {}, None
    for feature, frames in zip(features, clips, strict=True):
        start = time.process_time()
        try:
            found = feature.measure([replace(dense if "landmarks" in feature.needs else subject, frames=frames)])[0]
        except Exception as error:
            logger.debug("feature '%s'", feature.name, exc_info=True)
            what = f"feature '{feature.name}' failed on it: {type(error).__name__}: {error}"
            fault = fault or DataError("feature_failed", what)
            continue
        entries[feature.name] = Entry(found, _ms_since(start))
    return entries, fault


def _ms_since(start: float) -> float:
    return 1000 * (time.process_time() - start)


def _largest(faces: tuple[Face, ...]) -> Face | None:
    return max(faces, key=lambda f: (f.box[2] - f.box[0]) * (f.box[3] - f.box[1]), default=None)


def _as_values(face: Face | None) -> Measured:
    """A found face as 15 numbers: box, score, points."""
    if face is None:
        return Measured("no_face")
    points = [x for point in face.points or () for x in point]
    return Measured("ok", np.array([*face.box, face.score, *points], np.float32))


def _as_face(found: Measured) -> Face | None:
    if found.values is None:
        return None
    x1, y1, x2, y2, score, *flat = map(float, found.values)
    return Face((x1, y1, x2, y2), score, tuple(zip(flat[::2], flat[1::2], strict=True)) or None)


@lru_cache(maxsize=1)
def _face_finder() -> FaceFinder:
    return FaceFinder()


@lru_cache(maxsize=1)
def _landmark_finder() -> LandmarkFinder:
    return LandmarkFinder()


@lru_cache(maxsize=1)
def _landmark_weights() -> str:
    return sha256_file(ASSET) if ASSET.is_file() else "missing"
