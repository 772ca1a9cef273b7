"""The quick path computes what the plain one does, whatever the design."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from unmask.core.errors import SizeError
from unmask.detectors import fast
from unmask.detectors.base import AnyDetector
from unmask.detectors.fast import optimize_for_inference
from unmask.detectors.zoo import create_detector
from unmask.nn.fuse import can_fuse, can_pack, fuse

CASES: list[tuple[str, dict[str, Any]]] = [
    ("npr", {}),
    ("attention_npr", {}),
    ("baseline", {"pooling": "gap+mask", "residual": "srm", "stages": 3}),
    ("baseline", {"backbone": "resnetv2_50_stem_norm", "stages": 2}),
    ("mobilenet", {}),
    ("meso4", {}),
    ("fmca_net_tiny", {}),
]


def lively(name: str, fields: dict[str, Any]) -> AnyDetector:
    """A detector whose batch-norms are not the identity."""
    torch.manual_seed(0)
    model = create_detector(name, **fields).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return model


@pytest.mark.parametrize(("name", "fields"), CASES, ids=[f"{n}-{'-'.join(map(str, f.values()))}" for n, f in CASES])
def test_outputs_agree_and_the_original_is_left_alone(name: str, fields: dict[str, Any]) -> None:
    model = lively(name, fields)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    side = model.size_rule.fixed or 80
    images = torch.rand(5, 3, side, side)
    quick = optimize_for_inference(model, chunk=2)  # 5 = 2 + 2 + 1: the last chunk is short
    with torch.no_grad():
        expected = model(images)
    for _ in range(2):
        got = quick(images)
        for ours, theirs in zip(got[:3], expected[:3], strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                assert ours.shape == theirs.shape
                assert float((ours - theirs).abs().max()) <= 1e-4 * max(1.0, float(theirs.abs().max()))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_fewer_images_than_a_chunk_are_not_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    model = create_detector("meso4").eval()
    quick = optimize_for_inference(model, chunk=4)
    seen: list[int] = []
    made = fast.fuse
    monkeypatch.setattr(fast, "fuse", lambda detector, example: seen.append(len(example)) or made(detector, example))
    images = torch.rand(5, 3, 256, 256)
    for count, graphs in ((1, [1]), (5, [1, 4]), (4, [1, 4]), (1, [1, 4])):
        with torch.no_grad():
            torch.testing.assert_close(quick(images[:count]).logits, model(images[:count]).logits, atol=1e-4, rtol=0)
        assert seen == graphs


@pytest.mark.skipif(not can_pack(), reason="this PyTorch has no packed products of MKL")
def test_linear_layers_of_many_rows_are_packed_and_small_ones_left() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 8, bias=False)).eval()
    for rows, packed in ((10, 0), (96, 2)):
        x = torch.randn(2, rows // 2, 24)
        graph = fuse(net, x)
        assert sum(node.target is torch.ops.mkl._mkl_linear.default for node in graph.graph.nodes) == packed
        slices = torch.randn(2, rows, 24)[:, ::2]  # not contiguous
        with torch.inference_mode():
            torch.testing.assert_close(graph(slices), net(slices))


@pytest.mark.skipif(not can_fuse(), reason="this PyTorch has no fused oneDNN convolutions")
def test_nothing_is_left_to_fuse_in_the_published_network() -> None:
    graph = fuse(lively("npr", {}), torch.zeros(2, 3, 64, 64)).graph
    targets = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    for gone in ("batch_norm", "relu", "add", "conv2d"):
        assert not [t for t in targets if t.startswith(f"aten.{gone}")], gone
    assert sum("_convolution_pointwise" in t for t in targets) == 24
    assert sum("_convolution_pointwise_.binary" in t for t in targets) == 7, "every sum is taken in place"


class Reused(nn.Module):
    """A shortcut that is read again after the addition, and a sum that two readers share."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = self.first(x)
        summed = self.norm(self.second(shortcut)) + shortcut
        return torch.relu(summed) * shortcut + summed + self.second(torch.relu(shortcut))


def test_shared_values_are_not_overwritten() -> None:
    torch.manual_seed(0)
    model = Reused().eval()
    model.norm.running_mean.normal_()
    image = torch.rand(2, 3, 9, 11)
    with torch.no_grad():
        expected = model(image)
        torch.testing.assert_close(fuse(model, torch.zeros_like(image))(image), expected, rtol=1e-4, atol=1e-5)


def test_a_wrong_size_is_the_same_clear_error() -> None:
    with pytest.raises(SizeError, match="128x128"):
        optimize_for_inference(create_detector("meso4"))(torch.rand(1, 3, 128, 128))
