"""AuraNet against its plan, timm's ConvNeXt V2 and itself with parts switched off."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from unmask.cli.main import main
from unmask.core.errors import ConfigError, WeightsError
from unmask.detectors.auranet import AuraNet, AuraNetConfig
from unmask.detectors.auranet.evidence import bars, shares
from unmask.detectors.auranet.model import reflect_to
from unmask.detectors.weights import save_weights
from unmask.detectors.zoo import ZOO, create_detector

TINY = ZOO["auranet_tiny"].config


def tiny(backbone: str | None = None, **overrides: Any) -> AuraNet:
    """The plan's parts alone, unless a backbone is named."""
    torch.manual_seed(0)
    detector = create_detector("auranet_tiny", backbone=backbone, **overrides)
    assert isinstance(detector, AuraNet)
    return detector.eval()


@torch.inference_mode()
def run(detector: AuraNet, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    output = detector(image)
    assert output.mask_logits is not None
    return output.logits, output.mask_logits


def test_defaults_are_the_plans_table() -> None:
    config = AuraNetConfig()
    assert (config.img_size, config.num_stages, config.depths, config.dims) == (
        256,
        4,
        (2, 2, 6, 2),
        (64, 128, 256, 512),
    )
    assert (config.num_haft_levels, config.num_radial_bins, config.context_vector_dim) == ((3, 3, 2, 1), 16, 64)
    assert (config.num_classes, config.dsf_dim, config.decoder_embed_dim, config.decoder_depth) == (2, 512, 342, 1)
    assert (config.dropout, config.cosine_scale, config.attention) == (
        0.15,
        30.0,
        ("deformable", "deformable", "global", "global"),
    )
    assert ZOO["auranet"].config == config


def test_base_has_the_plans_shapes() -> None:
    detector = AuraNet(AuraNetConfig()).eval()
    with torch.inference_mode():
        spatial, frequency = detector.encode(torch.rand(1, 3, 256, 256))
    shapes = [(1, c, s, s) for c, s in ((64, 64), (128, 32), (256, 16), (512, 8))]
    assert [tuple(m.shape) for m in spatial] == [tuple(m.shape) for m in frequency] == shapes


def test_tiny_is_small() -> None:
    assert sum(p.numel() for p in tiny().parameters()) <= 2_000_000


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (224, 224), (256, 256), (320, 320), (384, 384), (96, 330)])
def test_mask_has_the_inputs_size(size: tuple[int, int]) -> None:
    logits, mask = run(tiny(), torch.rand(1, 3, *size))
    assert logits.shape == (1,) and mask.shape == (1, 1, *size)
    assert torch.isfinite(logits).all() and torch.isfinite(mask).all()


def test_small_images_are_reflected_and_masks_cropped_back() -> None:
    image = torch.rand(2, 3, 64, 72)
    whole = reflect_to(image, 128, 128)
    assert torch.equal(whole[..., :72][:, :, :127], F.pad(image, (0, 0, 0, 63), mode="reflect"))
    assert reflect_to(image, 64, 72) is image
    (a, small), (b, large) = run(tiny(), image), run(tiny(), whole)
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(small, large[..., :64, :72])


def test_runs_in_bfloat16() -> None:
    image = torch.rand(1, 3, 128, 128)
    detector = tiny()
    logits, mask = run(detector, image)
    with torch.autocast("cpu", torch.bfloat16):
        half, half_mask = run(detector, image)
    assert half.dtype == half_mask.dtype == torch.float32
    torch.testing.assert_close(half, logits, atol=0.5, rtol=0.1)
    torch.testing.assert_close(half_mask, mask, atol=0.1, rtol=0.1)


@pytest.mark.parametrize(
    "overrides",
    [
        {"decoder": "fcmae"},
        {"decoder": "coarse"},
        {"backbone": "mobilenetv2_gluon_e1", "backbone_frozen": 0},
        {"frequency_stream": False},
        {"haft": False},
        {"haft_context": "mean"},
        {"attention": ("global",) * 4},
        {"head": "linear"},
        {"drop_path": 0.2},
    ],
    ids=str,
)
def test_every_option_trains(overrides: dict[str, Any]) -> None:
    detector = tiny(**overrides).train()
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-2)
    missing = dict(detector.named_parameters())
    for _ in range(3):
        output = detector(torch.rand(2, 3, 64, 64))
        optimizer.zero_grad()
        (output.logits.square().sum() + output.mask_logits.square().mean()).backward()
        optimizer.step()
        missing = {n: p for n, p in missing.items() if p.grad is None or not bool((p.grad != 0).any())}
    assert not missing


