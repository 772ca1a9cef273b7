"""Block DCT against SciPy, and the JPEG grid found where it was planted."""

from __future__ import annotations

import io

import numpy as np
import pytest
import scipy.fft
import scipy.stats
import torch
from PIL import Image
from skimage import data

from unmask.ops.dct import GRID_FOUND, block_dct, dct_matrix, grid_offset, laplace_scale, to_grid
from unmask.ops.srm import luma


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as decoded:
        return np.asarray(decoded.convert("RGB"))


def grey_levels(images: np.ndarray) -> torch.Tensor:
    """(B, H, W, 3) uint8 to (B, 1, H, W) luma."""
    return luma(torch.from_numpy(images).permute(0, 3, 1, 2).float())


def crops(image: np.ndarray, side: int, top: int, left: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The 64 squares that begin at ``top``, ``left`` and up to seven pixels below and right: luma, and where the
    first block of a grid at the image's corner begins in each."""
    starts = [(top + i // 8, left + i % 8) for i in range(64)]
    cut = np.stack([image[y : y + side, x : x + side] for y, x in starts])
    return grey_levels(cut), torch.tensor([(-y % 8, -x % 8) for y, x in starts])


@pytest.mark.parametrize("size", [(64, 64), (40, 88), (31, 17)])
def test_every_block_is_scipys(size: tuple[int, int]) -> None:
    grey = torch.rand(3, 1, *size, generator=torch.Generator().manual_seed(0)) * 255
    found = block_dct(grey, dct_matrix())
    h, w = size[0] // 8, size[1] // 8
    assert found.shape == (3, 8, 8, h, w)
    blocks = grey[:, 0, : 8 * h, : 8 * w].numpy().reshape(3, h, 8, w, 8)
    expected = scipy.fft.dctn(blocks, axes=(2, 4), norm="ortho").transpose(0, 2, 4, 1, 3)
    np.testing.assert_allclose(found, expected, atol=2e-3)  # of up to 2040


@pytest.mark.parametrize("quality", [50, 75, 90, 95])
@pytest.mark.parametrize("name", ["astronaut", "coffee"])
def test_every_offset_of_a_compressed_photo_is_found(name: str, quality: int) -> None:
    image = jpeg(getattr(data, name)(), quality)
    grey, planted = crops(image, 128, 61, 90)
    offset, strength = grid_offset(grey, dct_matrix())
    assert torch.equal(offset, planted)
    assert strength.min() > GRID_FOUND


def test_no_grid_is_claimed_where_there_is_none() -> None:
    photo = data.astronaut()
    resized = np.asarray(Image.fromarray(jpeg(photo, 75)).resize((440, 440), Image.Resampling.BICUBIC))
    noisy = np.random.default_rng(0).normal(photo, 3).clip(0, 255).round().astype(np.uint8)
    for image in (photo, resized, noisy):
        cut = np.stack([image[y : y + 128, x : x + 128] for y in range(0, 300, 60) for x in range(0, 300, 60)])
        _, strength = grid_offset(grey_levels(cut), dct_matrix())
        assert strength.max() < GRID_FOUND


def test_tiny_images_have_no_grid() -> None:
    offset, strength = grid_offset(torch.rand(2, 1, 12, 40), dct_matrix())
    assert not offset.any() and not strength.any()


def test_on_its_grid_a_compressed_photo_has_its_zeros_back() -> None:
    grey, planted = crops(jpeg(data.astronaut(), 75), 128, 64, 96)
    matrix = dct_matrix()
    found = block_dct(to_grid(grey, planted), matrix)[..., 1:-1, 1:-1].abs()  # mirrored borders aside
    zeros = (found < 0.5).flatten(1).float().mean(1)
    assert zeros.min() > zeros[0] - 0.05  # the first is cut on the grid
    off = block_dct(grey[1:], matrix)[..., 1:-1, 1:-1].abs()
    assert (off < 0.5).flatten(1).float().mean(1).max() < zeros.min() - 0.1


def test_blocks_move_at_most_four_pixels() -> None:
    row = torch.arange(16.0).expand(8, 1, 16, 16)
    moved = to_grid(row, torch.stack([torch.zeros(8, dtype=torch.int64), torch.arange(8)], 1))
    assert moved[:, 0, 0, 4].tolist() == [4, 5, 6, 7, 0, 1, 2, 3]
    assert moved[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]  # mirrored from 4 on


def test_planted_betas_are_recovered() -> None:
    generator = np.random.default_rng(1)
    betas = np.array([0.5, 2.0, 9.0, 30.0])
    samples = generator.laplace(0, betas[:, None, None], (4, 32, 32))
    ours = laplace_scale(torch.from_numpy(samples)).numpy()
    np.testing.assert_allclose(ours, betas, rtol=0.1)  # 1024 samples: a relative error of 3 %
    np.testing.assert_allclose(ours, [scipy.stats.laplace.fit(s.ravel(), floc=0)[1] for s in samples], rtol=1e-9)
