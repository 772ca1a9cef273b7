"""What is particular to the fused detector: any fusion over maps and descriptors, missing values, its vectors alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unmask.core.errors import ConfigError, SizeError
from unmask.core.types import ViewConfig
from unmask.detectors.fused import FusedConfig, FusedDetector, VectorNet
from unmask.detectors.fused.head import VectorStream
from unmask.nn.descriptors import create_descriptor
from unmask.nn.fusion import EARLY, FUSIONS

IMAGES = torch.rand(3, 3, 64, 80, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_feature_level_fusion_takes_maps_beside_descriptors(fusion: str) -> None:
    torch.manual_seed(0)
    config = FusedConfig(maps=("rgb", "dct"), descriptors=("lbp", "npr"), fusion=fusion, width=4, dim=8)
    detector = FusedDetector(config)
    detector(IMAGES).logits.sum().backward()
    assert [n for n, p in detector.named_parameters() if p.grad is None] == []
    streams, size = detector.eval().streams(IMAGES)
    assert size == (4, 5) and [x.shape for x in streams] == [(3, 20, 16), (3, 20, 16), (3, 20, 31), (3, 20, 22)]
    output = detector(IMAGES)
    assert output.embedding is not None and output.embedding.shape == (3, 8)
    shown = detector.evidence(IMAGES)
    assert sorted(shown) == ([] if output.aux is None else ["share of dct", "share of rgb"])
    assert all(x.shape == (3, 1, 4, 5) for x in shown.values())
    if output.aux is not None:
        assert output.aux["shares"].shape == (3, 4)


@pytest.mark.parametrize("fusion", EARLY)
def test_every_early_fusion_takes_maps_and_refuses_vectors(fusion: str) -> None:
    torch.manual_seed(0)
    detector = FusedDetector(FusedConfig(maps=("rgb", "lbp", "dct"), fusion=fusion, width=4, dim=8))
    detector(IMAGES).logits.sum().backward()
    assert [n for n, p in detector.named_parameters() if p.grad is None] == []
    wide = 15 if fusion == "concat_space" else 5
    assert detector.streams(IMAGES)[1] == (4, wide) and detector.evidence(IMAGES) == {}
    groups = detector.parameter_groups()
    assert sum(map(len, groups.values())) == len(list(detector.parameters()))
    with pytest.raises(ConfigError, match="hog give vectors") as caught:
        FusedConfig(maps=("rgb",), descriptors=("hog",), fusion=fusion)
    assert caught.value.code == "not_a_map"


def test_without_streams_there_is_nothing_to_fuse() -> None:
    with pytest.raises(ConfigError, match="neither"):
        FusedConfig(maps=())
    with pytest.raises(ConfigError, match="at least one feature"):
        VectorNet([], 8, "concat")


def test_vectors_alone_are_the_net_that_a_study_trains() -> None:
    """Descriptors measured outside and fused by a VectorNet give the detector's logits, with the same tensors."""
    torch.manual_seed(0)
    names = ("lbp", "npr", "fft")
    detector = FusedDetector(FusedConfig(maps=(), descriptors=names, fusion="reliability", dim=8)).eval()
    values = [create_descriptor(name)(IMAGES) for name in names]
    net = VectorNet([x.shape[1] for x in values], 8, "reliability", dropout=0.1).eval()
    for stream, x in zip(net.vectors, values, strict=True):
        assert isinstance(stream, VectorStream)
        stream.standardise(x)
    missing = detector.load_state_dict(net.state_dict(), strict=False)
    assert not missing.unexpected_keys and missing.missing_keys == ["mean", "std"]
    torch.testing.assert_close(detector(IMAGES).logits, net(values).logits)


def test_a_stream_without_a_value_is_marked_and_quiet() -> None:
    random = torch.Generator().manual_seed(0)
    values = 5 + 3 * torch.randn(200, 4, generator=random)
    values[:, 3] = 7.0  # says nothing
    values[::4] = torch.nan
    stream = VectorStream(4).eval()
    stream.standardise(values)
    tokens = stream(values)[:, 0]
    known = tokens[torch.isfinite(values).all(1)]
    torch.testing.assert_close(known[:, :3].mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(known[:, :3].std(0, unbiased=False), torch.ones(3), atol=1e-4, rtol=0)
    assert float(known[:, 3].abs().max()) < 1e-9 and bool((known[:, 4] == 1).all())
    assert tokens[0].tolist() == [0, 0, 0, 0, -1]
    assert float(stream(torch.full((1, 4), 1e6)).abs().max()) <= 8


def test_a_grey_photo_has_no_colour_and_still_an_answer() -> None:
    detector = FusedDetector(FusedConfig(maps=("rgb",), descriptors=("colour",), width=4, dim=8)).eval()
    assert torch.isfinite(detector(IMAGES.mean(1, keepdim=True).expand(-1, 3, -1, -1)).logits).all()


def test_a_descriptor_bound_to_a_size_binds_the_detector() -> None:
    with pytest.raises(ConfigError, match="views of 128 pixels"):
        FusedDetector(FusedConfig(view=ViewConfig(size=256), maps=(), descriptors=("hog",)))
    detector = FusedDetector(FusedConfig(view=ViewConfig(size=128), maps=("rgb",), descriptors=("hog",), width=4))
    assert detector.eval()(torch.rand(1, 3, 128, 128)).logits.shape == (1,)
    with pytest.raises(SizeError, match="64x80"):
        detector(IMAGES)


@pytest.mark.slow
def test_descriptors_alone_export(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from unmask.export.onnx import export_onnx

    torch.manual_seed(0)
    config = FusedConfig(maps=(), descriptors=("npr", "dct", "lbp", "fft", "glcm"), dim=8)
    detector = FusedDetector(config).eval()
    certificate = export_onnx(detector, tmp_path / "model.onnx", size=(64, 64), dynamic=True)
    assert certificate.verdict == "PASS", certificate.outputs
