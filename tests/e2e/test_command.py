"""The installed command as a process: what it imports, how it stops."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from unmask.cli.main import VERBS, main

UNMASK = [sys.executable, "-m", "unmask.cli.main"]
SLOW_IMPORTS = "lightning torchmetrics sklearn matplotlib pandas pyarrow jinja2 skimage onnxruntime h5py"


def test_help_and_import_load_nothing_heavy() -> None:
    code = (
        "import sys, unmask, unmask.cli.main as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*sorted({n.split('.')[0] for n in sys.modules} & {'torch', 'numpy', 'PIL', 'rich', 'cv2', 'timm'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "unmask detect photo.jpg" in done.stdout
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize("words", [["--help"], ["data"], ["features"]])
def test_help_keeps_verbs_and_words_apart(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        main(words)
    out = capsys.readouterr().out
    for name, verb in VERBS.items():
        if words == ["--help"] or name.startswith(f"{words[0]} "):
            assert re.search(rf"^  {name} {{2,}}{re.escape(verb.help)}$", out, re.MULTILINE), name


def test_a_detection_loads_no_training_or_plotting_library(portrait: Path, tiny_weights: Path) -> None:
    code = (
        "import sys, unmask.cli.main as m\n"
        "m.main(sys.argv[1:])\n"
        f"print(*sorted(set({SLOW_IMPORTS!r}.split()) & set(sys.modules)), file=sys.stderr)"
    )
    words = ["detect", portrait, "--json", "--detector", tiny_weights / "pair.json"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["status"] == "ok"
    assert done.stderr.strip() == ""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent differently there")
def test_ctrl_c_leaves_finished_results_whole(portrait: Path, tiny_weights: Path, tmp_path: Path) -> None:
    words = ["detect", "-", "--json", "--report", tmp_path / "out", "--detector", tiny_weights / "edited.safetensors"]
    process = subprocess.Popen(
        [*UNMASK, *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests run in the background inherit "ignore"
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{portrait}\n" * 8)
    process.stdin.flush()  # stdin stays open: the command waits for more
    first = [json.loads(process.stdout.readline()) for _ in range(8)]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert all(line["status"] == "ok" for line in first)
    assert len((tmp_path / "out" / "report.jsonl").read_text().splitlines()) == 8
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Stopped early" in page and page.rstrip().endswith("</html>")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell with pipes")
def test_a_reader_that_leaves_early_is_no_error(portrait: Path, tiny_weights: Path) -> None:
    words = ["detect", *[portrait] * 12, "--json", "--detector", tiny_weights / "edited.safetensors"]
    process = subprocess.Popen([*UNMASK, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline().startswith("{")
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.wait(timeout=60)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*UNMASK, "list"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "unmask list: error [system]: [Errno 28] No space left on device\n"


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["model", "meso4", "--out", str(tmp_path / "file" / "w.safetensors"), "--import", "x.h5"]) == 1
    assert main(["data", "forge", str(tmp_path / "\x1b[31mred"), "--out", str(tmp_path / "file" / "x")]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 2 and "\x1b" not in err and "\\x1b[31mred" in err


def test_output_survives_a_narrow_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stdout)
    monkeypatch.setattr("unmask.cli.listing.run", lambda args: print("ü–\udcff") or 0)
    assert main(["list"]) == 0
    assert stdout.buffer.getvalue() == b"\\xfc\\u2013\\udcff\n"  # type: ignore[attr-defined]
