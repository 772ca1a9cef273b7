"""What is CLMF's own: streams and fusions by name, soft regions, the cascade's answers, gradients end to end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unmask.core.errors import ConfigError, SizeError, WeightsError
from unmask.core.types import Batch, ViewConfig
from unmask.detectors.clmf import CLMF, CLMFConfig, StreamConfig
from unmask.detectors.clmf.evidence import unusual
from unmask.detectors.clmf.regions import noisy_or, soft_regions
from unmask.detectors.zoo import create_detector
from unmask.losses import Criterion
from unmask.nn.fusion import EARLY, FUSIONS

DATA = os.environ.get("UNMASK_DATA")
SIX = {"cascade_label": 1, "cascade_mask": 1, "cascade_local": 0.5, "cascade_consistency": 0.1}
SIX |= {"mask_smooth": 0.01, "mask_sparse": 0.001}
CONV = tuple(StreamConfig(name, width=4) for name in ("rgb", "lbp", "dct"))


def small(**settings: Any) -> CLMF:
    torch.manual_seed(0)
    return CLMF(CLMFConfig(**({"streams": CONV, "dim": 16, "hidden": 8, "decoder_width": 8} | settings)))


def batch_of(count: int = 4, size: int = 64) -> Batch:
    """Every second image forged."""
    image = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(count, 1, size, size)
    mask[1::2, :, 16:40, 16:40] = 1
    label = (torch.arange(count) % 2).float()
    known = torch.ones(count, dtype=torch.bool)
    return Batch(image, label, mask, known, image, known)


# Regions -------------------------------------------------------------------------------------------------------------


def test_hard_masks_give_the_means_of_what_they_cover() -> None:
    features = torch.rand(2, 5, 4, 4)
    mask = torch.zeros(2, 1, 4, 4)
    mask[:, :, :, :1] = 1
    means, area = soft_regions(features, mask, torch.ones(1, 1, 4, 4))
    torch.testing.assert_close(means[:, 0], features[..., :1].mean((2, 3)))
    torch.testing.assert_close(means[:, 1], features[..., 1:].mean((2, 3)))
    torch.testing.assert_close(area, torch.tensor([[0.25, 0.75]] * 2))


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_empty_regions_are_finite_and_have_gradients(fill: float) -> None:
    features = torch.rand(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.full((1, 1, 4, 4), fill, dtype=torch.float64, requires_grad=True)
    means, area = soft_regions(features, mask, torch.ones(1, 1, 4, 4, dtype=torch.float64))
    means.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(means).all() and area.tolist() == [[fill, 1 - fill]]
    assert features.grad is not None and mask.grad is not None and torch.isfinite(mask.grad).all()


def test_regions_are_differentiable_in_features_and_mask() -> None:
    random = torch.Generator().manual_seed(2)
    features = torch.rand(2, 3, 3, 2, dtype=torch.float64, generator=random).requires_grad_()
    mask = (0.1 + 0.8 * torch.rand(2, 1, 3, 2, dtype=torch.float64, generator=random)).requires_grad_()
    inside = torch.ones(1, 1, 3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f, m: soft_regions(f, m, inside), (features, mask))


def test_noisy_or_is_the_textbook_one_and_never_overflows() -> None:
    logits = torch.randn(100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    every = torch.ones(100, 2, dtype=torch.bool)
    expected = 1 - (1 - logits.sigmoid()).prod(1)
    torch.testing.assert_close(noisy_or(logits, every).sigmoid(), expected)
    only = every.clone()
    only[:, 0] = False
    torch.testing.assert_close(noisy_or(logits, only), logits[:, 1])
    wild = torch.tensor([[-300.0, -300.0], [300.0, 300.0]], requires_grad=True)
    value = noisy_or(wild, every[:2])
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(value).all() and wild.grad is not None and torch.isfinite(wild.grad).all()


# The detector --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", sorted({*FUSIONS, *EARLY}))
def test_every_fusion_by_name_learns(fusion: str) -> None:
    detector, batch = small(fusion=fusion).train(), batch_of()
    output = detector(batch.image)
    total, _ = Criterion(SIX)(output, batch)
    total.backward()  # type: ignore[no-untyped-call]
    assert output.mask_logits.shape == (4, 1, 64, 64)
    fusing = detector.parameter_groups()["fusion"]
    assert fusing and all(p.grad is not None and torch.isfinite(p.grad).all() for p in fusing)


@pytest.mark.parametrize("name", ["rgb", "lbp", "dct", "noise", "npr", "colour", "fft"])
def test_every_map_can_stand_alone(name: str) -> None:
    detector = small(streams=(StreamConfig(name, width=4),)).eval()
    with torch.no_grad():
        output = detector(torch.rand(1, 3, 72, 104))
    assert output.mask_logits.shape == (1, 1, 72, 104) and torch.isfinite(output.logits).all()


def test_what_the_cascade_says() -> None:
    detector = small(region_min=0.2).eval()
    bias = detector.decoder.predict.bias
    assert bias is not None
    with torch.no_grad():
        bias.fill_(-9.0)  # hardly any suspected region
        output = detector(torch.rand(3, 3, 64, 64))
        aux = output.aux
        assert aux["region_weight"].tolist() == [[0.0, 1.0]] * 3
        torch.testing.assert_close(aux["region_area"].sum(1), torch.ones(3))
        torch.testing.assert_close(aux["aggregate_logits"], aux["local_logits"][:, 1])
        torch.testing.assert_close(output.logits, (aux["global_logits"] + aux["aggregate_logits"]) / 2)
        same = (aux["global_logits"] > 0) == (aux["aggregate_logits"] > 0)
        assert torch.equal(aux["agreement"], same.float())
        bias.fill_(9.0)
        aux = detector(torch.rand(3, 3, 64, 64)).aux
        assert aux["region_weight"].tolist() == [[1.0, 0.0]] * 3


def test_literal_answers_with_the_whole_image_alone() -> None:
    config = CLMFConfig(streams=CONV, dim=16, hidden=8, decoder_width=8).literal()
    output = CLMF(config).eval()(torch.rand(2, 3, 64, 64))
    assert torch.equal(output.logits, output.aux["global_logits"])
    assert torch.equal(output.aux["region_weight"], output.aux["region_area"])
    said = [CLMF(c).departures() for c in (config, CLMFConfig(streams=CONV, dim=16))]
    assert len(said[0]) == len(said[1]) - 2


def test_padding_does_not_count() -> None:
    detector = small().eval()
    with torch.no_grad():
        detector.decoder.predict.weight.zero_()
        detector.decoder.predict.bias.fill_(0.0)  # type: ignore[union-attr]
        area = detector(torch.rand(1, 3, 70, 90)).aux["region_area"]
    torch.testing.assert_close(area, torch.tensor([[0.5, 0.5]]))


def test_the_whole_is_differentiable_from_every_term_to_every_part() -> None:
    detector, batch = small().train(), batch_of()
    reached: dict[str, set[str]] = {}
    for name in SIX:
        detector.zero_grad()
        total, _ = Criterion({name: 1.0})(detector(batch.image), batch)
        total.backward()  # type: ignore[no-untyped-call]
        groups = detector.parameter_groups()
        reached[name] = {k for k, ps in groups.items() if any(p.grad is not None and p.grad.any() for p in ps)}
    everywhere = {"stems", "fusion", "decoder", "head"}
    assert reached["cascade_label"] == reached["cascade_local"] == reached["cascade_consistency"] == everywhere
    assert reached["cascade_mask"] == reached["mask_smooth"] == reached["mask_sparse"] == everywhere - {"head"}


def test_the_mask_hears_the_regions_by_finite_differences() -> None:
    """d(regions' logit) / d(mask), through the soft regions, along the direction that matters most."""
    detector = small(dropout=0.0).eval()
    features = 3 * torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(4))
    mask = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(5), requires_grad=True)

    def logit(logits: Tensor) -> Tensor:
        return detector._cascade(features, logits, (64, 64))[0]["aggregate_logits"].sum()

    (gradient,) = torch.autograd.grad(logit(mask), mask)
    length = gradient.norm()
    step = 0.5 * gradient / length
    with torch.no_grad():
        rise = float(logit(mask + step) - logit(mask - step))
    assert float(length) == pytest.approx(rise, rel=2e-2) and length > 0


