"""Prediction files: there and back, and everything that can be wrong with them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unmask.core.errors import DataError
from unmask.evaluation.predictions import COLUMNS, build, read_predictions, write_predictions


def test_parquet_round_trip(tmp_path):
    records = [
        {"path": "ä b.jpg", "label": 1, "score": 0.7, "logit": 2.0, "verdict": "fake", "pixel_f1": 0.5, "group": "g"},
        {"path": "c.jpg", "label": 0, "score": None},
    ]
    about = {"name": "mine", "thresholds": {"fake": 0.6, "real": None}}
    write_predictions(tmp_path / "p.parquet", build(records, about))
    found = read_predictions(tmp_path / "p.parquet")
    assert found.about == about
    assert found.thresholds.fake == 0.6
    assert found["path"].tolist() == ["ä b.jpg", "c.jpg"]
    assert found["score"][0] == 0.7
    assert np.isnan(found["score"][1])
    assert len(found.scored) == 1
    assert pq.read_table(tmp_path / "p.parquet").column_names == list(COLUMNS)
    assert pq.read_table(tmp_path / "p.parquet")["score"].null_count == 1


def test_csv_of_any_tool(tmp_path):
    (tmp_path / "their tool.csv").write_text("\ufeffpath, label, score\na.jpg,1,-3.5\nb.jpg,0,\n", encoding="utf-8")
    found = read_predictions(tmp_path / "their tool.csv")
    assert found.name == "their tool"
    assert found["logit"][0] == found["score"][0] == -3.5
    assert np.isnan(found["score"][1])


@pytest.mark.parametrize(
    "text, message",
    [
        ("path,score\na,1\n", "column 'label' is missing"),
        ("path,label,score,gruop\na,1,1,x\n", "unknown column 'gruop'"),
        ("path,label,score\na,2,1\n", "label must be 0 or 1"),
        ("path,label,score\na,1,high\n", "score is no number: 'high'"),
        ("path,label,score\na,1\n", "expected 3 values"),
        ("path,label,score\na,1,1,1\n", "expected 3 values"),
        ("path,label,score\na,1,1\na,0,1\n", "listed more than once, first a"),
        ("path,label,score\n,1,1\n", "a path is empty"),
        ("path,label,score\n", "no rows"),
        ("", "column 'path' is missing"),
    ],
)
def test_bad_csv(text, message, tmp_path):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_predictions(tmp_path / "s.csv")


def test_bad_files(tmp_path):
    (tmp_path / "s.parquet").write_bytes(b"PAR1 not really")
    (tmp_path / "s.csv").write_bytes(b"path,label,score\n\xff\xfe,1,1\n")
    (tmp_path / "s.txt").write_text("x")
    for name, message in (("s.parquet", "Parquet"), ("s.csv", "UTF-8"), ("s.txt", "from .parquet or .csv")):
        with pytest.raises(DataError, match=message):
            read_predictions(tmp_path / name)
    with pytest.raises(DataError, match="there is no file"):
        read_predictions(tmp_path / "none.csv")
    pq.write_table(pa.table({"path": ["a"], "label": [1]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="'score' is missing"):
        read_predictions(tmp_path / "t.parquet")
