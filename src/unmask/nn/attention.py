"""Attention between two sets of tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CrossAttention(nn.Module):
    """Multi-head attention of queries to a context of any length (Vaswani et al., 2017).

    Keys have no bias: it would shift all scores of a query alike, which softmax takes out again. Nor have values:
    theirs would only add to the output's.

    Args:
        dim: channels of the queries and of the result; ``heads`` divides it.
        heads: how many.
        context_dim: channels of the context, if not ``dim``.

    >>> import torch
    >>> CrossAttention(8, heads=2, context_dim=6)(torch.zeros(3, 10, 8), torch.zeros(3, 4, 6)).shape
    torch.Size([3, 10, 8])
    """

    def __init__(self, dim: int, heads: int, context_dim: int | None = None) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads cannot share {dim} channels evenly")
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(context_dim or dim, dim, bias=False)
        self.value = nn.Linear(context_dim or dim, dim, bias=False)
        self.out = nn.Linear(dim, dim)

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """(B, N, dim) queries and a (B, M, context_dim) context to (B, N, dim)."""
        return self.attend(query, context)

    def attend(self, query: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        """The same, with (B, M) numbers added to the scores of the context's tokens, for all queries alike."""
        q, k, v = (
            x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, N or M, dim / heads)
            for x in (self.query(query), self.key(context), self.value(context))
        )
        mask = None if bias is None else bias[:, None, None].to(q.dtype)  # (B, 1, 1, M)
        attended: Tensor = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        attended = attended.transpose(1, 2)  # (B, N, heads, dim / heads)
        if mask is not None:  # the exporter mistakes the strides of masked attention: let it see a copy
            attended = attended.clone(memory_format=torch.contiguous_format)
        result: Tensor = self.out(attended.flatten(2))
        return result
