"""How the two streams read each other: deformable and global cross-attention, and the block around them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers.mlp import Mlp
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.detectors.auranet.config import Attention
from unmask.nn.attention import CrossAttention

_REACH = 2.0
"""A learnt offset moves a point by less than this many cells."""
_BIAS_WIDTH = 16
"""Hidden units of the position-bias MLP."""
_FFN_RATIO = 4


def coordinates(like: Tensor) -> Tensor:
    """(H * W, 2) x and y of every cell of a (..., H, W) map, row by row, in cells, float32.

    >>> coordinates(torch.zeros(1, 2)).tolist()
    [[0.0, 0.0], [1.0, 0.0]]
    """
    height, width = like.shape[-2:]
    y = torch.arange(height, device=like.device, dtype=torch.float32)
    x = torch.arange(width, device=like.device, dtype=torch.float32)
    return torch.stack([x.repeat(height), y.repeat_interleave(width)], 1)


def normalized(points: Tensor, height: int, width: int) -> Tensor:
    """(..., 2) x and y in cells to the [-1, 1] of ``grid_sample(align_corners=False)``: outer edges at -1 and 1.

    >>> normalized(coordinates(torch.zeros(1, 2)), 1, 2).tolist()
    [[-0.5, 0.0], [0.5, 0.0]]
    """
    size = torch.tensor([width, height], device=points.device, dtype=points.dtype)
    return (2 * points + 1) / size - 1


def sample(maps: Sequence[Tensor], points: Tensor) -> list[Tensor]:
    """Bilinear samples of channels-last maps; points beyond the border take the nearest cell.

    What ``grid_sample(padding_mode="border")`` gives, which is what is exported, but read as whole rows of channels:
    on a CPU a fifth of its time, half with the backward pass.

    Args:
        maps: each (B, H, W, C), contiguous, H and W 2 or more.
        points: (B, N, K, 2) x and y in cells.

    Returns:
        (B, N, K, C) of each map.
    """
    batch, height, width, _ = maps[0].shape
    if torch.compiler.is_exporting():
        grid = normalized(points, height, width)
        shown = (F.grid_sample(m.permute(0, 3, 1, 2), grid, "bilinear", "border", align_corners=False) for m in maps)
        return [values.permute(0, 2, 3, 1) for values in shown]
    last = torch.tensor([width - 1, height - 1], device=points.device, dtype=points.dtype)
    points = points.clamp(torch.zeros_like(last), last)
    corner = points.detach().floor().minimum(last - 1)
    right, down = (points - corner).unbind(-1)
    weights = torch.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down], -1)
    start = torch.arange(batch, device=points.device)[:, None, None] * (height * width)
    x, y = corner.long().unbind(-1)
    corners = torch.tensor([0, 1, width, width + 1], device=points.device)
    index = (start + y * width + x).unsqueeze(-1) + corners  # (B, N, K, 4)
    rows = (
        F.embedding_bag(index.view(-1, 4), m.flatten(0, 2), mode="sum", per_sample_weights=weights.view(-1, 4))
        for m in maps
    )
    return [values.view(*points.shape[:3], -1) for values in rows]


class DeformableAttention(nn.Module):
    """Every cell of one map attends to nine points of the other: its 3 x 3 neighbourhood, moved by learnt offsets.

    After Xia et al., "Vision Transformer with Deformable Attention" (CVPR 2022), with points of its own for each
    query instead of points shared by all, so that memory grows with cells and not with their square. Offsets are
    ``2 tanh`` cells and start at zero; points beyond the border take the nearest cell. Keys and values are projected
    before they are sampled: a 1 x 1 convolution and bilinear weights, which sum to 1, commute. An MLP on the way from
    query to point (in cells) adds a bias per head to the scores.

    Args:
        dim: channels of both maps; ``heads`` divides it.
        heads: how many; they share the points.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads cannot share {dim} channels evenly")
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, dim)
        self.around = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.offset = nn.Linear(dim, 18)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)
        self.bias = nn.Sequential(nn.Linear(2, _BIAS_WIDTH), nn.GELU(), nn.Linear(_BIAS_WIDTH, heads, bias=False))
        self.taps: Tensor  # (9, 2), row by row
        self.register_buffer("taps", coordinates(torch.zeros(3, 3)) - 1, persistent=False)

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """(B, H, W, dim) queries and a context of the same shape to (B, H, W, dim)."""
        batch, height, width, dim = query.shape
        q = self.query(query)
        near = self.around(q.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        moves = _REACH * torch.tanh(self.offset(F.gelu(self.norm(near))).float())  # (B, H, W, 18): 9 pairs of x, y
        way = self.taps + moves.view(batch, height * width, 9, 2)
        points = coordinates(query[0, :, :, 0])[:, None] + way
        sampled = sample((self.key(context).float(), self.value(context).float()), points)
        k, v = (x.view(*x.shape[:3], self.heads, -1) for x in sampled)  # (B, HW, 9, heads, dim / heads)
        q = q.float().reshape(batch, height * width, 1, self.heads, -1)
        scores = (q * k).sum(-1) * (dim // self.heads) ** -0.5 + self.bias(way)  # (B, HW, 9, heads)
        attended = (scores.softmax(2).unsqueeze(-1) * v).sum(2)  # (B, HW, heads, dim / heads)
        result: Tensor = self.out(attended.reshape(query.shape).to(query.dtype))
        return result


class GlobalAttention(CrossAttention):
    """Every cell of one map attends to all cells of the other."""

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """(B, H, W, dim) queries and a context of any size to (B, H, W, dim)."""
        return super().forward(query.flatten(1, 2), context.flatten(1, 2)).view(query.shape)


class CrossFusionBlock(nn.Module):
    """Each stream attends to the other: ``x = norm(x + attended)``, then ``norm(x + ffn(x))``.

    The plan's 1 x 1 convolutions are linear layers on channels-last cells: the same numbers, faster.

    Args:
        dim: channels of both maps.
        heads: of the attention.
        kind: of the attention.
    """

    def __init__(self, dim: int, heads: int, kind: Attention) -> None:
        super().__init__()
        attention = DeformableAttention if kind == "deformable" else GlobalAttention
        self.attend = nn.ModuleList(attention(dim, heads) for _ in range(2))
        self.norm1 = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.ffn = nn.ModuleList(Mlp(dim, _FFN_RATIO * dim) for _ in range(2))
        self.norm2 = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))

    def forward(self, spatial: Tensor, frequency: Tensor) -> tuple[Tensor, Tensor]:
        """Two (B, dim, H, W) maps to two maps like them, channels last in memory."""
        a, b = (x.permute(0, 2, 3, 1).contiguous() for x in (spatial, frequency))
        mixed = []
        for i, (x, other) in enumerate(((a, b), (b, a))):
            y = self.norm1[i](x + self.attend[i](x, other))
            mixed.append(self.norm2[i](y + self.ffn[i](y)).permute(0, 3, 1, 2))
        return mixed[0], mixed[1]
