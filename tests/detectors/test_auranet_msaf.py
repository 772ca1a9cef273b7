"""MSAF and the MBConv step: fixed filters against SciPy, PyWavelets and OpenCV, the rest against the plan's text."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import pywt
import scipy.signal
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.detectors.auranet.msaf import MSAF, MBConvDown
from unmask.ops.srm import LUMA, srm_kernels


def picture(height: int = 64, width: int = 96) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(5))


def gray(image: Tensor) -> np.ndarray:
    return np.einsum("bchw,c->bhw", image.double().numpy(), LUMA)


@pytest.mark.parametrize("unit_l1", [True, False])
def test_the_ten_residuals_are_scipys_correlations(unit_l1: bool) -> None:
    image = picture()
    residuals = MSAF(unit_l1=unit_l1).evidence(image)["SRM residuals"]
    assert residuals.shape == (2, 10, 64, 96)
    for i, kernel in enumerate(srm_kernels(unit_l1=unit_l1)[:, 0].double().numpy()):
        for b, plane in enumerate(gray(image)):
            expected = scipy.signal.correlate2d(plane, kernel, mode="same", boundary="fill")
            np.testing.assert_allclose(residuals[b, i], expected, atol=1e-6 * np.abs(kernel).sum())


def test_the_details_are_haar_and_coif1() -> None:
    image = picture()
    details = MSAF().evidence(image)["wavelet details"]
    assert details.shape == (2, 6, 32, 48)
    for b, plane in enumerate(gray(image)):
        approximation, fine = pywt.dwt2(plane, "haar", mode="periodization")
        _, coarse = pywt.dwt2(approximation, "coif1", mode="periodization")
        for i in range(3):
            np.testing.assert_allclose(details[b, i], fine[i], atol=2e-6)
            doubled = cv2.resize(coarse[i], (48, 32), interpolation=cv2.INTER_LINEAR)
            np.testing.assert_allclose(details[b, 3 + i], doubled, atol=4e-6)


def test_a_flat_image_leaves_nothing_inside() -> None:
    maps = MSAF().evidence(torch.full((1, 3, 32, 32), 0.7))
    assert maps["wavelet details"].abs().max() < 1e-6
    assert maps["SRM residuals"][..., 2:-2, 2:-2].abs().max() < 1e-6


def test_the_plan_in_its_own_words() -> None:
    """Both paths, concatenation, channel then spatial attention."""
    module, image = MSAF().eval(), picture()
    maps = module.evidence(image)
    with torch.no_grad():
        residual = F.conv2d(maps["SRM residuals"], module.residual[0].weight, stride=2, padding=1)
        wavelet = F.conv2d(maps["wavelet details"], module.wavelet[0].weight)
        x = torch.cat([F.gelu(module.residual[1](residual)), F.gelu(module.wavelet[1](wavelet))], 1)
        assert residual.shape[1] == 20 and wavelet.shape[1] == 12
        x = module.cbam.spatial(module.cbam.channel(x))
        result = module(image)
    assert result.shape == (2, 32, 32, 48)
    torch.testing.assert_close(result, x, atol=1e-6, rtol=1e-5)


def test_half_precision_does_not_reach_the_fixed_filters() -> None:
    """A residual of one level in 255 on a bright image, which bfloat16 cannot even hold."""
    image = torch.full((1, 3, 32, 32), 200 / 255)
    image[..., 16:] = 201 / 255
    module = MSAF()
    expected = module.evidence(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = module.evidence(image)
        assert module(image).shape == (1, 32, 16, 16)
    for name, maps in expected.items():
        torch.testing.assert_close(found[name], maps, atol=0, rtol=0)
    assert expected["SRM residuals"][:, 1].abs().max() > 1e-3


def test_every_parameter_and_the_image_get_a_gradient() -> None:
    torch.manual_seed(0)
    module, down, image = MSAF(), MBConvDown(32, 64), picture().requires_grad_()
    down(module(image)).square().sum().backward()
    for name, parameter in [*module.named_parameters(), *down.named_parameters(), ("image", image)]:
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_the_fixed_filters_are_not_weights() -> None:
    assert not {"kernels", "haar", "coif1"} & set(MSAF().state_dict())


def test_mbconv_in_its_own_words() -> None:
    torch.manual_seed(0)
    module, x = MBConvDown(32, 64).eval(), torch.randn(2, 32, 16, 24)

    def norm(x: Tensor, layer: torch.nn.Module) -> Tensor:
        return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], layer.weight, layer.bias, 1e-6).permute(0, 3, 1, 2)

    with torch.no_grad():
        wide = F.conv2d(x, module.expand.weight[..., None, None])
        assert wide.shape[1] == 128
        wide = F.conv2d(wide, module.depthwise.weight, module.depthwise.bias, stride=2, padding=1, groups=128)
        wide = F.gelu(norm(wide, module.norm))
        squeeze = module.squeeze
        gate = torch.sigmoid(squeeze.fc2(F.relu(squeeze.fc1(wide.mean((2, 3), keepdim=True)))))
        short = F.conv2d(F.avg_pool2d(x, 2), module.shortcut.weight[..., None, None])
        narrow = F.conv2d(wide * gate, module.project.weight[..., None, None], module.project.bias)
        expected = F.gelu(norm(narrow + short, module.norm_out))
        result = module(x)
    assert result.shape == (2, 64, 8, 12)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
