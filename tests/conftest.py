"""Fixtures that several test folders share: a portrait, and tiny untrained weights to run the whole path with."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

if "PYTEST_XDIST_WORKER" in os.environ:  # one process per core: their threads would only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def astronaut() -> Path:
    """The public-domain portrait inside the installed scikit-image (512 x 512 PNG, one face)."""
    spec = importlib.util.find_spec("skimage")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "data" / "astronaut.png"


@pytest.fixture(scope="session")
def portrait(astronaut: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 256 x 256 pixels around its face, as a JPEG of quality 92; quick to analyse."""
    path = tmp_path_factory.mktemp("portrait") / "portrait.jpg"
    with Image.open(astronaut) as image:
        image.convert("RGB").crop((90, 0, 346, 256)).save(path, quality=92)
    return path


@pytest.fixture(scope="session")
def portrait_pixels(portrait: Path) -> np.ndarray:
    """The portrait as uint8 (256, 256, 3)."""
    with Image.open(portrait) as image:
        return np.asarray(image)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``edited.safetensors`` (a localizer on face views), ``generated.safetensors`` (native views) and
    ``pair.json``, which combines them. Untrained: their scores mean nothing."""
    import torch

    from unmask.detectors.weights import save_weights
    from unmask.detectors.zoo import create_detector

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    edited = create_detector(
        "baseline", stages=2, decoder_width=8, answers="edited", view={"kind": "face", "size": 96}
    ).eval()
    thresholds = {"fake": 0.9, "real": 0.1, "mask": 0.5}
    save_weights(folder / "edited.safetensors", edited, {"thresholds": thresholds, "command": "unmask train edited"})
    generated = create_detector(
        "baseline", stages=2, decoder="none", residual="npr", rgb=False, answers="generated",
        view={"kind": "native", "size": 96, "crops": 2},
    ).eval()  # fmt: skip
    save_weights(folder / "generated.safetensors", generated, {"calibration": {"scale": 2.0, "offset": 0.5}})
    card = {
        "members": ["edited", "generated"],
        "calibration": {"scale": 1.5, "offset": -0.5},
        "thresholds": {"fake": 0.9, "real": 0.2, "fake_point": {"n": 300}},
        "counts": {"real": 300},
    }
    (folder / "pair.json").write_text(json.dumps(card), encoding="utf-8")
    return folder
