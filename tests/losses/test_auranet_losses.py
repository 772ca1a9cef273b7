"""The losses of AuraNet's plan, each against the library or paper that defines it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from unmask.core.errors import ConfigError, TrainingError
from unmask.core.types import Batch, DetectorOutput, Sample, collate
from unmask.losses import Criterion
from unmask.losses.embedding import supcon
from unmask.losses.image import reconstruction
from unmask.losses.label import am_softmax, bce
from unmask.losses.mask import mask_l1_ssim


def labelled(labels: list[int], masks: list[torch.Tensor | None] | None = None, side: int = 32) -> Batch:
    masks = masks or [None] * len(labels)
    return collate([Sample(torch.zeros(3, side, side), y, mask=m) for y, m in zip(labels, masks, strict=True)])


def soft_mask(seed: int, side: int = 32) -> torch.Tensor:
    noise = torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, size=(side, side), mode="bicubic").clamp(0, 1)[0]


# Label: additive margin --------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), margin=st.floats(0, 0.8), scale=st.floats(1, 64))
@settings(max_examples=30, deadline=None)
def test_am_softmax_is_cosface_on_two_unit_class_vectors(seed: int, margin: float, scale: float) -> None:
    from pytorch_metric_learning.losses import CosFaceLoss

    generator = torch.Generator().manual_seed(seed)
    embeddings, labels = torch.randn(16, 8, generator=generator), [0, 1] * 8
    reference = CosFaceLoss(num_classes=2, embedding_size=8, margin=margin, scale=scale)
    with torch.no_grad():
        reference.W.copy_(F.normalize(torch.randn(8, 2, generator=generator), dim=0))
        cosines = F.normalize(embeddings) @ reference.W
        logits = scale * (cosines[:, 1] - cosines[:, 0])
        expected = reference(embeddings, torch.tensor(labels))
        ours = am_softmax(DetectorOutput(logits), labelled(labels), margin=margin, scale=scale)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_am_softmax_without_a_margin_is_cross_entropy_and_with_one_is_more() -> None:
    output, batch = DetectorOutput(torch.randn(8) * 10), labelled([0, 1] * 4)
    torch.testing.assert_close(am_softmax(output, batch, margin=0.0), bce(output, batch))
    assert float(am_softmax(output, batch)) > float(bce(output, batch))
    none = DetectorOutput(torch.zeros(2))
    assert float(am_softmax(none, labelled([0, 1]))) == pytest.approx(np.log1p(np.exp(10.5)), rel=1e-6)


# Mask: L1 and structure --------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 1000), spread=st.floats(0.1, 6))
@settings(max_examples=15, deadline=None)
def test_mask_l1_ssim_equals_scikit_image(seed: int, spread: float) -> None:
    """scikit-image leaves a rim of 5 pixels out; padding by reflection first makes its mean the one over all pixels."""
    skimage = pytest.importorskip("skimage.metrics")
    truth = [torch.zeros(1, 32, 32), soft_mask(seed)]
    logits = spread * torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(seed))
    ours = mask_l1_ssim(DetectorOutput(torch.zeros(2), logits), labelled([0, 1], truth))
    p, m = logits.double().sigmoid()[:, 0].numpy(), torch.cat(truth).double().numpy()
    padded = [np.pad(x, ((0, 0), (5, 5), (5, 5)), mode="reflect") for x in (p, m)]
    ssim = [
        skimage.structural_similarity(a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1)
        for a, b in zip(*padded, strict=True)
    ]
    expected = 0.85 * np.abs(p - m).mean() + 0.15 * (1 - np.mean(ssim))
    assert float(ours) == pytest.approx(expected, abs=2e-6)


def test_mask_l1_ssim_is_zero_only_for_the_truth_and_reads_known_masks_only() -> None:
    truth = (soft_mask(1) > 0.5).float()
    batch = labelled([0, 1, 1], [torch.zeros_like(truth), truth, None])
    right = (torch.cat([torch.zeros_like(truth), truth, truth])[:, None] * 2 - 1) * 40
    logits = right.clone().requires_grad_()
    loss = mask_l1_ssim(DetectorOutput(torch.zeros(3), logits), batch)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    logits = torch.randn(3, 1, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(mask_l1_ssim(DetectorOutput(torch.zeros(3), logits), batch), logits)
    assert gradient[2].abs().sum() == 0 and bool((gradient[:2].abs().flatten(1).sum(1) > 0).all())


def test_a_real_image_is_taught_to_be_clean() -> None:
    """An empty mask is a target like any other: what is predicted costs structure as well as L1."""
    batch = labelled([0], [torch.zeros(1, 32, 32)])
    faint, clean = (DetectorOutput(torch.zeros(1), torch.full((1, 1, 32, 32), x)) for x in (-3.0, -9.0))
    assert float(mask_l1_ssim(faint, batch)) > 0.15 and float(mask_l1_ssim(clean, batch)) < 0.001


def test_mask_l1_ssim_gradient_agrees_with_finite_differences() -> None:
    batch = labelled([0, 1], [torch.zeros(1, 12, 12), soft_mask(2, 12)], side=12)
    batch = dataclasses.replace(batch, mask=batch.mask.double())
    logits = torch.randn(2, 1, 12, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: mask_l1_ssim(DetectorOutput(torch.zeros(2), x), batch), logits)


# Embedding: supervised contrast ------------------------------------------------------------------------------------


def khosla(embedding: torch.Tensor, labels: list[int], temperature: float) -> float:
    """L_out of the paper, written with loops; the mean over anchors that have a positive."""
    z = F.normalize(embedding.double()).numpy()
    losses = []
    for i, label in enumerate(labels):
        others = [j for j in range(len(labels)) if j != i]
        positives = [j for j in others if labels[j] == label]
        if positives:
            bottom = np.log(sum(np.exp(z[i] @ z[j] / temperature) for j in others))
            losses.append(-np.mean([z[i] @ z[j] / temperature - bottom for j in positives]))
    return float(np.mean(losses))


@given(seed=st.integers(0, 1000), labels=st.lists(st.integers(0, 1), min_size=3, max_size=12))
@settings(max_examples=30, deadline=None)
def test_supcon_is_the_papers_loss(seed: int, labels: list[int]) -> None:
    embedding = torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(seed))
    output = DetectorOutput(torch.zeros(len(labels)), embedding=embedding)
    if len(set(labels)) < 2:
        with pytest.raises(TrainingError, match="of the other"):
            supcon(output, labelled(labels, side=4))
        return
    ours = float(supcon(output, labelled(labels, side=4)))
    assert ours == pytest.approx(khosla(embedding, labels, 0.1), rel=1e-4, abs=1e-6)


def test_supcon_without_a_positive_pair_says_what_to_do() -> None:
    output = DetectorOutput(torch.zeros(2), embedding=torch.randn(2, 4))
    with pytest.raises(TrainingError, match="1 real and 1 fake; raise batch_size") as caught:
        supcon(output, labelled([0, 1]))
    assert caught.value.code == "no_positive_pair"
    with pytest.raises(ConfigError, match="embedding"):
        supcon(DetectorOutput(torch.zeros(2)), labelled([0, 1]))


def test_supcon_pulls_classes_together() -> None:
    labels = [0, 1] * 4
    apart = torch.eye(2).repeat(4, 1)
    mixed = torch.eye(2).repeat_interleave(4, 0)
    near, far = (supcon(DetectorOutput(torch.zeros(8), embedding=e), labelled(labels)) for e in (apart, mixed))
    assert float(near) < float(far)


def test_supcon_is_computed_in_float32() -> None:
    embedding = torch.randn(4, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = Criterion({"supcon": 1.0})(
            DetectorOutput(torch.zeros(4), embedding=embedding), labelled([0, 1, 0, 1])
        )
    assert total.dtype == torch.float32
    assert float(total) == pytest.approx(khosla(embedding.float(), [0, 1, 0, 1], 0.1), rel=1e-4)


_TWO = """
import sys
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from unmask.core.errors import TrainingError
from unmask.core.types import DetectorOutput, Sample, collate
from unmask.losses.embedding import supcon

