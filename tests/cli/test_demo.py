from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unmask.analysis import analyzer
from unmask.cli.demo import FILES, KINDS
from unmask.cli.main import main


@pytest.fixture
def weights(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = analyzer.load_analyzer
    monkeypatch.setattr(analyzer, "load_analyzer", lambda name=None, device="auto": load(tiny_weights / "pair.json"))


def test_the_demo_writes_everything_and_says_what_it_found(
    weights: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "IoU" in told and "report.html" in told and "not how good it is" in told
    assert {item.name for item in out.iterdir()} == {*FILES, "report"}
    original = np.asarray(Image.open(out / "original.png"))
    for kind in KINDS:
        forged, mask = (np.asarray(Image.open(out / f"{name}-{kind}.png")) for name in ("forged", "mask"))
        assert set(np.unique(mask)) == {0, 255} and mask.shape == original.shape[:2] == forged.shape[:2]
        assert (original == forged)[mask == 0].all()  # nothing outside the mask was touched
        assert (original != forged).any(axis=2)[mask > 0].mean() > 0.5

    before = {name: (out / name).read_bytes() for name in FILES}
    assert main(["demo", "--out", str(out)]) == 0  # an earlier demo may be replaced, and comes out the same
    assert {name: (out / name).read_bytes() for name in FILES} == before


def test_the_demo_leaves_foreign_files_alone(weights: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "original.png").write_bytes(b"mine")
    assert main(["demo", "--out", str(tmp_path)]) == 1
    assert "not_empty" in capsys.readouterr().err
    assert (tmp_path / "original.png").read_bytes() == b"mine"
