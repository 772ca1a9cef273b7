"""Manifests: what is refused, what survives a round trip, and a hash that knows the content only."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unmask.core.errors import DataError
from unmask.data.manifest import Manifest, Row, data_hash, read_manifest, write_manifest

HASH = "0" * 64


def text(*lines: str) -> str:
    return "\n".join(lines) + "\n"


def read(folder: Path, content: str) -> Manifest:
    (folder / "m.csv").write_text(content, encoding="utf-8")
    return read_manifest(folder / "m.csv")


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_round_trip_keeps_everything_and_odd_names(tmp_path: Path, name: str) -> None:
    rows = [
        Row(str(tmp_path / "a, b\n'é 😀.png"), 0, group="ann", split="train", source="s", sha256=HASH),
        Row("/else where/ x .png", 1, mask=str(tmp_path / "m/x.png"), pair=str(tmp_path / "p"), manipulation="sbi"),
    ]
    write_manifest(tmp_path / name, rows)
    assert read_manifest(tmp_path / name).rows == tuple(rows)


def test_paths_below_the_manifest_move_with_it(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    write_manifest(tmp_path / "one" / "m.csv", [Row(str(tmp_path / "one" / "x.png"), 0), Row("/far/y.png", 1)])
    shutil.move(tmp_path / "one", tmp_path / "two")
    assert [r.path for r in read_manifest(tmp_path / "two" / "m.csv")] == [str(tmp_path / "two/x.png"), "/far/y.png"]


def test_a_folder_reached_through_a_link_counts_as_the_manifests_own(tmp_path: Path) -> None:
    (tmp_path / "true").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "true")
    write_manifest(tmp_path / "link" / "m.csv", [Row(str(tmp_path / "link/x"), 0), Row(str(tmp_path / "true/y"), 0)])
    assert (tmp_path / "true" / "m.csv").read_text().splitlines()[1:] == ["x,0,,,,,,,", "y,0,,,,,,,"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (text("path,label,gruop", "a,0,b"), "unknown column 'gruop' (did you mean 'group'?)"),
        (text("path,label,zzz", "a,0,b"), "unknown column 'zzz' (remove or rename it)"),
        (text("path,mask", "a,"), "the column 'label' is missing"),
        (text("path,label,label", "a,0,1"), "appears twice"),
        (text("path,label", "a,real"), "line 2: label must be 0 (real) or 1 (fake), got 'real'"),
        (text("path,label", "a,0", "b,2"), "line 3: label must be"),
        (text("path,label", "a,0", "./a,1"), "is listed twice (first in line 2)"),
        (text("path,label", "a,0,1"), "line 2: expected 2 values, got 3"),
        (text("path,label", ",0"), "the path is empty"),
        (text("path,label,mask", "a,0,m.png"), "a real image (label 0) has a mask"),
        (text("path,label,manipulation", "a,0,sbi"), "a real image (label 0) has a manipulation"),
        (text("path,label,pair", "a,1,a"), "its own pair"),
        (text("path,label,split", "a,0,Validation"), "did you mean 'val'?"),
        (text("path,label,sha256", "a,0,abc"), "64 lower-case hex digits"),
        (text("path,label"), "has no rows"),
        ("", "'path' is missing"),
        ('path,label\n"a,0\n', "not valid CSV"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, content)
    assert says in caught.value.message
    assert "m.csv" in caught.value.message


def test_other_files_are_typed_errors_too(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"path,label\n\xff\xfe,0\n")
    (tmp_path / "m.parquet").write_bytes(b"not parquet")
    for name in ("m.csv", "m.parquet", "none.csv", "m.xlsx"):
        with pytest.raises(DataError):
            read_manifest(tmp_path / name)


def test_excel_and_pyarrow_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes("﻿path,label\r\nä.png,1\r\n\r\n".encode())
    assert [(Path(r.path).name, r.label) for r in read_manifest(tmp_path / "m.csv")] == [("ä.png", 1)]
    pq.write_table(
        pa.table({"label": pa.array([1, 0], pa.int64()), "path": ["a", "b"], "mask": [None, None]}),
        tmp_path / "m.parquet",
    )
    assert [r.label for r in read_manifest(tmp_path / "m.parquet")] == [1, 0]


def test_nothing_is_overwritten_unasked_nor_left_half_written(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    write_manifest(file, [Row("/a", 0)])
    before = file.read_bytes()
    with pytest.raises(DataError, match="--force"):
        write_manifest(file, [Row("/b", 0)])
    with pytest.raises(DataError, match="label"):
        write_manifest(file, [Row("/b", 3)], overwrite=True)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_select_names_the_splits_there_are() -> None:
    manifest = Manifest((Row("/a", 0, split="train"), Row("/b", 0)))
    assert [r.path for r in manifest.select("train")] == ["/a"]
    with pytest.raises(DataError, match="1 train, 1 without a split"):
        manifest.select("val")


@given(st.permutations(range(4)), st.sampled_from(["csv", "parquet"]))
def test_hash_is_the_same_for_any_order_format_and_place(order: list[int], suffix: str) -> None:
    rows = [Row(f"/x/{i}.png", i % 2, group=f"g{i}", sha256=f"{i:064x}") for i in range(4)]
    moved = [replace(rows[i], path=rows[i].path.replace("/x/", "/elsewhere/")) for i in order]
    assert data_hash(moved) == data_hash(rows)


@pytest.mark.parametrize("change", [{"label": 1}, {"group": "b"}, {"split": "val"}, {"sha256": HASH}, {"source": "s"}])
def test_hash_sees_every_change(change: dict[str, object]) -> None:
    row = Row("/x/a.png", 0, group="a")
    assert data_hash([replace(row, **change)]) != data_hash([row])  # type: ignore[arg-type]
