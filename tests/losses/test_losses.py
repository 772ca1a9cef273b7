"""Every term against an outside formula, its gradient, empty masks and identities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from unmask.core.errors import ConfigError
from unmask.core.types import Batch, DetectorOutput, Sample, collate
from unmask.losses import TERMS, Criterion, counterparts
from unmask.losses.label import bce, focal, rank
from unmask.losses.mask import mask_bce, mask_dice


def batch_of(labels: list[int], masks: list[torch.Tensor | None] | None = None, **names: list[str]) -> Batch:
    masks = masks or [None] * len(labels)
    rows = [{key: values[i] for key, values in names.items()} for i in range(len(labels))]
    return collate(
        [Sample(torch.zeros(3, 4, 4), y, mask=m, **row) for y, m, row in zip(labels, masks, rows, strict=True)]
    )


def test_bce_smoothing_equals_two_class_cross_entropy() -> None:
    logits = torch.randn(16)
    batch = batch_of([0, 1] * 8)
    two = torch.stack([torch.zeros_like(logits), logits], dim=1)
    expected = F.cross_entropy(two, batch.label.long(), label_smoothing=0.1)
    torch.testing.assert_close(bce(DetectorOutput(logits), batch, smoothing=0.1), expected)


@given(gamma=st.floats(0, 5), alpha=st.floats(0.05, 0.95))
@settings(max_examples=25, deadline=None)
def test_focal_equals_the_published_formula(gamma: float, alpha: float) -> None:
    logits = torch.linspace(-4, 4, 8, dtype=torch.float64)
    batch = batch_of([0, 1] * 4)
    p = 1 / (1 + np.exp(-logits.numpy()))
    y = batch.label.numpy()
    p_t, alpha_t = np.where(y == 1, p, 1 - p), np.where(y == 1, alpha, 1 - alpha)
    expected = np.mean(-alpha_t * (1 - p_t) ** gamma * np.log(p_t))
    assert float(focal(DetectorOutput(logits), batch, alpha=alpha, gamma=gamma)) == pytest.approx(expected, rel=1e-6)


def test_the_share_of_the_fakes_reaches_the_focal_term() -> None:
    output, batch = DetectorOutput(torch.randn(8)), batch_of([0, 1] * 4)
    total, _ = Criterion({"focal": 1.0}, focal_fake=0.4)(output, batch)
    torch.testing.assert_close(total, focal(output, batch, alpha=0.4))
    real, _ = Criterion({"focal": 1.0}, focal_fake=0.0)(output, batch_of([1] * 8))
    assert float(real) == 0.0, "with no weight on fakes a batch of fakes costs nothing"
    with pytest.raises(ConfigError, match="focal_fake"):
        Criterion({"focal": 1.0}, focal_fake=1.5)


def test_focal_without_focus_is_half_the_cross_entropy() -> None:
    output, batch = DetectorOutput(torch.randn(8)), batch_of([0, 1] * 4)
    torch.testing.assert_close(2 * focal(output, batch, gamma=0.0), bce(output, batch))


def test_rank_equals_margin_free_soft_margin_ranking() -> None:
    """torch's soft_margin_loss on the differences is the same function."""
    logits = torch.randn(6, dtype=torch.float64)
    batch = batch_of([0, 1, 0, 1, 0, 1], path=["a", "a", "b", "b", "c", "c"])
    expected = F.soft_margin_loss(logits[1::2] - logits[::2], torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(rank(DetectorOutput(logits), batch), expected)


@given(offset=st.floats(-50, 50), order=st.permutations(range(6)))
@settings(max_examples=25, deadline=None)
def test_rank_ignores_each_photos_offset_and_the_order(offset: float, order: list[int]) -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, 1.5, 0.0, 4.0], dtype=torch.float64)
    labels, paths = [0, 1, 0, 1, 0, 1], ["a", "a", "b", "b", "c", "c"]
    base = rank(DetectorOutput(logits), batch_of(labels, path=paths))
    moved = logits + offset * torch.tensor([1, 1, 0, 0, -2, -2])
    shuffled = batch_of([labels[i] for i in order], path=[paths[i] for i in order])
    torch.testing.assert_close(rank(DetectorOutput(moved[list(order)]), shuffled), base)


