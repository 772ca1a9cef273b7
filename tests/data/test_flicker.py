"""The planted flicker: nothing in a single frame, everything between two."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.stats import ks_2samp

from unmask.core.seeds import rng
from unmask.data.flicker import FlickerConfig, flicker_clip, smooth_still

CALM = FlickerConfig(frames=5, size=64, noise=0.0, exposure=0.0, pan=0.0)


def test_a_genuine_patch_stays_and_a_forged_one_changes_within_its_place() -> None:
    still = smooth_still(64, rng(0))
    real, fake = (flicker_clip(still, forged, CALM, rng(1)).astype(int) for forged in (False, True))
    assert real.shape == (5, 64, 64, 3) and (real == real[0]).all() and (real != still).any()
    change = np.abs(np.diff(fake, axis=0)).max((0, 3))
    assert (change[24:40, 24:40] > 0).mean() > 0.9
    assert change[:6].max() <= 1 and change[-6:].max() <= 1
    assert (flicker_clip(still, True, CALM, rng(1)) == fake).all()


def test_single_frames_of_both_classes_have_one_distribution() -> None:
    config = dataclasses.replace(CALM, noise=2.0, exposure=0.01, pan=0.06)
    values = []
    for forged in (False, True):
        frames = [
            flicker_clip(smooth_still(64, rng(2, i)), forged, config, rng(3, i, int(forged)))[2] for i in range(100)
        ]
        inner = np.stack(frames)[:, 24:40, 24:40].astype(float)
        fine = np.abs(np.diff(inner, axis=2)).mean((1, 2, 3))
        values.append((inner.mean((1, 2, 3)), inner.std((1, 2, 3)), fine))
    for real, fake in zip(*values, strict=True):
        assert ks_2samp(real, fake).pvalue > 0.01
