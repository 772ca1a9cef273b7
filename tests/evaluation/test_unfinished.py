"""An evaluation that was stopped goes on where it was, with the same numbers in the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from unmask.cli.main import main
from unmask.core.errors import ConfigError
from unmask.core.types import Face
from unmask.data.faces import write_boxes
from unmask.data.manifest import Row, write_manifest
from unmask.evaluation import scoring
from unmask.evaluation.unfinished import UNFINISHED, Unfinished

N = 20
CHUNK = 8


@pytest.fixture(scope="module")
def data(portrait_pixels, tmp_path_factory):
    """N images (fakes have a black square and a mask of it) and one broken file, first."""
    folder = tmp_path_factory.mktemp("data")
    rows, boxes = [Row(str(folder / "broken.png"), 0)], {}
    (folder / "broken.png").write_bytes(b"no image")
    for i in range(N):
        photo = np.roll(portrait_pixels, 2 * i, 1)
        image, mask, label = folder / f"{i}.png", folder / f"mask{i}.png", i % 2
        if label:
            photo[80:120, 100:140] = 0
            Image.fromarray(np.where(photo.sum(2) == 0, 255, 0).astype(np.uint8)).save(mask)
        Image.fromarray(photo).save(image)
        rows.append(Row(str(image), label, mask=str(mask) if label else "", group=str(i // 2)))
        boxes[str(image)] = [Face((95.0, 60.0, 160.0, 150.0))]
    write_manifest(folder / "data.csv", rows)
    write_boxes(folder / "boxes.csv", boxes)
    return folder


@pytest.fixture
def counted(monkeypatch):
    """Counts judged images; raises KeyboardInterrupt in place of the one called ``stop_at``."""

    class Counter:
        judged, stop_at = 0, None

    real = scoring.judge

    def judge(*args):
        Counter.judged += 1
        if Counter.judged == Counter.stop_at:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(scoring, "judge", judge)
    return Counter


def words(data, weights, out, *extra):
    return ["evaluate", str(weights), "--data", str(data / "data.csv"), "--boxes", str(data / "boxes.csv"),
            "--out", str(out), "--device", "cpu", *extra]  # fmt: skip


def scores(out):
    return pq.read_table(out / "predictions.parquet").to_pylist()


@pytest.fixture(scope="module")
def whole(data, tiny_weights, tmp_path_factory):
    """Where the same evaluation was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert main(words(data, tiny_weights / "edited.safetensors", out)) == 1  # the broken file
    return out


def stopped(data, weights, out, counted):
    counted.judged, counted.stop_at = 0, CHUNK + 3
    assert main(words(data, weights, out)) == 130
    counted.judged, counted.stop_at = 0, None


def test_the_same_command_goes_on(data, tiny_weights, whole, tmp_path, counted, capsys):
    weights, out = tiny_weights / "edited.safetensors", tmp_path / "out"
    stopped(data, weights, out, counted)
    assert [path.name for path in out.iterdir()] == [UNFINISHED]
    assert "the same command goes on from there" in capsys.readouterr().err
    assert main(words(data, weights, out)) == 1
    assert counted.judged == N - CHUNK
    assert scores(out) == scores(whole)
    ours, theirs = (json.loads((folder / "metrics.json").read_text()) for folder in (out, whole))
    assert ours["rows"] == theirs["rows"] and ours["errors"] == theirs["errors"] != []
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in whole.iterdir())
    assert UNFINISHED not in [p.name for p in out.iterdir()]


def test_ctrl_c_before_anything_was_scored_leaves_nothing(data, tiny_weights, tmp_path, counted):
    counted.stop_at = 3
    assert main(words(data, tiny_weights / "edited.safetensors", tmp_path / "out")) == 130
    assert not (tmp_path / "out").exists()


