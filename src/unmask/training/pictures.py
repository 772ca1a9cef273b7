"""Pictures of how training goes, one file per validation."""

from __future__ import annotations

from pathlib import Path

import torch

from unmask.core.files import atomic_path
from unmask.core.types import Batch
from unmask.detectors.base import AnyDetector
from unmask.training.validation import Autocast

PICTURES = "pictures"


def write_picture(
    detector: AnyDetector, batch: Batch, device: torch.device, autocast: Autocast, out: Path, step: int
) -> Path | None:
    """Write what the detector has to show (:meth:`Detector.training_pictures`) as ``out/pictures/step_N.png``.

    Args:
        detector: left in the mode it came in.
        batch: held-out images; the same ones every time make pictures comparable.
        device: where the detector is.
        autocast: a function that gives a context manager.
        out: the run's folder.
        step: optimiser steps done.

    Returns:
        The file, or None for a design that shows nothing.
    """
    from PIL import Image

    mode = detector.training
    detector.eval()
    with torch.inference_mode(), autocast():
        picture = detector.training_pictures(batch.to(device))
    detector.train(mode)
    if picture is None:
        return None
    pixels = picture.float().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    file = out / PICTURES / f"step_{step}.png"
    with atomic_path(file) as temporary:
        Image.fromarray(pixels).save(temporary)
    return file
