"""Re-synthesis networks: the shipped weights, their fidelity and what the run-time draw promises."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut
from skimage.metrics import peak_signal_noise_ratio

from unmask.core.errors import ConfigError, WeightsError
from unmask.core.files import sha256_file
from unmask.data.forgeries.resynthesis import ASSET, NETWORKS, Up, load_networks, resynthesize

IMAGE = np.ascontiguousarray(astronaut()[:256, 96:352])


def test_asset_is_small_and_described_by_its_card() -> None:
    card = json.loads(ASSET.with_suffix(".json").read_text())
    assert ASSET.stat().st_size <= 1_000_000
    assert card["weights_sha256"] == sha256_file(ASSET)
    assert card["networks"] == list(NETWORKS) == list(load_networks())


def test_every_upsampling_and_grid_is_there() -> None:
    assert {c.up for c in NETWORKS.values()} == {
        "nearest", "bilinear", "transposed2", "transposed3", "transposed4", "shuffle", "fir"
    }  # fmt: skip
    assert {2**c.levels for c in NETWORKS.values()} == {2, 4, 8}


@pytest.mark.parametrize("name", NETWORKS)
def test_fidelity_on_a_photo_never_trained_on(name: str) -> None:
    fake = resynthesize(IMAGE, np.random.default_rng(0), name, plain=True)
    floor = {1: 27.0, 2: 23.0, 3: 21.0}[NETWORKS[name].levels]
    assert floor < peak_signal_noise_ratio(IMAGE, fake) < 45
    varied = resynthesize(IMAGE, np.random.default_rng(0), name)
    assert peak_signal_noise_ratio(IMAGE, varied) > 18
    assert not np.array_equal(varied, fake)


def test_draws_repeat_with_the_seed_and_differ_without() -> None:
    a, b, c = (resynthesize(IMAGE, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_a_batch_shares_one_network() -> None:
    batch = resynthesize(np.stack([IMAGE, IMAGE[::-1]]), np.random.default_rng(3), "shuffle_4")
    single = resynthesize(IMAGE, np.random.default_rng(3), "shuffle_4")
    assert batch.shape == (2, *IMAGE.shape)
    np.testing.assert_allclose(batch[0].astype(int), single.astype(int), atol=1)  # float32 sums in another order


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 1000))
def test_any_size_comes_back_in_its_own_size(height: int, width: int, seed: int) -> None:
    image = IMAGE[:height, :width]
    fake = resynthesize(image, np.random.default_rng(seed))
    assert fake.shape == image.shape and fake.dtype == np.uint8


def test_the_filtered_upsampling_keeps_a_constant_and_matches_scipy() -> None:
    from scipy.signal import upfirdn

    up = Up("fir", 1, 1)
    up.conv = torch.nn.Identity()
    line = np.random.default_rng(0).random(12).astype(np.float32)
    image = torch.from_numpy(np.tile(line, (12, 1)))[None, None]
    # replicated by one sample at both ends, then zeros between the samples and the taps [1, 3, 3, 1] / 4
    reference = upfirdn(np.array([1, 3, 3, 1]) / 4, np.r_[line[0], line, line[-1]], up=2)[3:-2]
    np.testing.assert_allclose(up(image)[0, 0, 5].numpy(), reference[:24], atol=1e-6)
    np.testing.assert_allclose(up(torch.ones(1, 1, 5, 5)).numpy(), 1, atol=1e-6)


def test_unknown_names_and_damaged_weights_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nearest_2"):
        resynthesize(IMAGE, np.random.default_rng(0), "no_such_network")
    damaged = tmp_path / "resynthesis.safetensors"
    damaged.write_bytes(ASSET.read_bytes()[:1000])
    with pytest.raises(WeightsError):
        load_networks(damaged)