def test_bfloat16_and_a_batch_of_one() -> None:
    detector, batch = small().train(), batch_of(1)
    with torch.autocast("cpu", torch.bfloat16):
        output = detector(batch.image)
    assert output.mask_logits.dtype == output.logits.dtype == output.aux["local_logits"].dtype == torch.float32
    total, _ = Criterion(SIX)(output, batch)
    total.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(total)


def test_backbones_by_name_read_any_map() -> None:
    streams = (
        StreamConfig("rgb", "mobilenetv2_gluon_e1", stages=3, frozen_stages=2),
        StreamConfig("lbp", "mobilenetv2_035", stages=2),
        StreamConfig("dct", "coatnet_pico_rw_224", stages=2),
    )
    detector = small(streams=streams, view=ViewConfig(size=96)).eval()
    assert detector.size_rule.fixed == 96 and detector(torch.rand(1, 3, 96, 96)).mask_logits.shape == (1, 1, 96, 96)
    with pytest.raises(SizeError, match="96x96"):
        detector(torch.rand(1, 3, 64, 64))
    groups = detector.parameter_groups()
    assert groups["backbone"] and groups["stems"]
    frozen = [p for p in detector.streams[0].parameters() if not p.requires_grad]
    assert frozen and not {id(p) for p in frozen} & {id(p) for group in groups.values() for p in group}


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one stream"):
        CLMFConfig(streams=())
    with pytest.raises(ConfigError, match="grid"):
        CLMFConfig(grid=12)
    with pytest.raises(ConfigError, match="region_min"):
        CLMFConfig(region_min=0.5)
    with pytest.raises(ConfigError, match="no map 'lpb'"):
        small(streams=(StreamConfig("lpb"),))
    with pytest.raises(ConfigError, match="no feature-level fusion 'cross_atention'"):
        small(fusion="cross_atention")
    with pytest.raises(WeightsError, match="no RGB stream"):
        small().load_backbone("nothing.safetensors")


