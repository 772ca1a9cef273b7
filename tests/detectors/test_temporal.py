"""What is the clip detectors' own: both heads, any number of frames, no single image."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from unmask.cli.main import main
from unmask.core.errors import ConfigError
from unmask.detectors.scoring import score_images
from unmask.detectors.temporal import Temporal, TemporalConfig
from unmask.detectors.temporal.heads import LSTMHead
from unmask.detectors.weights import save_weights
from unmask.detectors.zoo import create_detector
from unmask.metrics.image import auc, split_scores

SMALL = {"view": {"size": 64, "frames": 3}, "stages": 1, "width": 8, "dropout": 0.0}


HEADS = [("lstm", "steps"), ("lstm", "frames"), ("graph", "steps")]


def small(head: str, **changes: object) -> Temporal:
    torch.manual_seed(0)
    detector = create_detector("temporal_tiny", head=head, **(SMALL | changes))
    assert isinstance(detector, Temporal)
    return detector


def moving(batch: int = 2, frames: int = 5, side: int = 64) -> torch.Tensor:
    return torch.rand(batch, frames, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("head, reads", HEADS)
def test_frames_are_seen_one_by_one_and_read_together(head: str, reads: str) -> None:
    detector, clip = small(head, reads=reads).eval(), moving()
    with torch.no_grad():
        maps = detector.frame_features(clip)
        alone = [detector.frame_features(clip[:, [t, t]])[:, 0] for t in range(5)]
        torch.testing.assert_close(maps, torch.stack(alone, 1), rtol=1e-4, atol=1e-5)
        logits = detector(clip).logits
        shuffled = detector(clip[:, [2, 0, 4, 1, 3]]).logits
    assert not torch.allclose(logits, shuffled, atol=1e-6)  # the order of frames matters


@pytest.mark.parametrize("head, reads", HEADS)
def test_every_parameter_of_every_head_learns(head: str, reads: str) -> None:
    detector = small(head, reads=reads).train()
    detector(moving()).logits.square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in detector.head.parameters())
    assert set(detector.parameter_groups()) == {"backbone", "head"}


def test_the_graph_head_is_blind_to_a_still_clip_and_points_at_what_moves() -> None:
    detector = small("graph").eval()
    one = moving(2, 1)
    with torch.no_grad():
        stills = detector(one.expand(2, 4, 3, 64, 64))
        assert torch.allclose(stills.embedding[0], stills.embedding[1], atol=1e-4)  # whatever the picture
    clip = one[:1].repeat(1, 4, 1, 1, 1)
    clip[:, 2, :, 32:48, 16:32] = 0.0
    shown = detector.evidence(clip)["change between frames"]
    y, x = divmod(int(shown.argmax()), shown.shape[-1])
    scale = 64 // shown.shape[-1]
    assert 30 <= y * scale <= 50 and 14 <= x * scale <= 34
    assert small("lstm").evidence(clip) == {}


def learnt(reads: Literal["steps", "frames"]) -> float:
    """AUC over 120 new clips after 100 steps on maps (8, 8, 8): noise, and one place of fakes anew in every frame."""
    torch.manual_seed(0)
    label = (torch.arange(240) % 2).float()
    maps = torch.randn(240, 1, 8, 8, 8) + 0.15 * torch.randn(240, 6, 8, 8, 8)
    changes = torch.randn(240, 6, 8) * label.view(-1, 1, 1) + torch.randn(240, 1, 8) * (1 - label.view(-1, 1, 1))
    maps[torch.arange(240), :, :, torch.randint(8, (240,)), torch.randint(8, (240,))] = changes  # any frame looks alike
    head = LSTMHead(8, 8, 1, 0.0, reads)
    last = torch.nn.Linear(head.features, 1)
    optimizer = torch.optim.AdamW([*head.parameters(), *last.parameters()], lr=1e-2)
    for _ in range(100):
        chosen = torch.randint(120, (24,))
        logits = last(head(maps[chosen])).squeeze(1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, label[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        scores = last(head(maps[120:])).squeeze(1)
    return auc(split_scores(scores.numpy(), label[120:].numpy())).value


def test_the_lstm_learns_a_flicker_in_one_place_which_pooled_frames_hide() -> None:
    reached = {reads: learnt(reads) for reads in ("steps", "frames")}  # type: ignore[arg-type]
    assert reached["steps"] > 0.95 and reached["frames"] < 0.75, reached
    assert any("reads: frames" in line for line in small("lstm").departures())
    assert not any("reads: frames" in line for line in small("lstm", reads="frames").departures())


def test_settings_that_contradict_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"view\.frames must be 2"):
        create_detector("temporal_tiny", view={"frames": 1})
    with pytest.raises(ConfigError, match="most_frames=64"):
        create_detector("temporal", view={"frames": 65})
    with pytest.raises(ConfigError, match="layers"):
        create_detector("temporal", layers=0)
    assert TemporalConfig().backbone == "tf_efficientnetv2_b0"


def test_single_images_are_refused_with_a_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detector = small("graph")
    with pytest.raises(ConfigError, match="2 to 64 consecutive frames") as caught:
        score_images(detector, [np.zeros((64, 64, 3), np.uint8)], [[]])
    assert caught.value.code == "needs_frames"
    save_weights(tmp_path / "clips.safetensors", detector)
    Image.new("RGB", (80, 80)).save(tmp_path / "photo.png")
    words = [str(tmp_path / "photo.png"), "--detector", str(tmp_path / "clips.safetensors")]
    assert main(["detect", *words]) == 1  # a video of one frame
    said = capsys.readouterr()
    assert "needs_frames: it has 1 of the 3 frames" in said.out and "Traceback" not in said.err
    assert main(["detect", *words, "--stability"]) == 2
    assert "error [needs_frames]" in capsys.readouterr().err


def test_the_lstm_exports_with_any_batch(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from unmask.export.onnx import export_onnx

    certificate = export_onnx(small("lstm").eval(), tmp_path / "clips.onnx", dynamic=True)
    assert certificate.verdict == "PASS" and certificate.input_shape == ("batch", 3, 3, 64, 64)
