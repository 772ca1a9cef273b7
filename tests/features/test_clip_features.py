"""Features of clips: known answers on constructed clips, and a flicker that no single frame shows."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from unmask.core.errors import ConfigError, WeightsError
from unmask.core.seeds import rng
from unmask.core.types import Face, UInt8Image
from unmask.data.flicker import FlickerConfig, flicker_clip, smooth_still
from unmask.detectors.weights import save_weights
from unmask.detectors.zoo import create_detector
from unmask.features.base import Feature, Subject
from unmask.features.catalogue import find_features
from unmask.features.clips import HOGCorrelation, PatchGraph, SpatioTemporal, patch_nodes
from unmask.metrics.image import auc, split_scores


def subject(frames: UInt8Image, face: Face | None = None) -> Subject:
    return Subject(frames[len(frames) // 2], face, frames=tuple(frames))


def measured(feature: Feature, frames: UInt8Image) -> dict[str, float]:
    found = feature.measure([subject(frames)])[0]
    assert found.status == "ok" and found.values is not None
    return dict(zip(feature.columns, found.values.tolist(), strict=True))


def test_the_catalogue_has_them_and_a_still_image_needs_frames() -> None:
    still = Subject(smooth_still(64, rng(0)))
    for feature in find_features(["patch_graph", "hog_correlation", "spatio_temporal"]):
        assert "clip" in feature.kinds and "frames" in feature.needs and feature.paper and feature.line
        status = feature.measure([still])[0].status
        assert status == ("weights_missing" if "weights" in feature.needs else "needs_frames")


def test_a_still_clip_is_wholly_consistent_and_noise_is_not() -> None:
    picture = smooth_still(128, rng(1))
    still = measured(PatchGraph(), np.stack([picture] * 4))
    for name in ("edge_mean", "edge_min", "edge_weakest", "kept_mean", "kept_weakest"):
        assert still[name] == pytest.approx(1, abs=1e-5), name
    for name in set(still) - {"edge_mean", "edge_min", "edge_weakest", "kept_mean", "kept_weakest"}:
        assert still[name] == pytest.approx(0, abs=1e-4), name
    noise = measured(PatchGraph(), rng(2).integers(0, 256, (6, 128, 128, 3), dtype=np.uint8))
    assert noise["edge_mean"] == pytest.approx(0.5, abs=0.03)  # unrelated patches
    assert noise["kept_mean"] == pytest.approx(8 / 255, abs=0.03)  # as many of the nearest as chance keeps


def test_one_patch_that_changes_is_the_weakest_and_alone() -> None:
    clip = np.stack([smooth_still(128, rng(3))] * 5)
    clip[2, 56:64, 56:64] = 255 - clip[2, 56:64, 56:64]
    nodes = patch_nodes(torch.from_numpy(clip).permute(0, 3, 1, 2)[None] / 255, 8)
    edges = (nodes[:, 1:] * nodes[:, :-1]).sum(3)[0]  # (4, 256)
    assert nodes.shape == (1, 5, 256, 13) and edges[1].argmin() == edges[2].argmin() == 7 * 16 + 7
    values = measured(PatchGraph(), clip)
    assert values["edge_min"] == pytest.approx(float(edges.min()), abs=1e-5)
    assert values["edge_inner_outer"] < 0 < values["alone_inner_outer"]


def test_a_flicker_that_no_single_frame_shows() -> None:
    """Frames alone: statistics of the patch order the classes by chance. Clips: nearly without error."""
    config, feature, label = FlickerConfig(frames=5, size=96), PatchGraph(), [0, 1] * 14
    clips = [
        flicker_clip(smooth_still(128, rng(4, i)), bool(forged), config, rng(5, i, forged))
        for i in range(14)
        for forged in (0, 1)
    ]
    inner = np.stack([clip[0, 36:60, 36:60].astype(float) for clip in clips])
    alone = [inner.mean((1, 2, 3)), inner.std((1, 2, 3)), np.abs(np.diff(inner, axis=2)).mean((1, 2, 3))]
    for values in alone:
        assert abs(auc(split_scores(values, label)).value - 0.5) < 0.25
    found = [measured(feature, clip) for clip in clips]
    for name, least in (("alone_inner_outer", 0.95), ("turn_most", 0.95)):
        assert auc(split_scores([f[name] for f in found], label)).value > least, name
    assert auc(split_scores([-f["edge_weakest"] for f in found], label)).value > 0.95


def test_long_clips_small_frames_and_frames_of_several_sizes() -> None:
    frames = rng(6).integers(0, 256, (40, 40, 48, 3), dtype=np.uint8)
    face = Face((10, 5, 30, 30))
    feature = PatchGraph()
    whole, middle = feature.measure([subject(frames, face), Subject(frames[20], face, frames=tuple(frames[4:36]))])
    assert whole.values is not None and np.array_equal(whole.values, middle.values)  # type: ignore[arg-type]
    small, odd = feature.measure([subject(frames[:, :20]), Subject(frames[0], frames=(frames[0], frames[1, :36]))])
    assert (small.status, odd.status) == ("too_small", "not_applicable")


def test_hog_correlation_is_that_of_scikit_image() -> None:
    from skimage.feature import hog

    clip = flicker_clip(smooth_still(160, rng(7)), True, FlickerConfig(frames=4, size=128, brightness=20), rng(8))
    found = measured(HOGCorrelation(), clip)
    cells = {"pixels_per_cell": (32, 32), "cells_per_block": (2, 2)}
    described = np.stack([hog(frame @ (0.299, 0.587, 0.114) / 255, **cells) for frame in clip])
    each = [np.corrcoef(a, b)[0, 1] for a, b in itertools.pairwise(described)]
    assert found["mean"] == pytest.approx(np.mean(each), abs=1e-3)
    assert found["min"] == pytest.approx(np.min(each), abs=1e-3)
    assert found["first_last"] == pytest.approx(np.corrcoef(described[0], described[-1])[0, 1], abs=1e-3)
    assert measured(HOGCorrelation(), np.stack([clip[0]] * 3))["mean"] == pytest.approx(1, abs=1e-5)


def test_a_trained_network_gives_its_logit_and_embedding(tmp_path: Path) -> None:
    detector = create_detector("temporal_tiny", head="lstm", layers=1, width=4, view={"size": 64, "frames": 3}).eval()
    card = save_weights(tmp_path / "w.safetensors", detector)
    feature = SpatioTemporal().with_weights(str(tmp_path / "w.safetensors"))
    assert feature.fingerprint == card.sha256 and not feature.lacks_weights and len(feature.columns) == 17
    clip = rng(9).integers(0, 256, (7, 64, 64, 3), dtype=np.uint8)
    values = measured(feature, clip)
    with torch.inference_mode():  # the frames around the middle
        expected = detector(torch.from_numpy(clip[2:5]).permute(0, 3, 1, 2)[None] / 255)
    assert values["logit"] == pytest.approx(float(expected.logits), abs=1e-5)
    assert values["embedding_3"] == pytest.approx(float(expected.embedding[0, 3]), abs=1e-5)
    save_weights(tmp_path / "other.safetensors", create_detector("meso4"))
    with pytest.raises(WeightsError, match="holds meso4"):
        SpatioTemporal().with_weights(str(tmp_path / "other.safetensors"))
    with pytest.raises(ConfigError, match="takes no weights"):
        PatchGraph().with_weights("x")