def test_counterparts_by_path_then_group_never_by_empty_name() -> None:
    by_path = batch_of([0, 1, 1, 0], path=["a", "b", "a", "b"], group=["g"] * 4)
    assert [i.tolist() for i in counterparts(by_path)] == [[1, 2], [3, 0]]
    by_group = batch_of([0, 1, 1], path=["a", "b", "c"], group=["g", "h", "g"])
    assert [i.tolist() for i in counterparts(by_group)] == [[2], [0]]
    assert [len(i) for i in counterparts(batch_of([0, 1, 1]))] == [0, 0]


def test_mask_bce_reads_known_masks_only() -> None:
    truth = torch.rand(1, 4, 4)
    batch = batch_of([0, 1, 1], [torch.zeros(1, 4, 4), truth, None])
    logits = torch.randn(3, 1, 4, 4, requires_grad=True)
    loss = mask_bce(DetectorOutput(torch.zeros(3), logits), batch)
    p = torch.sigmoid(logits[:2].detach())
    t = torch.stack([torch.zeros(1, 4, 4), truth])
    torch.testing.assert_close(loss.detach(), -(t * p.log() + (1 - t) * (1 - p).log()).mean())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[2].abs().sum() == 0 and gradient[:2].abs().min() > 0


def test_mask_dice_equals_f1_on_binary_masks_and_skips_empty_ones() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    truth = (torch.rand(1, 4, 4) > 0.5).float()
    guess = (torch.rand(1, 4, 4) > 0.4).float()
    batch = batch_of([1, 0], [truth, torch.zeros(1, 4, 4)])
    logits = torch.stack([guess * 200 - 100, torch.full((1, 4, 4), 3.0)]).requires_grad_()
    loss = mask_dice(DetectorOutput(torch.zeros(2), logits), batch)
    f1 = sklearn.f1_score(truth.flatten().numpy(), guess.flatten().numpy())
    assert float(loss.detach()) == pytest.approx(1 - f1, abs=1e-6)


