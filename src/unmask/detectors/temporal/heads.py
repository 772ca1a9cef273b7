"""What reads a clip's frame features: a stacked bidirectional LSTM, or the graph of its patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.nn.graph import patch_edges


class LSTMHead(nn.Module):
    """Frame features, pooled over places, through a stacked bidirectional LSTM; its mean and maximum over time.

    Khudhur & Mohammed (2025) put such an LSTM on EfficientNetV2.

    Args:
        channels: of the frame features.
        width: of the LSTM, each way.
        layers: of the stack.
        dropout: between them.

    Attributes:
        features: length of what it gives.

    >>> LSTMHead(16, 8, 2, 0.0)(torch.zeros(2, 5, 16, 4, 4)).shape
    torch.Size([2, 32])
    """

    def __init__(self, channels: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        between = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(channels, width, layers, batch_first=True, bidirectional=True, dropout=between)
        self.features = 4 * width

    def forward(self, maps: Tensor) -> Tensor:
        """(B, T, C, h, w) to (B, features)."""
        states: Tensor = self.lstm(self.norm(maps.mean((3, 4))))[0]  # (B, T, 2 width)
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
