"""AuraNet's pre-training: what its losses read, what it hands on, what it shows."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unmask.core.errors import SizeError, UnmaskError
from unmask.core.types import Batch, Sample, ViewConfig, collate
from unmask.detectors.auranet import AuraNet, AuraNetConfig
from unmask.detectors.auranet.pretraining import patch_statistics, sheet
from unmask.detectors.weights import save_weights
from unmask.losses import Criterion

LOSSES = {"reconstruction": 1.0, "mask_l1_ssim": 1.0, "supcon": 1.0}


def config(**changes: Any) -> AuraNetConfig:
    small: dict[str, Any] = {"dims": (8, 16), "depths": (1, 1), "num_haft_levels": (2, 1), "num_radial_bins": 4}
    small |= {"attention": ("deformable", "global"), "dsf_dim": 16, "decoder_embed_dim": 16, "context_vector_dim": 8}
    small |= {"view": ViewConfig(size=128), "embedding_dim": 16, "projection_dim": 8, "pretraining": True}
    return AuraNetConfig(**small | changes)


@cache
def batch(count: int = 4, side: int = 128) -> Batch:
    """Smooth pictures, every second one with a rough square."""
    random = torch.Generator().manual_seed(3)
    images = F.interpolate(torch.rand(count, 3, 6, 6, generator=random), size=(side, side), mode="bicubic").clamp(0, 1)
    samples = []
    for i, image in enumerate(images):
        mask = torch.zeros(1, side, side)
        if i % 2:
            mask[:, 20:90, 30:100] = 1
            image = (image + 0.3 * mask * torch.rand(3, side, side, generator=random)).clamp(0, 1)
        samples.append(Sample(image, i % 2, mask=mask, path=str(i // 2)))
    return collate(samples)


def built(**changes: Any) -> AuraNet:
    torch.manual_seed(0)
    return AuraNet(config(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"decoder": "fcmae", "hidden_fill": "zero", "normalized_targets": False},
        {"decoder": "coarse", "hidden_ratio": 0.9},
        {"frequency_stream": False},
    ],
)
def test_every_loss_finds_what_it_reads_and_every_parameter_learns(changes: dict[str, Any]) -> None:
    detector = built(**changes).train()
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-2)
    untouched = {name for name, p in detector.named_parameters() if p.requires_grad}
    for _ in range(3):  # last layers that start at zero hold gradients back for a step
        optimizer.zero_grad()
        output = detector.forward_train(batch())
        total, parts = Criterion(LOSSES)(output, batch())
        total.backward()
        optimizer.step()
        untouched -= {n for n, p in detector.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}
    assert not untouched and set(parts) == set(LOSSES)
    assert output.mask_logits is not None and output.mask_logits.shape == (4, 1, 128, 128)
    assert output.aux is not None and output.aux["reconstruction"].shape == (4, 3, 128, 128)
    assert output.embedding is not None
    torch.testing.assert_close(output.embedding.norm(dim=1), torch.ones(4))


def test_a_pretrained_net_can_be_validated_on_whole_images() -> None:
    """Its logit is the mask's soft maximum; hidden places do not matter, and are the same at each validation."""
    detector = built().eval()
    with torch.inference_mode():
        plain, first, second = detector(batch().image), *(detector.forward_validate(batch()) for _ in range(2))
    torch.testing.assert_close(first.logits, plain.logits)
    torch.testing.assert_close(first.mask_logits, plain.mask_logits)
    assert plain.aux is None and first.aux is not None and second.aux is not None
    assert all(torch.equal(first.aux[name], second.aux[name]) for name in ("hidden", "shown", "reconstruction"))
    assert plain.mask_logits is not None
    expected = torch.log(plain.mask_logits.flatten(1).double().exp().mean(1))
    torch.testing.assert_close(plain.logits.double(), expected, rtol=1e-4, atol=1e-5)


def test_the_decoders_cannot_see_what_is_hidden() -> None:
    detector = built().eval()
    generator = [torch.Generator().manual_seed(5) for _ in range(2)]
    image = batch().image
    first = detector.pretrain.masked(detector.encode, image, generator[0])
    assert first.aux is not None
    changed = torch.where(first.aux["hidden"] > 0, 1 - image, image)
    second = detector.pretrain.masked(detector.encode, changed, generator[1])
    assert second.aux is not None
    torch.testing.assert_close(second.aux["reconstruction"], first.aux["reconstruction"])
    assert not torch.allclose(second.aux["target"], first.aux["target"])


