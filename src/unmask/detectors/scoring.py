"""From images to one number each: views, logits, and their reduction, in one place for analysis and evaluation.

An image becomes views as the detector's config says (``face`` or ``native``); each view gets one logit; the image's
logit is the **maximum over faces**, each the mean over its squares, or the **mean over native crops**; the score is
``sigmoid(scale * logit + offset)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from unmask.core.errors import ConfigError
from unmask.core.types import Face, FloatMap, UInt8Image
from unmask.data.views import View, views
from unmask.detectors.base import AnyDetector


@dataclass(frozen=True, slots=True, eq=False)
class ImageScore:
    """What one detector says about one image, before calibration."""

    logit: float | None
    """Reduced over the views; None when there was nothing to look at (no face, and the detector needs one)."""
    view_logits: FloatMap
    """(V,) one logit per view."""
    view_masks: FloatMap | None
    """(V, size, size) manipulated-pixel probabilities in [0, 1], each for ``views[i].to_image``; None if the design
    does not localize."""
    views: tuple[View, ...]
    """The squares that were scored, in the order of ``view_logits``."""
    view_nearest: FloatMap | None = None
    """(V, k) distances of each view to the nearest real images the detector remembers (its ``aux["nearest"]``), nearest
    first; None if it has no such memory."""
    view_parts: FloatMap | None = None
    """(V, 2) probabilities, before calibration, that each view is fake as a whole, and that one of its regions is (its
    ``aux["global_logits"]`` and ``aux["aggregate_logits"]``); None if it does not answer for regions."""


def probability(logit: float, scale: float = 1.0, offset: float = 0.0) -> float:
    """Calibrated P(fake) = 1 / (1 + exp(-(scale * logit + offset))) (Platt 1999), without overflow.

    >>> probability(0.0), probability(1e6), probability(-1e6, scale=2.0)
    (0.5, 1.0, 0.0)
    """
    value = scale * logit + offset
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    odds = math.exp(max(value, -745.0))
    return odds / (1.0 + odds) if value > -745.0 else 0.0


def by_face(seen: Sequence[View]) -> list[list[int]]:
    """Positions of the views of each face, faces in order of appearance; views without a face are one group."""
    groups: dict[int, list[int]] = {}
    for position, view in enumerate(seen):
        groups.setdefault(id(view.face), []).append(position)
    return list(groups.values())


def reduce_logits(detector: AnyDetector, view_logits: FloatMap, seen: Sequence[View]) -> float | None:
    """One logit per image: that of the most suspicious face, the mean over its squares, or the mean over native crops;
    None without views."""
    if not len(view_logits):
        return None
    if detector.config.view.kind != "face":
        return float(view_logits.mean())
    return max(float(view_logits[group].mean()) for group in by_face(seen))


def check_takes_images(detector: AnyDetector, name: str = "") -> None:
    """Raise :class:`ConfigError` (``needs_frames``) for a clip detector: a still image shows it nothing."""
    if detector.input_kind == "clip":
        least, most = detector.size_rule.frames or (2, 2)
        who = name or type(detector).__name__
        raise ConfigError(
            "needs_frames",
            f"{who} looks at clips of {least} to {most} consecutive frames, not at single images; `unmask detect` and "
            "`unmask evaluate` take folders of frames; here choose a detector of images",
        )


@contextmanager
def evaluating(detector: AnyDetector) -> Iterator[None]:
    """Every module in eval mode, and afterwards each as it was (frozen parts stay frozen)."""
    modes = [(module, module.training) for module in detector.modules()]
    detector.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def score_images(
    detector: AnyDetector,
    images: Sequence[UInt8Image],
    faces: Sequence[Sequence[Face]],
    batch_size: int = 16,
) -> list[ImageScore]:
    """Score images with one detector, in batches of views that cross image borders.

    Args:
        detector: on any device; the images are moved there batch by batch.
        images: each uint8 (H, W, 3) RGB, upright, of any size.
        faces: the faces of each image, as found or given; may be empty.
        batch_size: views per forward pass; bounds the memory.

    Returns:
        One :class:`ImageScore` per image, in order.

    Raises:
        ConfigError: ``needs_frames``: a clip detector.
    """
    check_takes_images(detector)
    if len(images) != len(faces):
        raise ValueError(f"every image needs its list of faces: got {len(images)} images and {len(faces)} lists")
    seen: list[tuple[View, ...]] = []
    for image, found in zip(images, faces, strict=True):
        cut = views(image, found, detector.config.view)
        seen.append(tuple(v for v in cut if v.face is not None) if detector.needs_face else tuple(cut))
    flat = [view for group in seen for view in group]
    logits: list[FloatMap] = []
    masks: list[FloatMap] = []
    nearest: list[FloatMap] = []
    parts: list[FloatMap] = []
    with evaluating(detector):
        for start in range(0, len(flat), batch_size):
            pixels = np.stack([view.pixels for view in flat[start : start + batch_size]])  # (B, size, size, 3)
            batch = torch.from_numpy(pixels).to(detector.mean.device).permute(0, 3, 1, 2).float().div_(255.0)
            output = detector(batch)
            logits.append(output.logits.float().cpu().numpy())
            if output.mask_logits is not None:
                masks.append(output.mask_logits[:, 0].float().sigmoid().cpu().numpy())
            if output.aux is not None and "nearest" in output.aux:
                nearest.append(output.aux["nearest"].float().cpu().numpy())
            if output.aux is not None and "aggregate_logits" in output.aux:
                both = torch.stack([output.aux["global_logits"], output.aux["aggregate_logits"]], 1)
                parts.append(both.float().sigmoid().cpu().numpy())
    all_logits = np.concatenate(logits) if logits else np.zeros(0, np.float32)
    all_masks = np.concatenate(masks) if masks else None
    all_nearest = np.concatenate(nearest) if nearest else None
    all_parts = np.concatenate(parts) if parts else None
    results = []
    start = 0
    for group in seen:
        stop = start + len(group)
        part = all_logits[start:stop]
        part_masks = None if all_masks is None else all_masks[start:stop]
        part_nearest = None if all_nearest is None else all_nearest[start:stop]
        view_parts = None if all_parts is None else all_parts[start:stop]
        logit = reduce_logits(detector, part, group)
        results.append(ImageScore(logit, part, part_masks, group, part_nearest, view_parts))
        start = stop
    return results