def everything(count: int, side: int = 16) -> tuple[Batch, DetectorOutput]:
    """Pairs with masks, and an output that every term can read."""
    masks = [torch.zeros(1, side, side), torch.rand(1, side, side)] * (count // 2)
    images = [Sample(torch.rand(3, side, side), i % 2, mask=m, path=str(i // 2)) for i, m in enumerate(masks)]
    logits, mask_logits = torch.randn(count, requires_grad=True), torch.randn(count, 1, side, side, requires_grad=True)
    aux = {"reconstruction": torch.randn(count, 3, side, side, requires_grad=True)}
    aux |= {"target": torch.randn(count, 3, side, side), "hidden": (torch.rand(count, 1, side, side) > 0.4).float()}
    aux |= {"anomaly_logits": torch.randn(count, requires_grad=True), "paired": torch.ones(count, dtype=torch.bool)}
    aux |= {"distance": (0.2 + 0.6 * torch.rand(count)).requires_grad_(), "nearest": 0.5 + torch.rand(count, 3)}
    aux |= {name: torch.randn(count, requires_grad=True) for name in ("global_logits", "aggregate_logits")}
    aux |= {"local_logits": torch.randn(count, 2, requires_grad=True), "region_weight": torch.ones(count, 2)}
    return collate(images), DetectorOutput(logits, mask_logits, torch.randn(count, 8, requires_grad=True), aux)


def what_it_reads(name: str, output: DetectorOutput) -> torch.Tensor:
    assert output.mask_logits is not None and output.embedding is not None and output.aux is not None
    if name.startswith(("mask", "boundary")) or name == "cascade_mask":
        return output.mask_logits
    of_aux = {"anomaly": "anomaly_logits", "contrastive": "distance", "info_nce": "distance"}
    of_aux |= {"cascade_local": "local_logits"} | dict.fromkeys(
        ("cascade_label", "cascade_consistency"), "global_logits"
    )
    if name in {"reconstruction", *of_aux}:
        return output.aux[of_aux.get(name, name)]
    return output.embedding if name == "supcon" else output.logits


@pytest.mark.parametrize("name", sorted(TERMS))
def test_every_term_reaches_its_logits(name: str) -> None:
    batch, output = everything(8)
    loss = TERMS[name](output, batch)
    (gradient,) = torch.autograd.grad(loss, what_it_reads(name, output))
    assert loss.ndim == 0 and bool(torch.isfinite(gradient).all())
    touched = gradient.flatten(1).abs().sum(1) if gradient.ndim > 1 else gradient.abs()
    first = 0 if name in ("info_nce", "mask_sparse") else 1  # which are about real images alone
    assert bool((touched[first::2] > 0).all()), "every image it is about is taught something"


@pytest.mark.parametrize("name", ["rank", "mask_bce", "mask_dice", "mask_l1_ssim"])
def test_nothing_to_compare_gives_zero_with_a_gradient_path(name: str) -> None:
    logits, mask_logits = torch.randn(2, requires_grad=True), torch.randn(2, 1, 4, 4, requires_grad=True)
    loss = TERMS[name](DetectorOutput(logits, mask_logits), batch_of([1, 1]))
    loss.backward()
    gradient = mask_logits.grad if name.startswith("mask") else logits.grad
    assert float(loss.detach()) == 0.0 and gradient is not None and float(gradient.abs().sum()) == 0.0


@pytest.mark.parametrize("name", ["bce", "focal", "rank", "mask_bce", "mask_dice"])
def test_gradients_agree_with_finite_differences(name: str) -> None:
    masks = [torch.zeros(1, 4, 4), torch.rand(1, 4, 4)] * 2
    batch = batch_of([0, 1] * 2, masks, path=["a", "a", "b", "b"])
    batch = Batch(
        batch.image,
        batch.label.double(),
        batch.mask.double(),
        *[getattr(batch, f) for f in ("mask_valid", "pair", "pair_valid", "group", "source", "manipulation", "path")],
    )
    logits = torch.randn(4, dtype=torch.float64, requires_grad=True)
    mask_logits = torch.randn(4, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda a, b: TERMS[name](DetectorOutput(a, b), batch) + 0 * (a.sum() + b.sum()), (logits, mask_logits)
    )


def test_extreme_logits_stay_finite() -> None:
    batch, output = everything(4)
    logits = torch.tensor([1e4, -1e4] * 2, requires_grad=True)
    masks = torch.full((4, 1, 16, 16), -1e4, requires_grad=True)
    terms = [name for name in TERMS if name != "boundary_bce"]  # it is refused beside the other mask terms
    total, _ = Criterion(dict.fromkeys(terms, 1.0))(output._replace(logits=logits, mask_logits=masks), batch)
    total.backward()
    assert math.isfinite(float(total.detach()))
    assert logits.grad is not None and bool(torch.isfinite(logits.grad).all())


def test_criterion_is_the_weighted_sum() -> None:
    batch = batch_of([0, 1], [torch.zeros(1, 4, 4), torch.ones(1, 4, 4)], path=["a", "a"])
    output = DetectorOutput(torch.randn(2), torch.randn(2, 1, 4, 4))
    total, parts = Criterion({"bce": 2.0, "rank": 0.5, "mask_bce": 3.0, "focal": 0.0})(output, batch)
    assert set(parts) == {"bce", "rank", "mask_bce"}
    expected = 2 * bce(output, batch) + 0.5 * rank(output, batch) + 3 * mask_bce(output, batch)
    torch.testing.assert_close(total, expected)


def test_criterion_smooths_labels_in_float32_under_autocast() -> None:
    batch, logits = batch_of([0, 1]), torch.tensor([0.1, 0.2], dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = Criterion({"bce": 1.0}, label_smoothing=0.2)(DetectorOutput(logits), batch)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, bce(DetectorOutput(logits.float()), batch, smoothing=0.2))


@pytest.mark.parametrize(
    ("terms", "smoothing", "says"),
    [
        ({"bcee": 1.0}, 0.0, "did you mean 'bce'"),
        ({"bce": -1.0}, 0.0, "0 or more"),
        ({"bce": 0.0}, 0.0, "at least one"),
        ({"bce": 1.0}, 1.0, "label_smoothing"),
    ],
)
def test_bad_criterion(terms: dict[str, float], smoothing: float, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Criterion(terms, label_smoothing=smoothing)


def test_mask_term_on_a_detector_without_masks_says_so() -> None:
    with pytest.raises(ConfigError, match="localizes"):
        Criterion({"mask_bce": 1.0})(DetectorOutput(torch.zeros(2)), batch_of([0, 1]))
