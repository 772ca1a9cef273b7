"""The analysis of a data set: numbers against Pillow and NumPy, and an end that leaves nothing half done."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import image, mask

from unmask.cli.main import main
from unmask.core.errors import DataError
from unmask.data import survey as module
from unmask.data.filefacts import jpeg_quality
from unmask.data.intake import decode
from unmask.data.manifest import Manifest, Row, write_manifest
from unmask.data.survey import CLASSES, NUMBERS, survey
from unmask.reports.survey_page import _bars, write_survey_page


def jpeg(quality: int, mode: str = "RGB", **more: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", quality=quality, **more)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_quality_that_pillow_writes_is_found_exactly(mode: str) -> None:
    found = [jpeg_quality(decode(jpeg(q, mode)).quantization) for q in range(1, 101)]
    assert [f and f.value for f in found] == list(range(1, 101))
    assert all(f is not None and f.exact for f in found)


def test_other_tables_give_an_estimate_and_other_formats_none() -> None:
    standard = decode(jpeg(90)).quantization
    assert standard is not None
    bent = {k: tuple(v + (i % 3 == 0) for i, v in enumerate(t)) for k, t in standard.items()}
    found = jpeg_quality(bent)
    assert found is not None and not found.exact and abs(found.value - 90) <= 3
    assert jpeg_quality(None) is None and jpeg_quality({}) is None


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    made = [Row(str(image(tmp_path / f"r{i}.png", (10 + i, 20))), 0, split="train", group="a") for i in range(4)]
    for i in range(3):
        (tmp_path / f"f{i}.jpg").write_bytes(jpeg(70 + i))
        made.append(Row(str(tmp_path / f"f{i}.jpg"), 1, split="test", source="s", manipulation=f"m{i % 2}"))
    made[-1] = replace(made[-1], mask=str(mask(tmp_path / "m.png", (16, 16))))
    return made


def test_numbers_are_those_of_the_images(rows: list[Row]) -> None:
    told: list[tuple[int, int]] = []
    found = survey(Manifest(tuple(rows)), progress=lambda d, t: told.append((d, t)))
    assert told[-1] == (7, 7) and found.values.shape == (7, len(NUMBERS))
    assert found.number("width")[:4].tolist() == [10, 11, 12, 13] and set(found.number("height")[:4]) == {20}
    assert found.number("quality")[4:].tolist() == [70, 71, 72] and np.isnan(found.number("quality")[:4]).all()
    assert found.number("mask_area")[6] == 9 / 256 and np.isnan(found.number("mask_area")[:6]).all()
    for item, brightness, bytes_per_pixel in zip(
        found.items, found.number("brightness"), found.number("bytes_per_pixel"), strict=True
    ):
        grey = np.asarray(Image.open(item.path).convert("L"), float)
        assert brightness == pytest.approx(grey.mean() / 255, abs=0.01)
        assert bytes_per_pixel == Path(item.path).stat().st_size / grey.size
    flat, noisy = found.number("sharpness")[:4], found.number("sharpness")[4:]
    assert (flat == 0).all() and (noisy > 50).all()
    summary = found.summary()
    assert summary["counts"]["class"] == {"real": 4, "fake": 3}
    assert summary["counts"]["split"] == {"train": {"real": 4}, "test": {"fake": 3}}
    assert summary["counts"]["manipulation"] == {"": {"real": 4}, "m0": {"fake": 2}, "m1": {"fake": 1}}
    assert summary["counts"]["format"] == {"PNG": {"real": 4}, "JPEG": {"fake": 3}}
    assert summary["groups"] == {"count": 1, "largest": 4, "without": 3}
    assert summary["jpeg_with_standard_tables"] == 3
    assert summary["numbers"]["width"]["real"]["q50"] == 11.5 and "real" not in summary["numbers"]["quality"]
    json.dumps(summary, allow_nan=False)


def test_one_thread_or_four_give_the_same(rows: list[Row]) -> None:
    one, four = (survey(Manifest(tuple(rows)), jobs=j) for j in (1, 4))
    assert np.array_equal(one.values, four.values, equal_nan=True) and one.items == four.items


def test_a_folder_is_read_as_its_names_say(tmp_path: Path) -> None:
    for name in ("train/real/a.png", "train/fake/b.png", "elsewhere/c.png"):
        image(tmp_path / name)
    mask(tmp_path / "train/fake_mask/b.png")
    found = survey(tmp_path)
    assert sorted((i.kind, i.split) for i in found.items) == [("fake", "train"), ("real", "train"), ("unlabelled", "")]
    assert {i.kind for i in found.items} == set(CLASSES) and found.data_sha256 is None


def test_unreadable_images_are_told_and_none_is_an_error(tmp_path: Path, rows: list[Row]) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    bad = replace(rows[-1], mask=str(image(tmp_path / "colour.png", (16, 16))))
    found = survey(Manifest((*rows[:-1], bad, Row(str(broken), 0))))
    assert [p.code for p in found.problems] == ["not_an_image", "bad_mask"] and len(found.items) == 7
    with pytest.raises(DataError, match="none of 1 images can be read"):
        survey(Manifest((Row(str(broken), 0),)))
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no image file"):
        survey(tmp_path / "none")


def test_the_page_is_one_safe_file(tmp_path: Path, rows: list[Row]) -> None:
    odd = replace(rows[4], source="<script>alert(1)</script>", manipulation="x" * 200)
    found = survey(Manifest((*rows[:4], odd, *rows[5:])))
    write_survey_page(tmp_path / "page.html", {"name": "a & b", "data": "d"}, found)
    page = (tmp_path / "page.html").read_text()
    assert page.count('<img src="data:image/png;base64,') >= 8 and "http" not in page.split("</head>")[1]
    assert "<script>alert" not in page and "a &amp; b" in page and "3 of 3" in page


def test_many_sources_are_summed_up() -> None:
    counts = {f"s{i:02}": {"real": 30 - i, "fake": 1} for i in range(30)}
    assert _bars("sources", "Sources", counts, "not known") is not None
    assert _bars("splits", "Splits", {"": {"real": 3}}, "no split") is None  # nothing to compare


def test_the_verb(tmp_path: Path, rows: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    manifest, out = tmp_path / "m.csv", tmp_path / "out"
    write_manifest(manifest, rows)
    Path(rows[0].path).write_bytes(b"")
    assert main(["data", "analyze", str(manifest), "--out", str(out), "--json"]) == 1
    shown = capsys.readouterr()
    printed = json.loads(shown.out)
    assert printed == json.loads((out / "analysis.json").read_text()) and printed["images"] == 6
    assert "[empty]" in shown.err and [p["code"] for p in printed["problems"]] == ["empty"]
    assert sorted(p.name for p in out.iterdir()) == ["analysis.json", "report.html"]
    assert main(["data", "analyze", str(manifest), "--out", str(out)]) == 1
    assert "--force" in capsys.readouterr().err
    assert main(["data", "analyze", str(tmp_path / "nothing.csv"), "--out", str(tmp_path / "o2")]) == 1
    assert main(["data", "analyze", str(manifest), "--out", str(out), "--jobs", "0"]) == 2


def test_ctrl_c_leaves_nothing(
    tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(tmp_path / "m.csv", rows)

    def stop(item: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_look", stop)
    assert main(["data", "analyze", str(tmp_path / "m.csv"), "--out", str(tmp_path / "out")]) == 130
    assert not (tmp_path / "out").exists() and "stopped" in capsys.readouterr().err
