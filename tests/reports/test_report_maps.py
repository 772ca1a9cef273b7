"""What each kind of detector adds to the report: its own maps, a mask, or Grad-CAM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unmask.analysis.analyzer import load_analyzer
from unmask.detectors.weights import save_weights
from unmask.detectors.zoo import create_detector
from unmask.reports.verdict_page import panel

CASES: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "label only": ("mobilenet", {"view": {"size": 96}}, ["Grad-CAM"]),
    "a mask": ("baseline", {"view": {"size": 96}, "stages": 2}, []),
    "maps of its own": ("baseline", {"view": {"size": 96}, "stages": 2, "decoder": "none", "residual": "npr"}, ["npr"]),
    "tokens": ("fmca_net_tiny", {"view": {"size": 64}}, ["token weights", "frequency read"]),
}


@pytest.mark.parametrize(("name", "fields", "expected"), CASES.values(), ids=list(CASES))
def test_the_report_shows(
    name: str, fields: dict[str, Any], expected: list[str], portrait: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    save_weights(tmp_path / "w.safetensors", create_detector(name, **fields).eval())
    analyzer = load_analyzer(tmp_path / "w.safetensors", device="cpu")
    (verdict, evidence), *_ = analyzer.examine([portrait])
    assert evidence is not None and verdict.faces
    shown = panel(1, verdict, evidence).faces[0].maps
    own = {title.split(": ")[1]: caption for title, caption, _ in shown if ": " in title}
    assert list(own) == expected
    assert all(uri.startswith("data:image/png") for _, _, uri in shown)
    if "Grad-CAM" in own:
        assert "not a mask" in own["Grad-CAM"]
    assert not any(p.requires_grad and p.grad is not None for p in analyzer.members[0].detector.parameters())
    # the picture is the same every time
    again = panel(1, verdict, evidence).faces[0].maps
    assert [uri for *_, uri in again] == [uri for *_, uri in shown]
    assert np.isfinite(verdict.score or 0.0)
