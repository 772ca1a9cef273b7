"""Losses on the comparison of an image with something real. Each takes ``(output, batch)`` and returns a scalar.

They read what such a detector puts into ``output.aux``: ``anomaly_logits`` (B,); ``distance`` (B,) between the unit
vectors of image and counterpart, in [0, 2]; ``paired`` (B,) bool, where that was the image's own real counterpart;
``nearest`` (B, k), distances to the nearest remembered real vectors, inf where there are none.
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
            "no_comparison",
            f"{term} needs a detector that compares images with real ones (such as dcr_net); this one gives no "
            f"{', '.join(missing)}: leave the term out",
        )
    return [aux[name] for name in names]


def anomaly(output: DetectorOutput, batch: Batch) -> Tensor:
    """Binary cross-entropy of the anomaly logits: 0 for real against real, 1 for fake against real.

    What an image is compared with is always real, so the comparison's label is the image's.

    Raises:
        ConfigError: the detector compares with nothing.
    """
    (logits,) = _read(output, "anomaly", "anomaly_logits")
    return F.binary_cross_entropy_with_logits(logits.float(), batch.label)


def contrastive(output: DetectorOutput, batch: Batch, *, margin: float = 1.0) -> Tensor:
    """``d²`` for a real image and its counterpart, ``max(0, margin - d)²`` for a fake and its; the mean over pairs.

    Hadsell et al., "Dimensionality Reduction by Learning an Invariant Mapping" (2006), eq. 4, doubled; ``d`` lies in
    [0, 2]. Zero (with a gradient path) where no image was compared with its own counterpart.

    Raises:
        ConfigError: the detector compares with nothing.
    """
    distance, paired = _read(output, "contrastive", "distance", "paired")
    distance = distance.float()[paired]
    if not len(distance):
        return output.logits.sum() * 0.0
    fake = batch.label[paired] > 0.5
    return torch.where(fake, (margin - distance).clamp_min(0), distance).square().mean()


def info_nce(output: DetectorOutput, batch: Batch, *, temperature: float = 0.07) -> Tensor:
    """Each real image should be more like another view of itself than like the remembered reals nearest to it.

    van den Oord et al., "Contrastive Predictive Coding" (2018), eq. 4, with MoCo's temperature and, of the memory, the
    prototypes nearest to the image (they dominate the sum). Zero (with a gradient path) without a real pair.

    Raises:
        ConfigError: the detector compares with nothing.
    """
    distance, paired, nearest = _read(output, "info_nce", "distance", "paired", "nearest")
    chosen = paired & (batch.label < 0.5)
    if not bool(chosen.any()):
        return output.logits.sum() * 0.0
    own, others = distance.float()[chosen, None], nearest.float()[chosen]
    known = torch.isfinite(others)
    others = torch.where(known, others, 0.0)  # before the square: inf would make its gradient nan
    cosine = 1 - torch.cat([own, others], 1).square() / 2
    barred = F.pad(~known, (1, 0))
    target = torch.zeros(len(cosine), dtype=torch.long, device=cosine.device)
    return F.cross_entropy((cosine / temperature).masked_fill(barred, -torch.inf), target)
