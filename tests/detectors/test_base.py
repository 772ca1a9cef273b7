"""What the base class gives every design: pretrained backbones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from unmask.core.errors import WeightsError
from unmask.core.types import DetectorOutput
from unmask.detectors.base import Detector, DetectorConfig
from unmask.detectors.zoo import create_detector
from unmask.nn.backbones import Backbone


class Plain(Detector[DetectorConfig]):
    """A design that only says that it has a backbone."""

    def __init__(self) -> None:
        super().__init__(DetectorConfig())
        self.backbone = Backbone("mobilenetv2_gluon_e1", stages=1)

    def forward(self, image: Tensor) -> DetectorOutput:
        return DetectorOutput(self.backbone(self.normalize(image))[-1].mean((1, 2, 3)))


def test_weights_bring_their_mean_and_deviation(tmp_path: Path) -> None:
    source = {name: torch.randn_like(p).detach() for name, p in Plain().backbone.net.named_parameters()}
    file = tmp_path / "net.safetensors"
    save_file(source, file, {"mean": "[0.1, 0.2, 0.3]", "std": "[0.4, 0.5, 0.6]"})
    model = Plain()
    report = model.load_backbone(file)
    assert len(report.loaded) == len(source) and not report.unused
    assert all(torch.equal(p, source[name]) for name, p in model.backbone.net.named_parameters())
    assert model.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert model.std.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])
    assert model.mean.shape == (1, 3, 1, 1)


def test_a_design_without_a_backbone_says_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="Meso has no backbone"):
        create_detector("meso4").load_backbone(tmp_path / "net.safetensors")
