from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from unmask.nn.graph import patch_edges


def test_edges_are_those_of_their_definition() -> None:
    nodes = F.normalize(torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0)), dim=3)
    edges = patch_edges(nodes)
    x = nodes.numpy()
    for b in range(2):
        for t in range(3):
            np.testing.assert_allclose(edges.space[b, t], x[b, t] @ x[b, t].T, atol=1e-6)
        for t in range(2):
            for n in range(5):
                assert abs(float(edges.time[b, t, n]) - float(x[b, t, n] @ x[b, t + 1, n])) < 1e-6
                change = np.abs(x[b, t + 1] @ x[b, t + 1, n] - x[b, t] @ x[b, t, n]).mean()
                assert abs(float(edges.turn[b, t, n]) - change) < 1e-6


def test_one_moving_patch_weakens_its_own_edge_only_and_turns_its_graph_most() -> None:
    nodes = F.normalize(torch.randn(1, 1, 6, 8, generator=torch.Generator().manual_seed(1)), dim=3).repeat(1, 2, 1, 1)
    nodes[0, 1, 2] = F.normalize(torch.randn(8, generator=torch.Generator().manual_seed(2)), dim=0)
    edges = patch_edges(nodes)
    assert edges.time[0, 0].argmin() == 2 and torch.allclose(
        edges.time[0, 0, [0, 1, 3, 4, 5]], torch.ones(5), atol=1e-6
    )
    assert edges.turn[0, 0].argmax() == 2
