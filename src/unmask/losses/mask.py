"""Losses on the mask logits, over the images whose true mask is known. Each takes ``(output, batch)``."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from unmask.core.errors import ConfigError
from unmask.core.types import Batch, DetectorOutput
from unmask.ops.boundary import boundary_map


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


def mask_l1_ssim(output: DetectorOutput, batch: Batch, *, ssim_weight: float = 0.15) -> Tensor:
    """``0.85 |p - m| + 0.15 (1 - SSIM(p, m))`` of the mask probabilities against the soft mask, at full resolution.

    SSIM as published (Wang et al., "Image quality assessment", 2004): Gaussian window of 11 pixels, sigma 1.5, values
    in [0, 1]. The mean is over every pixel of every image whose mask is known, **real images (all zeros) included**:
    the SSIM of an empty mask is not degenerate as Dice is, it is 1 where nothing is predicted and falls at once
    where something is, exactly as in the untouched part of a forged image. Zero (with a gradient path) when no mask in
    the batch is known.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    logits, truth = _known(output, batch)
    if not len(logits):
        return logits.sum()
    probability = logits.sigmoid()
    ssim = structural_similarity_index_measure(probability, truth, data_range=1.0)
    assert isinstance(ssim, Tensor)
    return (1.0 - ssim_weight) * F.l1_loss(probability, truth) + ssim_weight * (1.0 - ssim)


def boundary_bce(output: DetectorOutput, batch: Batch, *, soften: float = 1.0) -> Tensor:
    """Binary cross-entropy per pixel of the mask logits against the *boundary* of the true mask (Face X-ray).

    As Li et al., "Face X-ray" (2020), train their map: the target is ``4 m (1 - m)``, of a mask softened by ``soften``
    pixels so that hard edges count too; an untouched image has none. A design trained by this marks where something
    was blended in instead of what, so it goes with no other term that trains the mask. Zero (with a gradient path)
    when no mask in the batch is known.
    """
    logits, truth = _known(output, batch)
    if not len(logits):
        return logits.sum()
    return F.binary_cross_entropy_with_logits(logits, boundary_map(truth, soften))
