from __future__ import annotations

import numpy as np
import torch
from scipy.signal import correlate2d

from unmask.ops.highpass import KERNELS, highpass, highpass_kernels, standardize


def test_every_response_equals_scipys_correlation() -> None:
    image = torch.rand(2, 3, 11, 14, generator=torch.Generator().manual_seed(0))
    found = highpass(image, highpass_kernels())
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    for b in range(2):
        for c in range(3):
            for k, kernel in enumerate(KERNELS):
                weights = np.array(kernel) / np.abs(kernel).sum()
                expected = correlate2d(padded[b, c], weights, mode="valid")
                np.testing.assert_allclose(found[b, 4 * c + k].numpy(), expected, atol=1e-6)


def test_standardized_residuals_do_not_tell_strength() -> None:
    residual = torch.randn(1, 12, 32, 32, generator=torch.Generator().manual_seed(1))
    one, many = standardize(residual, 1e-6), standardize(50 * residual, 1e-6)
    assert torch.allclose(one, many, atol=1e-3)
    assert one.abs().max() <= 4
