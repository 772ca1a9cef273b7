"""The contact sheet: who is on it, what is drawn, and that it is always the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unmask.cli.main import main
from unmask.data.manifest import Row, write_manifest
from unmask.reports.sheet import CAPTION, GAP, HEADING, OUTLINE, choose, preview

SIDE = 168


def make(folder: Path) -> list[Row]:
    folder.mkdir(exist_ok=True)
    rows = []
    for i in range(12):
        path = folder / f"{i:02}.png"
        Image.new("RGB", (300, 200), (20 * i, 10, 200)).save(path)
        fake = i % 2
        rows.append(Row(str(path), fake, manipulation=("a", "b")[i % 4 // 2] if fake else "", group=f"g{i // 4}"))
    mask = np.zeros((200, 300), np.uint8)
    mask[50:150, 100:200] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    rows[1] = replace(rows[1], mask=str(folder / "mask.png"))
    return rows


def test_the_choice_is_balanced_and_does_not_depend_on_the_order(tmp_path: Path) -> None:
    rows = make(tmp_path)
    chosen = choose(rows, 3)
    assert {kind: len(members) for kind, members in chosen.items()} == {(0, ""): 3, (1, "a"): 3, (1, "b"): 3}
    assert chosen == choose(rows[::-1], 3) != choose(rows, 3, seed=1)
    assert max(Counter(r.group for r in chosen[0, ""]).values()) == 1  # three groups, one image of each
    assert len(choose(rows, 100)[0, ""]) == 6


def test_the_outline_lies_on_the_edge_of_the_mask(tmp_path: Path) -> None:
    rows = make(tmp_path)[:2]
    sheet, problems = preview(rows, per_class=1)
    assert not problems and sheet.size == (2 * SIDE, GAP + 2 * (HEADING + SIDE + CAPTION + GAP))
    pixels = np.asarray(sheet)
    yellow = np.argwhere((pixels == OUTLINE).all(-1))
    scale, top = SIDE / 300, GAP + (HEADING + SIDE + CAPTION + GAP) + HEADING + (SIDE - 112) // 2
    (low_y, low_x), (high_y, high_x) = yellow.min(0), yellow.max(0)
    found = [(low_y - top) / scale, (high_y - top) / scale, (low_x - GAP) / scale, (high_x - GAP) / scale]
    assert np.allclose(found, [50, 150, 100, 200], atol=3)
    assert (pixels[top + 56, GAP + 84] == (20, 10, 200)).all()  # the inside is left as it is


def test_small_images_are_not_blown_up_and_bad_files_are_told(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), (1, 2, 3)).save(tmp_path / "small.png")
    (tmp_path / "bad.png").write_bytes(b"x")
    Image.new("RGB", (5, 5)).save(tmp_path / "m.png")
    rows = [Row(str(tmp_path / "small.png"), 1, mask=str(tmp_path / "m.png")), Row(str(tmp_path / "bad.png"), 0)]
    sheet, problems = preview(rows)
    assert [p.code for p in problems] == ["not_an_image", "bad_mask"]
    assert (np.asarray(sheet) == (1, 2, 3)).all(-1).sum() == 200


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = make(tmp_path / "data")
    write_manifest(tmp_path / "m.csv", rows)
    command = ["data", "preview", str(tmp_path / "m.csv"), "--out"]
    for name in ("a.jpg", "b.jpg", "c.png"):
        assert main([*command, str(tmp_path / name)]) == 0
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
    assert Image.open(tmp_path / "c.png").format == "PNG"
    assert main([*command, str(tmp_path / "a.jpg")]) == 1 and "--force" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "a.gif")]) == 2
    assert main([*command, str(tmp_path / "d.jpg"), "--per-class", "0"]) == 2
    Path(rows[0].path).write_bytes(b"")
    assert main([*command, str(tmp_path / "d.jpg")]) == 1
    assert "[empty]" in capsys.readouterr().err and (tmp_path / "d.jpg").exists()
