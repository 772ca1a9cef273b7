from __future__ import annotations

import gc
import io
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unmask.analysis import analyzer
from unmask.cli import detect
from unmask.cli.main import main


@pytest.fixture
def run(tiny_weights: Path, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run ``unmask detect`` in this process: exit code, stdout, stderr."""

    def call(*words: str | Path, detector: str = "edited.safetensors") -> tuple[int, str, str]:
        code = main(["detect", *map(str, words), "--detector", str(tiny_weights / detector), "--device", "cpu"])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def huge_header(path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2_000_000_000, 2_000_000_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory, portrait: Path) -> Path:
    """Every kind of bad or odd file, named in the order in which it is listed."""
    folder = tmp_path_factory.mktemp("zoo")
    image = Image.open(portrait).convert("RGB")
    data = portrait.read_bytes()
    (folder / "01_truncated.jpg").write_bytes(data[: len(data) // 2])
    (folder / "02_empty.jpg").write_bytes(b"")
    (folder / "03_text.jpg").write_text("this is no image")
    huge_header(folder / "04_huge.png")
    (folder / "05_heif.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + b"\0" * 64)
    frames = [image.resize((128, 128)), image.resize((128, 128)).rotate(90)]
    frames[0].save(folder / "11_animated.gif", save_all=True, append_images=frames[1:])
    deep = np.asarray(image.convert("L"), np.uint16) * 257
    Image.fromarray(deep).save(folder / "12_deep.png")
    image.convert("CMYK").save(folder / "13_cmyk.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.rotate(90, expand=True).save(folder / "14_rotated.jpg", exif=exif)
    Image.new("RGB", (1, 1), "red").save(folder / "15_one_pixel.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (150, 150, 3), np.uint8)).save(folder / "16_no_face.png")
    image.convert("RGBA").save(folder / "17_alpha.webp")
    return folder


def test_the_zoo_of_bad_files(run, zoo: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run(zoo, "--json")
    told = {Path(d["path"]).name: d for d in lines(out)}
    assert code == 1 and len(told) == 12
    failed = {name: d["error"]["code"] for name, d in told.items() if d["status"] == "error"}
    assert failed == {
        "01_truncated.jpg": "truncated",
        "02_empty.jpg": "empty",
        "03_text.jpg": "not_an_image",
        "04_huge.png": "too_large",
        "05_heif.heic": "unsupported_format",
    }
    for name, d in told.items():
        assert (d["verdict"] is None) == (name in failed)
        assert d["sha256"] is None if name == "04_huge.png" else len(d["sha256"]) == 64
    for name in ("11_animated.gif", "12_deep.png", "13_cmyk.jpg", "14_rotated.jpg"):
        assert any(reason.startswith("intake: ") for reason in told[name]["reasons"]), name
    assert told["14_rotated.jpg"]["status"] == "ok"
    assert told["15_one_pixel.png"]["status"] == told["16_no_face.png"]["status"] == "no_face"
    assert told["16_no_face.png"]["verdict"] == told["15_one_pixel.png"]["verdict"] == "uncertain"


def test_good_files_give_exit_code_0_whatever_the_verdict(  # type: ignore[no-untyped-def]
    run, portrait: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # else a long name goes on in the next line
    code, out, err = run(portrait)
    assert code == 0 and not err
    assert "portrait.jpg" in out and "open_question" in out
    assert any(word in out for word in ("real", "fake", "uncertain"))


def test_missing_files_and_empty_folders_are_rows(run, portrait: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "void").mkdir()
    code, out, _ = run(tmp_path / "absent.jpg", "", portrait, tmp_path / "void", "--json")
    assert code == 1
    assert [d["error"] and d["error"]["code"] for d in lines(out)] == ["not_found", "not_found", None, "no_files"]


def test_without_stdin(run, portrait: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("sys.stdin", None)  # as under cron or `<&-`
    assert run(portrait, "--json")[0] == 0
    code, out, _ = run("-", "--json")
    assert code == 1 and lines(out)[0]["error"]["code"] == "not_found"


def test_wrong_usage_is_exit_code_2(tiny_weights: Path, portrait: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["detect"], ["detect", str(portrait), "--jsn"]):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 2
    weights = str(tiny_weights / "edited.safetensors")
    assert main(["detect", str(portrait), "--detector", weights, "--device", "warp9"]) == 2
    assert main(["detect", str(portrait), "--detector", "editd"]) == 2
    assert main(["detect", str(portrait), "--detector", "absent.safetensors"]) == 1
    err = capsys.readouterr().err
    assert "bad_device" in err and "did you mean 'edited'" in err and "not_found" in err and "Traceback" not in err


def test_garbage_is_collected_again_once_the_detector_is_loaded(
    tiny_weights: Path, portrait: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    load = analyzer.load_analyzer

    def watched(*args: Any, **kwargs: Any) -> analyzer.Analyzer:
        seen.append(gc.isenabled())
        return load(*args, **kwargs)

    monkeypatch.setattr(analyzer, "load_analyzer", watched)
    weights = tiny_weights / "edited.safetensors"
    assert main(["detect", str(portrait), "--detector", str(weights), "--json"]) == 0 and gc.isenabled()
    assert main(["detect", str(portrait), "--detector", "no-such"]) == 2 and gc.isenabled()
    assert seen == [False, False]


def test_names_on_stdin(run, portrait: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    class Stdin:
        buffer = io.BytesIO(f"{portrait}\0absent\nwith newline.jpg\0".encode())

    monkeypatch.setattr("sys.stdin", Stdin)
    code, out, _ = run("-", "--json")
    assert code == 1
    assert [d["path"] for d in lines(out)] == [str(portrait), "absent\nwith newline.jpg"]


def test_foreign_names_survive(run, portrait: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    names = [b"caf\xe9.jpg", b"new\nline.jpg", b"\x1b[31mred.jpg", "gesicht-ü-脸.jpg".encode()]
    for name in names:
        try:
            Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(portrait.read_bytes())
        except OSError:
            pytest.skip("this file system refuses names that are not UTF-8")
    code, out, _ = run(tmp_path, "--json", "--report", tmp_path / "out")
    assert code == 0 and len(out.splitlines()) == 4
    assert sorted(os.fsencode(Path(d["path"]).name) for d in lines(out)) == sorted(names)
    code, out, _ = run(tmp_path, "--report", tmp_path / "out")
    assert code == 0 and "\x1b[31mred" not in out
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 4


def test_same_names_and_duplicates_do_not_collide(run, portrait: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "face.jpg").write_bytes(portrait.read_bytes())
    one = tmp_path / "a" / "face.jpg"
    code, out, _ = run(one, one, tmp_path / "b", "--json", "--report", tmp_path / "out", detector="pair.json")
    masks = [d["faces"][0]["mask"] for d in lines(out)]
    assert code == 0 and len(set(masks)) == 3 and all(Path(mask).is_file() for mask in masks)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert all(page.count(f'id="file-{n}"') == 1 for n in (1, 2, 3))
    assert (tmp_path / "out" / "report.jsonl").read_text().splitlines() == out.splitlines()


def test_masks_have_the_orientation_of_the_stored_file(run, zoo: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    wide = tmp_path / "wide.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.open(zoo / "14_rotated.jpg")
    upright.load()
    canvas = Image.new("RGB", (300, 256), "gray")
    canvas.paste(upright, (0, 0))
    canvas.save(wide, exif=exif)
    _, out, _ = run(wide, "--json", "--report", tmp_path / "out")
    mask = Image.open(lines(out)[0]["faces"][0]["mask"])
    assert mask.size == (300, 256) and set(np.unique(np.asarray(mask))) <= {0, 255}


def test_nothing_of_the_users_is_overwritten(run, portrait: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "report.html").write_text("mine")
    code, _, err = run(portrait, "--report", tmp_path)
    assert code == 1 and "not_empty" in err
    assert (tmp_path / "report.html").read_text() == "mine"


def test_an_interrupted_run_leaves_what_was_finished(
    run, portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    seen = 0

    def stop_after_two(result: Any) -> None:
        nonlocal seen
        seen += 1
        print(result[0].to_json())
        if seen == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(detect, "_print_json", stop_after_two)
    code, out, err = run(*[portrait] * 5, "--json", "--report", tmp_path / "out")
    assert code == 130 and "stopped" in err and len(lines(out)) == 2
    assert len(lines((tmp_path / "out" / "report.jsonl").read_text())) == 2
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Stopped early" in page and page.rstrip().endswith("</html>")


def test_boxes_from_a_file(run, portrait: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "boxes.csv").write_text(f"path,x1,y1,x2,y2\n{portrait},80,60,180,175\n{portrait},10,10,60,70\n")
    code, out, err = run(portrait, "--json", "--boxes", tmp_path / "boxes.csv")
    assert code == 0 and not err
    assert [face["box"] for face in lines(out)[0]["faces"]] == [[80, 60, 180, 175], [10, 10, 60, 70]]
    (tmp_path / "boxes.csv").write_text("path,x1,y1,x2,y2\nelsewhere.jpg,80,60,180,175\n")
    _, _, err = run(portrait, "--json", "--boxes", tmp_path / "boxes.csv")
    assert "no path in the boxes file" in err
    code, _, err = run(portrait, "--boxes", tmp_path / "absent.csv")
    assert code == 1 and "bad_boxes" in err


def test_loops_of_links_are_rows(run, portrait: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    (tmp_path / "boxes.csv").write_text(f"path,x1,y1,x2,y2\n{loop},1,1,9,9\n{portrait},80,60,180,175\n")
    code, out, _ = run(loop, portrait, "--json", "--boxes", tmp_path / "boxes.csv")
    assert code == 1
    assert [d["error"] and d["error"]["code"] for d in lines(out)] == ["unreadable", None]
    assert lines(out)[1]["faces"][0]["box"] == [80, 60, 180, 175]
    code, _, err = run(portrait, "--report", loop)
    assert code == 1 and "not_writable" in err