def test_targets_are_normalised_as_mae_does_it() -> None:
    """Against plain patches in NumPy: mean 0, unbiased variance 1 over a patch's pixels and channels."""
    image = batch().image
    mean, spread = patch_statistics(image, 32)
    patch = image[1, :, 32:64, 96:128].double().numpy()
    assert float(mean[1, 0, 40, 100]) == pytest.approx(patch.mean(), abs=1e-6)
    assert float(spread[1, 0, 40, 100]) == pytest.approx(np.sqrt(patch.var(ddof=1) + 1e-6), abs=1e-6)
    target = built().pretrain.masked(lambda x: built().encode(x), image).aux["target"]
    np.testing.assert_allclose(
        target[1, :, 32:64, 96:128], (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6), atol=1e-4
    )
    raw = built(normalized_targets=False).forward_train(batch()).aux
    assert raw is not None and torch.equal(raw["target"], image)


def test_pictures_show_five_rows_of_at_most_eight_images() -> None:
    detector = built().eval()
    with torch.inference_mode():
        picture, again = (detector.training_pictures(batch(10)) for _ in range(2))
    assert picture is not None and again is not None and torch.equal(picture, again)
    assert picture.shape == (3, 5 * 128, 8 * 128) and float(picture.min()) >= 0 and float(picture.max()) <= 1
    image, mask = batch(10).image, batch(10).mask
    torch.testing.assert_close(picture[:, :128, 128:256], image[1])
    torch.testing.assert_close(picture[:, 384:512, 128:256], mask[1].expand(3, -1, -1))
    shown, restored = picture[:, 128:256, :128], picture[:, 256:384, :128]
    same = (shown == image[0]).all(0)
    assert 0.3 < float(same.float().mean()) < 0.5, "40 % of the patches are seen"
    assert torch.equal(restored[:, same], image[0][:, same])


def test_fine_tuning_shows_masks() -> None:
    detector = AuraNet(config(pretraining=False)).eval()
    with torch.inference_mode():
        picture = detector.training_pictures(batch())
    assert picture is not None and picture.shape == (3, 3 * 128, 4 * 128)
    torch.testing.assert_close(picture[:, 128:256, 128:256], batch().mask[1].expand(3, -1, -1))


def test_a_sheet_is_rows_of_images() -> None:
    rows = [torch.rand(3, 3, 4, 5), torch.rand(3, 1, 4, 5)]
    picture = sheet(rows)
    assert torch.equal(picture[:, :4, 5:10], rows[0][1]) and torch.equal(
        picture[:, 4:, 10:], rows[1][2].expand(3, 4, 5)
    )


def test_fine_tuning_takes_the_encoder_over_and_nothing_else(tmp_path: Path) -> None:
    pretrained = built()
    with torch.no_grad():
        for parameter in pretrained.parameters():
            parameter.add_(0.01)
    save_weights(tmp_path / "weights.safetensors", pretrained, {"seed": 0})
    detector = AuraNet(config(pretraining=False))
    report = detector.load_backbone(tmp_path / "weights.safetensors")
    ours, theirs = detector.encoder.state_dict(), pretrained.encoder.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert len(report.loaded) == len([n for n in ours if not n.endswith("num_batches_tracked")]) or not report.missing
    assert all(name.startswith("encoder.") for name in report.loaded)
    assert any("image_decoder" in name for name in report.unused) and str(report).startswith(str(len(report.loaded)))


def test_impossible_settings_are_refused() -> None:
    for changes, says in (
        ({"hidden_ratio": 1.0}, "hidden_ratio"),
        ({"hidden_patch": 4}, "hidden_patch"),
        ({"hidden_patch": 48}, "divide view.size 128"),
    ):
        with pytest.raises(ValueError, match=says):
            config(**changes)
    assert dataclasses.replace(config(hidden_patch=32), pretraining=False).hidden_patch == 32
    with pytest.raises(SizeError, match="32-pixel") as caught:
        built().forward_train(dataclasses.replace(batch(), image=torch.rand(4, 3, 100, 100)))
    assert isinstance(caught.value, UnmaskError)


@pytest.mark.slow
def test_it_learns() -> None:
    """A few dozen steps on four images: what is hidden is restored better than by the mean, the mask is found."""
    detector = built(decoder_embed_dim=32, projection_dim=16).train()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=4e-3)
    first: dict[str, float] = {}
    for step in range(50):
        torch.manual_seed(step % 4)
        optimizer.zero_grad()
        total, parts = Criterion(LOSSES)(detector.forward_train(batch()), batch())
        total.backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 5.0)
        optimizer.step()
        values = {name: float(value) for name, value in parts.items()}
        first = first or values
    assert values["reconstruction"] < 0.8 * first["reconstruction"], (first, values)
    assert values["mask_l1_ssim"] < 0.7 * first["mask_l1_ssim"] and values["supcon"] < 0.9 * first["supcon"]
