"""What a detector reaches on held-out images while it is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unmask.core.errors import TrainingError
from unmask.core.types import Batch
from unmask.data.clips import video_key
from unmask.detectors.base import AnyDetector
from unmask.losses import Criterion, counterparts
from unmask.metrics.image import auc, average_precision, split_scores
from unmask.metrics.video import video_scores

BINS = 101
Autocast = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Logits of held-out images and how their mask pixels fell."""

    logits: npt.NDArray[np.float64]
    labels: npt.NDArray[np.bool_]
    groups: tuple[str, ...]
    manipulations: tuple[str, ...]
    loss: float
    """Mean over images; nan where no batch allows it."""
    pair_order: float
    """Share of fakes that score above their own real counterpart; nan without pairs."""
    pixels: npt.NDArray[np.int64] | None
    """(2, BINS) pixels of forged images by mask probability in steps of 1 %: all, and those truly forged."""
    nearest: npt.NDArray[np.float64] | None = None
    """(N,) distance to the nearest real image the detector remembers; None if it has no such memory."""
    videos: tuple[tuple[str, ...], ...] | None = None
    """(N,) the video of each clip; None: images."""

    def mask_threshold(self) -> tuple[float | None, float]:
        """The mask probability with the best F1 over all pixels of forged images together, and that F1.

        The truth is binarised at > 0. None (and nan) when no mask is predicted or known.
        """
        if self.pixels is None or not self.pixels[1].any():
            return None, float("nan")
        called, hit = (row[::-1].cumsum()[::-1][1:] for row in self.pixels)  # at or above 1 %, 2 %, ... 100 %
        f1 = 2 * hit / (called + self.pixels[1].sum())
        best = int(f1.argmax())
        return (best + 1) / (BINS - 1), float(f1[best])

    def metrics(self) -> dict[str, float]:
        """``loss``, ``auc``, ``ap``, ``pair_order``, ``pixel_f1``, ``auc/KIND`` of each kind against all reals, and of
        clips ``video_auc``: a video scores the mean of its clips' logits."""
        values = {"loss": self.loss}
        both = split_scores(self.logits, self.labels)
        values |= {"auc": auc(both).value, "ap": average_precision(both).value}
        if not np.isnan(self.pair_order):
            values["pair_order"] = self.pair_order
        if self.pixels is not None:
            values["pixel_f1"] = self.mask_threshold()[1]
        if self.videos is not None:
            whole = video_scores(self.logits, self.labels, self.videos)
            values["video_auc"] = auc(split_scores(whole.scores, whole.labels)).value
        kinds = np.asarray(self.manipulations)
        for kind in sorted(set(self.manipulations) - {""}):
            part = ~self.labels | (kinds == kind)
            values[f"auc/{kind}"] = auc(split_scores(self.logits[part], self.labels[part])).value
        return values


def score(
    detector: AnyDetector, batches: Sequence[Batch], criterion: Criterion, device: torch.device, autocast: Autocast
) -> Scored:
    """Score held-out batches in eval mode; ``autocast`` is a function that gives a context manager.

    A batch on which the loss cannot be computed (the last few images may hold no pair to compare) counts in every
    metric but the loss.
    """
    mode = detector.training
    detector.eval()
    logits, losses, weights, ordered, nearest = [], [], [], [], []
    pixels: npt.NDArray[np.int64] | None = None
    with torch.inference_mode():
        for batch in batches:
            batch = batch.to(device).channels_last()
            with autocast():
                output = detector.forward_validate(batch)
            with suppress(TrainingError):
                losses.append(float(criterion(output, batch)[0]))
                weights.append(len(batch))
            logits.append(output.logits.double().cpu().numpy())
            if output.aux is not None and "nearest" in output.aux:
                nearest.append(output.aux["nearest"][:, 0].double().cpu().numpy())
            fake, real = counterparts(batch)
            ordered.append(logits[-1][fake.numpy()] > logits[-1][real.numpy()])
            if output.mask_logits is not None:
                counted = _count_pixels(output.mask_logits, batch)
                pixels = counted if pixels is None else pixels + counted
    detector.train(mode)
    order = np.concatenate(ordered)
    return Scored(
        logits=np.concatenate(logits),
        labels=np.concatenate([b.label.numpy() > 0.5 for b in batches]),
        groups=tuple(g or p for b in batches for g, p in zip(b.group, b.path, strict=True)),
        manipulations=tuple(m for b in batches for m in b.manipulation),
        loss=float(np.average(losses, weights=weights)) if losses else float("nan"),
        pair_order=float(order.mean()) if len(order) else float("nan"),
        pixels=pixels,
        nearest=np.concatenate(nearest) if nearest else None,
        videos=_videos(batches) if batches[0].is_clip else None,
    )


def _videos(batches: Sequence[Batch]) -> tuple[tuple[str, ...], ...]:
    named = [zip(b.source, b.manipulation, b.path, strict=True) for b in batches]
    return tuple(video_key(*names) for batch in named for names in batch)


def _count_pixels(mask_logits: torch.Tensor, batch: Batch) -> npt.NDArray[np.int64]:
    wanted = batch.mask_valid & (batch.label > 0.5)
    percent = (mask_logits[wanted].float().sigmoid() * (BINS - 1) + 1e-4).long().flatten().clamp_(max=BINS - 1)
    forged = batch.mask[wanted].flatten() > 0
    counts = [torch.bincount(part, minlength=BINS) for part in (percent, percent[forged])]
    return torch.stack(counts).cpu().numpy()
