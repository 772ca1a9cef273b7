from __future__ import annotations

import hashlib
import os
import pickle
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unmask.core.errors import IntakeError
from unmask.core.files import atomic_path, real_path, sha256_file, write_text
from unmask.core.seeds import rng


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    write_text(target, "first")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("half of the sec")
        raise KeyboardInterrupt
    assert target.read_text() == "first"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]
    write_text(target, "second")
    assert target.read_text() == "second"


def test_files_are_written_where_systems_are_stricter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows gives no handle on a folder and does not sync a file that was opened for reading."""
    fcntl = pytest.importorskip("fcntl")
    real_open, real_fsync = os.open, os.fsync

    def strict_open(path: str, flags: int, *more: int, **named: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        return real_open(path, flags, *more, **named)

    def strict_fsync(handle: int) -> None:
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        real_fsync(handle)

    monkeypatch.setattr(os, "open", strict_open)
    monkeypatch.setattr(os, "fsync", strict_fsync)
    write_text(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_names_of_one_file_are_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    assert real_path(tmp_path / "link") == real_path(str(tmp_path / "x" / ".." / "file"))
    assert real_path(tmp_path / "loop").endswith("loop") and real_path("zero\0byte") == "zero\0byte"


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@given(st.binary(max_size=300_000))
def test_the_hash_is_sha256(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("hash") / "file"
    path.write_bytes(data)
    assert sha256_file(path) == hashlib.sha256(data).hexdigest()


keys = st.lists(st.integers(0, 2**32 - 1) | st.text(max_size=8), max_size=4)


@given(st.integers(0, 2**32 - 1), keys)
def test_a_draw_depends_on_seed_and_keys_only(seed: int, names: list[int | str]) -> None:
    np.random.default_rng(1).random()
    assert rng(seed, *names).integers(1 << 62) == rng(seed, *names).integers(1 << 62)
    assert rng(seed, *names).integers(1 << 62) != rng(seed, *names, "other").integers(1 << 62)


def test_errors_cross_processes_with_their_code() -> None:
    error = pickle.loads(pickle.dumps(IntakeError("truncated", "the file ends early")))
    assert (type(error), error.code, error.message, str(error)) == (
        IntakeError,
        "truncated",
        "the file ends early",
        "the file ends early",
    )
