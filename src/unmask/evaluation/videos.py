"""Videos, scored by a detector of clips: for themselves, and as the rows of an evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unmask.analysis.analyzer import Analyzer
from unmask.analysis.judge import judge
from unmask.core.errors import DataError, UnmaskError
from unmask.core.files import real_path
from unmask.core.types import Face, UInt8Image
from unmask.data.clips import as_videos, check_lengths, video_key
from unmask.data.faces import FaceFinder
from unmask.data.intake import Decoded, decode
from unmask.data.manifest import Row
from unmask.detectors.base import AnyDetector
from unmask.detectors.video_scoring import CLIPS, VideoScore, middle_frames, score_video
from unmask.evaluation.matching import Matching, scale_face
from unmask.evaluation.scoring import DetectorScorer, Item, Record
from unmask.metrics.video import Videos

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


class VideoScorer(DetectorScorer):
    """Adds score, logit, verdict and status to records of videos.

    A video's row stands for its frames; its blur and its file metadata are those of its middle frame.

    Args:
        analyzer: of one detector of clips.
        rows: frames; :func:`unmask.data.clips.as_videos` says which make a video.
        boxes: faces by path, in pixels of the upright frame, for the middle frames of windows; others are searched.
        matching: one size and JPEG quality for all frames.

    Raises:
        DataError: ``too_short``: no video is as long as a clip; ``mixed_labels``, ``mixed_frames``.
    """

    def __init__(
        self,
        analyzer: Analyzer,
        rows: Sequence[Row],
        boxes: Mapping[str, Sequence[Face]] | None = None,
        matching: Matching | None = None,
    ) -> None:
        super().__init__(analyzer)
        self.detector = analyzer.members[0].detector
        self.videos = {video.row: video.frames for video in as_videos(rows)}
        check_lengths(self.videos.values(), self.detector.config.view.frames)
        self._boxes = _by_real_path(boxes)
        self._matching = matching

    @property
    def about(self) -> dict[str, Any]:
        """Entries for the report."""
        return {
            "unit": "videos",
            "clips": {"most": CLIPS, "frames": self.detector.config.view.frames},
            "frames": sum(map(len, self.videos.values())),
        }

    def files(self, row: Row) -> list[str]:
        """The frames behind a video's row."""
        return [frame.path for frame in self.videos[row]]

    def read(self, row: Row) -> Item:
        """A video as an item: its middle frame."""
        frames = self.videos[row]
        return Item(row, _decoded(frames[len(frames) // 2], self._matching)[0], None, ())

    def __call__(self, items: Sequence[Item]) -> list[Record]:
        """One record per item."""
        records = []
        for item in items:
            frames = self.videos[item.row]
            found = score_frames(self.detector, frames, self._boxes, self._finder, matching=self._matching)
            verdict, evidence = judge(self.bench, item.row.path, item.decoded, found.faces, [found.score])
            records.append(self.record(item, verdict, evidence, [found.score]))
        return records


def score_frames(
    detector: AnyDetector,
    frames: Sequence[Row],
    boxes: Mapping[str, Sequence[Face]],
    finder: FaceFinder,
    *,
    clips: int = CLIPS,
    matching: Matching | None = None,
) -> VideoScore:
    """One video in files to what a detector of clips says; only the frames of its windows are read.

    Args:
        detector: of clips, on any device.
        frames: of one video, in order.
        boxes: faces by real path, in pixels of the upright frame as it is stored.
        finder: searches the middle frames without boxes.
        clips: windows, at most.
        matching: of all frames.

    Raises:
        DataError: see :func:`unmask.detectors.video_scoring.score_video`, and the codes of files that cannot be used.
    """
    stored: dict[int, tuple[int, ...]] = {}

    def read(i: int) -> UInt8Image:
        decoded, stored[i] = _decoded(frames[i], matching)
        return decoded.pixels

    def find(i: int, pixels: UInt8Image) -> Sequence[Face]:
        given = boxes.get(real_path(frames[i].path))
        if given is None:
            return finder.find([pixels])[0]
        return [scale_face(face, stored[i], pixels.shape) for face in given]

    return score_video(detector, len(frames), read, find, clips)


def _decoded(frame: Row, matching: Matching | None) -> tuple[Decoded, tuple[int, ...]]:
    """A frame, matched, and the shape it is stored in."""
    original = decode(Path(frame.path))
    return (matching or Matching()).apply(original), original.pixels.shape


def _by_real_path(faces: Mapping[str, Sequence[Face]] | None) -> dict[str, Sequence[Face]]:
    return {real_path(path): found for path, found in (faces or {}).items()}


def face_frames(rows: Sequence[Row], length: int) -> list[Row]:
    """The frames in which faces are needed: the middle ones of the windows of ``length`` frames that are scored."""
    return [video.frames[i] for video in as_videos(rows) for i in middle_frames(len(video.frames), length)]


def score_videos(
    detector: AnyDetector,
    rows: Sequence[Row],
    faces: Mapping[str, Sequence[Face]] | None = None,
    *,
    clips: int = CLIPS,
    progress: Progress | None = None,
) -> Videos:
    """The mean logit of each video's windows; see :func:`unmask.detectors.video_scoring.score_video`.

    Videos that are too short, and those with a frame that cannot be used, are named in the log and left out.

    Args:
        detector: of clips, on any device.
        rows: frames.
        faces: by ``Row.path``; the faces of other frames are searched.
        clips: windows per video, at most.
        progress: told how many videos are done, of how many.

    Raises:
        DataError: ``too_short``, ``mixed_labels``, ``mixed_frames``; ``nothing_scored``: no video could be read.

    >>> import tempfile
    >>> from unmask.core.seeds import rng
    >>> from unmask.data.flicker import FlickerConfig, smooth_still, write_flicker
    >>> from unmask.detectors.zoo import create_detector
    >>> detector = create_detector("temporal_tiny", view={"size": 64, "frames": 3})
    >>> folder, config = Path(tempfile.mkdtemp()), FlickerConfig(frames=4, size=64)
    >>> rows, faces = write_flicker(folder, [("anna", smooth_still(64, rng(0)))], config)
    >>> videos = score_videos(detector, rows, faces)
    >>> videos.scores.shape, videos.labels.tolist()
    ((2,), [0, 1])
    """
    videos = as_videos(rows)
    check_lengths((video.frames for video in videos), detector.config.view.frames)
    finder = FaceFinder(device=str(detector.mean.device))
    boxes = _by_real_path(faces)
    keys, scores, labels = [], [], []
    for number, (row, frames) in enumerate(videos, 1):
        try:
            scores.append(score_frames(detector, frames, boxes, finder, clips=clips).score.logit)
            keys.append(video_key(row.source, row.manipulation, frames[0].path))
            labels.append(row.label)
        except UnmaskError as error:
            logger.warning("left out [%s]: the video %s: %s", error.code, row.path, error.message)
        if progress is not None:
            progress(number, len(videos))
    if not scores:
        raise DataError(
            "nothing_scored", f"none of the {len(videos)} videos could be scored; the log names the reasons"
        )
    return Videos(tuple(keys), np.array(scores, np.float64), np.array(labels, np.int64))
