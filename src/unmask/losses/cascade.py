"""Losses of a cascade: regions, agreement, and what a mask should be like. Each takes ``(output, batch)``.

The terms on regions read what such a detector puts into ``output.aux``: ``global_logits`` and ``aggregate_logits``
(B,), ``local_logits`` and ``region_weight`` (B, 2), suspected region first, weight 0 where a region was skipped.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.core.errors import ConfigError
from unmask.core.types import Batch, DetectorOutput


def _read(output: DetectorOutput, term: str, *names: str) -> list[Tensor]:
    aux = output.aux or {}
    missing = [name for name in names if name not in aux]
    if missing:
        raise ConfigError(
            "no_cascade",
            f"{term} needs a detector that answers for regions too (such as clmf); this one gives no "
            f"{', '.join(missing)}: leave the term out",
        )
    return [aux[name] for name in names]


def _probabilities(output: DetectorOutput, term: str) -> Tensor:
    """The predicted mask (B, 1, H, W) in [0, 1]."""
    if output.mask_logits is None:
        raise ConfigError("no_mask_output", f"{term} needs a detector that localizes: leave the term out")
    return output.mask_logits.sigmoid()


def _known(batch: Batch) -> tuple[Tensor, Tensor]:
    """Which images (B,) have a known mask, and the masks (B, 1, H, W); an authentic image's is empty, given or not."""
    fake = batch.label > 0.5
    return batch.mask_valid | ~fake, batch.mask * fake[:, None, None, None]


def cascade_label(output: DetectorOutput, batch: Batch) -> Tensor:
    """Cross-entropy of the label for the whole's logit and for the regions' noisy-or, each on its own; their mean.

    A cross-entropy of the mean of both logits alone lets the two drift apart, one up and one down. This is never less
    (cross-entropy is convex in the logit), and it is only small where both are right.

    Raises:
        ConfigError: the detector has no regions.
    """
    both = torch.stack(_read(output, "cascade_label", "global_logits", "aggregate_logits"), 1)
    return F.binary_cross_entropy_with_logits(both, batch.label[:, None].expand_as(both).to(both.dtype))


def region_targets(mask: Tensor, truth: Tensor) -> Tensor:
    """How much of each region is truly manipulated: ``sum(m t) / sum(m)`` and ``sum((1 - m) t) / sum(1 - m)``.

    Args:
        mask: (B, 1, H, W) predicted, in [0, 1]; no gradient goes back into it.
        truth: (B, 1, H, W) in [0, 1].

    Returns:
        (B, 2) in [0, 1], suspected region first; 0 for a region without any weight.

    >>> mask, truth = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([1.0, 0.0, 0.0, 0.0])
    >>> region_targets(mask.view(1, 1, 2, 2), truth.view(1, 1, 2, 2)).tolist()
    [[0.5, 0.0]]
    """
    weights = torch.cat([mask.detach(), 1 - mask.detach()], 1)  # (B, 2, H, W)
    return ((weights * truth).sum((2, 3)) / weights.sum((2, 3)).clamp_min(1e-6)).clamp(0, 1)


def cascade_mask(output: DetectorOutput, batch: Batch) -> Tensor:
    """Soft Dice where the true mask is not empty; where it is, binary cross-entropy plus the predicted area.

    ``1 - 2 sum(m p) / (sum(m) + sum(p))`` (Milletari et al., "V-Net", 2016) is 1 for every prediction on an empty mask.
    The mean over images with a known mask; zero (with a gradient path) when none is known.

    Raises:
        ConfigError: the detector gives no mask.
    """
    probability = _probabilities(output, "cascade_mask")
    known, truth = _known(batch)
    if not bool(known.any()):
        return probability.sum() * 0.0
    filled = truth.sum((1, 2, 3)) > 0
    overlap, total = (probability * truth).sum((1, 2, 3)), probability.sum((1, 2, 3)) + truth.sum((1, 2, 3))
    dice = 1 - 2 * overlap / total.clamp_min(1e-6)
    assert output.mask_logits is not None
    empty = F.softplus(output.mask_logits).mean((1, 2, 3)) + probability.mean((1, 2, 3))  # cross-entropy against 0
    return torch.where(filled, dice, empty)[known].mean()


def cascade_local(output: DetectorOutput, batch: Batch) -> Tensor:
    """Cross-entropy of each region's logit against the true mask's mass in it, weighted by region; mean over images.

    Targets are those of :func:`region_targets`; both are 0 on an authentic image. Images whose mask is not known, and
    skipped regions (weight 0), are left out; zero (with a gradient path) when nothing is left.

    Raises:
        ConfigError: the detector has no regions or no mask.
    """
    logits, weight = _read(output, "cascade_local", "local_logits", "region_weight")
    known, truth = _known(batch)
    target = region_targets(_probabilities(output, "cascade_local"), truth)
    weight = weight.detach() * known[:, None]
    each = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
    total = weight.sum(1)
    counted = (total > 0).sum().clamp_min(1)
    return ((each * weight).sum(1) / total.clamp_min(1e-6)).sum() / counted


def cascade_consistency(output: DetectorOutput, batch: Batch) -> Tensor:
    """Mean squared difference of the global probability and the regions' noisy-or.

    Raises:
        ConfigError: the detector has no regions.
    """
    overall, aggregate = _read(output, "cascade_consistency", "global_logits", "aggregate_logits")
    return (overall.sigmoid() - aggregate.sigmoid()).square().mean()


def mask_smooth(output: DetectorOutput, batch: Batch) -> Tensor:
    """Squared gradient of the mask per pixel: ``sum (m[y+1] - m[y])^2 + (m[x+1] - m[x])^2`` over the number of pixels.

    The mean over all images, whatever is known of their masks.

    Raises:
        ConfigError: the detector gives no mask.
    """
    mask = _probabilities(output, "mask_smooth")
    return (mask.diff(dim=2).square().sum() + mask.diff(dim=3).square().sum()) / mask.numel()


def mask_sparse(output: DetectorOutput, batch: Batch) -> Tensor:
    """Mean of the mask over the pixels of the authentic images (elsewhere it would fight a true mask).

    Zero (with a gradient path) in a batch without authentic images.

    Raises:
        ConfigError: the detector gives no mask.
    """
    mask = _probabilities(output, "mask_sparse")
    area = mask.mean((1, 2, 3)) * (batch.label < 0.5)
    return area.sum() / (batch.label < 0.5).sum().clamp_min(1)
