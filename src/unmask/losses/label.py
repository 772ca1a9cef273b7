"""Losses on the image logit. Each takes ``(output, batch)`` and returns a scalar."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.core.types import Batch, DetectorOutput


def bce(output: DetectorOutput, batch: Batch, *, smoothing: float = 0.0) -> Tensor:
    """Binary cross-entropy of the logits (B,) against the labels, targets pulled to ``smoothing / 2`` from 0 and 1.

    Label smoothing after Szegedy et al., "Rethinking the Inception Architecture" (2016), eq. 5 with two classes.
    """
    target = batch.label * (1.0 - smoothing) + 0.5 * smoothing
    return F.binary_cross_entropy_with_logits(output.logits, target)


def focal(output: DetectorOutput, batch: Batch, *, alpha: float = 0.5, gamma: float = 2.0) -> Tensor:
    """Focal loss, Lin et al., "Focal Loss for Dense Object Detection" (2017), eq. 5; ``alpha`` weighs the fakes.

    With ``gamma=0, alpha=0.5`` it is half the cross-entropy.
    """
    from torchvision.ops import sigmoid_focal_loss

    loss: Tensor = sigmoid_focal_loss(output.logits, batch.label, alpha=alpha, gamma=gamma, reduction="mean")
    return loss


def am_softmax(output: DetectorOutput, batch: Batch, *, margin: float = 0.35, scale: float = 30.0) -> Tensor:
    """Two-class AM-Softmax on logits that are already ``scale * (cos_fake - cos_real)``: ``softplus(s m - t z)``.

    Wang et al., "Additive Margin Softmax for Face Verification" (2018), eq. 6, which is CosFace's loss; with two
    classes the soft maximum of one difference is a softplus. ``t`` is 1 for fakes and -1 for reals. The margin lives
    here, so the detector sees no label. A right answer by a small difference is expensive: at z = 0 the loss is
    ``softplus(s m)``, 10.5 with the defaults. For a logit without such a scale the margin is just ``s m`` logits.
    """
    sign = 2.0 * batch.label - 1.0
    return F.softplus(scale * margin - sign * output.logits).mean()


def counterparts(batch: Batch) -> tuple[Tensor, Tensor]:
    """Indices ``(fake, real)``, each (P,), of all forged images whose own real counterpart is in the batch.

    A fake and a real are counterparts when they have the same ``path``; in a batch where no two do, when they have
    the same ``group`` (the frames of one video and its forgeries). Empty names match nothing.
    """
    label = batch.label.detach().cpu().numpy()
    for names in (batch.path, batch.group):
        if len(names) != label.size:
            continue
        _, code = np.unique(np.asarray(names), return_inverse=True)
        named = np.asarray(names) != ""
        match = (code[:, None] == code[None, :]) & named[:, None] & (label[:, None] > 0.5) & (label[None, :] <= 0.5)
        if match.any():
            fake, real = np.nonzero(match)
            return torch.from_numpy(fake), torch.from_numpy(real)
    return torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long)


def rank(output: DetectorOutput, batch: Batch) -> Tensor:
    """Mean of ``softplus(-(logit_fake - logit_real))`` over counterparts; zero (with a gradient path) without any.

    RankNet, Burges et al., "Learning to Rank using Gradient Descent" (2005), eq. 3. What a photo's own camera, blur
    and compression add to both logits cancels, so this term cannot be lowered by reading them.
    """
    fake, real = (index.to(output.logits.device) for index in counterparts(batch))
    if not len(fake):
        return output.logits.sum() * 0.0
    return F.softplus(output.logits[real] - output.logits[fake]).mean()


def unsharp_bias(output: DetectorOutput, batch: Batch) -> Tensor:
    """Squared correlation, within each class, of the logits with the images' log sharpness; mean of the two classes.

    Sharpness is the standard deviation of the luma's Laplacian. Zero when the logits tell nothing about blur that the
    label does not; a class of fewer than four images, or of one sharpness, adds nothing.
    """
    luma = batch.image.float().mean(-3, keepdim=True)
    laplacian = 4 * luma[..., 1:-1, 1:-1] - luma[..., :-2, 1:-1] - luma[..., 2:, 1:-1]
    laplacian = laplacian - luma[..., 1:-1, :-2] - luma[..., 1:-1, 2:]
    sharpness = torch.log(laplacian.flatten(1).std(1) + 1e-3)
    total = output.logits.sum() * 0.0
    for label in (0, 1):
        chosen = batch.label.round() == label
        if int(chosen.sum()) < 4:
            continue
        z = output.logits[chosen] - output.logits[chosen].mean()
        s = sharpness[chosen] - sharpness[chosen].mean()
        total = total + (z * s).mean().square() / (z.square().mean() * s.square().mean() + 1e-6) / 2
    return total