def test_evidence_shows_maps_mask_and_regions() -> None:
    image = torch.rand(2, 3, 72, 88)
    shown = small().eval().evidence(image)
    assert list(shown) == ["lbp", "dct", "mask", "suspected region", "authentic region"]
    assert shown["lbp"].shape == (2, 1, 72, 88) and shown["dct"].shape == (2, 1, 9, 11)
    torch.testing.assert_close(shown["suspected region"] + shown["authentic region"], image)
    values = torch.zeros(1, 2, 8, 8)
    values[0, 0, 3, 4] = 1
    assert unusual(values).flatten().argmax() == 3 * 8 + 4


@pytest.mark.skipif(not DATA, reason="UNMASK_DATA is not set: no ImageNet weights at hand")
@pytest.mark.parametrize("fusion", ["cross_attention", "concat_channels"])
def test_imagenet_weights_go_into_the_rgb_stream(fusion: str) -> None:
    file = Path(str(DATA)) / "backbones" / "mobilenetv2_gluon_e1.in1k_features.safetensors"
    if not file.is_file():
        pytest.skip(f"{file.name} is not there")
    detector = create_detector("clmf_tiny", fusion=fusion)
    assert isinstance(detector, CLMF)
    report = detector.load_backbone(file)
    assert len(report.loaded) > 150 and not report.missing
    assert len(report.adapted) == (fusion == "concat_channels")  # the first convolution has more channels there
    torch.testing.assert_close(detector.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))


def test_sizes_of_the_zoo() -> None:
    tiny = create_detector("clmf_tiny")
    assert sum(p.numel() for p in tiny.parameters()) < 1.2e6 and isinstance(tiny, nn.Module)


@pytest.mark.slow
def test_the_plan_runs_at_its_own_size() -> None:
    detector = create_detector("clmf").eval()
    assert [type(s.network).__name__ for s in detector.streams] == ["Backbone"] * 3  # type: ignore[union-attr]
    with torch.no_grad():
        output = detector(torch.rand(1, 3, 224, 224))
    assert output.mask_logits is not None and output.mask_logits.shape == (1, 1, 224, 224)
