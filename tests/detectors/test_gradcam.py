"""Grad-CAM on networks whose answer is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unmask.core.types import DetectorOutput
from unmask.detectors.base import Detector, DetectorConfig, SizeRule
from unmask.detectors.gradcam import grad_cam
from unmask.detectors.zoo import create_detector

WEIGHTS = (2.0, -1.0, 0.5)


class Known(Detector[DetectorConfig]):
    """logit = mean over pixels of 2 R - G + 0.5 B, through an untouched copy of the image as feature map."""

    def __init__(self, then: nn.Module | None = None) -> None:
        super().__init__(DetectorConfig())
        self.copy = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.dirac_(self.copy.weight)
        self.then = then or nn.Identity()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(3, 1)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([WEIGHTS]))
            self.head.bias.fill_(7.0)

    @property
    def size_rule(self) -> SizeRule:
        return SizeRule(minimum=2)

    def forward(self, image: Tensor) -> DetectorOutput:
        x = self.pool(self.then(self.copy(self.normalize(image)))).flatten(1)
        return DetectorOutput(self.head(self.dropout(x)).squeeze(1))


def truth(features: Tensor) -> Tensor:
    heat = (features * torch.tensor(WEIGHTS).view(1, 3, 1, 1)).sum(1, keepdim=True).clamp_min(0)
    return heat / heat.amax((2, 3), keepdim=True)


@pytest.mark.parametrize("inside", [False, True])
def test_the_map_is_the_one_the_formula_gives(inside: bool) -> None:
    detector = Known().train()
    with torch.inference_mode(inside):
        images = torch.rand(3, 3, 8, 10)
        heat = grad_cam(detector, images)
    assert heat is not None and heat.shape == (3, 1, 8, 10)
    torch.testing.assert_close(heat, truth(images))
    assert detector.training and detector.dropout.training, "modes come back"
    assert all(p.grad is None for p in detector.parameters())
    assert not any(module._forward_hooks for module in detector.modules())


def test_the_deepest_map_is_taken() -> None:
    images = torch.rand(1, 3, 8, 8)
    heat = grad_cam(Known(nn.AvgPool2d(2)), images)
    assert heat is not None
    torch.testing.assert_close(heat, truth(nn.functional.avg_pool2d(images, 2)))


def test_it_points_at_the_only_place_that_counts() -> None:
    image = torch.zeros(1, 3, 16, 16)
    image[:, 0, 3:5, 9:12] = 1  # red raises the logit
    image[:, 1, 10:, :] = 1  # green lowers it
    heat = grad_cam(Known(), image)
    assert heat is not None
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[3:5, 9:12] = True
    assert (heat[0, 0][inside] == 1).all() and (heat[0, 0][~inside] == 0).all()


def test_nothing_that_speaks_for_fake_is_an_empty_map() -> None:
    green = torch.zeros(1, 3, 8, 8)
    green[:, 1] = 1
    heat = grad_cam(Known(), green)
    assert heat is not None and not heat.any()


def test_without_a_feature_map_there_is_nothing_to_show() -> None:
    class Flat(Detector[DetectorConfig]):
        def __init__(self) -> None:
            super().__init__(DetectorConfig())
            self.head = nn.Linear(3 * 64, 1)

        def forward(self, image: Tensor) -> DetectorOutput:
            return DetectorOutput(self.head(image.flatten(1)).squeeze(1))

    assert grad_cam(Flat(), torch.rand(1, 3, 8, 8)) is None
    blind = Known()
    nn.init.zeros_(blind.head.weight)
    assert grad_cam(blind, torch.rand(1, 3, 8, 8)) is None


@pytest.mark.parametrize("name", ["mobilenet", "meso4"])
def test_label_only_designs_have_one(name: str) -> None:
    torch.manual_seed(0)
    detector = create_detector(name)
    side = detector.size_rule.fixed or 128
    heat = grad_cam(detector, torch.rand(1, 3, side, side))
    assert heat is not None and 2 <= heat.shape[-1] <= 16 and 0 <= float(heat.min()) <= float(heat.max()) <= 1
