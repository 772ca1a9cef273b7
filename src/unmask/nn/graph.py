"""Patches of a clip as a graph: edges within each frame, and along time between the same patch of two frames."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class PatchEdges(NamedTuple):
    """Edges of a clip's patch graph."""

    time: Tensor
    """(B, T - 1, N) similarity of each patch with itself one frame later."""
    space: Tensor
    """(B, T, N, N) similarity of all patches of a frame with each other: the frame's graph."""
    turn: Tensor
    """(B, T - 1, N) mean absolute change of a patch's edges to its frame's patches, from one frame to the next: change
    of the graph's structure."""


def patch_edges(nodes: Tensor) -> PatchEdges:
    """Edges between unit vectors (B, T, N, D), by cosine similarity.

    >>> import torch
    >>> still = torch.nn.functional.normalize(torch.randn(1, 1, 4, 3), dim=3).expand(1, 5, 4, 3)
    >>> edges = patch_edges(still)
    >>> edges.time.shape, edges.space.shape, bool(edges.turn.max() == 0)
    (torch.Size([1, 4, 4]), torch.Size([1, 5, 4, 4]), True)
    """
    time = (nodes[:, 1:] * nodes[:, :-1]).sum(3)
    space = nodes @ nodes.transpose(2, 3)
    return PatchEdges(time, space, (space[:, 1:] - space[:, :-1]).abs().mean(3))
