"""What reads a clip's frame features: a stacked bidirectional LSTM, or the graph of its patches."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.nn.graph import patch_edges


class LSTMHead(nn.Module):
    """A stacked bidirectional LSTM over the frames; its mean and maximum over time.

    Khudhur & Mohammed (2025) put such an LSTM on EfficientNetV2's frame features, pooled over places: ``frames``. That
    mean hides what changes in one place only, with or without its difference to the frame before: nothing is learnt
    from a flicker. ``steps`` therefore projects and standardises each place first, and reads, for each frame but the
    first, the mean over places, and mean and maximum over places of the absolute step since the frame before.

    Args:
        channels: of the frame features.
        width: of the LSTM, each way, and of the projected places.
        layers: of the stack.
        dropout: between them.
        reads: ``steps`` or ``frames``.

    Attributes:
        features: length of what it gives.

    >>> LSTMHead(16, 8, 2, 0.0)(torch.zeros(2, 5, 16, 4, 4)).shape
    torch.Size([2, 32])
    """

    def __init__(
        self, channels: int, width: int, layers: int, dropout: float, reads: Literal["steps", "frames"] = "steps"
    ) -> None:
        super().__init__()
        self.place = nn.Sequential(nn.Linear(channels, width), nn.LayerNorm(width)) if reads == "steps" else None
        seen = channels if self.place is None else 3 * width
        self.norm = nn.LayerNorm(seen)
        between = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(seen, width, layers, batch_first=True, bidirectional=True, dropout=between)
        self.features = 4 * width

    def frames(self, maps: Tensor) -> Tensor:
        """What the LSTM reads: (B, T, C, h, w) to (B, T, C), or to (B, T - 1, 3 width)."""
        if self.place is None:
            return maps.mean((3, 4))
        places = self.place(maps.flatten(3).transpose(2, 3))  # (B, T, h w, width)
        step = (places[:, 1:] - places[:, :-1]).abs()
        return torch.cat([places[:, 1:].mean(2), step.mean(2), step.amax(2)], 2)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, T, C, h, w) to (B, features)."""
        states: Tensor = self.lstm(self.norm(self.frames(maps)))[0]  # (B, T, 2 width)
        return torch.cat([states.mean(1), states.amax(1)], 1)


class GraphHead(nn.Module):
    """The patches of each frame as a graph, the same patch of consecutive frames joined by an edge; after Liu (2025).

    A node is a projected place of the feature map. From one frame to the next each node has: the similarity along its
    temporal edge, the change of its edges to all other nodes of its frame, its own step, and how far that step differs
    from the steps of the nodes it resembles: a head that turns moves its patches together, a forged patch moves alone.
    All four go through a small network per edge; the clip is their mean and maximum over patches and time.

    Args:
        channels: of the frame features.
        width: of the nodes.

    Attributes:
        features: length of what it gives.

    >>> GraphHead(16, 8)(torch.zeros(2, 5, 16, 4, 4)).shape
    torch.Size([2, 16])
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(channels, width)
        self.norm = nn.LayerNorm(width)
        self.sharpness = nn.Parameter(torch.tensor(2.0))
        # no norm before it: how large a step is, is the evidence
        self.edge = nn.Sequential(nn.Linear(2 * width + 2, width), nn.GELU(), nn.Linear(width, width))
        self.features = 2 * width

    def nodes(self, maps: Tensor) -> Tensor:
        """(B, T, C, h, w) to (B, T, h w, width)."""
        projected: Tensor = self.norm(self.project(maps.flatten(3).transpose(2, 3)))
        return projected

    def forward(self, maps: Tensor) -> Tensor:
        """(B, T, C, h, w) to (B, features)."""
        nodes = self.nodes(maps)
        edges = patch_edges(F.normalize(nodes, dim=3))
        step = nodes[:, 1:] - nodes[:, :-1]  # (B, T - 1, N, width)
        alike = (self.sharpness.exp() * edges.space[:, 1:]).softmax(3)  # (B, T - 1, N, N)
        alone = step - alike @ step
        seen = torch.cat([edges.time.unsqueeze(3), edges.turn.unsqueeze(3), step.abs(), alone.abs()], 3)
        told: Tensor = self.edge(seen).flatten(1, 2)  # (B, (T - 1) N, width)
        return torch.cat([told.mean(1), told.amax(1)], 1)
