"""What every map promises, and each map against what it is made of."""

from __future__ import annotations

import io

import numpy as np
import pytest
import scipy.fft
import torch
from PIL import Image
from skimage import data
from skimage.feature import local_binary_pattern
from torch import Tensor

from unmask.core.errors import ConfigError
from unmask.nn.maps import DCT, MAPS, create_map
from unmask.ops.srm import luma

NO_GRADIENT = {"lbp"}
"""Made of comparisons."""


def photos(height: int = 64, width: int = 88) -> Tensor:
    """(3, 3, H, W) squares of a photo, in [0, 1]."""
    image = data.astronaut()
    cut = np.stack([image[y : y + height, x : x + width] for y, x in ((20, 180), (200, 60), (300, 301))])
    return torch.from_numpy(cut).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("name", MAPS)
def test_shape_range_and_batch(name: str) -> None:
    forensic = create_map(name).eval()
    assert not list(forensic.parameters()) and not forensic.state_dict()
    image = photos()
    found = forensic(image)
    assert found.shape == (3, forensic.channels, 64 // forensic.stride, 88 // forensic.stride)
    assert found.dtype == torch.float32 and torch.isfinite(found).all() and found.abs().max() < 50
    assert torch.equal(forensic(image), found)
    alone = torch.cat([forensic(each[None]) for each in image])
    torch.testing.assert_close(alone, found, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MAPS)
def test_flat_images_and_odd_sizes_are_finite(name: str) -> None:
    forensic = create_map(name).eval()
    for level in (0.0, 0.5, 1.0):
        assert torch.isfinite(forensic(torch.full((1, 3, 47, 33), level))).all()
    height, width = forensic(torch.rand(1, 3, 47, 33)).shape[2:]
    assert (height, width) == (47 // forensic.stride, 33 // forensic.stride)


@pytest.mark.parametrize("name", MAPS)
def test_autocast_changes_nothing(name: str) -> None:
    forensic = create_map(name).eval()
    image = photos()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = forensic(image)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, forensic(image))


@pytest.mark.parametrize("name", MAPS)
def test_gradients_flow_and_are_finite(name: str) -> None:
    image = photos().requires_grad_(True)
    found = create_map(name)(image)
    if name in NO_GRADIENT:
        assert not found.requires_grad
        return
    found.square().sum().backward()
    assert image.grad is not None and torch.isfinite(image.grad).all() and image.grad.any()


class Several(torch.nn.Module):
    """Maps side by side: one export for all."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.maps = torch.nn.ModuleList(create_map(name) for name in names)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(each(image) for each in self.maps)


@pytest.mark.parametrize(
    "names",
    [("lbp", "dct"), pytest.param(("rgb", "noise", "colour", "fft", "npr", "sharpness"), marks=pytest.mark.slow)],
    ids=str,
)
def test_onnx_agrees_for_any_batch(names: tuple[str, ...]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    maps = Several(names).eval()
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(maps, (photos()[:2],), dynamo=True, dynamic_shapes=({0: batch},), verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for image in (photos()[:1], photos()):
        found = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        for name, ours, theirs in zip(names, maps(image), found, strict=True):
            atol = {"fft": 1e-3, "sharpness": 1e-4}.get(name, 1e-5)  # logarithms of what is nearly nothing
            np.testing.assert_allclose(theirs, ours, atol=atol, err_msg=name)


def test_lbp_planes_are_scikit_images_patterns() -> None:
    image = photos()
    codes = create_map("lbp")(image).argmax(1)
    for ours, grey in zip(codes, (luma(image) * 255).round().to(torch.uint8)[:, 0].numpy(), strict=True):
        np.testing.assert_array_equal(ours, local_binary_pattern(grey, 8, 1, "uniform"))


def test_dct_channels_are_scipys_coefficients_compressed() -> None:
    image = photos()
    found = create_map("dct", align=False)(image).numpy()
    expanded = np.sign(found) * np.expm1(np.abs(found) * np.log1p(1024))
    blocks = (255 * luma(image)[:, 0] - 128).numpy().reshape(3, 8, 8, 11, 8)
    expected = scipy.fft.dctn(blocks, axes=(2, 4), norm="ortho").transpose(0, 2, 4, 1, 3).reshape(3, 64, 8, 11)
    np.testing.assert_allclose(expanded, expected, atol=5e-3)


def test_dct_sees_a_cropped_jpeg_on_its_own_grid() -> None:
    """Cropped anywhere, a compressed photo's inner blocks have the coefficients that the file stored."""
    buffer = io.BytesIO()
    Image.fromarray(data.astronaut()).save(buffer, "JPEG", quality=75)
    with Image.open(buffer) as decoded:
        whole = torch.from_numpy(np.array(decoded)).permute(2, 0, 1).float() / 255
    aligned, rigid = DCT(), DCT(align=False)
    stored = rigid.coefficients(whole[None])
    for top, left in ((64, 96), (67, 96), (70, 101), (61, 93)):
        crop = whole[None, :, top : top + 128, left : left + 128]
        row, column = round(top / 8), round(left / 8)  # blocks move by at most four pixels
        expected = stored[:, :, row + 1 : row + 15, column + 1 : column + 15]
        torch.testing.assert_close(aligned.coefficients(crop)[..., 1:-1, 1:-1], expected, atol=2e-3, rtol=0)


def test_a_map_that_is_not_there_and_options_that_are_not() -> None:
    with pytest.raises(ConfigError, match="did you mean 'noise'"):
        create_map("nois")
    with pytest.raises(ConfigError, match="map 'lbp'"):
        create_map("lbp", planes=3)
    with pytest.raises(ConfigError, match="sigma"):
        create_map("noise", sigma=0.0)
