"""Which patches pre-training hides, and that what is shown instead neither leaks them nor draws the grid."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from unmask.core.errors import SizeError
from unmask.detectors.auranet.hiding import Fill, fill_in, hide

FILLS: tuple[Fill, ...] = ("grain", "zero")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grainy(count: int = 4, side: int = 128) -> torch.Tensor:
    """Smooth pictures with fine noise, as photos are."""
    smooth = F.interpolate(torch.rand(count, 3, 5, 5, generator=seeded()), size=(side, side), mode="bicubic")
    noise = 0.005 * torch.randn(count, 3, side, side, generator=seeded(1))
    return (0.2 + 0.6 * smooth + noise).clamp(0, 1)


@given(rows=st.integers(1, 6), columns=st.integers(2, 6), ratio=st.floats(0.01, 0.99), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_whole_patches_are_hidden_equally_many_in_each_image(rows: int, columns: int, ratio: float, seed: int) -> None:
    hidden = hide(torch.zeros(3, 3, 8 * rows, 8 * columns), 8, ratio, seeded(seed))
    cells = hidden[:, :, ::8, ::8]
    assert torch.equal(hidden, cells.repeat_interleave(8, 2).repeat_interleave(8, 3))
    counts = cells.sum((1, 2, 3))
    expected = min(max(round(ratio * rows * columns), 1), rows * columns - 1)
    assert counts.tolist() == [expected] * 3 and set(cells.unique().tolist()) == {0.0, 1.0}


def test_patches_are_drawn_evenly_and_anew() -> None:
    hidden = hide(torch.zeros(2000, 3, 32, 32), 8, 0.6, seeded())[:, 0, ::8, ::8]
    assert bool(((hidden.mean(0) - 10 / 16).abs() < 0.05).all())
    image = torch.zeros(1, 3, 128, 128)
    same, again, other = (hide(image, 32, 0.6, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(same, again) and not torch.equal(same, other)


def test_sizes_that_hold_no_whole_patches_are_refused() -> None:
    for size in ((100, 128), (128, 100), (32, 32)):
        with pytest.raises(SizeError, match="32-pixel patches"):
            hide(torch.zeros(1, 3, *size), 32, 0.6)


@pytest.mark.parametrize("fill", FILLS)
def test_what_is_hidden_is_not_read_and_what_is_seen_stays(fill: Fill) -> None:
    image = grainy()
    hidden = hide(image, 32, 0.6, seeded())
    other = torch.where(hidden > 0, torch.rand_like(image), image)
    shown, same = (fill_in(x, hidden, fill, seeded(3)) for x in (image, other))
    torch.testing.assert_close(shown, same, rtol=0, atol=1e-6)
    assert torch.equal(shown * (1 - hidden), image * (1 - hidden))
    assert float(shown.min()) >= 0 and float(shown.max()) <= 1


def test_grain_keeps_the_images_noise_and_hides_the_grid() -> None:
    image = grainy()
    hidden = hide(image, 32, 0.6, seeded())
    laplacian = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]

    def strength(shown: torch.Tensor) -> tuple[float, float]:
        """High-pass energy at the rims of hidden patches and well inside them, over that of the seen parts."""
        edges = F.conv2d(F.pad(shown.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate"), laplacian).abs()
        grown, shrunk = F.max_pool2d(hidden, 5, 1, 2), 1 - F.max_pool2d(1 - hidden, 5, 1, 2)
        seen = edges[grown == 0].mean()
        return float(edges[grown > shrunk].mean() / seen), float(edges[shrunk > 0].mean() / seen)

    rim, inside = strength(fill_in(image, hidden, "grain", seeded(2)))
    assert rim < 1.3 and 0.7 < inside < 1.3
    rim, inside = strength(fill_in(image, hidden, "zero"))
    assert rim > 1.5 and inside < 0.01


def test_a_flat_image_is_filled_with_its_own_colour() -> None:
    image = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(1, 3, 96, 160)
    shown = fill_in(image, hide(image, 32, 0.8, seeded()), "grain", seeded())
    torch.testing.assert_close(shown, image, rtol=0, atol=1e-5)
