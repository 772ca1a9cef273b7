"""A detector that answers for the whole and for its regions: both are told, and whether they agree."""

from __future__ import annotations

import dataclasses
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut
from test_judge import BIG, OTHER, bench, codes, member, picture, said

from unmask.analysis.analyzer import load_analyzer
from unmask.analysis.judge import judge
from unmask.core.types import Face
from unmask.detectors.scoring import score_images
from unmask.detectors.weights import save_weights
from unmask.detectors.zoo import create_detector
from unmask.reports.verdict_report import VerdictReport

FACE = Face((181.1, 62.2, 267.7, 172.1))


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([[0.9, 0.2], [0.1, 0.1]], True),  # of the view with the highest logit
        ([[0.9, 0.8], [0.1, 0.9]], False),
    ],
)
def test_the_reason(parts: list[list[float]], told: bool) -> None:
    who = member("both")
    result = dataclasses.replace(said(who, [BIG, OTHER], [3.0, -3.0]), view_parts=np.array(parts, np.float32))
    verdict = judge(bench(who), "a.jpg", picture(), (BIG, OTHER), [result])[0]
    assert ("disagreement" in codes(verdict.reasons)) == told
    silent = judge(bench(who), "a.jpg", picture(), (BIG,), [said(who, [BIG], [3.0])])[0]
    assert silent.verdict == verdict.verdict and "disagreement" not in codes(silent.reasons)


def test_both_answers_stand_beside_the_face(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights, photo = tmp_path / "cascade.safetensors", tmp_path / "a.png"
    detector = create_detector("clmf_tiny").eval()
    calibration = {"calibration": {"scale": 1.0, "offset": 0.0}}
    save_weights(weights, detector, calibration | {"thresholds": {"fake": 0.9, "real": 0.1, "mask": 0.5}})
    Image.fromarray(astronaut()).save(photo)
    scored = score_images(detector, [astronaut()], [[FACE]])[0]
    assert scored.view_parts is not None and scored.view_parts.shape == (1, 2)
    logits = np.log(scored.view_parts / (1 - scored.view_parts))
    np.testing.assert_allclose(logits.mean(1), scored.view_logits, atol=1e-4)
    analyzer = load_analyzer(weights, device="cpu")
    report = VerdictReport(
        tmp_path / "report", analyzer.members, analyzer.bench.name, analyzer.bench.thresholds, "0" * 64
    )
    for result in analyzer.examine([photo], {str(photo): [FACE]}):
        report.add(*result)
    report.close()
    page = unescape(report.page.read_text(encoding="utf-8"))
    whole, regions = scored.view_parts[0]
    told = f"'clmf_tiny', before calibration: the whole is fake with {whole:.2f}, one of its regions with {regions:.2f}"
    assert told in page and "suspected region" in page and "rare in this image" in page
