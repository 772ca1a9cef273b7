"""`data index --layout`, `data convert`, `list layouts`: what a person types and sees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from unmask.cli.main import main
from unmask.data.manifest import read_manifest


def image(path: Path, value: int = 9) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, value // 2, 5)).save(path)
    return path


def test_index_of_a_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "Celeb"
    for i in range(8):
        image(root / f"Celeb-real/frames/id0_0000/{i}.png", i)
        image(root / f"Celeb-synthesis/frames/id0_id1_0000/{i}.png", 100 + i)
    (root / "List_of_testing_videos.txt").write_text("0 Celeb-synthesis/id0_id1_0000.mp4\n")
    command = ["data", "index", str(root), "--layout", "celeb-df-v2", "--frames", "2", "--out", str(tmp_path / "m.csv")]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "2 real, 2 fake, 0 masks, 2 pairs, 1 groups" in shown and "test: 0 real, 2 fake" in shown
    rows = read_manifest(tmp_path / "m.csv").rows
    assert [Path(r.path).name for r in rows] == ["2.png", "6.png"] * 2
    assert [r.pair for r in rows] == ["", "", rows[0].path, rows[1].path]

    image(root / "x.png")
    assert main([*command, "--force", "--json"]) == 1  # something is not in the manifest
    told = json.loads(capsys.readouterr().out)
    assert [e["code"] for e in told["errors"]] == ["no_label"] and told["pairs"] == 2


def test_wrong_use_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image(tmp_path / "real/a.png")
    start = ["data", "index", str(tmp_path), "--out", str(tmp_path / "m.csv")]
    (tmp_path / "masks").mkdir()
    for more, code, words in (
        (["--frames", "3"], 2, "--frames goes with --layout"),
        (["--layout", "celebdf"], 2, "did you mean 'celeb-df"),
        (["--layout", "gangen", "--frames", "3"], 2, "has no videos"),
        (["--layout", "columbia", "--masks", str(tmp_path / "masks")], 1, "exists"),
        (["--layout", "imdl-benco"], 1, "is a JSON file"),
    ):
        assert main([*start, *more]) == code
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert not (tmp_path / "m.csv").exists()


def test_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image(tmp_path / "train/real/a.png")
    image(tmp_path / "train/fake/b.png")
    manifest, out = str(tmp_path / "m.parquet"), tmp_path / "Set.json"
    assert main(["data", "index", str(tmp_path), "--out", manifest]) == 0
    assert main(["data", "convert", manifest, "--to", "deepfakebench", "--out", str(out)]) == 0
    assert out.read_text().count('"label": "Set_') == 2
    again = ["data", "index", str(out), "--layout", "deepfakebench", "--out", str(tmp_path / "n.csv")]
    assert main(again) == 0
    keep = [(r.path, r.label, r.split) for r in read_manifest(manifest)]
    assert sorted((r.path, r.label, r.split) for r in read_manifest(tmp_path / "n.csv")) == sorted(keep)
    capsys.readouterr()
    assert main(["data", "convert", manifest, "--to", "forensichub", "--out", str(out)]) == 1
    assert "--force" in capsys.readouterr().err
    assert main(["data", "convert", manifest, "--to", "imdl-benco", "--out", str(out), "--force"]) == 1
    assert "no mask" in capsys.readouterr().err
    assert '"Set_fake"' in out.read_text()  # what was there is still there
    assert main(["data", "convert", manifest, "--to", "forensichub", "--out", str(tmp_path / "x.txt")]) == 2


def test_list_layouts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "layouts", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)["layouts"]
    assert "faceforensics" in table and all(table.values())
