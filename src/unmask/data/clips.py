"""Clips: consecutive frames of one video, all cut by one square, and manifests of frames as a stream of them.

The rows of a manifest are frames. A video is named by source, manipulation and folder: four manipulations of one video
share a folder's name, and merged they would be another video. Its frames follow each other in the natural order of
their names, so their distance in time is what the extraction left between them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from unmask.core.errors import DataError, IntakeError
from unmask.core.seeds import rng
from unmask.core.types import Face, Sample, UInt8Image, ViewConfig
from unmask.data.benchmarks.tree import natural
from unmask.data.intake import decode
from unmask.data.labelled import ManifestStream, PostProcess
from unmask.data.manifest import Row
from unmask.data.views import turned, views

logger = logging.getLogger(__name__)

VideoKey = tuple[str, str, str]


def video_key(source: str, manipulation: str, path: str) -> VideoKey:
    """Which video a frame belongs to, for :func:`unmask.metrics.video.video_scores`.

    >>> video_key("FF++ c23", "FaceSwap", "/data/FaceSwap/000_003/0007.png")
    ('FF++ c23', 'FaceSwap', '/data/FaceSwap/000_003')
    """
    return source, manipulation, str(PurePosixPath(path).parent)


def group_videos(rows: Sequence[Row]) -> list[list[Row]]:
    """Frames by video, in order of first appearance, each video's frames in the natural order of their names.

    Raises:
        DataError: ``mixed_labels``: a video holds real and forged frames.
    """
    videos: dict[VideoKey, list[Row]] = {}
    for row in rows:
        videos.setdefault(video_key(row.source, row.manipulation, row.path), []).append(row)
    for key, frames in videos.items():
        if len({row.label for row in frames}) > 1:
            raise DataError("mixed_labels", f"the frames in {key[2]} are both real and fake: a folder holds one video")
    return [sorted(frames, key=lambda row: natural(PurePosixPath(row.path))) for frames in videos.values()]


def cut_clip(frames: Sequence[UInt8Image], faces: Sequence[Face], view: ViewConfig, which: int = 0) -> UInt8Image:
    """One square of every frame, the same for all: (T, size, size, 3).

    Args:
        frames: uint8 (H, W, 3), of one size.
        faces: of the middle frame.
        view: how squares are cut.
        which: of the squares that the view gives.

    Raises:
        DataError: ``bad_clip``: frames of several sizes.
    """
    shapes = Counter(frame.shape for frame in frames)
    if len(shapes) > 1:
        raise DataError("bad_clip", f"the frames of a clip must be of one size, got {sorted(shapes)}")
    return np.stack([views(frame, faces, view)[which].pixels for frame in frames])


@dataclass(frozen=True)
class ClipStream:
    """Each position is a clip of ``view.frames`` consecutive frames, cut and mirrored alike.

    Every video gives at most ``clips`` windows with evenly spaced starts; a shuffled stream moves each by chance within
    its share of the video. All frames show the square around a face of the middle frame: faces searched frame by frame
    would jitter, and jitter looks like flicker. Masks and counterparts of clips are not read: no clip detector uses
    them. A clip with a file that cannot be used gives None and a warning in the log; so does, at the start and once,
    every video that is too short.
    """

    rows: Sequence[Row]
    view: ViewConfig
    faces: Mapping[str, Sequence[Face]] = field(default_factory=dict)
    """Faces by ``Row.path``; for a ``face`` view those of every frame that may be in the middle."""
    seed: int = 0
    shuffle: bool = True
    """False: every window in order, for validation."""
    clips: int = 4
    """Windows per video; fewer where a video has fewer different ones."""
    flip: bool = False
    """Mirror every second clip (by chance), all frames of it."""
    rotate: float = 0.0
    """Turn every clip by up to this many degrees either way, all frames of it alike."""
    post: PostProcess | None = None
    """Applied to all frames of a clip with one and the same draw."""

    def __post_init__(self) -> None:
        if self.view.frames < 2 or self.clips < 1:
            raise DataError("bad_config", f"clips need view.frames >= 2, got {self.view.frames} and {self.clips} clips")
        if not self._windows:
            longest = max(map(len, group_videos(self.rows)), default=0)
            raise DataError(
                "too_short",
                f"no video has the {self.view.frames} frames that a clip needs (the longest has {longest}); a video is "
                "a folder of frames",
            )
        _ = self._middles

    @cached_property
    def _windows(self) -> list[tuple[list[Row], int, int]]:
        """Of every window its video, its evenly spaced start, and the distance to the next one."""
        windows, short = [], []
        for frames in group_videos(self.rows):
            room = len(frames) - self.view.frames
            if room < 0:
                short.append(frames)
                continue
            starts = np.unique(np.linspace(0, room, min(self.clips, room + 1)).round().astype(int))
            gap = room // max(len(starts) - 1, 1)
            windows += [(frames, int(start), gap) for start in starts]
        if short:
            first = PurePosixPath(short[0][0].path).parent
            logger.warning("%d videos are shorter than %d frames, %s first", len(short), self.view.frames, first)
        return windows

    @cached_property
    def _middles(self) -> ManifestStream:
        """The middle frames as a stream of images: who comes when, and whose face counts."""
        half = self.view.frames // 2
        middles = [frames[start + half] for frames, start, _ in self._windows]
        balance: Literal["class", "none"] = "class" if self.shuffle and len({r.label for r in middles}) > 1 else "none"
        faces = {row.path: self.faces.get(row.path, ()) for row in middles} if self.view.kind == "face" else {}
        return ManifestStream(middles, self.view, faces, seed=self.seed, shuffle=self.shuffle, balance=balance)

    def __len__(self) -> int:
        return len(self._middles)

    def clip(self, epoch: int, position: int) -> list[Row]:
        """The frames behind a position."""
        frames, start, gap = self._windows[int(self._middles.order(epoch)[position])]
        if self.shuffle and gap:
            moved = start + int(rng(self.seed, epoch, position, "start").integers(-gap // 2, gap // 2 + 1))
            start = min(max(moved, 0), len(frames) - self.view.frames)
        return frames[start : start + self.view.frames]

    def sample(self, epoch: int, position: int) -> Sample | None:
        """The clip at ``position``, or None (and a warning that names the file) if it cannot be made."""
        frames = self.clip(epoch, position)
        middle = frames[len(frames) // 2]
        try:
            return self._sample(frames, middle, epoch, position)
        except (IntakeError, DataError) as error:
            logger.warning("left out [%s]: a clip around %s: %s", error.code, middle.path, error.message)
            return None

    def _sample(self, frames: Sequence[Row], middle: Row, epoch: int, position: int) -> Sample:
        images = [decode(Path(row.path)).pixels for row in frames]
        faces = self.faces.get(middle.path, ())
        if self.view.kind == "face" and not faces:
            raise DataError("no_view", "there is no face in its middle frame")
        draw = rng(self.seed, epoch if self.shuffle else 0, position, "view")
        squares = len(views(images[len(images) // 2], faces, self.view)) if self.shuffle else 1
        pixels: list[npt.NDArray[np.uint8]] = list(cut_clip(images, faces, self.view, int(draw.integers(squares))))
        if self.rotate and self.shuffle:
            degrees = rng(self.seed, epoch, position, "rotate").uniform(-self.rotate, self.rotate)
            pixels = [turned(p, degrees) for p in pixels]
        if self.post is not None:
            pixels = self.post(pixels, rng(self.seed, epoch, position, "post"))
        clip = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255  # (T, 3, size, size)
        if self.flip and self.shuffle and rng(self.seed, epoch, position, "flip").random() < 0.5:
            clip = clip.flip(-1)
        return Sample(
            image=clip.contiguous(),
            label=middle.label,
            group=middle.group,
            source=middle.source,
            manipulation=middle.manipulation,
            path=middle.path,
        )
