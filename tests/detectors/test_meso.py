"""MesoNet: the published files give the published scores."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unmask.core.errors import MissingExtraError, WeightsError
from unmask.detectors.weights import load_weights, save_weights
from unmask.detectors.zoo import create_detector

ROOT = Path(os.environ.get("UNMASK_DATA", "/nonexistent")) / "checkpoints" / "mesonet"
needs_files = pytest.mark.skipif(not ROOT.is_dir(), reason="UNMASK_DATA has no checkpoints/mesonet")


def demo_faces(kind: str) -> torch.Tensor:
    files = sorted((ROOT / "demo" / kind).glob("*.jpg"))
    faces = [Image.open(f).convert("RGB").resize((256, 256), Image.Resampling.BILINEAR) for f in files]
    return torch.stack([torch.from_numpy(np.array(face)).permute(2, 0, 1) / 255 for face in faces])


def real_probability(model: torch.nn.Module, faces: torch.Tensor) -> list[float]:
    with torch.no_grad():
        return torch.sigmoid(-model(faces).logits).tolist()  # our logit is fake, the published sigmoid real


@needs_files
def test_meso4_reproduces_the_scores_on_the_authors_demo(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    model = create_detector("meso4").eval()
    model.load_published(ROOT / "Meso4_DF.h5")
    save_weights(tmp_path / "meso4_df.safetensors", model)
    converted, _ = load_weights(tmp_path / "meso4_df.safetensors")
    for detector in (model, converted):
        assert real_probability(detector, demo_faces("df")) == pytest.approx([0.052, 0.020], abs=5e-4)
        assert real_probability(detector, demo_faces("real")) == pytest.approx([0.990, 0.997], abs=5e-4)


@needs_files
def test_mesoinception4_tells_the_authors_demo_apart() -> None:
    pytest.importorskip("h5py")
    model = create_detector("mesoinception4").eval()
    model.load_published(ROOT / "MesoInception_DF.h5")
    assert max(real_probability(model, demo_faces("df"))) < 0.05
    assert min(real_probability(model, demo_faces("real"))) > 0.95


@needs_files
def test_another_networks_file_is_refused() -> None:
    pytest.importorskip("h5py")
    with pytest.raises(WeightsError, match="meso4 has"):
        create_detector("meso4").load_published(ROOT / "MesoInception_DF.h5")


def test_files_that_are_not_keras_files(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with pytest.raises(WeightsError, match="no weights file"):
        create_detector("meso4").load_published(tmp_path / "absent.h5")
    (tmp_path / "bad.h5").write_bytes(b"hello")
    with pytest.raises(WeightsError, match="not a Keras"):
        create_detector("meso4").load_published(tmp_path / "bad.h5")
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(WeightsError, match="not a Keras"):
        create_detector("meso4").load_published(tmp_path / "empty.h5")


def test_without_h5py_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        create_detector("meso4").load_published(tmp_path / "any.h5")


def test_published_sizes() -> None:
    """28,073 and 28,725 values with batch-norm statistics, as the published files hold."""
    for name, values in (("meso4", 28_073), ("mesoinception4", 28_725)):
        state = create_detector(name).state_dict()
        counted = [
            v.numel() for k, v in state.items() if not k.endswith("num_batches_tracked") and k not in ("mean", "std")
        ]
        assert sum(counted) == values, name
