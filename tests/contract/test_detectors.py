"""Every promise of the contract, over every detector of the zoo."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from unmask.core.errors import SizeError
from unmask.core.types import DetectorOutput
from unmask.detectors.base import AnyDetector
from unmask.detectors.weights import load_weights, save_weights
from unmask.detectors.zoo import ZOO, create_detector

# What makes each design small and quick; sizes, layers and heads stay what they are.
SMALL: dict[str, dict[str, Any]] = {
    "attention_npr": {"view": {"size": 64}},
    "npr": {"view": {"size": 64}},
    "residual_cnn": {"view": {"size": 64}, "width": 16},
    "residual_unet": {"view": {"size": 64}, "blocks": 1, "dropout": 0.0},
    "baseline": {"view": {"size": 64}, "pooling": "gap+mask", "dropout": 0.0},
    "xception": {"view": {"size": 64}, "dropout": 0.0},
    "efficientnet": {"view": {"size": 64}, "dropout": 0.0},
    "mobilenet": {"view": {"size": 64}, "dropout": 0.0},
    "dcr_net": {"view": {"size": 64}, "bank": 16, "dropout": 0.0},
    "dcr_net_tiny": {"view": {"size": 64}, "bank": 16, "dropout": 0.0},
    "fmca_net": {"view": {"size": 56}, "vit_width": 96, "vit_depth": 2, "sfcm_dropout": 0.0, "dropout": 0.0},
    "fmca_net_tiny": {"view": {"size": 64}, "sfcm_dropout": 0.0, "dropout": 0.0},
    "auranet": {  # two of its stages: all four are the tiny one's
        "view": {"size": 64},
        "dims": (16, 32),
        "depths": (1, 1),
        "num_haft_levels": (3, 2),
        "attention": ("deformable", "global"),
        "decoder_embed_dim": 96,
        "dropout": 0.0,
    },
    "auranet_tiny": {"view": {"size": 64}, "dropout": 0.0},
    "clmf": {  # the first stages of its own networks
        "view": {"size": 64},
        "streams": (
            {"map": "rgb", "backbone": "Xception", "stages": 2},
            {"map": "lbp", "backbone": "MobileNet", "stages": 2},
            {"map": "dct", "backbone": "coatnet_pico_rw_224", "stages": 2},
        ),
        "dim": 64,
        "dropout": 0.0,
    },
    "clmf_tiny": {"view": {"size": 64}, "dropout": 0.0},
    "temporal": {"view": {"size": 64, "frames": 3}, "stages": 2, "width": 16, "dropout": 0.0},
    "temporal_tiny": {"view": {"size": 64, "frames": 2}, "dropout": 0.0},
    "fused": {
        "view": {"size": 64},
        "maps": ("rgb", "npr"),
        "descriptors": ("npr",),
        "width": 8,
        "dim": 16,
        "dropout": 0.0,
    },
    "meso4": {"dropout": 0.0},
    "mesoinception4": {"dropout": 0.0},
}


HEAVY = {"auranet_tiny", "clmf", "dcr_net", "fmca_net", "temporal"}
"""Exported by `pytest -m slow` alone: half a minute or more each, and another name of the same class is exported."""


def eight_images(side: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Smooth images, every second one with a rough square: images, labels, masks."""
    random = torch.Generator().manual_seed(7)
    images = F.interpolate(torch.rand(8, 3, 6, 6, generator=random), size=(side, side), mode="bilinear")
    masks, labels = torch.zeros(8, 1, side, side), torch.tensor([0.0, 1.0] * 4)
    for i in range(1, 8, 2):
        top, left, edge = side // 8 * (i % 3), side // 8 * (i % 4), side // 2
        masks[i, :, top : top + edge, left : left + edge] = 1
    rough = 0.5 * torch.rand(8, 3, side // 4, side // 4, generator=random).repeat_interleave(4, 2).repeat_interleave(
        4, 3
    )
    return (images * (1 - masks) + (0.5 * images + rough) * masks).clamp(0, 1), labels, masks


