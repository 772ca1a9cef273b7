"""Far from everything known to be real, and nothing known to be fake: no verdict."""

from __future__ import annotations

import dataclasses
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_judge import BIG, OTHER, bench, codes, member, picture, said

from unmask.analysis.analyzer import load_analyzer
from unmask.analysis.judge import judge
from unmask.core.errors import WeightsError
from unmask.core.types import Face
from unmask.data.views import views
from unmask.detectors.weights import save_weights
from unmask.detectors.zoo import create_detector
from unmask.reports.evidence import Member
from unmask.reports.verdict_report import VerdictReport


def remembering(far: float | None, **changes: Any) -> Member:
    return dataclasses.replace(member("both", **changes), far=far)


def judged(who: Member, faces: list[Face], logits: list[float], nearest: list[float]) -> Any:
    values = np.array([[d, d + 0.1] for d in nearest], np.float32)
    result = dataclasses.replace(said(who, faces, logits), view_nearest=values)
    return judge(bench(who), "a.jpg", picture(), tuple(faces), [result])[0]


@pytest.mark.parametrize(
    ("logit", "distance", "far", "expected", "told"),
    [
        (-5.0, 0.9, 0.7, "uncertain", True),  # far and not known to be fake
        (0.0, 0.9, 0.7, "uncertain", True),  # uncertain anyway, and the reason is given
        (5.0, 0.9, 0.7, "fake", False),  # known to be fake
        (-5.0, 0.7, 0.7, "real", False),  # as near as real photos are
        (-5.0, 0.9, None, "real", False),  # validation could not settle what is far
    ],
)
def test_the_rule(logit: float, distance: float, far: float | None, expected: str, told: bool) -> None:
    verdict = judged(remembering(far), [BIG], [logit], [distance])
    assert verdict.verdict == expected == verdict.faces[0].verdict
    assert ("out_of_domain" in codes(verdict.reasons)) == told
    assert not told or ("0.90" in verdict.reasons[0] and "0.70" in verdict.reasons[0])


def test_one_strange_face_leaves_the_others_their_verdict() -> None:
    verdict = judged(remembering(0.7), [BIG, OTHER], [-5.0, -5.0], [0.3, 0.9])
    assert [face.verdict for face in verdict.faces] == ["real", "uncertain"] and verdict.verdict == "uncertain"


def test_native_squares_count_by_their_mean() -> None:
    for nearest, expected in (([0.5, 0.8], "real"), ([0.7, 0.8], "uncertain")):
        verdict = judged(remembering(0.7, kind="native"), [BIG], [-5.0, -5.0], nearest)
        assert verdict.verdict == expected


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, portrait: Path) -> Path:
    """A small DCR-Net that remembers the portrait and calls nothing fake."""
    torch.manual_seed(0)
    detector = create_detector(
        "dcr_net_tiny", stages=1, hidden=16, heads=2, bank=4, top_k=2, view={"size": 64, "margin": 1.3}
    ).eval()
    found = load_analyzer_faces(portrait)
    pixels = views(np.asarray(Image.open(portrait)), found, detector.config.view)[0].pixels
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div(255)[None]
    detector.prepare(torch.cat([image, image.flip(3)]))
    path = tmp_path_factory.mktemp("remembering") / "dcr.safetensors"
    thresholds = {"fake": 0.99, "real": 0.98, "distance": 0.05, "distance_point": {"n": 300}}
    save_weights(path, detector, {"thresholds": thresholds, "calibration": {"offset": -9.0}})
    return path


def load_analyzer_faces(portrait: Path) -> list[Face]:
    from unmask.data.faces import FaceFinder

    return FaceFinder().find([np.asarray(Image.open(portrait))])[0]


def test_from_a_file_to_the_reason_and_the_report(weights: Path, portrait: Path, tmp_path: Path) -> None:
    strange = tmp_path / "strange.png"
    with Image.open(portrait) as image:
        Image.fromarray(255 - np.asarray(image)[:, :, ::-1] // 2).save(strange)
    analyzer = load_analyzer(weights, device="cpu")
    faces = {str(p): load_analyzer_faces(portrait) for p in (portrait, strange)}
    analyzer_bench = analyzer.bench
    report = VerdictReport(
        tmp_path / "report", analyzer.members, analyzer_bench.name, analyzer_bench.thresholds, "0" * 64
    )
    known, odd = (report.add(*result) for result in analyzer.examine([portrait, strange], faces))
    report.close()
    assert known.verdict == "real" and "out_of_domain" not in codes(known.reasons)
    assert odd.verdict == "uncertain" and "out_of_domain" in codes(odd.reasons)
    page = unescape(report.page.read_text(encoding="utf-8"))
    assert page.count("Distances to the nearest real photos that 'dcr_net' remembers, 0 to 2: 0.00, ") == 1
    assert "rarely farther than 0.05" in page and "difference from real" in page and "nearest reals" in page


def test_a_distance_that_cannot_be_is_a_bad_card(weights: Path, tmp_path: Path) -> None:
    for file in (weights, weights.with_suffix(".json")):
        shutil.copy(file, tmp_path / file.name)
    card = tmp_path / weights.with_suffix(".json").name
    card.write_text(card.read_text().replace('"distance": 0.05', '"distance": 2.5'))
    with pytest.raises(WeightsError, match="within \\[0, 2\\]"):
        load_analyzer(tmp_path / weights.name)
