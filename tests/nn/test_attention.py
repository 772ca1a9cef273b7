"""Cross-attention against torch's own multi-head attention."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unmask.nn.attention import CrossAttention


def test_equals_torchs_multihead_attention_with_unequal_token_counts() -> None:
    torch.manual_seed(0)
    ours, theirs = (
        CrossAttention(12, heads=3, context_dim=8),
        nn.MultiheadAttention(12, 3, kdim=8, vdim=8, batch_first=True),
    )
    with torch.no_grad():
        theirs.q_proj_weight.copy_(ours.query.weight)
        theirs.k_proj_weight.copy_(ours.key.weight)
        theirs.v_proj_weight.copy_(ours.value.weight)
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, torch.randn(12), torch.zeros(12)]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    query, context = torch.randn(2, 5, 12), torch.randn(2, 9, 8)
    # The random key bias on their side changes nothing: that is why ours has none.
    torch.testing.assert_close(ours(query, context), theirs(query, context, context)[0])


def test_order_of_the_context_does_not_matter_and_its_content_does() -> None:
    attend = CrossAttention(8, heads=2)
    query, context = torch.randn(1, 4, 8), torch.randn(1, 6, 8)
    torch.testing.assert_close(attend(query, context), attend(query, context.flip(1)))
    assert not torch.allclose(attend(query, context), attend(query, context[:, :3]))


def test_every_parameter_gets_a_gradient() -> None:
    attend = CrossAttention(8, heads=2)
    attend(torch.randn(1, 4, 8), torch.randn(1, 6, 8)).square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).all()) for p in attend.parameters())


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(ValueError, match="3 heads"):
        CrossAttention(8, heads=3)
