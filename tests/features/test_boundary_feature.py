"""The blending boundary: a detector's map where there are weights of one, else a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from unmask.core.errors import ConfigError, WeightsError
from unmask.core.types import Face
from unmask.detectors.weights import load_weights
from unmask.features.base import Subject
from unmask.features.boundary import BlendingBoundary

FACE = Face((80, 40, 180, 170))


def test_without_weights_they_are_missing(portrait_pixels: np.ndarray) -> None:
    assert BlendingBoundary().measure([Subject(portrait_pixels, FACE)])[0] == ("weights_missing", None)
    assert BlendingBoundary().boundary_map(Subject(portrait_pixels, FACE)) is None


def test_with_weights_it_is_the_detectors_map(portrait_pixels: np.ndarray, tiny_weights: Path) -> None:
    from unmask.data.views import views

    feature = BlendingBoundary().with_weights(str(tiny_weights / "edited.safetensors"))
    subject = Subject(portrait_pixels, FACE)
    detector, card = load_weights(tiny_weights / "edited.safetensors")
    (view,) = views(portrait_pixels, [FACE], detector.config.view)
    with torch.inference_mode():
        logits = detector(torch.from_numpy(view.pixels).permute(2, 0, 1)[None].float() / 255).mask_logits
    assert logits is not None
    expected = logits.sigmoid()[0, 0].numpy()
    values = feature.measure([subject])[0].values
    assert values is not None
    assert values[0] == pytest.approx(expected.mean(), abs=1e-5)
    assert values[1] == pytest.approx(np.sort(expected.ravel())[-92:].mean(), abs=1e-5)
    assert values[2] == pytest.approx((expected > 0.5).mean(), abs=1e-3)
    found = feature.boundary_map(subject)
    assert found is not None and found.shape == (256, 256)
    np.testing.assert_allclose(found, view.to_image(expected, (256, 256)), atol=1e-5)
    assert (
        feature.fingerprint == card.sha256[:16] and feature.measure([Subject(portrait_pixels)])[0].status == "no_face"
    )


def test_detectors_without_a_mask_are_refused(tiny_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without masks"):
        BlendingBoundary().with_weights(str(tiny_weights / "generated.safetensors"))
    with pytest.raises(WeightsError):
        BlendingBoundary().with_weights(str(tmp_path / "none.safetensors"))
