from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from unmask.core.errors import ConfigError, WeightsError
from unmask.detectors.zoo import create_detector


def test_the_first_stages_stay_fixed_in_training_mode() -> None:
    detector = create_detector("residual_unet", blocks=1).train()
    net = detector.get_submodule("backbone.net")
    before = {k: v.clone() for k, v in net.state_dict().items() if k.startswith(("stem.", "stages.0."))}
    detector(torch.rand(4, 3, 64, 64)).logits.sum().backward()
    after = net.state_dict()
    assert before and all(torch.equal(after[k], v) for k, v in before.items())
    trained = {part: sum(p.numel() for p in group) for part, group in detector.parameter_groups().items()}
    assert set(trained) == {"backbone", "residual", "decoder", "head"} and all(trained.values())
    loose = create_detector("residual_unet", blocks=1, frozen=False)
    assert sum(p.numel() for p in loose.parameter_groups()["backbone"]) > trained["backbone"]


@torch.no_grad()
def test_a_change_of_the_whole_photos_contrast_hardly_moves_what_the_side_branch_hears() -> None:
    detector = create_detector("residual_unet", blocks=1).eval()
    photo = 0.3 + 0.4 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    faint = 0.5 + 0.5 * (photo - 0.5)
    one, other = detector.evidence(photo), detector.evidence(faint)
    for name in ("residual", "energy"):
        assert torch.allclose(one[name], other[name], atol=0.02), name


def test_blocks_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="between 1 and 6"):
        create_detector("residual_unet", blocks=7)


def test_the_published_backbone_fits() -> None:
    root = os.environ.get("UNMASK_DATA")
    file = Path(root or "") / "backbones" / "resnetv2_50_stem_norm.gluon_in1k_stages123.safetensors"
    if root is None or not file.is_file():
        pytest.skip("UNMASK_DATA with the ImageNet backbones is not set")
    detector = create_detector("residual_unet")
    report = detector.load_backbone(file)
    assert [key for key in report.missing if not key.startswith("norm.")] == []
    assert detector.mean.flatten().tolist() == pytest.approx([0.45222, 0.42571, 0.37757], abs=1e-5)


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"other.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="fits only"):
        create_detector("residual_unet").load_backbone(tmp_path / "other.safetensors")
