from __future__ import annotations

import io
import os
from pathlib import Path

from unmask.cli.inputs import Inputs, read_names


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_folder_gives_its_images_recursively_sorted_without_hidden_ones(tmp_path: Path) -> None:
    make(tmp_path, "b.JPG", "a/c.png", "a/.hidden.png", ".git/d.png", "a/._e.jpg", "notes.txt", "report/masks/m.png")
    inputs = Inputs([str(tmp_path)], exclude=tmp_path / "report")
    assert [Path(p).relative_to(tmp_path).as_posix() for p in inputs] == ["b.JPG", "a/c.png"]
    assert inputs.skipped == 3 and not inputs.empty


def test_globs_match_files_and_a_real_name_wins_over_a_pattern(tmp_path: Path, monkeypatch) -> None:
    make(tmp_path, "a1.jpg", "a2.jpg", "a[1].jpg", "sub/a3.jpg")
    monkeypatch.chdir(tmp_path)
    assert list(Inputs(["a[1].jpg"])) == ["a[1].jpg"]
    assert list(Inputs(["a?.jpg"])) == ["a1.jpg", "a2.jpg"]
    assert list(Inputs(["**/a*.jpg"])) == ["a1.jpg", "a2.jpg", "a[1].jpg", "sub/a3.jpg"]
    assert list(Inputs([str(tmp_path / "sub" / "*")])) == [str(tmp_path / "sub" / "a3.jpg")]


def test_what_gives_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    inputs = Inputs([str(tmp_path / "void"), str(tmp_path / "*.jpg"), str(tmp_path / "absent.jpg")])
    assert list(inputs) == [str(tmp_path / "absent.jpg")]  # the decoder says best what is wrong with it
    assert len(inputs.empty) == 2


def test_an_empty_name_is_no_folder() -> None:
    inputs = Inputs([""])
    assert list(inputs) == [""] and not inputs.empty


def test_linked_folders_are_followed_each_folder_once(tmp_path: Path) -> None:
    make(tmp_path, "photos/a.jpg", "elsewhere/deep/b.jpg", "report/m.png")
    photos = tmp_path / "photos"
    (photos / "link").symlink_to(tmp_path / "elsewhere")
    (photos / "again").symlink_to(tmp_path / "elsewhere" / "deep")
    (photos / "loop").symlink_to(photos)
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path)
    (photos / "out").symlink_to(tmp_path / "report")
    found = [Path(p).resolve().name for p in Inputs([str(photos)], exclude=tmp_path / "report")]
    assert sorted(found) == ["a.jpg", "b.jpg"]


def test_a_list_without_names_is_told() -> None:
    inputs = Inputs(["-"], io.BytesIO(b"\n\n"))
    assert list(inputs) == [] and inputs.empty == [("-", "stdin named no file")]


def test_duplicates_stay(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    one = str(tmp_path / "a.jpg")
    assert list(Inputs([one, one])) == [one, one]


def test_names_on_stdin_keep_spaces_and_foreign_bytes() -> None:
    assert list(read_names(io.BytesIO(b" a b.jpg \r\nz\xff.jpg"))) == [" a b.jpg ", os.fsdecode(b"z\xff.jpg")]
    assert list(read_names(io.BytesIO(b""))) == []


def test_names_arrive_in_pieces() -> None:
    pieces = [b"one.jp", b"g\ntwo.jpg\nth", b"ree.jpg"]

    class Slow(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return pieces.pop(0) if pieces else b""

    assert list(read_names(Slow())) == ["one.jpg", "two.jpg", "three.jpg"]  # type: ignore[arg-type]
