"""Attention-NPR: the published network, every field, and what the weighting promises."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from unmask.core.errors import ConfigError, WeightsError
from unmask.detectors.attention_npr import AttentionNPR, AttentionNPRConfig
from unmask.detectors.base import IMAGENET_MEAN, IMAGENET_STD
from unmask.detectors.zoo import create_detector


class PublishedBlock(nn.Module):
    """A bottleneck, written from the paper's figure; names as in the public code's state dict."""

    def __init__(self, into: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or into != 4 * width:
            shortcut = nn.Conv2d(into, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class PublishedNPR(nn.Module):
    """The published detector: normalised image in, P(fake) logit out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(*(PublishedBlock(64 if i == 0 else 256, 64, 1) for i in range(3)))
        self.layer2 = nn.Sequential(*(PublishedBlock(256 if i == 0 else 512, 128, 2 - (i > 0)) for i in range(4)))
        self.fc1 = nn.Linear(512, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = F.interpolate(x, scale_factor=0.5, mode="nearest", recompute_scale_factor=True)
        again = F.interpolate(half, scale_factor=2.0, mode="nearest", recompute_scale_factor=True)
        x = F.max_pool2d(F.relu(self.bn1(self.conv1((x - again) * 2.0 / 3.0))), 3, 2, 1)
        x = self.layer2(self.layer1(x))
        return self.fc1(F.adaptive_avg_pool2d(x, 1).flatten(1))


@pytest.fixture(scope="module")
def published() -> PublishedNPR:
    torch.manual_seed(3)
    net = PublishedNPR()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return net.eval()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_published_checkpoints_load_and_logits_agree(published: PublishedNPR, prefix: str, tmp_path: Path) -> None:
    file = tmp_path / "NPR.safetensors"
    unused = {"fc.weight": torch.zeros(1, 2048), "fc.bias": torch.zeros(1)}  # the public trainer leaves it behind
    save_file({prefix + k: v for k, v in {**published.state_dict(), **unused}.items()}, file)
    ours = create_detector("npr").eval()
    ours.load_published(file)
    assert sum(p.numel() for p in ours.parameters()) == 1_437_761
    for side in (224, 64, 98):
        image = torch.rand(2, 3, side, side)
        mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
        with torch.no_grad():
            theirs = published((image - mean) / std)[:, 0]
            torch.testing.assert_close(ours(image).logits, theirs, rtol=1e-5, atol=1e-5)
        assert float(theirs.abs().max()) > 1e-2


def test_what_is_not_a_published_checkpoint_is_refused(published: PublishedNPR, tmp_path: Path) -> None:
    file = tmp_path / "NPR.safetensors"
    save_file({k: v for k, v in published.state_dict().items() if not k.startswith("layer2.3")}, file)
    with pytest.raises(WeightsError, match=r"layer2\.3"):
        create_detector("npr").load_published(file)
    with pytest.raises(ConfigError, match="'npr'"):
        create_detector("attention_npr").load_published(file)


@pytest.mark.parametrize("backbone", ["resnet50_npr", "resnet50", "resnet34"])
@pytest.mark.parametrize("weighting", ["adaptive", "learned", "equal", "single"])
def test_every_ablation_and_backbone_runs(weighting: str, backbone: str) -> None:
    model = create_detector("attention_npr", weighting=weighting, backbone=backbone).eval()
    with torch.no_grad():
        output = model(torch.rand(2, 3, 64, 64))
    assert output.aux is not None
    assert output.logits.shape == (2,) and output.aux["scale_weights"].shape == (
        2,
        1 if weighting == "single" else 4,
        3,
    )
    assert output.embedding is not None
    assert output.embedding.shape[1] == {"resnet50_npr": 512, "resnet50": 2048, "resnet34": 512}[backbone]


@pytest.mark.parametrize(
    "fields",
    [
        {"identity": "shift", "squeeze": "abs", "standardize": True, "per": "channel", "gate": "sigmoid"},
        {"identity": "image", "squeeze": "signed", "standardize": True, "per": "scale", "gate": "softmax"},
        {"identity": "shift", "squeeze": "abs", "standardize": False, "per": "scale", "gate": "sigmoid"},
        {"identity": "image", "squeeze": "signed", "standardize": False, "per": "channel", "gate": "softmax"},
    ],
)
def test_attention_starts_equal_and_learns(fields: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = create_detector("attention_npr", **fields)
    coarse = torch.rand(2, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    images = torch.cat([torch.rand(2, 3, 32, 32), coarse])
    torch.testing.assert_close(model.eval()(images).aux["scale_weights"], torch.full((4, 4, 3), 0.25))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model.train()
    moved = set()
    for _ in range(3):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(model(images).logits, torch.tensor([0.0, 0.0, 1.0, 1.0])).backward()
        optimizer.step()
        moved |= {name for name, p in model.attention.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert moved == set(dict(model.attention.named_parameters()))
    weights = model(images).aux["scale_weights"].detach()
    if fields["per"] == "scale":
        torch.testing.assert_close(weights[..., 0], weights[..., 2])
    if fields["gate"] == "softmax":
        torch.testing.assert_close(weights.sum(1), torch.ones(4, 3))


def test_standardising_keeps_hidden_units_alive_and_apart() -> None:
    """Images of many strengths of detail: raw squeezed values leave units dead and the others nearly constant."""
    torch.manual_seed(0)
    strength = torch.exp(torch.randn(64, 1, 1, 1) - 2)
    images = (0.5 + strength * (torch.rand(64, 3, 32, 32) - 0.5)).clamp(0, 1)
    spread, dead = {}, {}
    for standardize in (True, False):
        model = create_detector("attention_npr", standardize=standardize).train()
        hidden: list[torch.Tensor] = []
        model.attention.reduce.register_forward_hook(lambda _, __, output, into=hidden: into.append(output.relu()))
        with torch.no_grad():
            model.attention(model.residuals(model.normalize(images)))
        spread[standardize] = float(hidden[0].std(0).mean())
        dead[standardize] = int((hidden[0] == 0).all(0).sum())
    assert dead[True] == 0 and spread[True] > 3 * spread[False]


def test_literal_preset_is_the_plan_and_warns_about_its_dead_scale(caplog: pytest.LogCaptureFixture) -> None:
    config = AttentionNPRConfig().literal()
    assert (config.identity, config.squeeze, config.start, config.backbone) == ("zero", "signed", "literal", "resnet34")
    with caplog.at_level(logging.WARNING):
        model = AttentionNPR(config).eval()
    assert "three channels without information" in caplog.text
    assert torch.equal(model.attention.expand.bias, torch.full((12,), 0.25))
    image = torch.rand(2, 3, 65, 65)
    assert not model.residuals(model.normalize(image))[:, 3].any()
    assert model(image).logits.shape == (2,)
    assert not set(model.departures()) and AttentionNPR(AttentionNPRConfig()).departures()


def test_equal_weighting_is_the_mean_of_the_residuals() -> None:
    torch.manual_seed(0)
    model = create_detector("attention_npr", weighting="equal").eval()
    single = create_detector("npr").eval()
    single.net.load_state_dict(model.net.state_dict())
    image = torch.rand(1, 3, 64, 64)
    mixed = model.residuals(model.normalize(image)).mean(1)
    single._residual = lambda *_: mixed  # type: ignore[method-assign]
    torch.testing.assert_close(single(image).logits, model(image).logits)


@pytest.mark.parametrize("bad", [{"scales": []}, {"scales": [0.5, 1.5]}, {"weighting": "single", "single_scale": 0.0}])
def test_impossible_settings(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="scales"):
        create_detector("attention_npr", **bad)


def test_evidence_shows_flat_grey_where_nothing_is_left() -> None:
    model = create_detector("attention_npr")
    maps = model.evidence(torch.full((1, 3, 32, 32), 0.3))
    assert list(maps) == ["npr 0.25", "npr 0.50", "npr 0.75", "left difference"]
    assert all(torch.equal(m, torch.full((1, 3, 32, 32), 0.5)) for m in maps.values())
