"""The boundary of a mask, against the published formula and SciPy's blur; and the loss that trains towards it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from unmask.core.errors import ConfigError
from unmask.core.types import Batch, DetectorOutput, Sample, collate
from unmask.losses import Criterion
from unmask.losses.mask import boundary_bce
from unmask.ops.boundary import boundary_map


def disc(size: int = 40, radius: int = 11) -> torch.Tensor:
    ys, xs = np.indices((size, size)) - size / 2 + 0.5
    return torch.from_numpy((ys**2 + xs**2 <= radius**2).astype(np.float32))[None]


def batch_of(masks: list[torch.Tensor | None]) -> Batch:
    return collate([Sample(torch.zeros(3, 40, 40), int(m is None or m.any()), mask=m) for m in masks])


def test_it_is_the_formula_and_largest_halfway() -> None:
    m = torch.linspace(0, 1, 11)
    torch.testing.assert_close(boundary_map(m), 4 * m * (1 - m))
    assert boundary_map(m).argmax() == 5 and boundary_map(m)[5] == 1


@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.5])
def test_softening_agrees_with_scipy(sigma: float) -> None:
    mask = disc()[None]
    soft = ndimage.gaussian_filter(
        mask[0, 0].numpy().astype(float), sigma, mode="mirror", radius=int(np.ceil(3 * sigma))
    )
    torch.testing.assert_close(
        boundary_map(mask, sigma)[0, 0].double(), torch.from_numpy(4 * soft * (1 - soft)), atol=1e-5, rtol=0
    )


def test_a_hard_edge_has_a_boundary_only_when_softened_and_it_lies_on_the_edge() -> None:
    mask = disc()[None]
    assert boundary_map(mask).max() == 0
    found = boundary_map(mask, 1.0)[0, 0].numpy()
    edge = ndimage.binary_dilation(mask[0, 0].numpy() > 0) ^ ndimage.binary_erosion(mask[0, 0].numpy() > 0)
    assert found[edge].min() > 0.5 and found[~ndimage.binary_dilation(edge, iterations=3)].max() < 0.01
    assert boundary_map(torch.ones(1, 1, 8, 8), 1.0).abs().max() < 1e-5, "a wholly generated image has no boundary"


def test_the_term_is_cross_entropy_with_the_boundary_where_a_mask_is_known() -> None:
    batch = batch_of([disc(), None, torch.zeros(1, 40, 40)])
    logits = torch.randn(3, 1, 40, 40, requires_grad=True)
    loss = boundary_bce(DetectorOutput(torch.zeros(3), logits), batch)
    target = boundary_map(batch.mask[[0, 2]], 1.0)
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits[[0, 2]], target))
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[1].abs().max() == 0 and logits.grad[0].abs().min() > 0 and logits.grad[2].abs().min() > 0
    none = boundary_bce(DetectorOutput(torch.zeros(1), logits[:1]), batch_of([None]))
    assert float(none.detach()) == 0 and none.requires_grad


def test_descending_it_finds_the_ring() -> None:
    batch = batch_of([disc()])
    logits = torch.zeros(1, 1, 40, 40, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(40):
        optimizer.zero_grad()
        boundary_bce(DetectorOutput(torch.zeros(1), logits), batch).backward()
        optimizer.step()
    found, ring = logits.detach().sigmoid()[0, 0], boundary_map(batch.mask, 1.0)[0, 0]
    assert (found - ring).abs().max() < 0.1


def test_a_design_without_a_mask_and_two_targets_for_one_mask_are_told() -> None:
    with pytest.raises(ConfigError, match="needs a detector that localizes"):
        boundary_bce(DetectorOutput(torch.zeros(1)), batch_of([disc()]))
    for other in ("mask_bce", "mask_dice", "mask_l1_ssim"):
        with pytest.raises(ConfigError, match=f"boundary_bce and {other}"):
            Criterion({"bce": 1.0, "boundary_bce": 1.0, other: 0.5})
    assert Criterion({"bce": 1.0, "boundary_bce": 1.0, "mask_bce": 0.0}).weights == {"bce": 1.0, "boundary_bce": 1.0}
