"""The training objective: a weighted sum of named terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from unmask.core.errors import ConfigError
from unmask.core.names import did_you_mean
from unmask.core.types import Batch, DetectorOutput
from unmask.losses.cascade import (
    cascade_consistency,
    cascade_label,
    cascade_local,
    cascade_mask,
    mask_smooth,
    mask_sparse,
)
from unmask.losses.embedding import supcon
from unmask.losses.image import reconstruction
from unmask.losses.label import am_softmax, bce, focal, rank, unsharp_bias
from unmask.losses.mask import boundary_bce, mask_bce, mask_dice, mask_l1_ssim
from unmask.losses.pair import anomaly, contrastive, info_nce

Term = Callable[[DetectorOutput, Batch], Tensor]

TERMS: dict[str, Term] = {
    "bce": bce,
    "focal": focal,
    "rank": rank,
    "unsharp_bias": unsharp_bias,
    "mask_bce": mask_bce,
    "mask_dice": mask_dice,
    "mask_l1_ssim": mask_l1_ssim,
    "boundary_bce": boundary_bce,
    "am_softmax": am_softmax,
    "supcon": supcon,
    "reconstruction": reconstruction,
    "anomaly": anomaly,
    "contrastive": contrastive,
    "info_nce": info_nce,
    "cascade_label": cascade_label,
    "cascade_mask": cascade_mask,
    "cascade_local": cascade_local,
    "cascade_consistency": cascade_consistency,
    "mask_smooth": mask_smooth,
    "mask_sparse": mask_sparse,
}


class Criterion(nn.Module):
    """Weighted sum of the terms named in :data:`TERMS`.

    Args:
        terms: name to weight; a weight of 0 leaves the term out.
        label_smoothing: for ``bce``, in [0, 1).
        focal_fake: weight of the fakes in ``focal``, in [0, 1]; the reals weigh 1 minus it.

    Raises:
        ConfigError: an unknown or no term, a weight below 0, a smoothing or share outside its range.

    >>> from unmask.core.types import Sample, collate
    >>> batch = collate([Sample(torch.zeros(3, 4, 4), 0, path="a"), Sample(torch.zeros(3, 4, 4), 1, path="a")])
    >>> total, parts = Criterion({"bce": 1.0, "rank": 0.5})(DetectorOutput(torch.zeros(2)), batch)
    >>> round(float(total), 4), {name: round(float(value), 4) for name, value in parts.items()}
    (1.0397, {'bce': 0.6931, 'rank': 0.6931})
    """

    def __init__(self, terms: Mapping[str, float], *, label_smoothing: float = 0.0, focal_fake: float = 0.5) -> None:
        super().__init__()
        for name, weight in terms.items():
            if name not in TERMS:
                hint = did_you_mean(name, TERMS)
                raise ConfigError("unknown_key", f"unknown loss term '{name}'{hint}; known: {', '.join(TERMS)}")
            if not weight >= 0:
                raise ConfigError("bad_config", f"the weight of loss term '{name}' must be 0 or more, got {weight}")
        if not 0 <= label_smoothing < 1:
            raise ConfigError("bad_config", f"label_smoothing must lie in [0, 1), got {label_smoothing}")
        if not 0 <= focal_fake <= 1:
            raise ConfigError("bad_config", f"focal_fake must lie in [0, 1], got {focal_fake}")
        self.weights = {name: float(weight) for name, weight in terms.items() if weight > 0}
        two = [name for name in ("mask_bce", "mask_dice", "mask_l1_ssim", "cascade_mask") if name in self.weights]
        if "boundary_bce" in self.weights and two:
            raise ConfigError("bad_config", f"boundary_bce and {two[0]} want different things of one mask; drop one")
        if not self.weights:
            raise ConfigError("bad_config", f"at least one loss term needs a weight; known: {', '.join(TERMS)}")
        self._terms = {name: TERMS[name] for name in self.weights}
        if "bce" in self._terms:
            self._terms["bce"] = partial(bce, smoothing=label_smoothing)
        if "focal" in self._terms:
            self._terms["focal"] = partial(focal, alpha=focal_fake)

    def forward(self, output: DetectorOutput, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The total (scalar, with gradient) and every term before its weight, detached.

        Computed in float32 whatever the detector's precision.
        """
        output = output._replace(
            logits=output.logits.float(),
            mask_logits=None if output.mask_logits is None else output.mask_logits.float(),
        )
        with torch.autocast(output.logits.device.type, enabled=False):
            values = {name: term(output, batch) for name, term in self._terms.items()}
        total = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        return total, {name: value.detach() for name, value in values.items()}
