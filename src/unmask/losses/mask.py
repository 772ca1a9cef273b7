"""Losses on the mask logits, over the images whose true mask is known. Each takes ``(output, batch)``."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from unmask.core.errors import ConfigError
from unmask.core.types import Batch, DetectorOutput


def _known(output: DetectorOutput, batch: Batch) -> tuple[Tensor, Tensor]:
    """Mask logits and true masks, both (K, 1, H, W), of the K images whose mask is known."""
    if output.mask_logits is None:
        raise ConfigError(
            "no_mask_output", "a mask loss needs a detector that localizes; this one gives no mask: leave the term out"
        )
    return output.mask_logits[batch.mask_valid], batch.mask[batch.mask_valid]


def mask_bce(output: DetectorOutput, batch: Batch) -> Tensor:
    """Binary cross-entropy per pixel against the soft mask in [0, 1], real images (all zeros) included.

    Zero (with a gradient path) when no mask in the batch is known.
    """
    logits, truth = _known(output, batch)
    if not len(logits):
        return logits.sum()
    return F.binary_cross_entropy_with_logits(logits, truth)


def mask_dice(output: DetectorOutput, batch: Batch) -> Tensor:
    """Soft Dice loss ``1 - 2 sum(m p) / (sum(m) + sum(p))``, the mean over images whose true mask is not empty.

    An image with an empty mask is left out: there the ratio is 0 whatever is predicted, so it teaches nothing (its
    pixels belong to :func:`mask_bce`). Zero (with a gradient path) when no mask is left. For ``m`` in [0, 1] and
    soft, the minimum is above 0 unless ``m`` is binary: Milletari et al., "V-Net" (2016), with plain sums.
    """
    logits, truth = _known(output, batch)
    filled = truth.sum(dim=(1, 2, 3)) > 0
    probability, truth = logits[filled].sigmoid(), truth[filled]
    if not len(truth):
        return probability.sum()
    overlap = (probability * truth).sum(dim=(1, 2, 3))
    total = probability.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3))
    return (1.0 - 2.0 * overlap / total).mean()
