"""From the frames of a video to one number: windows, clips, logits, and their mean, in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from unmask.core.errors import DataError
from unmask.core.types import Face, UInt8Image
from unmask.data.clips import cut_clips, window_starts
from unmask.data.views import views
from unmask.detectors.base import AnyDetector
from unmask.detectors.scoring import ImageScore, evaluating, reduce_logits

CLIPS = 4
"""Windows per video, evenly spaced; fewer where a video has fewer different ones."""
_BATCH = 4


class VideoScore(NamedTuple):
    """What one detector says about one video, before calibration."""

    score: ImageScore
    """``logit``: the mean of ``view_logits`` (W,), one per window; it keeps no views."""
    middle: int
    """The frame nearest to the video's middle in which faces were looked for and found (any, where none has one)."""
    faces: tuple[Face, ...]
    """Those of that frame."""


def middle_frames(frames: int, length: int, clips: int = CLIPS) -> list[int]:
    """The middle frame of each window: whose faces count.

    >>> middle_frames(20, 4, 3)
    [2, 10, 18]
    """
    return [start + length // 2 for start in window_starts(frames, length, clips)]


def score_video(
    detector: AnyDetector,
    count: int,
    read: Callable[[int], UInt8Image],
    find: Callable[[int, UInt8Image], Sequence[Face]],
    clips: int = CLIPS,
) -> VideoScore:
    """Score one video with a detector of clips; a few clips are in memory at a time.

    A window shows, in all its frames, the squares of its middle frame; its logit is reduced over them as that of an
    image is (the most suspicious face). Where the detector looks at faces, windows without one in the middle do not
    count, unless no window has one: then all show the whole frame.

    Args:
        detector: on any device; clips are moved there.
        count: frames of the video.
        read: gives the upright pixels (H, W, 3) of a frame.
        find: the faces of a frame with these pixels, the largest first.
        clips: windows, at most.

    Raises:
        DataError: ``needs_frames``: the video is shorter than a clip; ``bad_clip``: frames of several sizes.

    >>> from unmask.detectors.zoo import create_detector
    >>> detector = create_detector("temporal_tiny", view={"size": 64, "frames": 3})
    >>> frame = np.zeros((80, 80, 3), np.uint8)
    >>> score_video(detector, 9, lambda i: frame, lambda i, pixels: [], clips=2).score.view_logits.shape
    (2,)
    """
    view = detector.config.view
    half = view.frames // 2
    middles = middle_frames(count, view.frames, clips)
    if not middles:
        raise DataError("needs_frames", f"it has {count} of the {view.frames} frames that a clip needs")
    pixels = {middle: read(middle) for middle in middles}
    faces = {middle: tuple(find(middle, image)) for middle, image in pixels.items()}
    chosen = [m for m in middles if faces[m]] if view.kind == "face" and any(faces.values()) else middles
    logits = []
    with evaluating(detector):
        for middle in chosen:
            start = middle - half
            frames = (pixels[i] if i in pixels else read(i) for i in range(start, start + view.frames))
            cut = cut_clips(frames, faces[middle], view)  # (squares, T, size, size, 3)
            each = [
                _logits(detector, torch.from_numpy(part)) for part in np.split(cut, range(_BATCH, len(cut), _BATCH))
            ]
            reduced = reduce_logits(detector, np.concatenate(each), views(pixels[middle], faces[middle], view))
            logits.append(reduced)
    seen = [m for m in chosen if faces[m]] or chosen
    best = min(seen, key=lambda m: abs(2 * m - count + 1))
    found = np.asarray(logits, np.float32)
    return VideoScore(ImageScore(float(found.mean()), found, None, ()), best, faces[best])


def _logits(detector: AnyDetector, clips: torch.Tensor) -> np.ndarray:
    """(B,) logits of uint8 clips (B, T, S, S, 3)."""
    batch = clips.to(detector.mean.device).permute(0, 1, 4, 2, 3).float().div_(255)
    found: np.ndarray = detector(batch).logits.float().cpu().numpy()
    return found
