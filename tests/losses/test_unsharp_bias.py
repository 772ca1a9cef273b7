"""The term that keeps logits from reading sharpness, against NumPy's correlation and OpenCV's Laplacian."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from unmask.core.types import Batch, DetectorOutput, Sample, collate
from unmask.losses.label import unsharp_bias


def batch_of(count: int = 24) -> Batch:
    random = torch.Generator().manual_seed(0)
    strengths = torch.rand(count, generator=random)
    grey = [torch.rand(1, 40, 40, generator=random).expand(3, -1, -1) * s for s in strengths]
    return collate([Sample(image.contiguous(), index % 2) for index, image in enumerate(grey)])


def test_agrees_with_numpy_and_opencv() -> None:
    batch = batch_of()
    logits = torch.randn(24, generator=torch.Generator().manual_seed(1))
    grey = batch.image[:, 0].numpy()
    sharp = np.log([cv2.Laplacian(g, cv2.CV_32F)[1:-1, 1:-1].std(ddof=1) + 1e-3 for g in grey])
    expected = np.mean([np.corrcoef(logits[k::2], sharp[k::2])[0, 1] ** 2 for k in (0, 1)])
    assert float(unsharp_bias(DetectorOutput(logits), batch)) == pytest.approx(expected, rel=1e-3)
    assert float(unsharp_bias(DetectorOutput(torch.tensor(sharp).float()), batch)) == pytest.approx(1, abs=1e-3)


def test_descent_removes_the_correlation_but_not_the_class_difference() -> None:
    batch = batch_of()
    sharp = torch.log(batch.image.flatten(1).std(1) + 1e-3)
    logits = (sharp + 2 * batch.label).clone().requires_grad_()
    optimiser = torch.optim.Adam([logits], 0.05)
    for _ in range(200):
        optimiser.zero_grad()
        unsharp_bias(DetectorOutput(logits), batch).backward()
        optimiser.step()
    assert float(unsharp_bias(DetectorOutput(logits), batch)) < 0.02
    assert float(logits[batch.label == 1].mean() - logits[batch.label == 0].mean()) > 1


def test_flat_images_and_tiny_classes_add_nothing() -> None:
    flat = collate([Sample(torch.full((3, 8, 8), 0.5), index % 2) for index in range(12)])
    logits = torch.randn(12, requires_grad=True)
    value = unsharp_bias(DetectorOutput(logits), flat)
    value.backward()
    assert float(value) == pytest.approx(0, abs=1e-6) and logits.grad is not None and torch.isfinite(logits.grad).all()
    few = collate([Sample(torch.rand(3, 8, 8), index % 2) for index in range(6)])
    assert float(unsharp_bias(DetectorOutput(torch.randn(6)), few)) == 0
