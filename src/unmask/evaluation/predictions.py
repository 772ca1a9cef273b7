"""Scores of labelled images: columns in memory, Parquet (with what made them) or plain CSV on disk."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.core.errors import DataError
from unmask.core.files import atomic_path
from unmask.core.verdict import Thresholds

TEXT = ("path", "group", "family", "split", "source", "manipulation", "pair", "verdict", "status")
NUMBERS = (
    *("score", "logit", "blur", "metadata"),
    *("pixel_f1", "pixel_iou", "pixel_auc", "false_alarm_area"),
)
PIXEL = NUMBERS[4:]
COLUMNS = ("path", "label", "score", "logit", *TEXT[1:], *NUMBERS[2:])
"""
==================  ====================================================================================
path                the image; of a video the folder of its frames
label               0 = real, 1 = fake
score               calibrated P(fake); empty when the detector had nothing to look at
logit               what orders the images: the detector's (combined) logit before calibration
group, family       as in the manifest; all that is related through group, pair or identical files
split, source, manipulation, pair   as in the manifest
verdict             fake, real or uncertain; empty without thresholds
status              ok or no_face
blur, metadata      the two baselines' scores (metadata: out of fold)
pixel_*             per forged image with a known mask; false_alarm_area per authentic image
==================  ====================================================================================
"""
_KEY = b"unmask"


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """One detector's (or any tool's) scores of N images."""

    columns: Mapping[str, npt.NDArray[Any]]
    """Every name of :data:`COLUMNS`, (N,): objects (text), int8 (label) or float64 with nan for "none"."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What made them: ``name``, ``thresholds``, ``weights_sha256``, ``data_sha256``, ``matching``, ``seed`` …"""

    def __len__(self) -> int:
        return len(self.columns["label"])

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.columns[name]

    def take(self, which: npt.NDArray[Any]) -> Predictions:
        """The rows of a boolean mask or index."""
        return Predictions({name: values[which] for name, values in self.columns.items()}, self.about)

    @property
    def scored(self) -> Predictions:
        """Without the images that have no score."""
        return self.take(~np.isnan(self["score"]))

    @property
    def name(self) -> str:
        """Of the detector or tool."""
        return str(self.about.get("name", ""))

    @property
    def unit(self) -> str:
        """What a row is, for people: ``images`` or ``videos``."""
        return str(self.about.get("unit", "images"))

    @property
    def thresholds(self) -> Thresholds:
        """Those that gave the verdicts; None each where there is none."""
        given = self.about.get("thresholds") or {}
        return Thresholds(given.get("fake"), given.get("real"))


def build(records: Sequence[Mapping[str, Any]], about: Mapping[str, Any] | None = None) -> Predictions:
    """Records (absent keys and None = unknown) to columns."""
    columns: dict[str, npt.NDArray[Any]] = {"label": np.array([r["label"] for r in records], np.int8)}
    for name in TEXT:
        columns[name] = np.array([r.get(name) or "" for r in records] or [], object)
    for name in NUMBERS:
        values = (r.get(name) for r in records)
        columns[name] = np.array([np.nan if v is None else float(v) for v in values], np.float64)
    return Predictions({name: columns[name] for name in COLUMNS}, about or {})


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write Parquet, atomically; unknown numbers are null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {name: pa.string() if name in TEXT else pa.int8() if name == "label" else pa.float64() for name in COLUMNS}
    arrays = [pa.array(predictions[name], type=kind, from_pandas=True) for name, kind in kinds.items()]
    schema = pa.schema(list(kinds.items()), metadata={_KEY: json.dumps(dict(predictions.about)).encode()})
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), temporary)


def read_predictions(path: str | Path) -> Predictions:
    """Read ``predictions.parquet``, or a CSV of any tool with ``path,label,score`` (and any other columns above).

    Raises:
        DataError: no such file, a column missing or unknown, a value that is no number, a path listed twice.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("not_found", f"there is no file {path}; expected predictions.parquet or a CSV path,label,score")
    if path.suffix.lower() == ".parquet":
        predictions = _read_parquet(path)
    elif path.suffix.lower() == ".csv":
        predictions = _read_csv(path)
    else:
        raise DataError("bad_predictions", f"scores are read from .parquet or .csv, got '{path.name}'")
    _check(predictions, path)
    return predictions


def _read_parquet(path: Path) -> Predictions:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise DataError("bad_predictions", f"{path} cannot be read as Parquet: {error}") from None
    _check_columns(table.column_names, path)
    try:
        about = json.loads((table.schema.metadata or {}).get(_KEY, b"{}"))
    except ValueError:
        about = {}
    return _convert(table.to_pylist(), path, {"name": path.stem, **(about if isinstance(about, dict) else {})})


def _read_csv(path: Path) -> Predictions:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_columns([name.strip() for name in reader.fieldnames or ()], path)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            records: list[dict[str, Any]] = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError("bad_predictions", f"{path} is not a UTF-8 CSV: {error}") from None
    for number, record in enumerate(records, 2):
        if None in record or None in record.values():
            raise DataError("bad_predictions", f"{path}, line {number}: expected {len(reader.fieldnames)} values")
    return _convert(records, path, {"name": path.stem})


def _check_columns(names: Sequence[str], path: Path) -> None:
    lacking = [name for name in ("path", "label", "score") if name not in names]
    unknown = [name for name in names if name not in COLUMNS]
    if lacking or unknown:
        wrong = f"column '{lacking[0]}' is missing" if lacking else f"unknown column '{unknown[0]}'"
        raise DataError("bad_predictions", f"{path}: {wrong}; known: {', '.join(COLUMNS)}")


def _convert(records: Sequence[dict[str, Any]], path: Path, about: Mapping[str, Any]) -> Predictions:
    for number, record in enumerate(records, 1):
        label = str(record["label"]).strip()
        if label not in ("0", "1"):
            raise DataError("bad_predictions", f"{path}, row {number}: label must be 0 or 1, got '{label}'")
        record["label"] = int(label)
        for name in NUMBERS:
            value = record.get(name)
            try:
                record[name] = None if value is None or value == "" else float(value)
            except ValueError:
                raise DataError("bad_predictions", f"{path}, row {number}: {name} is no number: '{value}'") from None
        if record.get("logit") is None:
            record["logit"] = record["score"]
    return build(records, about)


def _check(predictions: Predictions, path: Path) -> None:
    if not len(predictions):
        raise DataError("bad_predictions", f"{path} has no rows")
    names, counts = np.unique(predictions["path"].astype(str), return_counts=True)
    if not names[0]:
        raise DataError("bad_predictions", f"{path}: a path is empty")
    if (twice := names[counts > 1]).size:
        raise DataError("bad_predictions", f"{path}: {twice.size} paths are listed more than once, first {twice[0]}")
