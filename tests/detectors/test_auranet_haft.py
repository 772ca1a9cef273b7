"""HAFT against a plain loop over patches and channels, torch.fft, nn.Fold, and what it promises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.errors import ConfigError
from unmask.detectors.auranet.haft import HAFT, angle, patch_size, radial_basis


def trained(levels: int, scale: float = 0.5, **settings: Any) -> HAFT:
    """One whose last layers are not zero, so that it filters."""
    torch.manual_seed(levels)
    haft = HAFT(levels, **settings)
    for mlp in haft.mlps:
        nn.init.normal_(mlp.profile.weight, std=scale)
        nn.init.normal_(mlp.profile.bias, std=scale)
    return haft


def constant(levels: int, magnitude: Tensor, phase: Tensor, **settings: Any) -> HAFT:
    """One whose profiles, given as gain - 1, are the same everywhere."""
    haft = HAFT(levels, bins=len(magnitude), **settings)
    for mlp, profile in zip(haft.mlps, (magnitude, phase), strict=True):
        mlp.profile.bias.data.copy_(profile.atanh())
    return haft


def radius(u: int, v: int, height: int, width: int) -> float:
    u, v = min(u, height - u), min(v, width - v)
    return max(u / (height // 2), v / (width // 2))


def weight(profile: Tensor, u: int, v: int, height: int, width: int, binning: str) -> Tensor:
    """The gain of one frequency, written out."""
    last = len(profile) - 1
    if binning == "floor":
        d = max(abs((u + height // 2) % height - height // 2), abs((v + width // 2) % width - width // 2))
        return profile[min(d, last)]
    place, reach = radius(u, v, height, width) * last, max(1.0, last / (max(height, width) // 2))
    hats = torch.tensor([max(0.0, 1 - abs(place - b) / reach) for b in range(last + 1)])
    return (profile * hats).sum() / hats.sum()


def head(module: nn.Module, maps: Tensor) -> Tensor:
    """The context head as a real convolution and a real pooling, on one (inputs, P, Q) spectrum."""
    kernel: Tensor = module.conv.weight.view(-1, len(maps), 4, 3)
    padded = F.pad(maps, (0, -maps.shape[2] % 3, 0, -maps.shape[1] % 4))
    x = F.relu(F.conv2d(padded[None], kernel, module.conv.bias, stride=(4, 3)))
    pooled = F.adaptive_avg_pool2d(x, (4, 2))[0]  # (conv width, 4, 2)
    return module.out(pooled.permute(1, 2, 0).flatten())


def loop(haft: HAFT, x: Tensor) -> Tensor:
    """The definition: one patch of one channel at a time, in plain torch, complex numbers and all."""
    out = torch.empty_like(x)
    n = 2 ** (haft.levels - 1)
    height, width = x.shape[2] // n, x.shape[3] // n
    dim = haft.level_embedding.weight.shape[1] // 2

    def context(plane: Tensor, level: int, row: int, column: int) -> Tensor:
        a, b = plane.shape[0] >> level, plane.shape[1] >> level
        spectrum = torch.fft.rfft2(plane[row * a :, column * b :][:a, :b], norm="ortho")
        unit = spectrum / (spectrum.abs() + 1e-2)
        vectors = (
            head(haft.magnitude_heads[level], spectrum.abs().log1p()[None]),
            head(haft.phase_heads[level], torch.stack([unit.real, unit.imag])),
        )
        return torch.cat(vectors) + haft.level_embedding.weight[level]

    for b in range(x.shape[0]):
        for c in range(x.shape[1]):
            plane = x[b, c] if haft.context == "channel" else x[b].mean(0)
            for row in range(n):
                for column in range(n):
                    contexts = [
                        context(plane, m, row >> (haft.levels - 1 - m), column >> (haft.levels - 1 - m))
                        for m in range(haft.levels)
                    ]
                    fused = torch.cat(contexts)
                    by_level = fused.view(haft.levels, 2, dim)
                    parts = (by_level[:, 0].flatten(), by_level[:, 1].flatten())
                    if haft.split == "half":
                        parts = fused.chunk(2)
                    gains = [
                        1 + torch.tanh(mlp.profile(F.relu(mlp.hidden(part))))
                        for mlp, part in zip(haft.mlps, parts, strict=True)
                    ]
                    y, z = row * height, column * width
                    spectrum = torch.fft.rfft2(x[b, c, y : y + height, z : z + width], norm="ortho")
                    filtered = torch.empty_like(spectrum)
                    for u in range(height):
                        for v in range(width // 2 + 1):
                            value = spectrum[u, v]
                            gain, turn = (weight(g, u, v, height, width, haft.binning) for g in gains)
                            if (2 * u % height, 2 * v % width) == (0, 0):
                                turn = torch.tensor(1.0)
                            phi = 2 * torch.atan(value.imag / (1.02 * value.abs() + value.real))
                            filtered[u, v] = value * gain * torch.exp(1j * (turn - 1) * phi)
                    patch = torch.fft.irfft2(filtered, s=(height, width), norm="ortho")
                    out[b, c, y : y + height, z : z + width] = patch
    return out


@pytest.mark.parametrize(
    ("levels", "size", "settings"),
    [
        (3, (16, 16), {}),
        (2, (16, 24), {"bins": 5}),
        (1, (8, 8), {"context": "mean"}),
        (2, (14, 20), {"context": "mean", "split": "half"}),
        (3, (32, 16), {"split": "half"}),
        (2, (8, 16), {"binning": "floor", "bins": 4}),
        (1, (7, 10), {}),
    ],
)
def test_equals_a_plain_loop(levels: int, size: tuple[int, int], settings: dict[str, Any]) -> None:
    haft = trained(levels, context_dim=6, **settings)
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        expected = loop(haft, x)
        assert (expected - x).abs().max() > 0.1
        torch.testing.assert_close(haft(x), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(haft(x.contiguous(memory_format=torch.channels_last)), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("levels", "side"), [(3, 64), (3, 32), (2, 16), (1, 8), (1, 7), (2, 28), (1, 4), (1, 5)])
@pytest.mark.parametrize("context", ["channel", "mean"])
def test_starts_as_the_identity(levels: int, side: int, context: Any) -> None:
    x = torch.randn(2, 4, side, side)
    torch.testing.assert_close(HAFT(levels, context=context)(x), x, atol=1e-5, rtol=0)


def test_patches_keep_their_places_as_in_fold() -> None:
    """With one filter everywhere, the deepest level is a filter on the columns of nn.Unfold."""
    profiles = torch.rand(16) - 0.5, torch.rand(16) - 0.5
    x = torch.randn(2, 3, 32, 48)
    columns = nn.Unfold((8, 12), stride=(8, 12))(x)  # (2, 3 * 8 * 12, 16)
    patches = columns.transpose(1, 2).reshape(2 * 16, 3, 8, 12)
    filtered = constant(1, *profiles)(patches).reshape(2, 16, -1).transpose(1, 2)
    expected = nn.Fold((32, 48), (8, 12), stride=(8, 12))(filtered)
    torch.testing.assert_close(constant(3, *profiles)(x), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (16, 12), (7, 7), (14, 10), (9, 8), (32, 32)])
@pytest.mark.parametrize("binning", ["resampled", "floor"])
def test_a_real_signal_stays_real(size: tuple[int, int], binning: Any) -> None:
    """The filter on the whole plane (no half spectrum) has a real inverse, and it is what HAFT gives."""
    height, width = size
    profiles = torch.rand(16) - 0.5, torch.rand(16) - 0.5
    x = torch.randn(1, 1, *size)
    spectrum = torch.fft.fft2(x[0, 0], norm="ortho")
    filtered = torch.empty_like(spectrum)
    for u in range(height):
        for v in range(width):
            gain, turn = (weight(p, u, v, height, width, binning) for p in profiles)
            if (2 * u % height, 2 * v % width) == (0, 0):
                turn = torch.tensor(0.0)
            re, im = spectrum[u, v].real, spectrum[u, v].imag
            filtered[u, v] = (1 + gain) * spectrum[u, v] * torch.exp(1j * turn * angle(re, im, spectrum[u, v].abs()))
    expected = torch.fft.ifft2(filtered, norm="ortho")
    assert expected.imag.abs().max() < 1e-5
    with torch.no_grad():
        result = constant(1, *profiles, binning=binning)(x)[0, 0]
    torch.testing.assert_close(result, expected.real, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(4, 4), (5, 7), (8, 12), (16, 16), (33, 20), (64, 64)])
def test_the_transform_is_rfft2(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    spectrum, magnitude = HAFT._spectrum(x, 1)  # (2, 2, U, V, 3), padded
    expected = torch.fft.rfft2(x, norm="ortho")
    rows, columns = expected.shape[2:]
    inside = spectrum[:, :, :rows, :columns]
    torch.testing.assert_close(inside[:, 0].permute(0, 3, 1, 2), expected.real, atol=1e-5, rtol=0)
    torch.testing.assert_close(inside[:, 1].permute(0, 3, 1, 2), expected.imag, atol=1e-5, rtol=0)
    torch.testing.assert_close(magnitude[:, 0, :rows, :columns].permute(0, 3, 1, 2), expected.abs(), atol=1e-5, rtol=0)
    assert spectrum.shape[2] % 4 == 0 and spectrum.shape[3] % 3 == 0
    assert not spectrum[:, :, rows:].any() and not spectrum[:, :, :, columns:].any()


def test_the_dc_bin_is_radius_0() -> None:
    for side in (4, 7, 8, 16, 64):
        magnitude, phase = radial_basis(side, side, 16)
        assert (np.diff(magnitude[0, 0]) <= 0).all() and magnitude[0, 0, 0] > 0
        assert not phase[0, 0].any()
    profile = torch.zeros(16)
    profile[0] = 0.5
    x = torch.randn(2, 3, 30, 30)  # as many radii as bins: each bin is one radius
    with torch.no_grad():
        change = constant(1, profile, torch.zeros(16))(x) - x
    torch.testing.assert_close(change, 0.5 * x.mean((2, 3), keepdim=True).expand_as(x), atol=1e-5, rtol=0)


def used(haft: HAFT, side: int) -> list[Tensor]:
    x = torch.randn(1, 2, side, side, generator=torch.Generator().manual_seed(3))
    (haft(x) * torch.randn(x.shape, generator=torch.Generator().manual_seed(4))).sum().backward()
    return [mlp.profile.bias.grad.abs() > 1e-6 for mlp in haft.mlps]


@pytest.mark.parametrize("side", [*range(4, 18), 32, 64])
def test_every_bin_gets_a_gradient_at_every_patch_size(side: int) -> None:
    magnitude, phase = used(HAFT(1), side)
    assert magnitude.all()
    assert phase[1:].all()  # where radii are few, only DC reaches bin 0
    assert bool(phase[0]) == (side > 31)


@pytest.mark.parametrize(("side", "unused"), [(16, 7), (8, 11), (32, 0)])
def test_the_plans_binning_wastes_bins(side: int, unused: int) -> None:
    magnitude, _ = used(HAFT(1, binning="floor"), side)
    assert int((~magnitude).sum()) == unused


@given(st.floats(-3.1, 3.1), st.floats(1e-3, 1e3))
@settings(deadline=None)
def test_angle_is_odd_close_to_atan2_and_has_no_jump(phi: float, size: float) -> None:
    def of(value: float) -> float:
        z = size * torch.exp(1j * torch.tensor(value, dtype=torch.float64))
        return float(angle(z.real, z.imag, z.abs()))

    assert of(phi) == pytest.approx(-of(-phi), abs=1e-9)
    if abs(phi) < 2.5:
        assert of(phi) == pytest.approx(phi, rel=0.025, abs=1e-9)
    assert abs(of(math.pi - 1e-7) - of(-math.pi + 1e-7)) < 1e-4


@pytest.mark.parametrize("x", [torch.zeros(1, 2, 16, 16), torch.ones(1, 2, 16, 16)], ids=["zeros", "ones"])
def test_empty_bins_give_finite_gradients(x: Tensor) -> None:
    haft, x = trained(3), x.clone().requires_grad_()
    haft(x).square().sum().backward()
    for tensor in (x, *haft.parameters()):
        assert tensor.grad is None or tensor.grad.isfinite().all()


def test_half_precision_stays_outside() -> None:
    haft, x = trained(2).eval(), torch.randn(2, 4, 16, 16)
    with torch.no_grad():
        expected = haft(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(haft(x), expected, atol=0, rtol=0)
            half = haft(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, atol=0.1, rtol=0.05)


def test_channels_have_filters_of_their_own_or_share_one() -> None:
    x = torch.randn(1, 3, 16, 16)
    own, shared = trained(2), trained(2, context="mean")
    magnitude, phase = own.profiles(x)
    assert magnitude.shape == phase.shape == (1, 3, 2, 2, 16)
    assert magnitude.min() > 0 and magnitude.max() < 2 and (magnitude[:, 0] != magnitude[:, 1]).any()
    assert shared.profiles(x)[0].shape == (1, 1, 2, 2, 16)
    with torch.no_grad():
        swapped = x[:, [2, 0, 1]]
        torch.testing.assert_close(own(swapped), own(x)[:, [2, 0, 1]])
        torch.testing.assert_close(shared(swapped), shared(x)[:, [2, 0, 1]])
        torch.testing.assert_close(own(x[:, :1]), own(x)[:, :1])


@pytest.mark.parametrize(("height", "width", "levels"), [(8, 8, 3), (64, 8, 3), (3, 3, 1), (30, 32, 3), (8, 8, 0)])
def test_maps_that_cannot_be_cut_are_refused(height: int, width: int, levels: int) -> None:
    with pytest.raises(ConfigError, match=r"fewer levels|at least 4 pixels"):
        patch_size(height, width, levels)
    if levels:
        with pytest.raises(ConfigError):
            HAFT(levels)(torch.zeros(1, 1, height, width))


def test_learns_to_undo_a_radial_filter() -> None:
    """Gradients point somewhere: a blur of known radial gain is undone in a few steps."""
    torch.manual_seed(0)
    x = torch.randn(8, 4, 8, 8)
    with torch.no_grad():
        blurred = constant(1, torch.linspace(0.0, -0.5, 16), torch.zeros(16))(x)
    haft = HAFT(1, context_dim=8)
    optimizer = torch.optim.Adam(haft.parameters(), 0.02)
    losses = []
    for _ in range(60):
        loss = F.mse_loss(haft(blurred), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_onnx_agrees_for_any_batch() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    graph = nn.Sequential(trained(1), trained(2, context="mean", binning="floor")).eval()
    program = torch.onnx.export(
        graph,
        (torch.randn(2, 3, 16, 24),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    ramp = torch.linspace(-1, 1, 16)[:, None].expand(16, 24)
    for x in (
        torch.randn(1, 3, 16, 24),
        torch.randn(5, 3, 16, 24),
        torch.zeros(1, 3, 16, 24),
        ramp.expand(2, 3, 16, 24),
    ):
        with torch.no_grad():
            expected = graph(x).numpy()
        result = session.run(None, {"input": x.numpy()})[0]
        np.testing.assert_allclose(result, expected, atol=2e-5)