def eight_inputs(detector: AnyDetector) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the detector takes: :func:`eight_images`, or clips whose frames show these, every second one getting darker
    in its rough square from frame to frame."""
    shape = detector.input_shape()
    images, labels, masks = eight_images(shape[-1])
    if detector.input_kind == "clip":
        fading = torch.linspace(0, 1, shape[0]).view(-1, 1, 1, 1)  # (T, 1, 1, 1)
        images = images[:, None] * (1 - masks[:, None] * fading)
    return images, labels, masks


def objective(output: DetectorOutput, labels: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    loss = F.binary_cross_entropy_with_logits(output.logits, labels)
    if output.mask_logits is not None:
        loss = loss + F.binary_cross_entropy_with_logits(output.mask_logits, masks)
    return loss


@dataclass
class Case:
    name: str
    losses: list[float] = field(default_factory=list)

    @cached_property
    def fresh(self) -> AnyDetector:
        torch.manual_seed(0)
        detector = create_detector(self.name, **SMALL[self.name])
        detector.prepare(eight_inputs(detector)[0][::2])  # the real ones: some designs must know real images first
        return detector

    @cached_property
    def inputs(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return eight_inputs(self.fresh)

    @property
    def images(self) -> torch.Tensor:
        return self.inputs[0]

    @cached_property
    def trained(self) -> AnyDetector:
        """Fitted to eight images: real weights and real batch-norm statistics for the tests of eval mode."""
        detector = copy.deepcopy(self.fresh).train()
        images, labels, masks = self.inputs
        parameters = [p for p in detector.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.0)
        for _ in range(80):
            loss = objective(detector(images), labels, masks)
            self.losses.append(loss.item())
            if self.losses[-1] < 0.05 * (1 + detector.localizes):
                break
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 5.0)
            optimizer.step()
        return detector.eval()


@pytest.fixture(scope="module", params=sorted(ZOO))
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def run(detector: AnyDetector, images: torch.Tensor) -> DetectorOutput:
    with torch.no_grad():
        output: DetectorOutput = detector(images)
    return output


def check_shapes(detector: AnyDetector, output: DetectorOutput, batch: int, height: int, width: int) -> None:
    assert output.logits.shape == (batch,)
    assert (output.mask_logits is not None) == detector.localizes
    if output.mask_logits is not None:
        assert output.mask_logits.shape == (batch, 1, height, width)
    if output.embedding is not None:
        assert output.embedding.ndim == 2 and output.embedding.shape[0] == batch
    for value in (output.logits, output.mask_logits, output.embedding):
        assert value is None or torch.isfinite(value).all()


def test_every_declared_size_and_a_clear_error_otherwise(case: Case) -> None:
    detector = copy.deepcopy(case.fresh).eval()
    rule = detector.size_rule
    if rule.fixed:
        good, bad = (
            [(rule.fixed, rule.fixed)],
            [(rule.fixed // 2, rule.fixed), (rule.fixed + rule.multiple, rule.fixed)],
        )
    else:
        least, step = -(-rule.minimum // rule.multiple) * rule.multiple, rule.multiple
        good = [(least, least), (least + step, least + 7 * step), (least + 33 * step, least)]
        bad = [(least - step, least)] + ([(least + 1, least)] if step > 1 else [])
    for height, width in good:
        images = torch.rand(1, *detector.input_shape(height, width))
        check_shapes(detector, run(detector, images), 1, height, width)
    for height, width in bad:
        with pytest.raises(SizeError, match=f"{height}x{width}"):
            detector(torch.rand(1, *detector.input_shape(height, width)))
    with pytest.raises(SizeError, match="shape"):
        detector(torch.rand(*detector.input_shape(*good[0])))


def test_every_declared_number_of_frames_and_a_clear_error_otherwise(case: Case) -> None:
    detector = copy.deepcopy(case.fresh).eval()
    assert (detector.size_rule.frames is not None) == (detector.input_kind == "clip")
    *frames, channels, height, width = case.images.shape[1:]
    assert len(frames) == (detector.input_kind == "clip") and channels == 3
    if detector.size_rule.frames is None:
        with pytest.raises(SizeError, match="shape"):
            detector(torch.rand(1, 2, 3, height, width))
        return
    least, most = detector.size_rule.frames
    for count in (least, most):
        check_shapes(detector, run(detector, torch.rand(1, count, 3, height, width)), 1, height, width)
    for count, code in ((least - 1, "needs_frames"), (most + 1, "bad_size")):
        with pytest.raises(SizeError, match=f"{least} to {most} frames, got {count}") as caught:
            detector(torch.rand(1, count, 3, height, width))
        assert caught.value.code == code
    with pytest.raises(SizeError, match="clips of shape") as caught:
        detector(torch.rand(1, 3, height, width))
    assert caught.value.code == "needs_frames"


def test_gradient_reaches_every_trainable_parameter_within_three_steps(case: Case) -> None:
    detector = copy.deepcopy(case.fresh).train()
    images, labels, masks = case.inputs
    trainable = {name: p for name, p in detector.named_parameters() if p.requires_grad}
    grouped = [p for group in detector.parameter_groups().values() for p in group]
    assert sorted(map(id, grouped)) == sorted(map(id, trainable.values())), "parameter_groups must cover each once"
    optimizer = torch.optim.SGD(trainable.values(), lr=1e-2)
    untouched = set(trainable)
    for _ in range(3):
        optimizer.zero_grad(set_to_none=True)
        objective(detector(images), labels, masks).backward()
        optimizer.step()
        untouched -= {name for name, p in trainable.items() if p.grad is not None and bool((p.grad != 0).any())}
    assert not untouched


def test_fits_eight_images(case: Case) -> None:
    detector = case.trained
    assert case.losses[-1] < 0.05 * (1 + detector.localizes), f"losses went {case.losses[:3]} ... {case.losses[-3:]}"
    height, width = case.images.shape[-2:]
    check_shapes(detector, run(detector, case.images), 8, height, width)


def test_eval_is_deterministic_and_images_do_not_mix(case: Case) -> None:
    images = case.images
    before = {key: value.clone() for key, value in case.trained.state_dict().items()}
    first, second = run(case.trained, images), run(case.trained, images)
    assert torch.equal(first.logits, second.logits)
    alone = torch.cat([run(case.trained, image[None]).logits for image in images])
    torch.testing.assert_close(alone, first.logits, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in case.trained.state_dict().items())


def test_checkpoint_round_trip(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    saved = save_weights(file, case.trained, {"seed": 0, "calibration": {"scale": 2.0, "offset": -1.0}})
    detector, card = load_weights(file)
    assert card == saved and type(detector) is type(case.trained) and detector.config == case.trained.config
    ours, theirs = run(case.trained, case.images), run(detector, case.images)
    assert torch.equal(ours.logits, theirs.logits)
    assert ours.mask_logits is None or torch.equal(ours.mask_logits, theirs.mask_logits)


def check_onnx_parity(case: Case, folder: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from unmask.export.onnx import export_onnx

    certificate = export_onnx(case.trained, folder / "model.onnx", dynamic=True)
    assert certificate.verdict == "PASS", certificate.outputs
    assert list(certificate.outputs) == ["logits", "mask_logits"][: 1 + case.trained.localizes]
    assert not case.trained.training


def test_onnx_parity(case: Case, tmp_path: Path) -> None:
    if case.name in HEAVY:
        pytest.skip("a sibling of the same class is exported here; `pytest -m slow` exports this one, too")
    check_onnx_parity(case, tmp_path)


@pytest.mark.slow
def test_onnx_parity_of_the_heavy(case: Case, tmp_path: Path) -> None:
    if case.name not in HEAVY:
        pytest.skip("exported without the mark")
    check_onnx_parity(case, tmp_path)


def test_evidence_and_departures_are_presentable(case: Case) -> None:
    for name, shown in case.fresh.evidence(case.images[:2]).items():
        assert name and shown.shape[:2] in ((2, 1), (2, 3)), name
        assert float(shown.min()) >= 0 and float(shown.max()) <= 1, name
    assert all(isinstance(sentence, str) and sentence for sentence in case.fresh.departures())
