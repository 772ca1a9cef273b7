"""Vision transformers as tokens: which token is which, sizes, and weights in the layouts they are published in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from unmask.core.errors import ConfigError, WeightsError
from unmask.nn.vit import ViTTokens

SMALL: dict[str, Any] = {"width": 48, "depth": 2}
DINOV2, REGISTERS = "vit_base_patch14_dinov2", "vit_base_patch14_reg4_dinov2"


@pytest.mark.parametrize(("name", "prefix"), [(DINOV2, 1), (REGISTERS, 5)])
def test_registers_are_no_patches(name: str, prefix: int) -> None:
    torch.manual_seed(0)
    net = ViTTokens(name, 56, **SMALL).eval()
    image = torch.rand(2, 3, 56, 56)
    with torch.no_grad():
        cls, patches = net(image)
        whole = net.net.forward_features(image)  # type: ignore[operator]
    assert whole.shape == (2, prefix + 16, 48), "timm's output holds the class token, the registers, the patches"
    torch.testing.assert_close(cls, whole[:, :1])
    torch.testing.assert_close(patches, whole[:, prefix:])


def test_without_a_class_token_the_mean_stands_in() -> None:
    net = ViTTokens("vit_base_patch16_siglip_224", 32, **SMALL).eval()
    with torch.no_grad():
        cls, patches = net(torch.rand(1, 3, 32, 48))
    assert patches.shape == (1, 6, 48)
    torch.testing.assert_close(cls, patches.mean(1, keepdim=True))


def test_what_cannot_be_used_is_refused() -> None:
    for name in ("resnet18", "swin_tiny_patch4_window7_224"):
        with pytest.raises(ConfigError, match="vision transformer"):
            ViTTokens(name, 224)
    with pytest.raises(ConfigError, match="near: 252, 266"):
        ViTTokens(DINOV2, 256, **SMALL)


def random_state(name: str, size: int) -> dict[str, torch.Tensor]:
    """A network in timm's layout with random values everywhere, class and position tokens included."""
    torch.manual_seed(3)
    whole = timm.create_model(name, img_size=size, embed_dim=48, depth=2, num_classes=0)
    return {key: torch.randn_like(value) for key, value in whole.state_dict().items()}


@pytest.mark.parametrize("name", [DINOV2, REGISTERS])
def test_timms_layout_at_another_size_loads_whole(name: str, tmp_path: Path) -> None:
    state = random_state(name, 98)  # a grid of 7 x 7
    save_file(state, tmp_path / "w.safetensors")
    net = ViTTokens(name, 56, **SMALL)
    report = net.load(tmp_path / "w.safetensors")
    assert report.adapted == ("pos_embed",) and not report.missing and not report.unused
    ours = net.net.state_dict()
    for key, value in state.items():
        if key != "pos_embed":
            torch.testing.assert_close(ours[key], value)
    prefix = 1 if name == DINOV2 else 0
    expected = resample_abs_pos_embed(state["pos_embed"], new_size=[4, 4], num_prefix_tokens=prefix)
    torch.testing.assert_close(ours["pos_embed"], expected)
    same = ViTTokens(name, 98, **SMALL)
    assert "pos_embed" in same.load(tmp_path / "w.safetensors").loaded


def test_the_authors_own_layouts_load_whole(tmp_path: Path) -> None:
    """DINOv2's files: a mask token nobody needs; with registers, a position for the class token too."""
    plain = random_state(DINOV2, 56)
    save_file(plain | {"mask_token": torch.zeros(1, 48)}, tmp_path / "plain.safetensors")
    net = ViTTokens(DINOV2, 56, **SMALL)
    report = net.load(tmp_path / "plain.safetensors")
    assert not report.missing and not report.adapted and len(report.loaded) == len(plain)

    ours = random_state(REGISTERS, 56)
    theirs = {key: value for key, value in ours.items() if key not in ("reg_token", "pos_embed")}
    position = torch.randn(1, 1, 48)
    theirs["register_tokens"] = ours["reg_token"]
    theirs["pos_embed"] = torch.cat([position, ours["pos_embed"]], 1)
    theirs["mask_token"] = torch.zeros(1, 48)
    save_file(theirs, tmp_path / "registers.safetensors")
    net = ViTTokens(REGISTERS, 56, **SMALL)
    report = net.load(tmp_path / "registers.safetensors")
    assert not report.missing
    loaded = net.net.state_dict()
    torch.testing.assert_close(loaded["reg_token"], ours["reg_token"])
    torch.testing.assert_close(loaded["pos_embed"], ours["pos_embed"])
    torch.testing.assert_close(loaded["cls_token"], ours["cls_token"] + position)


def test_another_networks_file_is_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="fits only"):
        ViTTokens(DINOV2, 56, **SMALL).load(tmp_path / "w.safetensors")
