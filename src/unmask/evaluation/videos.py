"""Videos, scored by a detector of clips."""

from __future__ import annotations

from collections.abc import Callable

import torch

from unmask.data.clips import ClipStream, video_key
from unmask.data.loader import make_loader
from unmask.detectors.base import AnyDetector
from unmask.metrics.video import Videos, video_scores

Progress = Callable[[int, int], None]


def score_videos(
    detector: AnyDetector, stream: ClipStream, *, batch_size: int = 8, progress: Progress | None = None
) -> Videos:
    """The mean logit of each video's clips.

    Args:
        detector: of clips, on any device.
        stream: unshuffled, with the detector's view.
        batch_size: clips per pass; bounds the memory.
        progress: told how many clips are done, of how many.

    Raises:
        DataError: no clip could be read.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from unmask.core.seeds import rng
    >>> from unmask.data.flicker import FlickerConfig, smooth_still, write_flicker
    >>> from unmask.detectors.zoo import create_detector
    >>> detector = create_detector("temporal_tiny", view={"size": 64, "frames": 3})
    >>> folder, config = Path(tempfile.mkdtemp()), FlickerConfig(frames=4, size=64)
    >>> rows, faces = write_flicker(folder, [("anna", smooth_still(64, rng(0)))], config)
    >>> videos = score_videos(detector, ClipStream(rows, detector.config.view, faces, shuffle=False))
    >>> videos.scores.shape, videos.labels.tolist()
    ((2,), [0, 1])
    """
    logits: list[float] = []
    labels: list[float] = []
    keys: list[tuple[str, ...]] = []
    mode = detector.training
    detector.eval()
    try:
        with torch.inference_mode():
            for batch in make_loader(stream, batch_size, epoch=0):
                logits += detector(batch.image.to(detector.mean.device)).logits.float().tolist()
                labels += batch.label.tolist()
                keys += map(video_key, batch.source, batch.manipulation, batch.path)
                if progress is not None:
                    progress(len(logits), len(stream))
    finally:
        detector.train(mode)
    return video_scores(logits, labels, keys)
