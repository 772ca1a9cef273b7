"""The cascade's second half: regions of a soft mask, their answers, and what these say together."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def soft_regions(features: Tensor, mask: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Mean features of the suspected and of the authentic region: weighted by the mask, and by one minus the mask.

    Args:
        features: (B, C, h, w).
        mask: (B, 1, h, w) share of each cell that is suspected, in [0, 1].
        inside: (1 or B, 1, h, w) share of each cell that lies in the image; the mask is at most that.

    Returns:
        (B, 2, C) means, suspected first (a region without any weight gives zeros), and (B, 2) shares of the image.

    >>> mask = torch.tensor([[[[1.0, 0.0, 0.0, 0.5]]]])
    >>> means, area = soft_regions(torch.tensor([[[[4.0, 1.0, 2.0, 7.0]]]]), mask, torch.ones_like(mask))
    >>> [round(x, 2) for x in means.flatten().tolist()], area.tolist()
    ([5.0, 2.6], [[0.375, 0.625]])
    """
    weights = torch.cat([mask, inside - mask], 1).flatten(2)  # (B, 2, N)
    mass = weights.sum(2)
    means = weights @ features.flatten(2).transpose(1, 2) / mass.clamp_min(1e-6).unsqueeze(2)
    return means, mass / inside.sum((1, 2, 3)).unsqueeze(1)


def noisy_or(logits: Tensor, used: Tensor) -> Tensor:
    """The logit of "at least one region is fake": ``1 - (1 - p1)(1 - p2)`` over the regions used.

    Its odds are ``o1 + o2 + o1 o2``, so no probability is ever rounded to 0 or 1.

    Args:
        logits: (B, 2).
        used: (B, 2) bool; at least one is true.

    Returns:
        (B,).

    >>> both = torch.tensor([[True, True], [True, False]])
    >>> [round(p, 4) for p in noisy_or(torch.zeros(2, 2), both).sigmoid().tolist()]
    [0.75, 0.5]
    """
    first, second = logits.masked_fill(~used, -1e4).unbind(1)
    return torch.stack([first, second, first + second], 1).logsumexp(1)


class Head(nn.Sequential):
    """(..., dim) to one logit (..., 1).

    Args:
        dim: channels.
        hidden: units between.
        dropout: before the last layer.
        prior: probability it starts near.
    """

    def __init__(self, dim: int, hidden: int, dropout: float, prior: float = 0.5) -> None:
        last = nn.Linear(hidden, 1)
        nn.init.constant_(last.bias, float(torch.logit(torch.tensor(prior))))
        super().__init__(nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), last)
