"""How the two streams read each other: deformable and global cross-attention, and the block around them."""

from __future__ import annotations

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


def coordinates(like: Tensor) -> tuple[Tensor, Tensor]:
    """x and y of every cell of a (..., H, W) map, row by row, in cells: each (H * W,), float32.

    >>> coordinates(torch.zeros(2, 2))
    (tensor([0., 1., 0., 1.]), tensor([0., 0., 1., 1.]))
    """
    height, width = like.shape[-2:]
    x = torch.arange(width, device=like.device, dtype=torch.float32).repeat(height)
    return x, torch.arange(height, device=like.device, dtype=torch.float32).repeat_interleave(width)


def sample(cells: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Bilinear samples of a channels-last map; points beyond the border take the nearest cell.

    What ``grid_sample(padding_mode="border")`` gives, but read as whole rows of channels: on a CPU a fifth of its time,
    half with the backward pass. Exported as a gather and small matrix products: a fifth of the time of onnxruntime's
    grid sampling.

    Args:
        cells: (B, H, W, C), contiguous, H and W 2 or more.
        x, y: (B, N, K) points in cells.

    Returns:
        (B, N, K, C).
    """
    batch, height, width, _ = cells.shape
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, top = x.detach().floor().clamp(max=width - 2), y.detach().floor().clamp(max=height - 2)
    right, down = x - left, y - top
    weights = torch.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down], -1)
    start = torch.arange(batch, device=x.device, dtype=torch.int32)[:, None, None] * (height * width)
    first = start + (top * width + left).int()  # exact in float32 up to 4096 x 4096 cells
    corners = torch.tensor([0, 1, width, width + 1], device=x.device, dtype=torch.int32)
    index = (first.unsqueeze(-1) + corners).view(-1, 4)
    rows = cells.flatten(0, 2)
    if torch.onnx.is_in_onnx_export():
        values = torch.bmm(weights.view(-1, 1, 4), F.embedding(index, rows))
    else:
        values = F.embedding_bag(index, rows, mode="sum", per_sample_weights=weights.view(-1, 4))
    return values.view(*x.shape, -1)


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
        self.own: Tensor  # (heads, dim), 1 where a channel is the head's own
        self.register_buffer("own", torch.eye(heads).repeat_interleave(dim // heads, 1), persistent=False)

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """(B, H, W, dim) queries and a context of the same shape to (B, H, W, dim)."""
        dim = query.shape[-1]
        q = self.query(query)
        near = self.around(q.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        moves = _REACH * torch.tanh(self.offset(F.gelu(self.norm(near))).float()).flatten(1, 2)  # (B, HW, 18)
        across, along = coordinates(query.new_empty(3, 3))
        right, down = moves[..., :9] + (across - 1), moves[..., 9:] + (along - 1)
        x, y = (way + here[:, None] for way, here in zip((right, down), coordinates(query[0, ..., 0]), strict=True))
        # Keys and values are read together: the backward pass then sorts and weighs the points once.
        both = F.linear(context, torch.cat([self.key.weight, self.value.weight])).float()
        k, v = sample(both, x, y).view(-1, 9, 2 * dim).chunk(2, 2)  # (B * HW, 9, dim)
        # Heads as rows of one small matrix product per query: nine times faster here than by products and sums.
        rows = q.float().view(-1, 1, dim) * (self.own * (dim // self.heads) ** -0.5)  # (B * HW, heads, dim)
        bias = self.bias(torch.stack([right, down], -1)).view(-1, 9, self.heads).transpose(1, 2)
        scores = torch.baddbmm(bias.float(), rows, k.transpose(1, 2))  # (B * HW, heads, 9)
        # softmax(2), which on a CPU takes eight times as long for nine values.
        weights = (scores - scores.detach().amax(2, keepdim=True)).exp()
        weights = weights / weights.sum(2, keepdim=True)
        every = torch.bmm(weights, v).view(-1, self.heads, self.heads, dim // self.heads)
        attended = every.diagonal(dim1=1, dim2=2).transpose(1, 2)  # of each head its own channels
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
