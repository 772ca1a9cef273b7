"""The manifest: one row per labelled image, in a Parquet or CSV file that travels with the data.

Columns (only ``path`` and ``label`` are required, an empty text means "not known"):

============  ==============================================================================================
path          the image; a relative path is relative to the folder of the manifest file
label         0 = real, 1 = fake
mask          8-bit grey image of the edited pixels (0 = untouched, 255 = foreign), stored like its image;
              only on fakes: a real image's mask is zero everywhere by definition
pair          the real counterpart of a fake (the photo it was made from, same size)
group         whatever must stay on one side of a split: person, video, source photo
split         ``train``, ``val`` or ``test``
source        where the photo came from: data set, site, camera
manipulation  name of the forgery or generator; only on fakes
sha256        hex SHA-256 of the image file
============  ==============================================================================================

Other columns are refused, so that a misspelt ``gruop`` is an error and not a split without groups.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unmask.core.errors import DataError
from unmask.core.files import atomic_path
from unmask.core.names import did_you_mean

SPLITS = ("train", "val", "test")
_HEX = re.compile(r"[0-9a-f]{64}")
_SHOWN = 5  # this many problems are spelt out in one error


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled image. Paths are absolute in memory; see the module's table for the meaning of each field."""

    path: str
    label: int
    mask: str = ""
    pair: str = ""
    group: str = ""
    split: str = ""
    source: str = ""
    manipulation: str = ""
    sha256: str = ""


COLUMNS = tuple(f.name for f in dataclasses.fields(Row))
_PATHS = ("path", "mask", "pair")


@dataclass(frozen=True, slots=True)
class Manifest:
    """Rows in file order; iterates and indexes like a sequence of :class:`Row`."""

    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    @property
    def sha256(self) -> str:
        """Hash of the content, for model cards and reports: see :func:`data_hash`."""
        return data_hash(self.rows)

    def select(self, split: str) -> Manifest:
        """The rows of one split.

        Raises:
            DataError: there are none; the message counts the splits there are.
        """
        rows = tuple(r for r in self.rows if r.split == split)
        if not rows:
            counts = {s: sum(r.split == s for r in self.rows) for s in (*SPLITS, "")}
            have = ", ".join(f"{n} {s or 'without a split'}" for s, n in counts.items() if n) or "no row"
            raise DataError("empty_split", f"no row has split '{split}' (there are: {have}); see `unmask data split`")
        return Manifest(rows)


