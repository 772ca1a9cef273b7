"""Videos, scored by a detector of clips: for themselves, and as the rows of an evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unmask.analysis.analyzer import Analyzer
from unmask.analysis.judge import judge
from unmask.analysis.video_scoring import CLIPS, middle_frames
from unmask.analysis.videos import score_frames
from unmask.core.errors import DataError, UnmaskError
from unmask.core.files import real_path
from unmask.core.types import Face
from unmask.data.clips import as_videos, check_lengths, video_key
from unmask.data.faces import FaceFinder
from unmask.data.intake import decode
from unmask.data.manifest import Row
from unmask.detectors.base import AnyDetector
from unmask.evaluation.matching import Matching
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
        self._matching = matching or Matching()

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
        files = self.files(row)
        return Item(row, self._matching.apply(decode(Path(files[len(files) // 2]))), None, ())

    def __call__(self, items: Sequence[Item]) -> list[Record]:
        """One record per item."""
        records = []
        for item in items:
            files, prepare = self.files(item.row), self._matching.apply
            found, decoded = score_frames(self.detector, files, self._boxes, self._finder, prepare=prepare)
            verdict, evidence = judge(self.bench, item.row.path, decoded, found.faces, [found.score])
            records.append(self.record(item, verdict, evidence, [found.score]))
        return records


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
    """The mean logit of each video's windows; see :func:`unmask.analysis.video_scoring.score_video`.

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
            found, _ = score_frames(detector, [frame.path for frame in frames], boxes, finder, clips=clips)
            scores.append(found.score.logit)
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
