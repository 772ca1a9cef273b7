"""What every descriptor promises, and each against the library or the truth that was planted."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import skimage.feature
import torch
from skimage import data
from skimage.color import rgb2hsv, rgb2ycbcr
from torch import Tensor
from torch.nn import functional as F

from unmask.core.errors import ConfigError
from unmask.nn.descriptors import DESCRIPTORS, GLCM, create_descriptor
from unmask.ops.colour import ycbcr
from unmask.ops.dct import dct_matrix
from unmask.ops.glcm import PROPERTIES
from unmask.ops.srm import luma


def photos(side: int = 128) -> Tensor:
    """(3, 3, side, side) squares of a photo, in [0, 1]."""
    image = data.astronaut()
    cut = np.stack([image[y : y + side, x : x + side] for y, x in ((20, 180), (200, 60), (300, 301))])
    return torch.from_numpy(cut).permute(0, 3, 1, 2).float() / 255


def entries(name: str, image: Tensor) -> dict[str, np.ndarray]:
    descriptor = create_descriptor(name)
    return dict(zip(descriptor.names, descriptor(image).T.numpy(), strict=True))


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_names_batch_and_autocast(name: str) -> None:
    descriptor = create_descriptor(name)
    image = photos()
    found = descriptor(image)
    assert found.shape == (3, len(descriptor.names)) and len(set(descriptor.names)) == len(descriptor.names)
    assert found.dtype == torch.float32 and torch.isfinite(found).all()
    assert torch.equal(descriptor(image), found)
    torch.testing.assert_close(torch.cat([descriptor(each[None]) for each in image]), found, atol=1e-5, rtol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(descriptor(image), found)
    assert not (found[0] == found[1]).all()


class Several(torch.nn.Module):
    """Descriptors side by side: one export for all."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.descriptors = torch.nn.ModuleList(create_descriptor(name) for name in names)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(each(image) for each in self.descriptors)


