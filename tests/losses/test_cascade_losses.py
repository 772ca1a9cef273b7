"""The cascade's losses: values by hand, gradients by finite differences, empty masks and skipped regions included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.core.errors import ConfigError
from unmask.core.types import Batch, DetectorOutput
from unmask.losses import Criterion
from unmask.losses.cascade import (
    cascade_consistency,
    cascade_label,
    cascade_local,
    cascade_mask,
    mask_smooth,
    mask_sparse,
    region_targets,
)
from unmask.losses.mask import mask_dice

# Authentic, forged with a mask, forged with an unknown one, forged with a mask that is empty in this view.
LABEL = torch.tensor([0.0, 1.0, 1.0, 1.0], dtype=torch.float64)
VALID = torch.tensor([True, True, False, True])
TERMS = {
    "cascade_label": cascade_label,
    "cascade_mask": cascade_mask,
    "cascade_local": cascade_local,
    "cascade_consistency": cascade_consistency,
    "mask_smooth": mask_smooth,
    "mask_sparse": mask_sparse,
}


def batch_of(label: Tensor = LABEL, valid: Tensor = VALID) -> Batch:
    mask = torch.zeros(len(label), 1, 4, 6, dtype=torch.float64)
    mask[1::2, :, 1:3, 2:5] = 0.75
    mask[3:] = 0
    image = torch.zeros(len(label), 3, 4, 6, dtype=torch.float64)
    return Batch(image, label, mask, valid, image, torch.zeros(len(label), dtype=torch.bool))


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mask logits, local, global and aggregate logits."""
    random = torch.Generator().manual_seed(3)
    shapes = ((4, 1, 4, 6), (4, 2), (4,), (4,))
    made = [torch.randn(*shape, generator=random, dtype=torch.float64).requires_grad_() for shape in shapes]
    return made[0], made[1], made[2], made[3]


def output_of(mask: Tensor, local: Tensor, overall: Tensor, aggregate: Tensor, weight: Tensor) -> DetectorOutput:
    aux = {"local_logits": local, "global_logits": overall, "aggregate_logits": aggregate, "region_weight": weight}
    return DetectorOutput(overall, mask, None, aux)


ALL = torch.ones(4, 2, dtype=torch.float64)
SOME = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize("weight", [ALL, SOME, 0 * ALL], ids=["all", "some skipped", "all skipped"])
@pytest.mark.parametrize("name", sorted(TERMS))
def test_gradients_equal_finite_differences(name: str, weight: Tensor) -> None:
    mask, *rest = inputs()
    still, batch = mask.detach().clone(), batch_of()

    def loss(*variables: Tensor) -> Tensor:
        # No gradient goes through the regions' targets, on purpose: there the mask stands still.
        shown = still if name == "cascade_local" else variables[0]
        return TERMS[name](output_of(shown, variables[1], variables[2], variables[3], weight), batch)

    assert torch.autograd.gradcheck(loss, (mask, *rest))


@pytest.mark.parametrize("name", sorted(TERMS))
@pytest.mark.parametrize(
    ("label", "valid"),
    [(torch.ones(4), torch.zeros(4, dtype=torch.bool)), (torch.zeros(4), torch.ones(4, dtype=torch.bool))],
    ids=["no mask is known", "all authentic"],
)
def test_every_batch_gives_a_finite_loss_with_a_gradient_path(name: str, label: Tensor, valid: Tensor) -> None:
    variables = inputs()
    value = TERMS[name](output_of(*variables, ALL), batch_of(label.double(), valid))
    value.backward()
    assert torch.isfinite(value) and all(v.grad is None or torch.isfinite(v.grad).all() for v in variables)
    idle = {"cascade_mask", "cascade_local"} if not valid.any() else set()
    assert (float(value.detach()) == 0) == (name in idle | ({"mask_sparse"} if bool(label.all()) else set()))


def test_targets_of_regions_are_the_true_mass_in_them() -> None:
    truth = torch.zeros(1, 1, 2, 4)
    truth[..., :2] = 1
    mask = torch.tensor([0.8, 0.8, 0.2, 0.0]).expand(1, 1, 2, 4)
    expected = torch.tensor([[1.6 / 1.8, 0.4 / 2.2]])
    torch.testing.assert_close(region_targets(mask, truth), expected)
    assert region_targets(torch.ones(1, 1, 2, 4), truth).tolist() == [[0.5, 0.0]]  # nothing is left to be authentic
    leaf = mask.clone().requires_grad_()
    assert not region_targets(leaf, truth).requires_grad


