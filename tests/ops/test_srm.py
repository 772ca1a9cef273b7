"""The SRM bank against OpenCV's filter2D and the properties high-pass kernels have."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from unmask.ops.srm import SRM_NAMES, luma, srm, srm_kernels


def test_kernels_are_ten_high_passes_of_unit_gain() -> None:
    kernels = srm_kernels()
    assert kernels.shape == (10, 1, 5, 5) == (len(SRM_NAMES), 1, 5, 5)
    torch.testing.assert_close(kernels.sum((1, 2, 3)), torch.zeros(10), atol=1e-7, rtol=0)
    torch.testing.assert_close(kernels.abs().sum((1, 2, 3)), torch.ones(10))
    gains = srm_kernels(unit_l1=False).abs().sum((1, 2, 3))
    assert float(gains.min()) == 8 and float(gains.max()) == 256


def test_fourth_difference_kernel_is_an_outer_product() -> None:
    binomial = np.array([1, -4, 6, -4, 1])
    np.testing.assert_array_equal(srm_kernels(unit_l1=False)[9, 0].numpy(), np.outer(binomial, binomial))
    third = np.array([1, -3, 3, -1])
    np.testing.assert_array_equal(srm_kernels(unit_l1=False)[8, 0, :4, :4].numpy(), -np.outer(third, -third))


def test_filtering_equals_opencv() -> None:
    image = torch.rand(1, 3, 24, 31)
    kernels = srm_kernels()
    ours = srm(image, kernels)[0].numpy()
    gray = luma(image)[0, 0].numpy()
    np.testing.assert_allclose(gray, cv2.cvtColor(image[0].permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY), atol=1e-6)
    for channel, kernel in zip(ours, kernels[:, 0].numpy(), strict=True):
        expected = cv2.filter2D(gray, cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT)
        np.testing.assert_allclose(channel, expected, atol=1e-6)
