"""What ships: small enough, whole, with a card; and it still does what the model card says."""

from __future__ import annotations

import json
import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import unmask
from unmask.core.types import Face
from unmask.data.forgeries import forge
from unmask.detectors.weights import load_weights

ASSETS = Path(unmask.__file__).parent / "assets"


def test_the_package_stays_small_and_its_weights_say_where_they_come_from() -> None:
    shipped = sorted(ASSETS.glob("*.safetensors"))
    assert sum(path.stat().st_size for path in shipped) <= 16_000_000
    default = json.loads((ASSETS / "default.json").read_text())
    assert default["members"] and set(default["open"]) <= {"edited", "generated"}
    for name in default["members"]:
        _, card = load_weights(name)  # checks the hash
        assert card.command.startswith("unmask train configs/") and card.seed is not None
        assert set(card.data["sources"]) <= {
            "pif_cc0", "ciogov_cc0", "usds_cc0", "g18f_blog_cc0", "usdc_blog_cc0", "us_congress_pd",
            "section508_cc0", "pif_history_cc0", "census_coil_cc0", "ciogov_extra_cc0",
        }  # fmt: skip


def test_thresholds_carry_their_counts() -> None:
    card = json.loads((ASSETS / "default.json").read_text())
    thresholds = card["thresholds"]
    if card["open"]:  # "not edited" is not "real"
        assert thresholds["real"] is None and card["open"][0] in thresholds["doubt"]
    for name in ("fake", "real"):
        point = thresholds[f"{name}_point"]
        assert thresholds[name] is None or thresholds[name] == point["threshold"]
        assert point["threshold"] is None or (point["n"] and point["groups"] and point["high"] > point["rate"])
        assert point["threshold"] is not None or point["reason"]


def test_a_portrait_scores_below_its_forgeries_and_masks_lie_on_them(portrait_pixels: np.ndarray) -> None:
    analyzer = unmask.load(device="cpu")
    (face,) = analyzer.find_faces(portrait_pixels)
    real = analyzer(portrait_pixels).score
    assert real is not None and isinstance(face, Face)
    higher, overlaps = 0, []
    for kind, seed in product(("splice", "inpaint"), range(6)):
        forged = forge(kind, portrait_pixels, face, np.random.default_rng(seed))
        verdict, evidence = next(analyzer.examine([forged.image], None))
        assert evidence is not None and evidence.heatmap is not None and verdict.score is not None
        higher += verdict.score > real
        overlaps.append(roc_auc_score(forged.mask.ravel() > 0, evidence.heatmap.ravel()))
    assert higher >= 8
    assert np.median(overlaps) > 0.9


def test_local_edits_of_people_it_never_saw() -> None:
    root = Path(os.environ.get("UNMASK_DATA", "")) / "data" / "fixtures_pd_cc0"
    if "UNMASK_DATA" not in os.environ or not root.is_dir():
        pytest.skip("UNMASK_DATA with fixtures_pd_cc0 is not set")
    files = [(path, label) for label, name in enumerate(("real", "local")) for path in sorted((root / name).iterdir())]
    verdicts = list(unmask.load(device="cpu").stream([path for path, _ in files]))
    assert all(verdict.error is None for verdict in verdicts)
    labels = [label for _, label in files]
    assert roc_auc_score(labels, [verdict.score for verdict in verdicts]) > 0.7
    called = [verdict.verdict == "fake" for verdict, label in zip(verdicts, labels, strict=True) if not label]
    assert sum(called) <= 1
