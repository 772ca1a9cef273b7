"""Deformable attention against a plain 3 x 3 neighbourhood, sampling against torch's grid_sample, memory."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from unmask.detectors.auranet.config import Attention
from unmask.detectors.auranet.fusion import CrossFusionBlock, DeformableAttention, coordinates, sample


def normalized(position: torch.Tensor, size: int) -> torch.Tensor:
    """Positions in cells along a side to the [-1, 1] of ``grid_sample(align_corners=False)``."""
    return (2 * position + 1) / size - 1


def neighbourhood_attention(net: DeformableAttention, query: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """Attention of every cell to its 3 x 3 neighbours, cells beyond the border being the nearest one; written out."""
    batch, height, width, dim = query.shape
    q, k, v = net.query(query), net.key(context), net.value(context)
    each = dim // net.heads
    result = torch.zeros_like(q)
    ways = torch.tensor([[dx, dy] for dy in (-1.0, 0.0, 1.0) for dx in (-1.0, 0.0, 1.0)])
    bias = net.bias(ways)  # (9, heads)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                cells = [
                    (min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1))
                    for dy in (-1, 0, 1)
                    for dx in (-1, 0, 1)
                ]
                for head in range(net.heads):
                    part = slice(head * each, (head + 1) * each)
                    keys = torch.stack([k[b, i, j, part] for i, j in cells])
                    values = torch.stack([v[b, i, j, part] for i, j in cells])
                    scores = keys @ q[b, y, x, part] / math.sqrt(each) + bias[:, head]
                    result[b, y, x, part] = scores.softmax(0) @ values
    return net.out(result)  # type: ignore[no-any-return]


@torch.no_grad()
def test_without_offsets_it_is_attention_over_the_3x3_neighbourhood() -> None:
    torch.manual_seed(0)
    net = DeformableAttention(8, heads=2)
    query, context = torch.randn(2, 5, 4, 8), torch.randn(2, 5, 4, 8)
    torch.testing.assert_close(net(query, context), neighbourhood_attention(net, query, context), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_offsets_move_the_points() -> None:
    """With every point moved by exactly one cell to the right, the context may as well be moved to the left."""
    torch.manual_seed(0)
    net = DeformableAttention(8, heads=2)
    query, context = torch.randn(1, 6, 9, 8), torch.randn(1, 6, 9, 8)
    shifted = torch.cat([context[:, :, 1:], context[:, :, -1:]], 2)
    net.bias.requires_grad_(False)[2].weight.zero_()  # the bias knows that the points moved
    expected = net(query, shifted)
    net.offset.bias[:9] = math.atanh(0.5)  # 2 tanh = 1 cell
    assert not torch.allclose(net(query, context), expected, atol=1e-3)  # at the left border points clamp differently
    torch.testing.assert_close(net(query, context)[:, :, 1:], expected[:, :, 1:], atol=1e-5, rtol=1e-5)


def test_every_offset_channel_and_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)
    net = DeformableAttention(8, heads=2)
    query, context = torch.randn(2, 6, 6, 8), torch.randn(2, 6, 6, 8)
    net(query, context).square().sum().backward()
    assert (net.offset.weight.grad != 0).any(1).all() and (net.offset.bias.grad != 0).all()
    torch.nn.init.normal_(net.offset.weight, std=0.1)  # what lies before the offsets moves once they do
    net(query, context).square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in net.parameters())


@settings(max_examples=30, deadline=None)
@given(height=st.integers(2, 7), width=st.integers(2, 7), seed=st.integers(0, 99))
def test_sampling_is_grid_sample_with_its_gradients(height: int, width: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    cells = torch.randn(2, height, width, 3, generator=random, dtype=torch.float64, requires_grad=True)
    points = 12 * torch.rand(2, 4, 5, 2, generator=random, dtype=torch.float64) - 3
    x, y = (p.clone().requires_grad_() for p in points.unbind(-1))
    upstream = torch.randn(2, 4, 5, 3, generator=random, dtype=torch.float64)
    ours = sample(cells, x, y)
    grid = torch.stack([normalized(x, width), normalized(y, height)], -1)
    theirs = F.grid_sample(cells.permute(0, 3, 1, 2), grid, padding_mode="border", align_corners=False)
    torch.testing.assert_close(ours, theirs.permute(0, 2, 3, 1))
    for a, b in zip(
        torch.autograd.grad(ours, [cells, x, y], upstream),
        torch.autograd.grad(theirs, [cells, x, y], upstream.permute(0, 3, 1, 2)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_coordinates_are_grid_sample_positions() -> None:
    grid = torch.arange(12.0).view(1, 1, 3, 4)
    x, y = coordinates(grid)
    points = torch.stack([normalized(x, 4), normalized(y, 3)], -1).view(1, 3, 4, 2)
    torch.testing.assert_close(F.grid_sample(grid, points, align_corners=False), grid)


def saved_bytes(net: torch.nn.Module, side: int) -> int:
    """Bytes that autograd keeps for one forward pass: a count, not a measurement."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    maps = [torch.randn(1, 8, side, side) for _ in range(2)]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        net(*maps)
    return sum(kept.values())


@pytest.mark.parametrize("kind", ["deformable", "global"])
def test_memory_grows_with_cells(kind: Attention) -> None:
    net = CrossFusionBlock(8, 2, kind)
    small, large = saved_bytes(net, 16), saved_bytes(net, 64)
    assert large < 1.2 * 16 * small


@pytest.mark.parametrize("kind", ["deformable", "global"])
def test_block_joins_two_streams_of_any_shape(kind: Attention) -> None:
    torch.manual_seed(0)
    net = CrossFusionBlock(8, 2, kind)
    spatial, frequency = torch.randn(2, 8, 4, 6), torch.randn(2, 8, 4, 6)
    a, b = net(spatial, frequency)
    assert a.shape == b.shape == spatial.shape and not torch.allclose(a, b)
    changed = net(spatial, frequency + 1 + torch.randn_like(frequency))[0]
    assert not torch.allclose(a, changed)
    # The last step of both paths is a LayerNorm over channels.
    torch.testing.assert_close(a.mean(1), torch.zeros(2, 4, 6), atol=1e-5, rtol=0)


def test_block_under_bfloat16() -> None:
    net = CrossFusionBlock(8, 2, "deformable")
    maps = [torch.randn(1, 8, 4, 4) for _ in range(2)]
    plain = net(*maps)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = net(*maps)
    for a, b in zip(plain, mixed, strict=True):
        torch.testing.assert_close(a, b.float(), atol=0.1, rtol=0.1)
