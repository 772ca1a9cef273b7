"""What is particular to the residual network: a photo's own contrast and brightness must not move its logit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from skimage.data import astronaut

from unmask.detectors.residual_cnn import ResidualCNN, ResidualCNNConfig
from unmask.ops.highpass import KERNELS

IMAGE = torch.from_numpy(astronaut()[64:192, 160:288].copy()).permute(2, 0, 1)[None].float() / 255


def test_residuals_agree_with_scipy() -> None:
    model = ResidualCNN(ResidualCNNConfig(standardize=False))
    residuals = model.residuals(IMAGE)[0].numpy()
    for channel in range(3):
        for index, kernel in enumerate(KERNELS):
            k = np.array(kernel, float)
            k /= np.abs(k).sum()
            reference = convolve2d(IMAGE[0, channel].numpy(), k[::-1, ::-1], mode="valid")
            np.testing.assert_allclose(residuals[4 * channel + index][1:-1, 1:-1], reference, atol=1e-6)


@pytest.mark.parametrize(("gain", "shift"), [(0.5, 0.0), (0.5, 0.4), (1.0, 0.1)])
def test_standardised_residuals_ignore_contrast_and_brightness(gain: float, shift: float) -> None:
    model = ResidualCNN(ResidualCNNConfig(floor=0.0))
    torch.testing.assert_close(model.residuals(gain * IMAGE + shift), model.residuals(IMAGE), atol=2e-3, rtol=1e-2)
    raw = ResidualCNN(ResidualCNNConfig(standardize=False))
    assert not torch.allclose(raw.residuals(0.5 * IMAGE), raw.residuals(IMAGE), atol=2e-3)


def test_a_flat_image_gives_finite_logits() -> None:
    model = ResidualCNN(ResidualCNNConfig(width=8)).eval()
    assert torch.isfinite(model(torch.full((1, 3, 64, 64), 0.5)).logits).all()
