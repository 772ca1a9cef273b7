"""The landmark network: shapes, size on disk, the order of the mesh under mirroring."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from unmask.core.errors import WeightsError
from unmask.core.files import sha256_file
from unmask.nn.landmarks import (
    ASSET,
    COUNT,
    FIVE,
    OUTER_EYES,
    REGIONS,
    SIZE,
    LandmarkNetwork,
    load_landmark_network,
    mirror_order,
)


def test_shapes_and_gradients() -> None:
    network = LandmarkNetwork()
    points, logits = network(torch.rand(2, 3, SIZE, SIZE))
    assert points.shape == (2, COUNT, 2) and logits.shape == (2,)
    torch.autograd.backward(points.square().mean() + logits.square().mean())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_the_asset_is_small_and_described_by_its_card() -> None:
    card = json.loads(ASSET.with_suffix(".json").read_text())
    assert ASSET.stat().st_size <= 2_000_000
    assert card["weights_sha256"] == sha256_file(ASSET)
    assert card["parameters"] == sum(p.numel() for p in LandmarkNetwork().parameters()) <= 1_000_000
    assert card["command"].startswith("python -m unmask.data.landmark_training ") and card["seed"] is not None
    assert not {source for source in card["data"]["sources"] if not source.endswith(("_cc0", "_pd"))}


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not hold the landmark network"):
        load_landmark_network(tmp_path / "absent.safetensors")
    with pytest.raises(WeightsError, match="does not hold the landmark network"):
        load_landmark_network(ASSET.with_name("resynthesis.safetensors"))


def test_mirroring_twice_is_the_identity_and_swaps_left_and_right() -> None:
    order = mirror_order()
    assert sorted(order) == list(range(COUNT))
    np.testing.assert_array_equal(order[order], np.arange(COUNT))
    assert order[OUTER_EYES[0]] == OUTER_EYES[1]
    for part in ("eye", "brow"):
        assert {int(order[i]) for i in REGIONS[f"left_{part}"]} == set(REGIONS[f"right_{part}"])
    for part in ("nose", "mouth", "outline"):
        assert {int(order[i]) for i in REGIONS[part]} == set(REGIONS[part])
    for left, right in ((0, 1), (3, 4)):
        assert {int(order[i]) for i in FIVE[left]} == set(FIVE[right])
    assert 20 <= (order == np.arange(COUNT)).sum() <= 40  # points on the face's midline


def test_closed_contours_are_in_order() -> None:
    """Neighbours on the mean shape's eye and outline contours are near each other: no jump across."""
    with torch.inference_mode():
        mean = load_landmark_network().shape.bias.reshape(COUNT, 2).numpy()
    for name in ("left_eye", "right_eye", "outline"):
        contour = mean[list(REGIONS[name])]
        steps = np.linalg.norm(contour - np.roll(contour, 1, 0), axis=1)
        assert steps.max() < 0.35 * np.ptp(contour, axis=0).max()
