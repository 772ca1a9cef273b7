from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unmask.core.types import DetectorOutput, Face, ViewConfig
from unmask.data.views import views
from unmask.detectors.base import Detector, DetectorConfig
from unmask.detectors.scoring import score_images

BLACK, WHITE = (np.full((120, 160, 3), value, np.uint8) for value in (0, 255))
LEFT, RIGHT = Face((10, 20, 60, 80)), Face((90, 20, 140, 80))


class Brightness(Detector[DetectorConfig]):
    """Logit = mean brightness minus a half, times ten; mask logit = the same per pixel."""

    def __init__(self, kind: Any, needs_face: bool = False) -> None:
        super().__init__(DetectorConfig(view=ViewConfig(kind=kind, size=32, margin=1.0, crops=3)))
        self.norm = nn.BatchNorm2d(3)
        self.frozen = nn.Dropout(0.9)
        self._needs_face = needs_face
        self.batches: list[int] = []

    @property
    def localizes(self) -> bool:
        return True

    @property
    def needs_face(self) -> bool:
        return self._needs_face

    def forward(self, image: Tensor) -> DetectorOutput:
        assert not self.training and not self.norm.training and torch.is_inference_mode_enabled()
        self.batches.append(len(image))
        grey = self.normalize(image).mean(1, keepdim=True)
        return DetectorOutput(10 * (grey.mean((1, 2, 3)) - 0.5), 10 * (grey - 0.5))


def test_a_face_detector_reports_the_most_suspicious_face() -> None:
    image = BLACK.copy()
    image[:, 80:] = 255
    (score,) = score_images(Brightness("face"), [image], [[LEFT, RIGHT]])
    assert score.view_logits == pytest.approx([-5.0, 5.0]) and score.logit == pytest.approx(5.0)
    assert [view.face for view in score.views] == [LEFT, RIGHT]
    assert score.view_masks is not None and score.view_masks.shape == (2, 32, 32)
    assert score.view_masks[1].min() > 0.99 and score.view_masks[0].max() < 0.01


def test_the_squares_of_a_face_count_together() -> None:
    image = BLACK.copy()
    image[:, 80:] = 255
    detector = Brightness("face")
    detector.config = DetectorConfig(view=ViewConfig(size=32, margin=1.0, wider=(2.0,)))
    (score,) = score_images(detector, [image], [[LEFT, RIGHT]])
    left, wide_left, right, wide_right = score.view_logits
    assert left < wide_left < wide_right < right
    assert score.logit == pytest.approx((right + wide_right) / 2)


def test_a_native_detector_reports_the_mean_over_squares() -> None:
    detector = Brightness("native")
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    (score,) = score_images(detector, [image], [[LEFT]])
    expected = [10 * (view.pixels.mean() / 255 - 0.5) for view in views(image, [LEFT], detector.config.view)]
    assert len(expected) == 3
    assert score.view_logits == pytest.approx(expected, abs=1e-4)
    assert score.logit == pytest.approx(np.mean(expected), abs=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_batches_cross_image_borders_and_change_nothing(batch_size: int) -> None:
    detector = Brightness("face")
    images, faces = [BLACK, WHITE, BLACK, WHITE], [[LEFT, RIGHT], [LEFT], [], [LEFT, RIGHT]]
    scores = score_images(detector, images, faces, batch_size)
    assert [score.logit for score in scores] == pytest.approx([-5.0, 5.0, -5.0, 5.0])
    assert [len(score.views) for score in scores] == [2, 1, 1, 2]
    assert sum(detector.batches) == 6 and max(detector.batches) <= batch_size


def test_a_detector_that_needs_a_face_says_nothing_without_one() -> None:
    scores = score_images(Brightness("face", needs_face=True), [BLACK, WHITE], [[], [LEFT]])
    assert scores[0].logit is None and scores[0].views == () and len(scores[0].view_logits) == 0
    assert scores[1].logit == pytest.approx(5.0)
    (alone,) = score_images(Brightness("face", needs_face=True), [BLACK], [[]])
    assert alone.logit is None and alone.view_masks is None


def test_modes_come_back_as_they_were() -> None:
    detector = Brightness("frame").train()
    detector.frozen.eval()
    score_images(detector, [WHITE], [[]])
    assert detector.training and detector.norm.training and not detector.frozen.training


def test_every_image_needs_its_list_of_faces() -> None:
    with pytest.raises(ValueError, match="2 images and 1 lists"):
        score_images(Brightness("face"), [BLACK, WHITE], [[]])
    assert score_images(Brightness("face"), [], []) == []