def test_ctrl_c_while_writing_loses_nothing(data, tiny_weights, whole, tmp_path, counted, monkeypatch):
    from unmask.evaluation import output

    def interrupted(*args):
        raise KeyboardInterrupt

    command = words(data, tiny_weights / "edited.safetensors", tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(output, "draw", interrupted)
        assert main(command) == 130
    counted.judged = 0
    assert main(command) == 1
    assert counted.judged == 0
    assert scores(tmp_path / "out") == scores(whole)


@pytest.mark.parametrize("keep", [-1, -40, 3])
def test_a_line_cut_off_by_a_power_cut_is_scored_again(data, tiny_weights, whole, tmp_path, counted, keep):
    weights, out = tiny_weights / "edited.safetensors", tmp_path / "out"
    stopped(data, weights, out, counted)
    lines = (out / UNFINISHED).read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + CHUNK
    (out / UNFINISHED).write_bytes(b"".join(lines[:-1]) + lines[-1][:keep])
    assert main(words(data, weights, out)) == 1
    assert counted.judged == N - CHUNK + 1
    assert [row["path"] for row in scores(out)] == [row["path"] for row in scores(whole)]
    np.testing.assert_allclose(*([row["logit"] for row in scores(o)] for o in (out, whole)), atol=1e-5)


def test_other_weights_or_settings_are_refused(data, tiny_weights, tmp_path, counted, capsys):
    out = tmp_path / "out"
    stopped(data, tiny_weights / "edited.safetensors", out, counted)
    before = (out / UNFINISHED).read_bytes()
    for weights, extra in (("pair.json", ()), ("edited.safetensors", ("--size", "200"))):
        assert main(words(data, tiny_weights / weights, out, *extra)) == 2
        assert "[other_settings]" in capsys.readouterr().err
    assert counted.judged == 0
    assert (out / UNFINISHED).read_bytes() == before


def test_a_file_that_has_changed_is_scored_again(portrait_pixels, tmp_path):
    image, mask = tmp_path / "a.png", tmp_path / "m.png"
    for path in (image, mask):
        Image.fromarray(portrait_pixels[:64, :64]).save(path)
    row = Row(str(image), 1, mask=str(mask))
    Unfinished(tmp_path / UNFINISHED, "s").add([(row, ({"path": row.path, "score": np.float32(0.1)}, np.zeros(2)))])
    assert Unfinished(tmp_path / UNFINISHED, "s").get(row) is None  # a record without the row's columns
    (tmp_path / UNFINISHED).unlink()
    record = {"path": row.path, "label": 1, "mask": row.mask, **dict.fromkeys(
        ("pair", "group", "split", "source", "manipulation", "sha256"), ""), "score": np.float32(0.1)}  # fmt: skip
    Unfinished(tmp_path / UNFINISHED, "s").add([(row, (record, np.array([0.1, np.nan])))])
    answer = Unfinished(tmp_path / UNFINISHED, "s").get(row)
    assert answer is not None and answer[0] == record
    np.testing.assert_array_equal(answer[1], [0.1, np.nan])
    os.utime(mask, ns=(0, 0))
    assert Unfinished(tmp_path / UNFINISHED, "s").get(row) is None
    with pytest.raises(ConfigError, match="other weights or settings"):
        Unfinished(tmp_path / UNFINISHED, "t")


def test_a_file_of_somebody_else_is_left_alone(data, tiny_weights, tmp_path, capsys):
    (tmp_path / UNFINISHED).write_text("my own notes\n")
    assert main(words(data, tiny_weights / "edited.safetensors", tmp_path)) == 2
    assert (tmp_path / UNFINISHED).read_text() == "my own notes\n"
    assert [path.name for path in tmp_path.iterdir()] == [UNFINISHED]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for a single child on Windows")
def test_a_real_interrupt(portrait_pixels, tiny_weights, tmp_path):
    """The process gets SIGINT as soon as something was scored; every line that is there is whole."""
    rows = [Row(str(tmp_path / f"{i}.bmp"), i % 2) for i in range(400)]
    for row in rows:
        Image.fromarray(portrait_pixels).save(row.path)
    write_manifest(tmp_path / "data.csv", rows)
    write_boxes(tmp_path / "boxes.csv", {row.path: [Face((95.0, 60.0, 160.0, 150.0))] for row in rows})
    out = tmp_path / "out"
    command = [sys.executable, "-m", "unmask.cli.main", *words(tmp_path, tiny_weights / "edited.safetensors", out)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )
    deadline = time.monotonic() + 60
    while not (out / UNFINISHED).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "Traceback" not in told and "goes on from there" in told
    assert [path.name for path in out.iterdir()] == [UNFINISHED]
    text = (out / UNFINISHED).read_text(encoding="ascii")
    assert text.endswith("\n") and all(json.loads(line) for line in text.splitlines())
