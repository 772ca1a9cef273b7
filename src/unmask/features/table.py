"""Measured features of a data set: columns in memory, one Parquet file (with what made them) on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.core.errors import DataError
from unmask.core.files import atomic_path

TEXT = ("path", "sha256", "group", "split", "source", "manipulation", "pair", "degradation")
NUMBERS = ("label", "severity")
_KEY = b"unmask"


@dataclass(frozen=True, slots=True, eq=False)
class FeatureTable:
    """N measured images; an image that was also measured degraded has a row per degradation and severity."""

    rows: Mapping[str, npt.NDArray[Any]]
    """Every name of :data:`TEXT` (objects) and :data:`NUMBERS` (int64), each (N,): the manifest's columns, and
    ``degradation`` with its ``severity`` (empty and 0: as it is)."""
    values: Mapping[str, npt.NDArray[np.float32]]
    """By feature: (N, D), rows of nan where it has none."""
    status: Mapping[str, npt.NDArray[Any]]
    """By feature: (N,) ``ok`` or why there is none, see :data:`unmask.features.base.Status`."""
    columns: Mapping[str, tuple[str, ...]]
    """By feature: the names of its D values."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What made them: ``command``, ``data_sha256``, ``versions`` and ``cost_ms`` by feature, ``machine`` …"""

    def __len__(self) -> int:
        return len(self.rows["label"])

    def take(self, which: npt.NDArray[Any]) -> FeatureTable:
        """The rows of a boolean mask or index."""
        rows, values, status = (
            {name: array[which] for name, array in part.items()} for part in (self.rows, self.values, self.status)
        )
        return FeatureTable(rows, values, status, self.columns, self.about)

    @property
    def cost_ms(self) -> dict[str, float]:
        """Processor milliseconds per image, by feature, where they were measured."""
        return {str(name): float(cost) for name, cost in dict(self.about.get("cost_ms", {})).items()}


def write_features(path: str | Path, table: FeatureTable) -> None:
    """Write Parquet, atomically: the rows' columns, and per feature ``NAME`` (a list, null where there is none) and
    ``NAME.status``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays: dict[str, Any] = {name: pa.array(table.rows[name].tolist(), pa.string()) for name in TEXT}
    arrays |= {name: pa.array(table.rows[name].tolist(), pa.int64()) for name in NUMBERS}
    for name, values in table.values.items():
        status = table.status[name]
        flat = pa.array(np.ascontiguousarray(values, np.float32).ravel())
        mask = pa.array((status != "ok").tolist(), pa.bool_())
        arrays[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=mask)
        arrays[f"{name}.status"] = pa.array(status.tolist(), pa.string())
    about = {"columns": {name: list(names) for name, names in table.columns.items()}, "about": dict(table.about)}
    built = pa.table(arrays).replace_schema_metadata({_KEY: json.dumps(about).encode()})
    with atomic_path(path) as temporary:
        pq.write_table(built, temporary)


def read_features(path: str | Path) -> FeatureTable:
    """Read what :func:`write_features` wrote.

    Raises:
        DataError: no such file, or not a table of features; says what is missing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    hint = "expected the file that `unmask features extract ... --out FILE.parquet` writes"
    if not path.is_file():
        raise DataError("not_found", f"there is no file {path}; {hint}")
    try:
        table = pq.ParquetFile(path).read()
        about = json.loads((table.schema.metadata or {})[_KEY])
        columns = {str(name): tuple(map(str, names)) for name, names in about["columns"].items()}
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError("bad_features", f"{path} is no table of features ({error}); {hint}") from None
    wanted = [*TEXT, *NUMBERS, *columns, *(f"{name}.status" for name in columns)]
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise DataError("bad_features", f"{path} lacks the columns {', '.join(missing[:5])}; {hint}")
    rows = {name: np.array(table[name].to_pylist(), object) for name in TEXT}
    rows |= {name: np.array(table[name].to_pylist(), np.int64) for name in NUMBERS}
    values, status = {}, {}
    for name, entries in columns.items():
        status[name] = np.array(table[f"{name}.status"].to_pylist(), object)
        lists = table[name].combine_chunks()
        if lists.type != pa.list_(pa.float32(), len(entries)):
            raise DataError("bad_features", f"{path}: '{name}' must be {len(entries)} floats a row, not {lists.type}")
        values[name] = np.full((len(table), len(entries)), np.nan, np.float32)
        there = ~np.asarray(lists.is_null())
        if (there != (status[name] == "ok")).any():
            raise DataError("bad_features", f"{path}: '{name}' has values where '{name}.status' says it has none")
        values[name][there] = np.asarray(lists.flatten()).reshape(-1, len(entries))  # only rows that are not null
    return FeatureTable(rows, values, status, columns, dict(about.get("about", {})))