def test_local_by_hand() -> None:
    mask, local, overall, aggregate = (v.detach() for v in inputs())
    batch = batch_of()
    value = cascade_local(output_of(mask, local, overall, aggregate, SOME), batch)
    target = region_targets(mask.sigmoid()[1:2], batch.mask[1:2])
    first = F.softplus(local[0, 1])  # authentic, its suspected region skipped: target 0
    second = F.binary_cross_entropy_with_logits(local[1], target[0])
    torch.testing.assert_close(value, (first + second) / 2)  # the third's mask is unknown, the fourth has no region


def test_weights_of_regions_weigh() -> None:
    mask, local, overall, aggregate = (v.detach() for v in inputs())
    batch = batch_of(torch.zeros(4).double(), torch.ones(4, dtype=torch.bool))
    weight = torch.tensor([[0.1, 0.9]]).double().expand(4, 2)
    value = cascade_local(output_of(mask, local, overall, aggregate, weight), batch)
    torch.testing.assert_close(value, (F.softplus(local) * weight).sum(1).mean())


def test_mask_is_dice_where_there_is_one_and_cross_entropy_and_area_elsewhere() -> None:
    mask, local, overall, aggregate = (v.detach() for v in inputs())
    batch = batch_of()
    value = cascade_mask(output_of(mask, local, overall, aggregate, ALL), batch)
    only = Batch(*(getattr(batch, n)[1:2] for n in ("image", "label", "mask", "mask_valid", "pair", "pair_valid")))
    dice = mask_dice(DetectorOutput(overall[1:2], mask[1:2]), only)
    empty = [F.binary_cross_entropy_with_logits(mask[i], 0 * mask[i]) + mask[i].sigmoid().mean() for i in (0, 3)]
    torch.testing.assert_close(value, (dice + sum(empty)) / 3)


def test_consistency_smoothness_and_sparsity_by_hand() -> None:
    mask = torch.zeros(2, 1, 4, 4).double()
    mask[:, :, :, 2:] = 40.0  # a step of one half, 4 pixels high
    overall, aggregate = torch.tensor([0.0, 40.0]).double(), torch.tensor([0.0, -40.0]).double()
    out = output_of(mask, torch.zeros(2, 2).double(), overall, aggregate, ALL[:2])
    batch = batch_of(torch.tensor([0.0, 1.0]).double(), torch.ones(2, dtype=torch.bool))
    assert float(cascade_consistency(out, batch)) == pytest.approx(0.5)
    assert float(mask_smooth(out, batch)) == pytest.approx(4 * 0.25 / 16)
    assert float(mask_sparse(out, batch)) == pytest.approx(0.75)


def test_label_is_asked_of_the_whole_and_of_the_regions() -> None:
    mask, local, overall, aggregate = (v.detach() for v in inputs())
    batch = batch_of()
    value = cascade_label(output_of(mask, local, overall, aggregate, ALL), batch)
    each = [F.binary_cross_entropy_with_logits(z, LABEL) for z in (overall, aggregate)]
    torch.testing.assert_close(value, (each[0] + each[1]) / 2)
    assert value >= F.binary_cross_entropy_with_logits((overall + aggregate) / 2, LABEL)


def test_size_of_the_image_does_not_matter() -> None:
    small = torch.rand(1, 1, 8, 8)
    large = small.repeat(1, 1, 3, 3)
    label = torch.zeros(1)
    values: list[tuple[float, float]] = []
    for mask in (small, large):
        out = DetectorOutput(label, mask, None, {})
        batch = Batch(mask, label, mask, label.bool(), mask, label.bool())
        values.append((float(mask_sparse(out, batch)), float(mask_smooth(out, batch))))
    assert values[0] == pytest.approx(values[1], rel=0.2)


@pytest.mark.parametrize("name", sorted(TERMS))
def test_a_detector_without_a_cascade_is_told(name: str) -> None:
    with pytest.raises(ConfigError, match="needs a detector that"):
        TERMS[name](DetectorOutput(torch.zeros(4)), batch_of())


def test_terms_are_named_and_weighed() -> None:
    weights: dict[str, float] = {"bce": 1, "cascade_mask": 1, "cascade_local": 0.5, "cascade_consistency": 0.1}
    weights |= {"mask_smooth": 0.01, "mask_sparse": 0.001}
    total, parts = Criterion(weights)(output_of(*inputs(), ALL), batch_of())
    assert set(parts) == set(weights)
    assert float(total.detach()) == pytest.approx(sum(weights[n] * float(v) for n, v in parts.items()), rel=1e-5)
