"""Clips: consecutive frames of one video, all cut by one square, and manifests of frames as a stream of them.

The rows of a manifest are frames. A video is named by source, manipulation and folder: four manipulations of one video
share a folder's name, and merged they would be another video. Its frames share label, group and split, and follow each
other in the natural order of their names, so their distance in time is what the extraction left between them.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

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
        DataError: ``mixed_labels``: a video holds real and forged frames; ``mixed_frames``: frames of several groups or
            splits, as a folder of single photos does.
    """
    videos: dict[VideoKey, list[Row]] = {}
    for row in rows:
        videos.setdefault(video_key(row.source, row.manipulation, row.path), []).append(row)
    for key, frames in videos.items():
        if len({row.label for row in frames}) > 1:
            raise DataError("mixed_labels", f"the frames in {key[2]} are both real and fake: a folder holds one video")
        for what in ("group", "split"):
            found = {getattr(row, what) for row in frames}
            if len(found) > 1:
                raise DataError(
                    "mixed_frames",
                    f"the frames in {key[2]} are of {len(found)} {what}s: a folder holds one video, of one {what}; "
                    "single photos are no videos",
                )
    return [sorted(frames, key=lambda row: natural(PurePosixPath(row.path))) for frames in videos.values()]


class Video(NamedTuple):
    """Frames of one video, and what stands for them where there is a row per video."""

    row: Row
    """``path``: the folder of the frames (the first frame where a folder holds several videos); ``pair``: the video of
    the frames' counterparts, where it is among the others; ``sha256``: of the frames' hashes, where all are known."""
    frames: tuple[Row, ...]


def as_videos(rows: Sequence[Row]) -> list[Video]:
    """Frames to videos, see :func:`group_videos` (and for what it raises).

    >>> rows = [Row(f"/v/anna/{i}.png", 0, group="anna") for i in (2, 10)]
    >>> [(video.row.path, len(video.frames)) for video in as_videos(rows)]
    [('/v/anna', 2)]
    """
    grouped = group_videos(rows)
    folders = [str(PurePosixPath(frames[0].path).parent) for frames in grouped]
    shared = Counter(folders)
    names = [at if shared[at] == 1 else frames[0].path for at, frames in zip(folders, grouped, strict=True)]
    video_of = {row.path: name for name, frames in zip(names, grouped, strict=True) for row in frames}
    found = []
    for name, frames in zip(names, grouped, strict=True):
        pairs = {video_of[row.pair] for row in frames if row.pair in video_of}
        known = [row.sha256 for row in frames]
        row = replace(
            frames[0],
            path=name,
            mask="",
            pair=pairs.pop() if len(pairs) == 1 else "",
            sha256=frames_hash(known) if all(known) else "",
        )
        found.append(Video(row, tuple(frames)))
    return found


def frames_hash(hashes: Sequence[str]) -> str:
    """What a video is known by: the hex SHA-256 of its frames' hashes, a line each; of one frame its own."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(f"{h}\n" for h in hashes).encode()).hexdigest()


def window_starts(frames: int, length: int, clips: int) -> list[int]:
    """Evenly spaced starts of at most ``clips`` different windows of ``length`` consecutive frames; none if too short.

    >>> window_starts(20, 4, 3), window_starts(5, 4, 3), window_starts(3, 4, 3)
    ([0, 8, 16], [0, 1], [])
    """
    room = frames - length
    if room < 0:
        return []
    starts: list[int] = np.unique(np.linspace(0, room, min(clips, room + 1)).round().astype(int)).tolist()
    return starts


def check_lengths(videos: Iterable[Sequence[Row]], length: int) -> None:
    """Raise :class:`DataError` (``too_short``) if no video has ``length`` frames."""
    longest = max(map(len, videos), default=0)
    if longest < length:
        raise DataError(
            "too_short",
            f"no video has the {length} frames that a clip needs (the longest has {longest}); a video is a folder of "
            "frames",
        )


def cut_clip(frames: Iterable[UInt8Image], faces: Sequence[Face], view: ViewConfig, which: int = 0) -> UInt8Image:
    """One square of every frame, the same for all: (T, size, size, 3).

    Args:
        frames: uint8 (H, W, 3), of one size; read once, one after the other.
        faces: of the middle frame.
        view: how squares are cut.
        which: of the squares that the view gives.

    Raises:
        DataError: ``bad_clip``: frames of several sizes.
    """
    only: npt.NDArray[np.uint8] = cut_clips(frames, faces, view, which=which)[0]
    return only


def cut_clips(
    frames: Iterable[UInt8Image], faces: Sequence[Face], view: ViewConfig, *, which: int | None = None
) -> npt.NDArray[np.uint8]:
    """All squares that the view gives (or one), each of every frame: (squares, T, size, size, 3); see
    :func:`cut_clip`."""
    shapes: set[tuple[int, ...]] = set()
    cut = []
    for frame in frames:
        shapes.add(frame.shape)
        if len(shapes) > 1:
            raise DataError("bad_clip", f"the frames of a clip must be of one size, got {sorted(shapes)}")
        squares = views(frame, faces, view)
        cut.append([square.pixels for square in (squares if which is None else [squares[which]])])
    return np.stack(cut, 1)


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
        check_lengths(group_videos(self.rows), self.view.frames)
        _ = self._middles

    @cached_property
    def _windows(self) -> list[tuple[list[Row], int, int]]:
        """Of every window its video, its evenly spaced start, and the distance to the next one."""
        windows, short = [], []
        for frames in group_videos(self.rows):
            starts = window_starts(len(frames), self.view.frames, self.clips)
            if not starts:
                short.append(frames)
                continue
            gap = (len(frames) - self.view.frames) // max(len(starts) - 1, 1)
            windows += [(frames, start, gap) for start in starts]
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
