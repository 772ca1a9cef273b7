"""Losses on comparisons: against torch's own, by hand, and where they must be silent."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.core.errors import ConfigError
from unmask.core.types import Batch, DetectorOutput
from unmask.losses.pair import anomaly, contrastive, info_nce


def batch_of(labels: Sequence[float]) -> Batch:
    n = len(labels)
    blank, no = torch.zeros(n, 3, 2, 2), torch.zeros(n, dtype=torch.bool)
    return Batch(blank, torch.tensor([float(v) for v in labels]), blank[:, :1], no, blank, no)


def said(**aux: Tensor) -> DetectorOutput:
    count = len(next(iter(aux.values())))
    return DetectorOutput(torch.zeros(count, requires_grad=True), aux=aux)


def test_anomaly_is_torchs_cross_entropy() -> None:
    logits = torch.randn(5)
    expected = F.binary_cross_entropy(logits.sigmoid(), torch.tensor([0.0, 1, 1, 0, 1]))
    torch.testing.assert_close(anomaly(said(anomaly_logits=logits), batch_of([0, 1, 1, 0, 1])), expected)


def test_contrastive_pulls_reals_and_pushes_fakes_up_to_the_margin() -> None:
    distance = torch.tensor([0.5, 0.25, 1.5, 0.1], requires_grad=True)
    paired = torch.tensor([True, True, True, False])
    loss = contrastive(said(distance=distance, paired=paired), batch_of([0, 1, 1, 0]))
    hinge = F.hinge_embedding_loss(distance[:3].detach(), torch.tensor([1.0, -1, -1]), margin=1.0, reduction="none")
    torch.testing.assert_close(loss, hinge.square().mean())  # torch's has no square
    loss.backward()
    gradient = distance.grad
    assert gradient is not None
    assert gradient[0] > 0 > gradient[1] and gradient[2:].tolist() == [0, 0]
    wider = contrastive(said(distance=distance.detach(), paired=paired), batch_of([0, 1, 1, 0]), margin=2.0)
    assert wider > loss


def test_info_nce_is_the_softmax_over_oneself_and_the_neighbours() -> None:
    random = torch.Generator().manual_seed(0)
    query, own, *others = (F.normalize(torch.randn(6, 8, generator=random), dim=1) for _ in range(4))
    distance = (query - own).norm(dim=1)
    nearest = torch.stack([(query - other).norm(dim=1) for other in others], 1)
    labels, paired = [0, 0, 1, 0, 1, 0], torch.tensor([True, True, True, True, False, False])
    cosine = torch.stack([(query * v).sum(1) for v in (own, *others)], 1) / 0.07
    expected = -cosine.log_softmax(1)[[0, 1, 3], 0].mean()
    loss = info_nce(said(distance=distance, paired=paired, nearest=nearest), batch_of(labels))
    torch.testing.assert_close(loss, expected)


def test_info_nce_with_nobody_to_compare_with_is_zero_and_its_gradient_finite() -> None:
    distance = torch.tensor([0.3, 0.4], requires_grad=True)
    nearest = torch.full((2, 3), math.inf)
    nearest[1, 0] = 0.6
    nearest.requires_grad_()
    loss = info_nce(said(distance=distance, paired=torch.ones(2, dtype=torch.bool), nearest=nearest), batch_of([0, 0]))
    loss.backward()
    assert distance.grad is not None and nearest.grad is not None
    assert torch.isfinite(distance.grad).all() and torch.isfinite(nearest.grad).all()
    assert distance.grad[0] == 0 and distance.grad[1] > 0 > nearest.grad[1, 0]


@pytest.mark.parametrize("term", [contrastive, info_nce])
def test_without_pairs_they_are_zero_with_a_gradient_path(term: object) -> None:
    output = said(distance=torch.ones(2), paired=torch.zeros(2, dtype=torch.bool), nearest=torch.ones(2, 1))
    loss = term(output, batch_of([0, 1]))  # type: ignore[operator]
    loss.backward()
    assert loss == 0 and output.logits.grad is not None


@pytest.mark.parametrize("term", [anomaly, contrastive, info_nce])
def test_another_detector_is_a_clear_error(term: object) -> None:
    with pytest.raises(ConfigError, match="leave the term out"):
        term(DetectorOutput(torch.zeros(2)), batch_of([0, 1]))  # type: ignore[operator]
