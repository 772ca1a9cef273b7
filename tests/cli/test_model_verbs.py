"""`unmask list`, `unmask model` and `unmask export` as a person types them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from unmask.cli.main import main
from unmask.detectors.weights import load_weights
from unmask.detectors.zoo import list_detectors

MESO = Path(os.environ.get("UNMASK_DATA", "/nonexistent")) / "checkpoints" / "mesonet" / "Meso4_DF.h5"


def test_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    tables = json.loads(capsys.readouterr().out)
    assert set(tables) == {"detectors", "weights", "features", "fusions", "forgeries", "degradations", "layouts"}
    assert sorted(tables["detectors"]) == list_detectors()
    assert "jpeg" in tables["degradations"] and "splice" in tables["forgeries"]
    assert all(line for table in tables.values() for line in table.values())
    assert main(["list", "detectors"]) == 0
    assert "published single-scale NPR" in capsys.readouterr().out


def test_model_card_counts_what_torch_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "npr", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["parameters"] == sum(facts["trainable"].values()) == 1_437_761
    # Multiply-adds by hand: stem, three and four bottlenecks at 56 and 28 pixels, two operations each.
    stem, layer1 = 27 * 64 * 112**2, (64 * 64 + 9 * 64 * 64 + 2 * 64 * 256 + 2 * (2 * 256 * 64 + 9 * 64 * 64)) * 56**2
    first = 256 * 128 * 56**2 + (9 * 128 * 128 + 128 * 512 + 256 * 512) * 28**2
    layer2 = first + 3 * (2 * 512 * 128 + 9 * 128 * 128) * 28**2
    assert facts["gflops"] == pytest.approx(2 * (stem + layer1 + layer2 + 512) / 1e9, abs=1e-3)
    assert facts["shapes"]["image"] == [1, 3, 224, 224] and facts["weights"] is None
    stages = [facts["modules"][f"net.layer{i}"] for i in (1, 2)]
    assert [s["output"] for s in stages] == [[1, 256, 56, 56], [1, 512, 28, 28]]
    assert [s["gflops"] for s in stages] == pytest.approx([2 * layer1 / 1e9, 2 * layer2 / 1e9], abs=1e-3)
    assert facts["modules"]["net.conv1"]["parameters"] == 27 * 64
    assert main(["model", "attention_npr"]) == 0
    shown = capsys.readouterr().out
    assert "departures:\n  - scale 1.00 would be" in shown
    assert "  net.conv1: 1,728 parameters, 0.043 GFLOPs, [1, 64, 112, 112]\n" in shown


def test_mistakes_are_one_line_and_an_exit_code(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words, code, says in (
        (["model", "xeption"], 2, "did you mean 'xception'"),
        (["model", str(tmp_path / "absent.safetensors")], 1, "no weights"),
        (["model", "meso4", "--import", "a.h5"], 2, "go together"),
        (["model", "baseline", "--import", "a.h5", "--out", str(tmp_path / "w.safetensors")], 1, "no published"),
        (["export", "meso4", "--out", str(tmp_path / "m.onnx"), "--size", "64"], 1, "256x256"),
    ):
        assert main(words) == code, words
        error = capsys.readouterr().err
        assert says in error and "Traceback" not in error, error
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not MESO.is_file(), reason="UNMASK_DATA has no checkpoints/mesonet/Meso4_DF.h5")
def test_import_then_card_then_export(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    weights = tmp_path / "meso4_df.safetensors"
    assert main(["model", "meso4", "--import", str(MESO), "--out", str(weights)]) == 0
    _, card = load_weights(weights)
    assert card.sha256 in capsys.readouterr().out and card.notes["imported_from"] == "Meso4_DF.h5"
    assert main(["model", "meso4", "--import", str(MESO), "--out", str(weights)]) == 1
    assert "exists" in capsys.readouterr().err
    assert main(["model", str(weights)]) == 0
    assert f"sha256: {card.sha256}" in capsys.readouterr().out
    pytest.importorskip("onnxruntime")
    model = tmp_path / "meso4.onnx"
    assert main(["export", str(weights), "--out", str(model)]) == 0
    assert "PASS" in capsys.readouterr().out
    assert json.loads((tmp_path / "meso4.onnx.json").read_text())["verdict"] == "PASS"
    assert main(["export", str(weights), "--out", str(model)]) == 1
    assert "--force" in capsys.readouterr().err
    beside = weights.with_suffix(".onnx")
    assert main(["export", str(weights), "--out", str(beside)]) == 0
    assert load_weights(weights)[1].sha256 == card.sha256, "the certificate is not written over the weights' card"
