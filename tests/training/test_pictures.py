"""Pictures of how training goes, the validation pass, and losses that a batch does not allow."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import TinyDetector, TinyStream, tiny_recipe
from torch import Tensor

from unmask.core.types import Batch, DetectorOutput
from unmask.losses import Criterion
from unmask.training.feed import hold
from unmask.training.loop import Trainer
from unmask.training.pictures import write_picture
from unmask.training.validation import score

PLAIN = partial(torch.autocast, "cpu", enabled=False)
CPU = torch.device("cpu")


class Painter(TinyDetector):
    """Shows its first image over its mask, and counts how it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[bool] = []

    def training_pictures(self, batch: Batch) -> Tensor:
        self.asked.append(self.training or torch.is_grad_enabled())
        return torch.cat([batch.image[0], 2 * batch.mask[0].expand(3, -1, -1)], 1)


class Hider(TinyDetector):
    """Restores pixels: its loss reads what a plain forward does not give."""

    def forward_validate(self, batch: Batch) -> DetectorOutput:
        output = self(batch.image)
        hidden = torch.ones_like(batch.mask)
        aux = {"reconstruction": torch.zeros_like(batch.image), "target": batch.image, "hidden": hidden}
        return DetectorOutput(output.logits, output.mask_logits, aux=aux)


def test_a_picture_is_written_at_each_validation_and_only_where_there_is_one(tmp_path: Path) -> None:
    from lightning.fabric import Fabric

    held = hold(TinyStream(seed=1), 12, 6, 0)
    for name, detector in (("painter", Painter()), ("tiny", TinyDetector())):
        out = tmp_path / name
        out.mkdir()
        Trainer(tiny_recipe(), detector, TinyStream(), held, out, Fabric(accelerator="cpu", devices=1)).fit()
    assert not (tmp_path / "tiny" / "pictures").exists()
    files = sorted((tmp_path / "painter" / "pictures").iterdir())
    assert [f.name for f in files] == ["step_10.png", "step_3.png", "step_6.png", "step_9.png"]


def test_the_picture_is_what_the_detector_shows(tmp_path: Path) -> None:
    batch = hold(TinyStream(seed=1), 4, 4, 0)[0]
    painter = Painter().train()
    file = write_picture(painter, batch, CPU, PLAIN, tmp_path, 7)
    assert file == tmp_path / "pictures" / "step_7.png" and painter.training and painter.asked == [False]
    with Image.open(file) as image:
        pixels = np.asarray(image)
    expected = (batch.image[0] * 255).round().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(pixels[:32], expected)
    assert pixels.shape == (64, 32, 3) and pixels[32:].max() == 0  # the first of a pair is real: an empty mask
    assert write_picture(TinyDetector(), batch, CPU, PLAIN, tmp_path / "no", 1) is None
    assert not (tmp_path / "no").exists()


def test_validation_computes_losses_that_read_more_than_the_image() -> None:
    batches = hold(TinyStream(seed=1), 8, 4, 0)
    scored = score(Hider(), batches, Criterion({"reconstruction": 1.0}), CPU, PLAIN)
    expected = np.mean([float(batch.image.square().mean()) for batch in batches])
    assert scored.loss == pytest.approx(expected, rel=1e-5)


def test_a_last_batch_too_small_for_its_loss_counts_in_the_metrics_only() -> None:
    class Embedder(TinyDetector):
        def forward(self, image: Tensor) -> DetectorOutput:
            return super().forward(image)._replace(embedding=image.flatten(1)[:, :16])

    criterion = Criterion({"supcon": 1.0})
    detector, batches = Embedder(), hold(TinyStream(seed=1), 14, 12, 0)
    assert [len(batch) for batch in batches] == [12, 2]
    both, first = (score(detector, part, criterion, CPU, PLAIN) for part in (batches, batches[:1]))
    assert both.loss == pytest.approx(first.loss) and len(both.logits) == 14
    assert math.isnan(score(detector, batches[1:], criterion, CPU, PLAIN).loss)
