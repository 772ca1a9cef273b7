"""The baseline's own differences: inputs, padding, pooling, freezing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from unmask.core.errors import ConfigError
from unmask.detectors.zoo import create_detector

RESNET = Path(os.environ.get("UNMASK_DATA", "")) / "backbones/resnetv2_50_stem_norm.gluon_in1k_stages123.safetensors"


@pytest.mark.parametrize(
    "fields",
    [
        {"backbone": "resnetv2_50_stem_norm", "stages": 2},
        {"backbone": "resnetv2_50_stem_norm", "stages": 3, "frozen_stages": 3, "pooling": "gap+mask"},
        {"residual": "srm", "stages": 2},
        {"residual": "npr", "stages": 2},
        {"residual": "npr", "rgb": False, "stages": 2, "decoder": "none"},
        {"residual": "srm", "rgb": False, "stages": 2},
        {"backbone": "convnext_atto", "stages": 3},
    ],
)
def test_variants_learn_in_every_trainable_parameter(fields: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = create_detector("baseline", **fields).train()
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    output = model(torch.rand(2, 3, 70, 64))
    loss = output.logits.square().sum() + (0 if output.mask_logits is None else output.mask_logits.square().mean())
    loss.backward()
    assert not [n for n, p in trainable.items() if p.grad is None or not p.grad.any()]
    assert model.evidence(torch.rand(2, 3, 70, 64)).keys() == ({fields["residual"]} if "residual" in fields else set())


def test_padding_changes_nothing_inside() -> None:
    """A size the stride divides gives what it gave; a mask has its image's size either way."""
    torch.manual_seed(0)
    model = create_detector("baseline", stages=3).eval()
    image = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        whole = model(image)
        padded = model(torch.nn.functional.pad(image[..., :72, :72], (0, 8, 0, 8), mode="reflect"))
        cropped = model(image[..., :72, :72])
    assert whole.mask_logits.shape == (1, 1, 96, 96) and cropped.mask_logits.shape == (1, 1, 72, 72)
    torch.testing.assert_close(cropped.mask_logits, padded.mask_logits[..., :72, :72])
    torch.testing.assert_close(cropped.logits, padded.logits)


def test_mask_pooling_ties_the_score_to_the_mask() -> None:
    torch.manual_seed(0)
    model = create_detector("baseline", stages=2, pooling="gap+mask").eval()
    model.head.weight.data.zero_()
    model.head.weight.data[:, -3:] = 1.0
    model.decoder.predict.weight.data.zero_()
    scores = []
    for bias in (-4.0, 0.0, 4.0):
        model.decoder.predict.bias.data.fill_(bias)
        scores.append(float(model(torch.rand(1, 3, 64, 64)).logits.detach()))
    assert scores == sorted(scores) and scores[2] - scores[0] == pytest.approx(24, abs=1e-3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rgb": False}, "without an input"),
        ({"pooling": "gap+mask", "decoder": "none"}, "decoder='unet'"),
        ({"backbone": "mobilenetv9"}, "mobilenetv2"),
        ({"decoder": "unett"}, "nearest: unet"),
        ({"view.sise": 1}, "did you mean 'size'"),
    ],
)
def test_settings_that_contradict_or_do_not_exist(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_detector("baseline", **fields)


@pytest.mark.skipif(not RESNET.is_file(), reason="UNMASK_DATA with the pretrained backbones is not set")
def test_pretrained_mean_and_deviation_come_along() -> None:
    path = RESNET
    model = create_detector("baseline", backbone="resnetv2_50_stem_norm", stages=3)
    model.mean.zero_()
    report = model.load_backbone(path)
    assert len(report.loaded) == 203 and not report.unused
    assert model.mean.flatten().tolist() == pytest.approx([0.45222, 0.42571, 0.37757], abs=1e-5)
    assert model.std.flatten().tolist() == pytest.approx([0.28551, 0.27888, 0.28231], abs=1e-5)
    small = create_detector("baseline", backbone="resnetv2_50_stem_norm", stages=2).load_backbone(path)
    assert not [key for key in small.missing if not key.startswith("norm.")]
