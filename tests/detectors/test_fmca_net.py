"""What is particular to FMCA-Net: wavelets, weights per token, the exchange, the gate, who is in which group."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pywt
import torch
from safetensors.torch import save_file
from skimage.data import astronaut
from torch import nn
from torch.nn import functional as F

from unmask.core.config import build
from unmask.core.errors import ConfigError, SizeError
from unmask.detectors.fmca_net import FMCANet, FMCANetConfig
from unmask.detectors.fmca_net.blocks import FTMA, GSFC, SFCM, FrequencyBranch, to_grid
from unmask.detectors.zoo import create_detector

PHOTO = torch.from_numpy(astronaut()[60:172, 170:282].copy()).permute(2, 0, 1)[None].float() / 255  # (1, 3, 112, 112)
SMALL: dict[str, Any] = {
    "backbone": "vit_base_patch14_dinov2",
    "vit_width": 48,
    "vit_depth": 1,
    "view": {"size": 56},
    "frequency_channels": [8, 8, 8, 8, 8],
    "sfcm_dropout": 0.0,
    "dropout": 0.0,
}


def small(**fields: Any) -> FMCANet:
    torch.manual_seed(0)
    return FMCANet(build(FMCANetConfig, SMALL | fields)).eval()


def logit(model: FMCANet, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(images).logits


def test_bands_are_pywavelets_on_the_image_in_unit_range() -> None:
    branch = FrequencyBranch((4,), (1,), standardize=True)
    with torch.autocast("cpu", torch.bfloat16):
        bands = branch.bands(PHOTO)
    assert bands.dtype == torch.float32, "mixed precision must not round the image"
    for colour in range(3):
        ll, details = pywt.dwt2(PHOTO[0, colour].double().numpy(), "haar", mode="periodization")
        np.testing.assert_allclose(bands[0, colour], ll, atol=2e-6)
        for index, expected in enumerate(details):  # cH, cV, cD
            np.testing.assert_allclose(bands[0, 3 + 3 * colour + index], expected, atol=2e-6)
    torch.testing.assert_close(bands.square().sum(), PHOTO.square().sum(), rtol=1e-5, atol=0.0)  # orthonormal


def test_the_wavelets_never_see_the_standardised_image() -> None:
    model = small()
    before = model.frequency.bands(PHOTO) if model.frequency else None
    model.mean.add_(0.3)
    seen: list[torch.Tensor] = []
    assert model.frequency is not None
    model.frequency.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    logit(model, PHOTO)
    torch.testing.assert_close(seen[0], before)


def test_standardised_bands_have_one_spread() -> None:
    branch = FrequencyBranch((4,), (1,), standardize=True).train()
    raw = branch.bands(PHOTO).std((0, 2, 3)).unflatten(0, (4, 3))
    assert (raw[0] > 5 * raw[1:].amax()).all(), "as they are, LL is far above every detail of this photo"
    even = branch.norm(branch.bands(PHOTO)).detach().std((0, 2, 3))
    assert float(even.min()) > 0.9 and float(even.max()) < 1.1
    assert isinstance(FrequencyBranch((4,), (1,), standardize=False).norm, nn.Identity)


def test_token_weights_differ_between_tokens_unless_averaged() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 9, 16)
    token, mean = (FTMA(16, (0.25, 0.5, 1.0), mean=m, alpha=0.5) for m in (False, True))
    mean.load_state_dict(token.state_dict())
    weights = token.weights(x).detach()
    assert weights.shape == x.shape and float(weights.min()) > 0 and float(weights.max()) < 1
    assert float(weights.std(1).min()) > 1e-4, "each token has weights of its own"
    torch.testing.assert_close(mean.weights(x), weights.mean(1, keepdim=True))
    torch.testing.assert_close(token(x), x * (1 + 0.5 * weights))
    assert [path[0].out_features for path in token.paths] == [4, 8, 16]  # type: ignore[index, union-attr]
    # a change to one token changes its own weights only
    other = x.clone()
    other[:, 3] = torch.randn(16)
    changed = (token.weights(other) != weights).any(2)
    assert changed.sum(1).tolist() == [1, 1] and changed[:, 3].all()


def reference(attend: Any, query: torch.Tensor, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """torch's own multi-head attention with the same weights: result, and weights averaged over heads."""
    dim = query.shape[-1]
    theirs = nn.MultiheadAttention(dim, attend.heads, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([attend.query.weight, attend.key.weight, attend.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([attend.query.bias, torch.zeros(2 * dim)]))
        theirs.out_proj.load_state_dict(attend.out.state_dict())
        return theirs(query, context, context)


@pytest.mark.parametrize("count", [4, 9, 30])
def test_the_exchange_works_with_unequal_counts_and_equals_torchs_attention(count: int) -> None:
    torch.manual_seed(0)
    module = SFCM(16, 4, dropout=0.1, gate=0.3).eval()
    spatial, frequency = torch.randn(2, 9, 16), torch.randn(2, count, 16)
    with torch.no_grad():
        seen, heard = module(spatial, frequency)
        reading = module.reading(spatial, frequency)
    gate = torch.sigmoid(torch.tensor(0.3))
    attended, weights = reference(module.attend[0], spatial, frequency)
    torch.testing.assert_close(seen, F.layer_norm(spatial + gate * attended, (16,)), atol=1e-5, rtol=1e-4)
    attended, _ = reference(module.attend[1], frequency, spatial)
    torch.testing.assert_close(heard, F.layer_norm(frequency + gate * attended, (16,)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(reading, weights, atol=1e-6, rtol=1e-4)


def test_one_way_leaves_the_frequency_tokens_alone() -> None:
    frequency = torch.randn(1, 4, 16)
    module = SFCM(16, 4, dropout=0.0, gate=0.0, both=False)
    assert torch.equal(module(torch.randn(1, 9, 16), frequency)[1], frequency)
    assert len(module.attend) == len(module.norms) == module.gates.numel() == 1


def test_the_gate_gates() -> None:
    fusion = GSFC(6, 4, gamma=-1.0)
    spatial, frequency = torch.randn(3, 5), torch.randn(3, 6)
    with torch.no_grad():
        joined = fusion(spatial, frequency)
        torch.testing.assert_close(joined[:, 5:], torch.sigmoid(torch.tensor(-1.0)) * fusion.compress(frequency))
    assert torch.equal(joined[:, :5], spatial)
    model = small()
    assert model.gsfc is not None and model.gsfc.gamma is not None
    start = logit(model, PHOTO)
    model.gsfc.gamma.data.fill_(3.0)
    opened = logit(model, PHOTO)
    model.gsfc.gamma.data.fill_(-60.0)
    closed = logit(model, PHOTO)
    assert abs(float(opened - start)) > 1e-4 and abs(float(closed - start)) > 1e-4
    model.gsfc.compress.weight.data.normal_()
    assert torch.equal(logit(model, PHOTO), closed), "a closed gate lets nothing through"
    plain = small(gsfc=False)
    assert plain.gsfc is not None and plain.gsfc.gamma is None


@pytest.mark.parametrize("part", ["alpha", "gates"])
def test_the_other_learnt_strengths_reach_the_logit(part: str) -> None:
    model = small()
    start = logit(model, PHOTO)
    strength = dict(model.named_parameters())[{"alpha": "ftma.alpha", "gates": "sfcm.gates"}[part]]
    strength.data.add_(2.0)
    assert abs(float(logit(model, PHOTO) - start)) > 1e-4


def test_tokens_of_the_map_lie_where_the_vits_patches_lie() -> None:
    image = torch.zeros(1, 1, 6, 8)
    image[0, 0, 4:, 2:4] = 1  # the third row of patches, second column
    patches = F.unfold(image, 2, stride=2).mean(1)  # (1, 12), row by row
    torch.testing.assert_close(to_grid(image, 3, 4)[:, :, 0], patches)
    assert to_grid(torch.rand(2, 5, 7, 7), 4, 4).shape == (2, 16, 5)


def test_who_learns_at_which_rate() -> None:
    """By module: matching names such as "gamma" would take the ViT's LayerScales into another group."""
    model = small(backbone="vit_base_patch14_reg4_dinov2")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {part: {names[id(p)] for p in members} for part, members in model.parameter_groups().items()}
    assert list(found) == ["backbone", "ftma", "frequency", "sfcm", "head"]
    assert found["backbone"] == {name for name in names.values() if name.startswith("backbone.net.")}
    scales = {f"backbone.net.blocks.0.ls{i}.gamma" for i in (1, 2)}
    assert scales < found["backbone"] and "backbone.net.reg_token" in found["backbone"]
    paths = {f"ftma.paths.{i}.{j}.{kind}" for i in range(3) for j in (0, 2) for kind in ("weight", "bias")}
    rest = {"ftma.norm.weight", "ftma.norm.bias", "ftma.project.weight", "ftma.project.bias", "ftma.alpha"}
    assert found["ftma"] == paths | rest
    norm = {"frequency.norm.weight", "frequency.norm.bias"}
    assert found["frequency"] == norm | {f"frequency.layers.{3 * i}.weight" for i in range(5)} | {
        f"frequency.layers.{3 * i + 1}.{kind}" for i in range(5) for kind in ("weight", "bias")
    }
    ways = ("query.weight", "query.bias", "key.weight", "value.weight", "out.weight", "out.bias")
    assert found["sfcm"] == {"to_tokens.weight", "to_tokens.bias", "sfcm.gates"} | {
        *(f"sfcm.attend.{i}.{name}" for i in range(2) for name in ways),
        *(f"sfcm.norms.{i}.{kind}" for i in range(2) for kind in ("weight", "bias")),
    }
    assert found["head"] == {
        *("gsfc.compress.weight", "gsfc.compress.bias", "gsfc.gamma", "norm.weight", "norm.bias"),
        *(f"classifier.{i}.{kind}" for i in (0, 3) for kind in ("weight", "bias")),
    }


LITERAL = {"ftma_pool": "mean", "standardize_bands": False, "summary": "cls"}
VARIANTS: dict[str, dict[str, Any]] = {
    "without FTMA": {"ftma": False},
    "without SFCM": {"sfcm": False},
    "without GSFC": {"gsfc": False},
    "without the frequency branch": {"frequency": False},
    "literal": LITERAL,
    "literal without SFCM": LITERAL | {"sfcm": False},
}


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=list(VARIANTS))
def test_every_variant_trains_all_it_has_and_shows_what_it_has(fields: dict[str, Any]) -> None:
    model = small(**fields).train()
    assert (model.ftma is None, model.frequency is None, model.sfcm is None, model.gsfc is None) == (
        not fields.get("ftma", True),
        not fields.get("frequency", True),
        not (fields.get("frequency", True) and fields.get("sfcm", True)),
        not fields.get("frequency", True),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    torch.manual_seed(1)
    images, labels = torch.rand(4, 3, 56, 84), torch.tensor([0.0, 1.0, 0.0, 1.0])
    untouched = {name for name, _ in model.named_parameters()}
    for _ in range(3):
        optimizer.zero_grad(set_to_none=True)
        F.binary_cross_entropy_with_logits(model(images).logits, labels).backward()
        optimizer.step()
        untouched -= {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert not untouched
    grouped = [p for group in model.parameter_groups().values() for p in group]
    assert sorted(map(id, grouped)) == sorted(map(id, model.parameters()))
    maps = model.eval().token_maps(images)
    per_token = model.ftma is not None and not model.ftma.mean
    assert list(maps) == ["token weights"] * per_token + ["frequency read"] * (model.sfcm is not None)
    assert all(values.shape == (4, 1, 4, 6) for values in maps.values())
    if "frequency read" in maps:
        torch.testing.assert_close(maps["frequency read"].sum((1, 2, 3)), torch.ones(4))
    for shown in model.evidence(images).values():
        assert shown.shape == images.shape and 0 <= float(shown.min()) <= float(shown.max()) <= 1
    assert all(model.departures())


def test_the_literal_preset_is_what_the_plan_says() -> None:
    config = FMCANetConfig()
    assert config.literal() == replace(config, **LITERAL)
    assert (config.ftma_widths, config.sfcm_heads, config.frequency_features) == ((0.25, 0.5, 1.0), 8, 128)
    assert (config.frequency_channels, config.frequency_strides) == ((64, 128, 256, 256, 128), (1, 2, 1, 2, 1))
    assert (config.ftma_alpha, config.gsfc_gamma, config.view.size) == (1e-3, 0.0, 224)
    model = small(**LITERAL)
    with torch.no_grad():
        embedding = model(PHOTO).embedding
        tokens = torch.cat(model.backbone(model.normalize(PHOTO)), 1)
        assert model.ftma and model.frequency and model.to_tokens and model.sfcm and model.gsfc
        bands = model.frequency(PHOTO)
        seen, _ = model.sfcm(model.ftma(tokens), model.to_tokens(to_grid(bands, 8, 8)))
        torch.testing.assert_close(embedding, model.gsfc(seen[:, 0], bands.mean((2, 3))))


def test_sizes_that_do_not_fit_name_the_nearest_that_do() -> None:
    with pytest.raises(SizeError, match="252x252"):
        small()(torch.rand(1, 3, 256, 256))
    with pytest.raises(ConfigError, match="252, 266"):
        small(view={"size": 256})
    for fields in ({"frequency_strides": [1, 2]}, {"ftma_widths": []}, {"sfcm_heads": 7}):
        with pytest.raises(ConfigError, match=next(iter(fields))):
            small(**fields)


def test_a_file_of_the_vit_alone_starts_the_backbone_and_nothing_else(tmp_path: Path) -> None:
    model, other = small(), small()
    state = {key: torch.randn_like(value) for key, value in other.backbone.net.state_dict().items()}
    save_file(state, tmp_path / "vit.safetensors", metadata={"mean": "[0.5, 0.5, 0.5]", "std": "[0.25, 0.25, 0.25]"})
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = model.load_backbone(tmp_path / "vit.safetensors")
    assert not report.missing and len(report.loaded) == len(state)
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {f"backbone.net.{key}" for key in state} | {"mean", "std"}
    assert model.mean.flatten().tolist() == [0.5] * 3 and model.std.flatten().tolist() == [0.25] * 3


def test_a_stem_starts_from_its_own_weights_and_keeps_its_first_stages(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"vit_stem": "mobilenetv2_gluon_e1", "view.size": 128}
    detector = create_detector("fmca_net_tiny", **fields)
    stem = detector.backbone.stem  # type: ignore[union-attr]
    state = {k.removeprefix("model."): torch.rand_like(v.float()) for k, v in stem.net.state_dict().items()}
    save_file(state, tmp_path / "stem.safetensors", {"mean": "[0.5, 0.4, 0.3]", "std": "[0.2, 0.2, 0.1]"})
    report = detector.load_backbone(tmp_path / "stem.safetensors")
    assert not report.missing and not report.unused
    torch.testing.assert_close(detector.mean.flatten(), torch.tensor([0.5, 0.4, 0.3]))
    detector.train()(torch.rand(2, 3, 96, 128)).logits.sum().backward()  # any size that 16 divides
    first, last = stem.net.model.conv_stem.weight, list(stem.parameters())[-1]
    assert first.grad is None and last.grad is not None and bool(last.grad.any())
    assert any("in the place of patches" in sentence for sentence in detector.departures())


def test_the_tiny_entry_is_tiny() -> None:
    model = create_detector("fmca_net_tiny")
    assert sum(p.numel() for p in model.parameters()) <= 2_000_000
    assert isinstance(model, FMCANet) and not model.localizes and not model.needs_face