def test_literal_runs_and_is_the_plan() -> None:
    literal = TINY.literal() if isinstance(TINY, AuraNetConfig) else None
    assert literal is not None and (literal.decoder, literal.head, literal.haft_binning) == (
        "coarse",
        "linear",
        "floor",
    )
    detector = AuraNet(literal).eval()
    values: list[torch.Tensor] = []
    detector.mask_head.predict.register_forward_hook(lambda _module, _args, output: values.append(output))
    _, mask = run(detector, torch.rand(1, 3, 128, 128))
    assert values[0].shape == (1, 1, 4, 4)
    torch.testing.assert_close(F.interpolate(values[0], size=(128, 128), mode="bilinear"), mask)
    kernels = detector.encoder.msaf.kernels.abs().sum((1, 2, 3))
    assert kernels.min() == 8 and kernels.max() == 256


def test_untrained_haft_is_the_identity() -> None:
    with_haft, without = tiny(), tiny(haft=False)
    without.load_state_dict(with_haft.state_dict(), strict=False)
    image = torch.rand(2, 3, 128, 128)
    for ours, theirs in zip(run(with_haft, image), run(without, image), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_frequency_stream_sees_the_image_before_normalisation() -> None:
    detector, image = tiny(), torch.rand(1, 3, 128, 128)
    seen: list[torch.Tensor] = []
    detector.encoder.msaf.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    run(detector, image)
    assert torch.equal(seen[0], image)


def test_logit_is_the_scaled_difference_of_two_cosines() -> None:
    detector = tiny()
    output = detector(torch.rand(3, 3, 128, 128))
    weight = detector.label_head.classify.weight
    real, fake = (F.cosine_similarity(output.embedding, weight[i][None]) for i in (0, 1))
    torch.testing.assert_close(output.logits, 30 * (fake - real))
    torch.testing.assert_close(output.embedding.norm(dim=1), torch.ones(3))
    shares_ = output.aux["fusion_weights"]
    assert shares_.shape == (3, 2) and torch.allclose(shares_.sum(1), torch.ones(3))


def test_untrained_embeddings_are_almost_parallel_without_the_batch_norm() -> None:
    random = torch.Generator().manual_seed(0)
    images = F.interpolate(torch.rand(8, 3, 6, 6, generator=random), size=(128, 128), mode="bilinear")

    @torch.no_grad()
    def cosine(detector: AuraNet) -> float:
        embedding = detector.train()(images).embedding
        return float((embedding @ embedding.T)[~torch.eye(8, dtype=torch.bool)].mean())

    without = tiny(dropout=0.0)
    without.label_head.norm = torch.nn.Identity()
    assert cosine(without) > 0.99 and cosine(tiny(dropout=0.0)) < 0.5


def test_gradients_stay_finite_on_flat_images() -> None:
    detector = tiny().train()
    image = torch.stack([torch.zeros(3, 128, 128), torch.ones(3, 128, 128)])
    output = detector(image)
    (output.logits.sum() + output.mask_logits.sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in detector.parameters() if p.grad is not None)


def test_too_many_levels_are_refused_when_the_model_is_built() -> None:
    with pytest.raises(ConfigError, match=r"4 HAFT levels in stage 3 .* patches of 2 .* 256 or more"):
        create_detector("auranet_tiny", num_haft_levels=(3, 4, 2, 1))
    assert create_detector("auranet_tiny", num_haft_levels=(3, 4, 2, 1), view={"size": 256})
    with pytest.raises(ConfigError, match="2 dims, 4 depths"):
        create_detector("auranet", dims=(8, 16))
    with pytest.raises(ConfigError, match="num_classes"):
        create_detector("auranet", num_classes=3)


@pytest.mark.parametrize("conv_mlp", [True, False])
def test_timms_convnext_v2_loads_into_the_spatial_stream(tmp_path: Path, conv_mlp: bool) -> None:
    from timm.models.convnext import ConvNeXt

    theirs: Any = ConvNeXt(
        depths=(1, 1, 2, 1), dims=(16, 32, 64, 128), use_grn=True, ls_init_value=None, conv_mlp=conv_mlp, num_classes=7
    ).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    save_file(theirs.state_dict(), tmp_path / "convnext.safetensors")
    detector = tiny()
    report = detector.load_backbone(tmp_path / "convnext.safetensors")
    assert not report.missing and {key.split(".")[0] for key in report.unused} == {"stem", "head"}
    x = ours = torch.randn(2, 16, 32, 32)
    for stage in detector.encoder.stages:
        ours = stage(ours)
    with torch.inference_mode():
        torch.testing.assert_close(ours, theirs.stages(x), atol=1e-4, rtol=1e-4)


def test_own_pretraining_loads_into_the_whole_encoder(tmp_path: Path) -> None:
    pretrained = tiny(pretraining=True)
    file = tmp_path / "weights.safetensors"
    save_weights(file, pretrained)
    torch.manual_seed(1)
    detector = create_detector("auranet_tiny", backbone=None)
    report = detector.load_backbone(file)
    assert not report.missing and all(key.startswith("encoder.") for key in report.loaded)
    assert all(not key.startswith("encoder.") for key in report.unused)
    image = torch.rand(1, 3, 128, 128)
    for ours, theirs in zip(detector.eval().encode(image), pretrained.encode(image), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b)


def test_the_backbone_starts_from_its_own_weights(tmp_path: Path) -> None:
    source = tiny(backbone="mobilenetv2_gluon_e1", backbone_stages=2)
    assert source.encoder.pretrained is not None
    state = source.encoder.pretrained.network.net.state_dict()
    plain = {key.removeprefix("model."): torch.rand_like(value.float()) for key, value in state.items()}
    save_file(plain, tmp_path / "network.safetensors", {"mean": "[0.5, 0.4, 0.3]", "std": "[0.2, 0.2, 0.1]"})
    detector = tiny(backbone="mobilenetv2_gluon_e1", backbone_stages=2)
    before = detector(image := torch.rand(1, 3, 128, 128)).logits
    report = detector.load_backbone(tmp_path / "network.safetensors")
    assert not report.missing and not report.unused
    torch.testing.assert_close(detector.mean.flatten(), torch.tensor([0.5, 0.4, 0.3]))
    assert not torch.allclose(detector(image).logits, before)
    groups = detector.parameter_groups()
    assert groups["backbone"] and not {*map(id, groups["backbone"])} & {*map(id, groups["encoder"])}
    assert any("published weights" in sentence for sentence in detector.departures())
    save_weights(tmp_path / "own.safetensors", detector)  # a whole encoder still loads as one
    assert (
        not tiny(backbone="mobilenetv2_gluon_e1", backbone_stages=2).load_backbone(tmp_path / "own.safetensors").missing
    )


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    save_file({"stages.0.blocks.0.conv_dw.weight": torch.zeros(16, 1, 7, 7)}, tmp_path / "odd.safetensors")
    with pytest.raises(WeightsError, match=r"fits only 1 of \d+ tensors"):
        tiny().load_backbone(tmp_path / "odd.safetensors")
    with pytest.raises(WeightsError, match="16 channels"):
        tiny().load_backbone("timm")


def test_evidence_shows_both_filters_the_gains_and_the_shares() -> None:
    image = torch.rand(2, 3, 100, 140)
    shown = tiny().evidence(image)
    assert list(shown) == ["SRM residuals", "wavelet details", "radial gains", "spatial | frequency"]
    assert shown["SRM residuals"].shape == (2, 1, 100, 140) and shown["wavelet details"].shape == (2, 1, 50, 70)
    # Untrained gains are 1, half of the chart's height.
    assert torch.equal(shown["radial gains"], bars(torch.full((2, 4, 2, 16), 0.5)))
    assert not tiny(frequency_stream=False).evidence(image)
    assert "radial gains" not in tiny(haft=False).evidence(image)
    assert torch.equal(shares(torch.tensor([[1.0, 0.0]])), torch.full((1, 1, 24, 96), 0.9))


def test_card_lists_stages_and_departures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "auranet_tiny", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    modules = facts["modules"]
    assert [modules[f"encoder.stages.{i}"]["output"] for i in range(4)] == [
        [1, 16 * 2**i, 32 // 2**i, 32 // 2**i] for i in range(4)
    ]
    assert {"encoder.haft.0", "encoder.fusion.3", "mask_head"} <= set(modules)
    assert modules["encoder.stages.3"]["gflops"] > 0 and facts["trainable"]
    fixed = sum(p.numel() for p in create_detector("auranet_tiny").parameters() if not p.requires_grad)
    assert fixed > 0 and facts["parameters"] == fixed + sum(facts["trainable"].values())
    readme = Path(__file__).parents[2] / "src/unmask/detectors/auranet/README.md"
    assert facts["departures"] and readme.is_file()
    assert dataclasses.asdict(TINY)["dims"] == (16, 32, 64, 128)
