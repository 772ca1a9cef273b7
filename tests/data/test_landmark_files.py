"""Landmarks in files: what is written comes back, what is wrong is told, and each face gets its own."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unmask.core.errors import DataError
from unmask.core.types import Face, Landmarks
from unmask.data.landmarks import OVERLAP, columns_of, landmarks_of, read_landmarks, write_landmarks

Table = list[list[str]]


def cloud(count: int, corner: tuple[float, float] = (0, 0), side: float = 100) -> Landmarks:
    """Points in a square, some of them in its corners."""
    points = np.random.default_rng(count).uniform(0, 1, (count, 2))
    points[:2] = (0, 0), (1, 1)
    return Landmarks((corner + side * points).astype(np.float32), 0.75)


def rows_of(path: Path) -> Table:
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("name", ["points.csv", "points.parquet"])
@pytest.mark.parametrize("counts", [(468,), (478,), (468, 478, 468)])
def test_what_is_written_comes_back(name: str, counts: tuple[int, ...], tmp_path: Path) -> None:
    given = {"a, b.jpg": [cloud(count) for count in counts], "nobody.jpg": [], "ü.jpg": [cloud(468, (-40.5, 1e-7))]}
    write_landmarks(tmp_path / name, given)
    found = read_landmarks(tmp_path / name)
    assert list(found) == list(given) and found["nobody.jpg"] == []
    for path, faces in given.items():
        assert [f.score for f in found[path]] == [0.75] * len(faces)
        for one, other in zip(found[path], faces, strict=True):
            assert one.points.dtype == np.float32 and np.array_equal(one.points, other.points)


def test_a_file_of_nothing_is_no_image(tmp_path: Path) -> None:
    write_landmarks(tmp_path / "none.csv", {})
    assert read_landmarks(tmp_path / "none.csv") == {}
    assert tuple(rows_of(tmp_path / "none.csv")[0]) == columns_of(468)


def test_columns_may_stand_in_any_order_beside_others_and_without_a_score(tmp_path: Path) -> None:
    write_landmarks(tmp_path / "a.csv", {"x.jpg": [cloud(478)]})
    table = [[*reversed(row), "?"] for row in rows_of(tmp_path / "a.csv")]
    table[0][-1] = "note"
    table = [[cell for name, cell in zip(table[0], row, strict=True) if name != "score"] for row in table]
    write(tmp_path / "b.csv", table)
    (found,) = read_landmarks(tmp_path / "b.csv")["x.jpg"]
    assert np.array_equal(found.points, cloud(478).points) and found.score == 1


def write(path: Path, table: Table) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(table)


def cell(name: str, value: str) -> Callable[[Table], Table]:
    return lambda table: [table[0], [value if n == name else v for n, v in zip(*table, strict=True)]]


def without(*names: str) -> Callable[[Table], Table]:
    return lambda table: [[v for n, v in zip(table[0], row, strict=True) if n not in names] for row in table]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("path"), r"has no column path; expected path, x0, y0 to x467, y467"),
        (without("x0"), r"has no column x0;"),
        (without("y300"), r"has no column y300;"),
        (
            without(*columns_of()[2 + 2 * 68 :]),
            r"has columns for 68 points; expected the 468 of the MediaPipe face mesh",
        ),
        (without(*columns_of()[2 + 2 * 470 :]), r"has columns for 470 points; .* 478 with irises"),
        (cell("y477", ""), r"row 1: has 477.5 points; expected the 468"),
        (cell("x3", "left"), r"row 1: expected a number for every point.*left"),
        (cell("x3", ""), r"row 1: expected a number for every point"),
        (cell("score", "high"), r"row 1: expected a number .*high"),
        (cell("x3", "nan"), r"row 1: expected finite numbers, got nan; leave out the row"),
        (cell("y476", "-inf"), r"row 1: expected finite numbers, got -inf"),
        (cell("y476", "1e300"), r"row 1: expected finite numbers, got inf"),
        (lambda table: [table[0], table[1][:-1]], r"row 1: expected 958 values as in the header, got 957"),
    ],
)
def test_what_is_wrong_is_told(change: Callable[[Table], Table], told: str, tmp_path: Path) -> None:
    write_landmarks(tmp_path / "good.csv", {"x.jpg": [cloud(478)]})
    write(tmp_path / "bad.csv", change(rows_of(tmp_path / "good.csv")))
    with pytest.raises(DataError, match=rf"bad\.csv.*{told}") as caught:
        read_landmarks(tmp_path / "bad.csv")
    assert caught.value.code == "bad_landmarks"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"", "is empty; expected a header"),
        ("a.parquet", b"", "is empty; expected a header"),
        ("a.parquet", b"no parquet", "cannot read landmarks"),
        ("a.csv", b"path,x0\n\xff\xfe,1\n", "cannot read landmarks"),
        ("a.csv", b"\n", "has no column path"),
        ("a.npy", b"", "landmarks are a .csv or .parquet file, not 'a.npy'; convert them"),
        ("a.csv", None, "cannot read landmarks"),
    ],
)
def test_files_that_are_none_are_told(name: str, content: bytes | None, told: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=told) as caught:
        read_landmarks(tmp_path / name)
    assert caught.value.code == "bad_landmarks"


def test_parquet_of_other_types_is_told(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"path": ["x.jpg"]} | {name: ["low"] for name in columns_of(468)[2:]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"row 1: expected a number for every point.*low"):
        read_landmarks(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"not 'a\.txt'"):
        write_landmarks(tmp_path / "a.txt", {})
    assert not (tmp_path / "a.txt").exists()


def test_a_face_gets_the_points_that_lie_on_it() -> None:
    left, right = cloud(468, (0, 0)), cloud(478, (90, 0))
    assert landmarks_of(Face((2, -10, 98, 105)), [left, right]) is left
    assert landmarks_of(Face((95, 0, 190, 95)), [left, right]) is right
    assert (
        landmarks_of(Face((300, 0, 400, 100)), [left, right]) is None and landmarks_of(Face((0, 0, 9, 9)), []) is None
    )
    whole = np.sqrt(1 / OVERLAP) * 100  # of a box so much larger the points fill just enough
    assert landmarks_of(Face((0, 0, whole - 1, whole - 1)), [left]) is left
    assert landmarks_of(Face((0, 0, whole + 1, whole + 1)), [left]) is None
    spot = Landmarks(np.full((468, 2), 50, np.float32))
    assert landmarks_of(Face((0, 0, 100, 100)), [spot]) is None


@pytest.mark.parametrize("shape", [(468, 3), (68, 2), (956,), (477, 2)])
def test_landmarks_are_468_points_or_478(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"points must be \(468, 2\), or \(478, 2\) with irises"):
        Landmarks(np.zeros(shape, np.float32))