rank, folder = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
generator = torch.Generator().manual_seed(0)
x, labels = torch.randn(7, 5, generator=generator), [0, 1, 0, 1, 1, 1, 0]
net = torch.nn.Linear(5, 3)
with torch.no_grad():
    net.weight.copy_(torch.randn(3, 5, generator=generator))
    net.bias.zero_()
def batch(labels):
    return collate([Sample(torch.zeros(3, 4, 4), y) for y in labels])
mine = slice(0, 4) if rank == 0 else slice(4, 7)
wrapped = DistributedDataParallel(net)
loss = supcon(DetectorOutput(torch.zeros(1), embedding=wrapped(x[mine])), batch(labels[mine]))
loss.backward()
shared = net.weight.grad.clone(), float(loss.detach())
try:  # one image each, of different classes: both processes must fail, neither may wait for the other
    supcon(DetectorOutput(torch.zeros(1), embedding=wrapped(x[:1])), batch([rank]))
    raise SystemExit("no error")
except TrainingError as error:
    assert "1 real and 1 fake" in error.message, error.message
with torch.inference_mode():  # validation happens in one process alone
    if rank == 0:
        supcon(DetectorOutput(torch.zeros(1), embedding=net(x)), batch(labels))
distributed.destroy_process_group()
net.zero_grad()
alone = supcon(DetectorOutput(torch.zeros(1), embedding=net(x)), batch(labels))
alone.backward()
torch.testing.assert_close(shared[0], net.weight.grad)
assert abs(shared[1] - float(alone)) < 1e-5
"""


def test_two_processes_share_their_embeddings(tmp_path: Path) -> None:
    """Gradient and loss of two unequal halves under distributed data parallel = those of the joint batch."""
    words = [sys.executable, "-c", _TWO]
    runs = [subprocess.Popen([*words, str(rank), str(tmp_path)], stderr=subprocess.PIPE, text=True) for rank in (0, 1)]
    for run in runs:
        assert run.communicate(timeout=120)[1] is not None
        assert run.returncode == 0


# Images: what was hidden -------------------------------------------------------------------------------------------


def test_reconstruction_reads_hidden_pixels_only() -> None:
    restored, target = torch.randn(2, 3, 8, 8, requires_grad=True), torch.randn(2, 3, 8, 8)
    hidden = torch.zeros(2, 1, 8, 8)
    hidden[0, :, :4] = 1
    aux = {"reconstruction": restored, "target": target, "hidden": hidden}
    loss = reconstruction(DetectorOutput(torch.zeros(2), aux=aux), labelled([0, 1], side=8))
    torch.testing.assert_close(loss, F.mse_loss(restored[0, :, :4], target[0, :, :4]))
    (gradient,) = torch.autograd.grad(loss, restored)
    assert float((gradient * (1 - hidden)).abs().sum()) == 0
    nothing = DetectorOutput(torch.zeros(2), aux=aux | {"hidden": torch.zeros_like(hidden)})
    assert float(reconstruction(nothing, labelled([0, 1], side=8)).detach()) == 0


def test_reconstruction_without_an_image_decoder_says_so() -> None:
    with pytest.raises(ConfigError, match="pretraining"):
        reconstruction(DetectorOutput(torch.zeros(2)), labelled([0, 1]))


def test_heavy_libraries_are_imported_by_the_terms_that_use_them() -> None:
    code = (
        "import sys, unmask.losses; "
        "assert not {'pytorch_metric_learning', 'torchmetrics', 'sklearn', 'lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
