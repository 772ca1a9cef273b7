"""Backbones: names, shapes, truncation, freezing, and weights that are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unmask.core.errors import ConfigError, WeightsError
from unmask.nn.backbones import Backbone, load_matching, resolve_backbone

DATA = os.environ.get("UNMASK_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="UNMASK_DATA is not set: no pretrained backbones at hand")


def test_names_people_use_are_timms_current_names() -> None:
    import timm

    for name in ("Xception", "EfficientNet", "MobileNet", "MobileNetV3", "MobileNet-V2", "EfficientNet_B4", "CoAtNet"):
        assert resolve_backbone(name) in timm.list_models(), name
    with pytest.raises(ConfigError, match="efficientnet_b0"):
        resolve_backbone("eficientnet_b0")


@pytest.mark.parametrize("name", ["mobilenetv2_gluon_e1", "resnetv2_50_stem_norm", "resnet18", "convnext_atto"])
def test_maps_have_the_declared_channels_and_strides(name: str) -> None:
    net = Backbone(name, stages=3).eval()
    maps = net(torch.rand(1, 3, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (c, 64 // s, 96 // s) for c, s in zip(net.channels, net.strides, strict=True)
    ]
    assert net.strides[-1] == 16


def test_networks_of_one_size_say_which() -> None:
    net = Backbone("coatnet_pico_rw_224", stages=3, in_channels=1, image_size=64).eval()
    assert net.image_size == 64 and net.strides == (2, 4, 8, 16)
    assert net(torch.rand(1, 1, 64, 64))[-1].shape == (1, net.channels[-1], 4, 4)
    assert Backbone("resnet18", stages=1, image_size=64).image_size is None


def test_what_lies_deeper_is_not_built() -> None:
    sizes = [sum(p.numel() for p in Backbone("legacy_xception", stages=n).parameters()) for n in (2, 4)]
    assert sizes[0] < sizes[1] / 20


@pytest.mark.parametrize("name", ["mobilenetv2_gluon_e1", "resnetv2_50_stem_norm", "convnext_atto", "legacy_xception"])
def test_frozen_stages_do_not_move(name: str) -> None:
    net = Backbone(name, stages=3, frozen_stages=2).train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net(torch.rand(2, 3, 64, 64))[-1].square().mean().backward()
    optimizer.step()
    after = net.state_dict()
    moved = {key for key in after if not torch.equal(after[key], before[key])}
    frozen = {key for key, p in net.named_parameters() if not p.requires_grad}
    assert frozen and moved and not moved & frozen
    statistics = {key.rsplit(".", 1)[0] for key in moved if "running" in key}
    weights = {key.rsplit(".", 1)[0] for key in frozen}
    assert not statistics & weights, "batch-norm of frozen parts keeps its statistics"
    second = net(torch.rand(1, 3, 64, 64))[1]
    assert not second.requires_grad, "everything up to the second map is frozen"


def test_frozen_stages_out_of_range() -> None:
    with pytest.raises(ConfigError, match="frozen_stages"):
        Backbone("resnet18", stages=2, frozen_stages=9)


def test_random_weights_of_a_timm_layout_load_whole(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(1)
    whole = timm.create_model("mobilenetv3_small_100", num_classes=7).eval()
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    net = Backbone("mobilenetv3_small_100").eval()
    report = net.load(tmp_path / "w.safetensors")
    assert not report.missing and not report.adapted and "classifier.weight" in report.unused
    image = torch.rand(1, 3, 64, 64)
    expected = whole.forward_intermediates(image, intermediates_only=True)
    for ours, theirs in zip(net(image), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_extra_input_channels_keep_the_rgb_part_of_the_file(tmp_path: Path) -> None:
    plain = Backbone("resnet18", stages=1)
    save_file(plain.net.state_dict(), tmp_path / "w.safetensors")
    wide = Backbone("resnet18", stages=1, in_channels=13)
    report = wide.load(tmp_path / "w.safetensors")
    assert report.adapted == ("conv1.weight",) and not report.missing
    torch.testing.assert_close(
        wide.net.state_dict()["model.conv1.weight"][:, :3], plain.net.state_dict()["model.conv1.weight"]
    )


def test_weights_that_do_not_fit_or_cannot_be_read(tmp_path: Path) -> None:
    net = Backbone("resnet18", stages=1)
    with pytest.raises(WeightsError, match="no weights file"):
        net.load(tmp_path / "absent.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\x80\x04not a tensor")
    with pytest.raises(WeightsError, match="not a readable safetensors"):
        net.load(tmp_path / "bad.safetensors")
    save_file({"something": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="fits only 0"):
        net.load(tmp_path / "other.safetensors")
    assert load_matching(net, {}).missing


@needs_data
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mobilenetv2_gluon_e1", "mobilenetv2_gluon_e1.in1k_features"),
        ("resnetv2_50_stem_norm", "resnetv2_50_stem_norm.gluon_in1k_stages123"),
    ],
)
def test_pretrained_weights_at_hand_load_and_are_genuine(name: str, file: str) -> None:
    path = Path(str(DATA)) / "backbones" / f"{file}.safetensors"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    net = Backbone(name, stages=3).eval()
    report = net.load(path)
    assert not [key for key in report.missing if not key.startswith("norm.")]
    # Batch-norm statistics that belong to the weights: standardised photos come out near zero mean, unit variance.
    from skimage.data import astronaut

    photo = torch.from_numpy(astronaut()).permute(2, 0, 1)[None] / 255
    stem = dict(net.net.named_modules())["stem.norm" if name.startswith("resnet") else "model.bn1"]
    seen: list[torch.Tensor] = []
    stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        net((photo - torch.tensor(net.mean).view(1, 3, 1, 1)) / torch.tensor(net.std).view(1, 3, 1, 1))
    ratio = (seen[0].var((0, 2, 3)) / stem.running_var).log().abs().median()
    assert float(ratio) < 1.0
