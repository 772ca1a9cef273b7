"""The table of features on disk: what is written comes back, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.core.errors import DataError
from unmask.features.table import NUMBERS, TEXT, FeatureTable, read_features, write_features

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def tables(draw: st.DrawFn) -> FeatureTable:
    count = draw(st.integers(0, 5))
    rows = {
        name: np.array(draw(st.lists(st.text(max_size=5), min_size=count, max_size=count)), object) for name in TEXT
    }
    rows |= {n: np.array(draw(st.lists(st.integers(0, 5), min_size=count, max_size=count)), np.int64) for n in NUMBERS}
    values, status, columns = {}, {}, {}
    for name, width in draw(st.dictionaries(st.sampled_from(["lbp", "npr", "ünï"]), st.integers(1, 4))).items():
        columns[name] = tuple(f"{name} {i}" for i in range(width))
        status[name] = np.array(
            draw(st.lists(st.sampled_from(["ok", "no_face"]), min_size=count, max_size=count)), object
        )
        flat = draw(st.lists(FINITE, min_size=count * width, max_size=count * width))
        values[name] = np.array(flat, np.float32).reshape(count, width)
        values[name][status[name] != "ok"] = np.nan
    about = draw(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2))
    return FeatureTable(rows, values, status, columns, about)


@settings(max_examples=40, deadline=None)
@given(table=tables())
def test_a_table_comes_back_bit_for_bit(table: FeatureTable, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("table") / "f.parquet"
    write_features(path, table)
    back = read_features(path)
    assert len(back) == len(table) and back.columns == table.columns and back.about == table.about
    for name in (*TEXT, *NUMBERS):
        assert back.rows[name].tolist() == table.rows[name].tolist() and back.rows[name].dtype == table.rows[name].dtype
    for name, values in table.values.items():
        assert back.status[name].tolist() == table.status[name].tolist()
        assert back.values[name].dtype == np.float32 and back.values[name].shape == values.shape
        known = table.status[name] == "ok"
        assert back.values[name][known].tobytes() == values[known].tobytes()
        assert np.isnan(back.values[name][~known]).all()


def small() -> FeatureTable:
    rows = {name: np.array(["a", "b"], object) for name in TEXT} | {name: np.array([0, 1]) for name in NUMBERS}
    values = {"x": np.array([[1, 2], [np.nan, np.nan]], np.float32)}
    return FeatureTable(
        rows, values, {"x": np.array(["ok", "no_face"], object)}, {"x": ("p", "q")}, {"cost_ms": {"x": 2}}
    )


def test_rows_are_taken_by_mask_and_costs_are_read() -> None:
    table = small()
    assert table.cost_ms == {"x": 2.0}
    part = table.take(np.array([False, True]))
    assert len(part) == 1 and part.rows["path"].tolist() == ["b"] and part.status["x"].tolist() == ["no_face"]


def test_other_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        read_features(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("path,label\n")
    with pytest.raises(DataError, match="no table of features"):
        read_features(tmp_path / "text.parquet")
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="no table of features"):
        read_features(tmp_path / "other.parquet")


@pytest.mark.parametrize("fault", ["missing", "status", "width"])
def test_a_table_that_contradicts_itself_is_refused(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    write_features(path, small())
    table = pq.read_table(path)
    where = table.column_names.index("x.status")
    if fault == "missing":
        table = table.remove_column(where)
    elif fault == "status":
        table = table.set_column(where, "x.status", pa.array(["no_face", "ok"]))
    else:
        table = table.set_column(where - 1, "x", pa.array([[1.0], None], pa.list_(pa.float32(), 1)))
    pq.write_table(table, path)
    with pytest.raises(DataError) as error:
        read_features(path)
    assert error.value.code == "bad_features" and "x" in error.value.message