def data_hash(rows: Iterable[Row]) -> str:
    """Hex SHA-256 of what the rows say, the same for CSV and Parquet, for any row order and any data location.

    An image is known by its ``sha256`` where there is one (else by its file name), a mask by its file name, a
    pair like an image.

    >>> a, b = Row("/x/a.jpg", 0), Row("/x/b.jpg", 1)
    >>> data_hash([a, b]) == data_hash([b, a]) != data_hash([a])
    True
    """
    rows = list(rows)
    known = {r.path: r.sha256 for r in rows if r.sha256}

    def name(path: str) -> str:
        return known.get(path) or os.path.basename(path)  # noqa: PTH119

    lines = sorted(
        "\x1f".join(
            (name(r.path), str(r.label), name(r.mask), name(r.pair), r.group, r.split, r.source, r.manipulation)
        )
        for r in rows
    )
    return hashlib.sha256("\x1e".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def check_rows(rows: Sequence[Row], where: Sequence[str] | None = None) -> None:
    """Raise one :class:`DataError` that lists the first problems of ``rows``, each with its place ``where``."""
    problems: list[str] = []
    first: dict[str, str] = {}
    for number, row in enumerate(rows):
        place = where[number] if where else f"row {number + 1}"
        if not row.path:
            problems.append(f"{place}: the path is empty")
        elif row.path in first:
            problems.append(f"{place}: {row.path} is listed twice (first in {first[row.path]})")
        first.setdefault(row.path, place)
        if row.label not in (0, 1):
            problems.append(f"{place}: label must be 0 (real) or 1 (fake), got {row.label!r}")
        if row.label == 0 and (row.mask or row.pair or row.manipulation):
            column = "mask" if row.mask else "pair" if row.pair else "manipulation"
            problems.append(f"{place}: a real image (label 0) has a {column}; is the label the wrong way round?")
        if row.pair and row.pair == row.path:
            problems.append(f"{place}: the image is its own pair")
        if row.split and row.split not in SPLITS:
            hint = did_you_mean(row.split.lower(), SPLITS, cutoff=0.4)
            problems.append(f"{place}: split must be train, val, test or empty, got '{row.split}'{hint}")
        if row.sha256 and not _HEX.fullmatch(row.sha256):
            problems.append(f"{place}: sha256 must be 64 lower-case hex digits, got '{row.sha256}'")
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError("bad_manifest", "; ".join(problems[:_SHOWN]) + more)


def _check_columns(names: Sequence[str], path: Path) -> None:
    for name in names:
        if name not in COLUMNS:
            hint = did_you_mean(str(name).lower(), COLUMNS) or " (remove or rename it)"
            known = ", ".join(COLUMNS)
            raise DataError("bad_manifest", f"{path}: unknown column '{name}'{hint}; known columns: {known}")
    for name in ("path", "label"):
        if name not in names:
            raise DataError("bad_manifest", f"{path}: the column '{name}' is missing; found: {', '.join(names)}")
    if len(set(names)) != len(names):
        raise DataError("bad_manifest", f"{path}: a column name appears twice in: {', '.join(names)}")


def _read_csv(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Records and the place of each (``line N``)."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            "bad_manifest", f"{path} is not UTF-8 text (byte {error.start}); save the CSV as UTF-8"
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records: list[dict[str, Any]] = []
    places: list[str] = []
    try:
        names = [n.strip() for n in next(reader, [])]
        _check_columns(names, path)
        for values in reader:
            if not values:
                continue
            if len(values) != len(names):
                line = f"{path}, line {reader.line_num}"
                raise DataError("bad_manifest", f"{line}: expected {len(names)} values, got {len(values)}")
            records.append(dict(zip(names, values, strict=True)))
            places.append(f"line {reader.line_num}")
    except csv.Error as error:
        raise DataError("bad_manifest", f"{path}, line {reader.line_num}: not valid CSV ({error})") from None
    return records, places


def _read_parquet(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError("bad_manifest", f"{path} cannot be read as Parquet: {error}") from None
    _check_columns(table.column_names, path)
    return table.to_pylist(), [f"row {n + 1}" for n in range(table.num_rows)]


def _row(record: Mapping[str, Any], folder: str) -> Row:
    values: dict[str, Any] = {k: "" if v is None else str(v) for k, v in record.items()}
    for name in values:
        if name not in _PATHS:
            values[name] = values[name].strip()
        elif values[name]:
            values[name] = os.path.normpath(os.path.join(folder, values[name]))  # noqa: PTH118
    values["label"] = {"0": 0, "1": 1}.get(values["label"], values["label"])
    return Row(**values)


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise DataError("bad_manifest", f"a manifest file ends in .parquet or .csv, got '{path.name}'")
    return suffix


def read_manifest(path: str | Path) -> Manifest:
    """Read and check a manifest; relative paths become absolute (from the manifest's own folder).

    The images are not opened. A manifest without rows is an error.

    Raises:
        DataError: no such file, unknown or missing column, a bad value; the message names line and column.
    """
    path = Path(path)
    suffix = _suffix(path)
    if not path.is_file():
        raise DataError("no_manifest", f"there is no manifest {path}; `unmask data index DIR --out FILE` makes one")
    records, places = _read_csv(path) if suffix == ".csv" else _read_parquet(path)
    folder = str(path.resolve().parent)
    rows = [_row(r, folder) for r in records]
    if not rows:
        raise DataError("bad_manifest", f"{path} has no rows")
    try:
        check_rows(rows, places)
    except DataError as error:
        raise DataError(error.code, f"{path}: {error.message}") from None
    return Manifest(tuple(rows))


def write_manifest(path: str | Path, rows: Iterable[Row], *, overwrite: bool = False) -> None:
    """Check and write rows atomically, as CSV or Parquet by suffix.

    Paths below the manifest's folder are written relative to it (folder and manifest can move together), all
    others absolute.

    Raises:
        DataError: a bad row, an unknown suffix, or the file exists and ``overwrite`` is off.
    """
    path = Path(path)
    suffix = _suffix(path)
    rows = list(rows)
    check_rows(rows)
    if path.exists() and not overwrite:
        raise DataError("exists", f"{path} exists; choose another name or ask to overwrite it (--force)")
    folders = (os.path.abspath(path.parent) + os.sep, str(path.resolve().parent) + os.sep)  # noqa: PTH100

    def written(row: Row) -> dict[str, Any]:
        values = dataclasses.asdict(row)
        for name in _PATHS:
            if values[name]:
                full = os.path.abspath(values[name])  # noqa: PTH100
                values[name] = next(
                    (full.removeprefix(f).replace(os.sep, "/") for f in folders if full.startswith(f)), full
                )
        return values

    records = [written(r) for r in rows]
    with atomic_path(path) as temporary:
        if suffix == ".csv":
            with temporary.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(records)
        else:
            import pyarrow
            import pyarrow.parquet

            kinds = {name: pyarrow.int8() if name == "label" else pyarrow.string() for name in COLUMNS}
            table = pyarrow.Table.from_pylist(records, schema=pyarrow.schema(list(kinds.items())))
            pyarrow.parquet.write_table(table, temporary)
