"""The mask decoder and the soft maximum."""

from __future__ import annotations

import torch
from scipy.special import logsumexp

from unmask.nn.decoders import UNetDecoder, log_mean_exp


def test_sizes_that_are_not_powers_of_two() -> None:
    maps = [torch.rand(1, 4, 35, 27), torch.rand(1, 8, 18, 14), torch.rand(1, 16, 9, 7)]
    decoder = UNetDecoder([4, 8, 16], width=8).eval()
    assert decoder(maps, (70, 54)).shape == (1, 1, 70, 54)


def test_every_map_matters() -> None:
    maps = [torch.rand(2, c, s, s, requires_grad=True) for c, s in ((4, 16), (8, 8), (16, 4))]
    UNetDecoder([4, 8, 16], width=8)(maps, (32, 32)).square().sum().backward()
    assert all(m.grad is not None and m.grad.abs().sum() > 0 for m in maps)


def test_log_mean_exp_equals_scipy_and_lies_between_mean_and_maximum() -> None:
    logits = torch.randn(3, 1, 6, 5) * 4
    for sharpness in (0.25, 1.0, 4.0):
        ours = log_mean_exp(logits, sharpness)[:, 0]
        flat = logits.flatten(1)
        theirs = logsumexp(flat.numpy() * sharpness, axis=1, b=1 / 30) / sharpness
        torch.testing.assert_close(ours, torch.from_numpy(theirs).float(), rtol=1e-5, atol=1e-5)
        assert bool(((ours >= flat.mean(1) - 1e-4) & (ours <= flat.amax(1) + 1e-4)).all())
