"""The strided convolution against PyWavelets, and what an orthonormal transform must keep."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.ops.wavelets import dwt2, idwt2, wavelet_filters

NAMES = ("haar", "coif1", "db2")


@pytest.mark.parametrize("name", [*NAMES, "bior2.2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(64, 64), (256, 128), (30, 46)])
def test_equals_pywavelets(name: str, dtype: torch.dtype, size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ll, bands = dwt2(image.to(dtype), wavelet_filters(name, dtype))
    assert ll.dtype == dtype and ll.shape == (2, 3, size[0] // 2, size[1] // 2)
    approximation, details = pywt.dwt2(image.numpy(), name, mode="periodization")
    tolerance = 2e-6 if dtype == torch.float32 else 1e-10
    np.testing.assert_allclose(ll.numpy(), approximation, atol=tolerance, rtol=0)
    for i, detail in enumerate(details):  # cH, cV, cD
        np.testing.assert_allclose(bands[:, :, i].numpy(), detail, atol=tolerance, rtol=0)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(NAMES), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))
def test_every_even_size_agrees_and_keeps_the_energy(name: str, rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 1, 2 * rows, 2 * columns, dtype=torch.float64, generator=generator)
    ll, bands = dwt2(image, wavelet_filters(name, torch.float64))
    approximation, details = pywt.dwt2(image[0, 0].numpy(), name, mode="periodization")
    np.testing.assert_allclose(ll[0, 0], approximation, atol=1e-10, rtol=0)
    np.testing.assert_allclose(bands[0, 0], np.stack(details), atol=1e-10, rtol=0)
    torch.testing.assert_close(ll.square().sum() + bands.square().sum(), image.square().sum())


@pytest.mark.parametrize("name", [*NAMES, "db4", "db8"])
@pytest.mark.parametrize("size", [(16, 16), (24, 40)])
def test_the_inverse_equals_pywavelets(name: str, size: tuple[int, int]) -> None:
    filters = wavelet_filters(name, torch.float64)
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    ll, bands = dwt2(image, filters)
    torch.testing.assert_close(idwt2(ll, bands, filters), image, atol=1e-12, rtol=0)
    ll, bands = ll.square(), bands.pow(3)  # not the transform of the image any more
    expected = pywt.idwt2((ll.numpy(), tuple(bands.unbind(2))), name, mode="periodization")
    np.testing.assert_allclose(idwt2(ll, bands, filters), expected, atol=1e-12, rtol=0)


def test_bands_are_named_after_the_edges_they_see() -> None:
    stripes = torch.tensor([1.0, 0.0]).repeat(8)  # period 2: all of it in the highest band
    horizontal, vertical = stripes[:, None].expand(16, 16), stripes.expand(16, 16)
    for picture, seen in ((horizontal, 0), (vertical, 1), ((horizontal - vertical).abs(), 2)):
        _, bands = dwt2(picture[None, None].contiguous(), wavelet_filters("haar"))
        strength = bands[0, 0].abs().sum((1, 2))
        assert strength[seen] == strength.sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_the_adjoint(name: str) -> None:
    """Of an orthonormal transform the adjoint is the inverse, so the gradient of half the energy is the image."""
    image = torch.rand(1, 2, 12, 16, dtype=torch.float64, requires_grad=True)
    ll, bands = dwt2(image, wavelet_filters(name, torch.float64))
    (0.5 * (ll.square().sum() + bands.square().sum())).backward()
    torch.testing.assert_close(image.grad, image.detach())


@pytest.mark.parametrize("shape", [(1, 1, 7, 8), (1, 1, 8, 7)])
def test_odd_sides_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="even"):
        dwt2(torch.zeros(shape), wavelet_filters("haar"))


def test_sides_shorter_than_the_wrap_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 8"):
        dwt2(torch.zeros(1, 1, 6, 6), wavelet_filters("db8"))


def test_unknown_wavelets_are_refused() -> None:
    with pytest.raises(ValueError, match="nosuch"):
        wavelet_filters("nosuch")


def test_onnx_agrees_for_any_batch() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("filters", wavelet_filters("coif1"))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return dwt2(x, self.filters)

    program = torch.onnx.export(
        Graph().eval(),
        (torch.rand(2, 1, 16, 24),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    image = torch.rand(5, 1, 16, 24)
    for ours, theirs in zip(
        dwt2(image, wavelet_filters("coif1")), session.run(None, {"x": image.numpy()}), strict=True
    ):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-6)