@pytest.mark.parametrize(
    "names", [("lbp",), pytest.param(("fft", "noise", "hog", "glcm", "colour", "dct", "npr"), marks=pytest.mark.slow)]
)
def test_onnx_agrees_for_any_batch(names: tuple[str, ...]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    descriptors = Several(names).eval()
    batch = torch.export.Dim("batch")
    image = photos()
    program = torch.onnx.export(descriptors, (image[:2],), dynamo=True, dynamic_shapes=({0: batch},), verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for some in (image[:1], torch.cat([image, torch.full_like(image[:1], 0.5)])):  # the last is flat: nan on both sides
        found = session.run(None, {session.get_inputs()[0].name: some.numpy()})
        for name, ours, theirs in zip(names, descriptors(some), found, strict=True):
            np.testing.assert_allclose(theirs, ours, atol=1e-4, rtol=1e-4, err_msg=name)


def test_what_a_flat_image_leaves_undefined_is_nan() -> None:
    flat = torch.full((1, 3, 128, 128), 0.5)
    for name in ("noise", "npr", "colour"):
        assert create_descriptor(name)(flat).isnan().any()
    grey = luma(photos()).expand(-1, 3, -1, -1)
    assert create_descriptor("colour")(grey).isnan().any(1).all()
    assert torch.isfinite(create_descriptor("npr")(grey)).all()


def test_hog_is_scikit_images() -> None:
    image = photos()
    for ours, grey in zip(create_descriptor("hog")(image), luma(image)[:, 0].numpy(), strict=True):
        expected = skimage.feature.hog(grey.astype(float), 9, (32, 32), (2, 2), block_norm="L2-Hys")
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_lbp_shares_are_scikit_images() -> None:
    image = photos()
    found = create_descriptor("lbp")(image)
    planes = (ycbcr(image) * 255).round() + torch.tensor([0, 128, 128]).view(3, 1, 1)
    for ours, levels in zip(found.view(3, 3, 10), planes.to(torch.uint8).numpy(), strict=True):
        for shares, grey in zip(ours, levels, strict=True):
            codes = skimage.feature.local_binary_pattern(grey, 8, 1, "uniform")
            expected, _ = np.histogram(codes, bins=np.arange(11), density=True)
            np.testing.assert_allclose(shares, expected, atol=1e-7)


def test_glcm_measures_are_scikit_images() -> None:
    image = photos()
    grey = (luma(image) * 255).round().to(torch.uint8)[:, 0].numpy()
    found = create_descriptor("glcm")(image)[0].view(2, 4, 7).numpy()
    angles = np.deg2rad([0, 45, 90, 135])
    matrix = skimage.feature.graycomatrix(grey[0], [1, 3], angles, 256, symmetric=True, normed=True)
    assert GLCM.names[7] == "contrast_1_45" and GLCM.names[-1] == "entropy_3_135"
    for i, measure in enumerate(PROPERTIES):
        np.testing.assert_allclose(found[..., i], skimage.feature.graycoprops(matrix, measure), rtol=1e-5)


def test_colour_moments_are_scipys_of_scikit_images_planes() -> None:
    image = photos()
    arrays = image.permute(0, 2, 3, 1).double().numpy()
    hue, saturation, value = rgb2hsv(arrays).transpose(3, 0, 1, 2)
    planes = {
        "hue_cos": np.cos(2 * np.pi * hue) * saturation,
        "hue_sin": np.sin(2 * np.pi * hue) * saturation,
        "saturation": saturation,
        "value": 2 * value - 1,
        "cb": (rgb2ycbcr(arrays)[..., 1] - 128) / 112,
    }
    found = entries("colour", image)
    for name, plane in planes.items():
        flat = plane.reshape(3, -1)
        expected = {
            "mean": flat.mean(1),
            "std": flat.std(1),
            "skewness": scipy.stats.skew(flat, axis=1),
            "kurtosis": scipy.stats.kurtosis(flat, axis=1),
        }
        for moment, values in expected.items():
            np.testing.assert_allclose(found[f"{name}_{moment}"], values, atol=2e-3, rtol=2e-3)


def test_a_planted_period_shows_at_its_frequency() -> None:
    wave = torch.cos(2 * torch.pi / 4 * torch.arange(160.0)).expand(1, 3, 160, 160)
    found = entries("fft", 0.5 + 0.1 * wave)
    assert max(found, key=lambda name: float(found[name][0])) == "power_0.249"


def test_planted_betas_come_back_through_an_image() -> None:
    """Blocks made from Laplacian coefficients; fifteen of them, so that no pixel is clipped."""
    generator = np.random.default_rng(0)
    planted = {(u, v): 6.0 / (u + v) for u in range(4) for v in range(4) if u or v}
    coefficients = torch.zeros(1, 64, 32, 32)
    for (u, v), beta in planted.items():
        coefficients[0, 8 * u + v] = torch.from_numpy(generator.laplace(0, beta, (32, 32)))
    blocks = coefficients.view(1, 8, 8, 32, 32).permute(0, 3, 4, 1, 2)
    pixels = (dct_matrix().T @ blocks @ dct_matrix()).permute(0, 1, 3, 2, 4).reshape(1, 1, 256, 256) + 128
    assert float(pixels.min()) > 0 and float(pixels.max()) < 255
    found = entries("dct", (pixels / 255).expand(-1, 3, -1, -1))
    for (u, v), beta in planted.items():
        assert np.exp(found[f"beta_{u}_{v}"][0]) - 0.1 == pytest.approx(beta, rel=0.12)
    assert np.exp(found["beta_7_7"][0]) - 0.1 == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("shift", [0, 1])
def test_resampled_images_light_npr(mode: str, shift: int) -> None:
    image = photos()
    larger = F.interpolate(image, scale_factor=2, mode=mode)[..., shift : shift + 128, shift : shift + 128]
    original, resampled = entries("npr", image), entries("npr", larger)
    for colour in ("red", "green", "blue"):
        for way in ("across", "down"):
            name = f"{colour}_uneven_{way}"
            assert (resampled[name] > original[name] + (0.3 if mode == "nearest" else 0.1)).all(), name
            assert (original[name] < 0.1).all()


@pytest.mark.parametrize("planted", [1.0, 3.0])
def test_planted_noise_has_its_strength(planted: float) -> None:
    smooth = torch.linspace(0.3, 0.7, 192).expand(1, 3, 192, 192)
    noise = torch.randn(1, 3, 192, 192, generator=torch.Generator().manual_seed(0)) * planted / 255
    found = entries("noise", smooth + noise)
    for colour in ("red", "green", "blue"):
        assert found[f"std_{colour}"][0] == pytest.approx(planted, rel=0.03)
        assert abs(found[f"kurtosis_{colour}"][0]) < 0.15
    assert abs(found["correlation_red_green"][0]) < 0.03 and abs(found["lag_0_1"][0]) < 0.03
    one = entries("noise", smooth + noise[:, :1])
    assert one["correlation_red_green"][0] > 0.99  # the same noise in every colour
    half = entries("noise", smooth + noise * (torch.arange(192.0) < 96))
    assert half["patch_spread"][0] > 5 * found["patch_spread"][0]  # half of the image has none


def test_a_descriptor_that_is_not_there_and_options_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="did you mean 'glcm'"):
        create_descriptor("glmc")
    with pytest.raises(ConfigError, match="descriptor 'lbp'"):
        create_descriptor("lbp", radius=3)
    with pytest.raises(ConfigError, match="do not fit"):
        create_descriptor("hog", size=32)
