"""Numbers as small pictures for the report: (B, 1, h, w) in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

_PANEL = 48
"""Height and width of one bar chart in pixels."""
_GAP = 4


def brightened(values: Tensor) -> Tensor:
    """(B, C, h, w) to (B, 1, h, w): mean magnitude over channels, each image's 99th percentile and above white."""
    strength = values.abs().mean(1, keepdim=True)
    white = strength.flatten(1).quantile(0.99, 1)[:, None, None, None]
    return (strength / white.clamp_min(1e-6)).clamp(0, 1)


def bars(values: Tensor) -> Tensor:
    """(B, columns, rows, bins) in [0, 1] to a sheet of bar charts (B, 1, h, w), with a line at half height.

    >>> bars(torch.rand(2, 4, 2, 16)).shape
    torch.Size([2, 1, 100, 204])
    """
    place = torch.arange(_PANEL, device=values.device)
    height = values[..., place * values.shape[-1] // _PANEL]  # (B, columns, rows, panel)
    level = (_PANEL - 1 - place)[:, None] / (_PANEL - 1)
    charts = (level <= height.unsqueeze(-2)).to(values) * 0.7  # (B, columns, rows, panel, panel)
    charts[..., _PANEL // 2, :] = 1.0
    framed = torch.nn.functional.pad(charts, (0, _GAP, 0, _GAP), value=0.3)
    sheet = framed.permute(0, 2, 3, 1, 4).flatten(3).flatten(1, 2)  # rows of columns of charts
    return sheet[:, None, :-_GAP, :-_GAP]


def shares(weights: Tensor) -> Tensor:
    """(B, 2) shares that sum to 1 to a bar (B, 1, 24, 96): the first share bright, from the left.

    >>> int((shares(torch.tensor([[0.25, 0.75]]))[0, 0, 0] > 0.5).sum())
    24
    """
    place = (torch.arange(96, device=weights.device) + 0.5) / 96
    return torch.where(place < weights[:, :1], 0.9, 0.25)[:, None, None].expand(-1, 1, 24, -1)
