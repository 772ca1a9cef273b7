from __future__ import annotations

import pytest
import torch

from unmask.core.types import Batch, Sample, collate


def image(side: int = 8, value: float = 0.5) -> torch.Tensor:
    return torch.full((3, side, side), value)


@pytest.mark.parametrize(
    "fields",
    [
        {"image": image()[0]},
        {"image": image().double()},
        {"image": image(), "label": 2},
        {"image": image(), "mask": torch.zeros(8, 8)},
        {"image": image(), "mask": torch.zeros(1, 4, 4)},
        {"image": image(), "pair": image(4)},
        {"image": image()[None]},
        {"image": image().expand(2, 2, 3, 8, 8)},
        {"image": image().expand(2, 3, 8, 8), "mask": torch.zeros(1, 8, 8)},
        {"image": image().expand(2, 3, 8, 8), "pair": image()},
    ],
)
def test_a_sample_refuses_what_does_not_fit(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Sample(**{"label": 0, **fields})  # type: ignore[arg-type]


def test_absent_masks_and_pairs_are_zeros_that_say_so() -> None:
    whole = Sample(image(value=1.0), 1, torch.ones(1, 8, 8), image(value=0.25), "anna", "camera", "splice", "a.png")
    batch = collate([whole, Sample(image(), 0)])
    assert batch.label.tolist() == [1.0, 0.0]
    assert batch.mask_valid.tolist() == batch.pair_valid.tolist() == [True, False]
    assert batch.mask[0].min() == 1 and batch.mask[1].max() == 0
    assert batch.pair[0].max() == 0.25 and batch.pair[1].max() == 0
    assert (batch.group, batch.source, batch.manipulation, batch.path) == (
        ("anna", ""),
        ("camera", ""),
        ("splice", ""),
        ("a.png", ""),
    )


def test_moving_a_batch_keeps_every_field() -> None:
    batch = collate([Sample(image(), 1, group="g", path="p")])
    moved = batch.to("cpu")
    for name in Batch.__dataclass_fields__:
        one, other = getattr(batch, name), getattr(moved, name)
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    assert len(moved) == 1


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        collate([])


def test_clips_are_stacked_like_images() -> None:
    clip = image().expand(4, 3, 8, 8)
    batch = collate([Sample(clip, 1, mask=torch.ones(4, 1, 8, 8)), Sample(clip, 0)])
    assert batch.is_clip and not collate([Sample(image(), 0)]).is_clip and Sample(clip, 0).is_clip
    assert batch.image.shape == (2, 4, 3, 8, 8) and batch.mask.shape == (2, 4, 1, 8, 8) and batch.pair.shape == (2, 0)
    assert batch.mask_valid.tolist() == [True, False] and batch.channels_last() is batch
    assert collate([Sample(image(), 0)]).channels_last().image.is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError):
        collate([Sample(clip, 1), Sample(image(), 0)])
