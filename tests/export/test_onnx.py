"""Export: what the certificate says is so, and what cannot be exported is refused clearly."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unmask.core.errors import MissingExtraError, SizeError, UnmaskError
from unmask.core.types import DetectorOutput
from unmask.detectors.base import AnyDetector
from unmask.detectors.meso import Meso
from unmask.detectors.weights import WeightsCard, list_weights, load_weights
from unmask.detectors.zoo import ZOO, ZooEntry, create_detector

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from unmask.export.onnx import OutputParity, export_onnx, parity_images  # noqa: E402


@pytest.fixture(scope="module")
def detector() -> AnyDetector:
    torch.manual_seed(0)
    return create_detector("meso4").train()


def test_certificate_model_and_metadata(detector: AnyDetector, tmp_path: Path) -> None:
    card = WeightsCard(detector="meso4", config={}, sha256="ab" * 32, thresholds={"fake": 0.9})
    certificate = export_onnx(detector, tmp_path / "m.onnx", dynamic=True, card=card)
    assert detector.training, "the detector's mode is given back"
    written = json.loads((tmp_path / "m.onnx.json").read_text())
    assert written["verdict"] == certificate.verdict == "PASS"
    assert written["onnx_sha256"] == hashlib.sha256((tmp_path / "m.onnx").read_bytes()).hexdigest()
    assert written["weights_sha256"] == "ab" * 32 and written["input_shape"] == ["batch", 3, 256, 256]
    assert set(written["versions"]) == {"unmask", "torch", "onnx", "onnxruntime"}
    session = runtime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["unmask"])["thresholds"] == {"fake": 0.9}
    images = torch.rand(3, 3, 256, 256)
    with torch.no_grad():
        expected = detector.eval()(images).logits
    np.testing.assert_allclose(session.run(["logits"], {"image": images.numpy()})[0], expected, atol=1e-5)
    detector.train()


class Unfaithful(Meso):
    """Computes something else while it is being traced."""

    def forward(self, image: Tensor) -> DetectorOutput:
        output = super().forward(image)
        return output._replace(logits=output.logits + 0.5) if torch.compiler.is_compiling() else output


def test_a_graph_that_computes_something_else_fails(
    detector: AnyDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = ZOO["meso4"]
    monkeypatch.setitem(ZOO, "meso4", ZooEntry(entry.config, Unfaithful, entry.line))
    certificate = export_onnx(Unfaithful(detector.config), tmp_path / "m.onnx")
    assert certificate.verdict == "FAIL"
    assert certificate.outputs["logits"].max_abs_diff == pytest.approx(0.5, abs=1e-3)


def test_parity_is_judged_on_the_size_of_the_values() -> None:
    assert OutputParity(9e-5, 0.1).passed and not OutputParity(2e-4, 0.1).passed
    assert OutputParity(9e-4, 10.0).passed and not OutputParity(None, 1.0).passed


def test_parity_images_show_noise_and_structure() -> None:
    images = parity_images(8, 32, 48)
    assert images.shape == (8, 3, 32, 48) and float(images.min()) >= 0 and float(images.max()) <= 1
    assert not images[1].any() and bool((images[2] == 1).all())
    assert images[4].unique().tolist() == [0, 1]
    assert torch.equal(images, parity_images(8, 32, 48))


def test_refusals(detector: AnyDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SizeError, match="256x256"):
        export_onnx(detector, tmp_path / "m.onnx", size=(128, 128))
    with pytest.raises(UnmaskError, match=r"\.onnx"):
        export_onnx(detector, tmp_path / "m.pt")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r'pip install "unmask\[export\]"'):
        export_onnx(detector, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", list_weights())
def test_shipped_weights_pass(name: str, tmp_path: Path) -> None:
    detector, card = load_weights(name)
    certificate = export_onnx(detector, tmp_path / "m.onnx", dynamic=True, card=card)
    assert certificate.verdict == "PASS", certificate.outputs
