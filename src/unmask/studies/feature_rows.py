"""From tables of features to what a study needs: clean images with families and folds, degraded rows, costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.core.errors import ConfigError, DataError
from unmask.core.names import did_you_mean
from unmask.data.manifest import Row, data_hash
from unmask.data.splits import families, folds
from unmask.features.catalogue import FEATURES
from unmask.features.table import NUMBERS, TEXT, FeatureTable
from unmask.studies.forward import Costs

FOLDS = 5
NOT_MEASURED = "not_measured"
"""Status of a feature that a joined table lacks."""


def rows_of(table: FeatureTable) -> list[Row]:
    """The manifest's rows of a table."""
    columns = ("path", "label", "pair", "group", "split", "source", "manipulation", "sha256")
    parts = [table.rows[name].tolist() for name in columns]
    return [Row(**dict(zip(columns, values, strict=True))) for values in zip(*parts, strict=True)]


def join_tables(tables: Sequence[FeatureTable]) -> FeatureTable:
    """The rows of several tables, with the features of the first; what another lacks is ``not_measured``.

    An image that several tables list in one state counts once, from the first of them.

    Raises:
        DataError: ``mismatch``, when tables were made by different versions of a feature.
    """
    first = tables[0]
    for other in tables[1:]:
        ours, theirs = (dict(table.about.get("versions", {})) for table in (first, other))
        for name, columns in first.columns.items():
            if name in other.columns and (
                other.columns[name] != columns or ours.get(name, 0) != theirs.get(name, ours.get(name, 0))
            ):
                raise DataError(
                    "mismatch", f"'{name}' was measured by another version in one of the tables; extract both anew"
                )
    values: dict[str, Any] = {}
    status: dict[str, Any] = {}
    for name, columns in first.columns.items():
        blanks = [np.full((len(t), len(columns)), np.nan, np.float32) for t in tables]
        absent = [np.full(len(t), NOT_MEASURED, object) for t in tables]
        values[name] = np.concatenate([t.values.get(name, b) for t, b in zip(tables, blanks, strict=True)])
        status[name] = np.concatenate([t.status.get(name, a) for t, a in zip(tables, absent, strict=True)])
    rows = {name: np.concatenate([table.rows[name] for table in tables]) for name in (*TEXT, *NUMBERS)}
    first_of: dict[tuple[str, str, int], int] = {}
    for place, key in enumerate(zip(rows["path"], rows["degradation"], rows["severity"].tolist(), strict=True)):
        first_of.setdefault(key, place)
    joined = FeatureTable(rows, values, status, first.columns, first.about)
    return joined.take(np.array(list(first_of.values()), np.intp))


def pick_features(table: FeatureTable, names: Sequence[str] | None) -> tuple[str, ...]:
    """The features to study, in the table's order of measuring.

    Raises:
        ConfigError: ``unknown_feature``.
        DataError: ``no_features``, when the table holds none.
    """
    there = tuple(name for name, columns in table.columns.items() if columns)
    for name in names or ():
        if name not in there:
            hint = did_you_mean(name, there)
            raise ConfigError("unknown_feature", f"the table has no feature '{name}'{hint}; it has {', '.join(there)}")
    if not there:
        raise DataError("no_features", "the table holds no feature with values; extract descriptors first")
    return tuple(dict.fromkeys(names)) if names else there


@dataclass(frozen=True, slots=True, eq=False)
class StudyRows:
    """Images as they are, and degraded ones of the same families. ``N`` images, ``M`` degraded rows."""

    names: tuple[str, ...]
    """F features."""
    table: FeatureTable
    """The N images."""
    rows: list[Row]
    """Of the N images."""
    labels: npt.NDArray[np.bool_]
    families: list[str]
    fold: npt.NDArray[np.intp]
    degraded: FeatureTable
    """The M degraded rows."""
    degraded_families: list[str]
    degraded_fold: npt.NDArray[np.intp]
    """(M,): the fold of each row's family."""
    costs: Costs
    """Milliseconds per image; 1 each where not all were measured."""
    cost_known: bool
    strangers: int
    """Degraded rows left out because none of their family is among the images."""
    data_sha256: str
    """Of the N images, see :func:`unmask.data.manifest.data_hash`."""

    def known(self, name: str) -> npt.NDArray[np.bool_]:
        """(N,) images that have a feature."""
        return np.asarray(self.table.status[name] == "ok", bool)


def keep_fakes(table: FeatureTable, fakes: Sequence[str], *, needed: bool = True) -> FeatureTable:
    """Reals, and the fakes of some manipulations; ``needed``: each must be there."""
    kinds = table.rows["manipulation"].astype(str)
    fake = table.rows["label"] == 1
    there = sorted(set(kinds[fake]))
    for name in fakes:
        if needed and name not in there:
            raise ConfigError("bad_config", f"no fake is a '{name}'; there are {', '.join(there) or 'none'}")
    return table.take(~fake | np.isin(kinds, list(fakes)))


def _known_costs(table: FeatureTable, names: Sequence[str]) -> dict[str, float] | None:
    """Milliseconds by feature, 0 for one that has no value anywhere; None where one with values has no cost."""
    known = table.cost_ms
    idle = {name: 0.0 for name in names if name not in known and not (table.status[name] == "ok").any()}
    found = known | idle
    return found if all(name in found for name in names) else None


def _costs(table: FeatureTable, names: Sequence[str]) -> Costs:
    """Own costs and, once for all that need them, that of landmarks; decoding and faces are everybody's."""
    known = _known_costs(table, names)
    if known is None:
        return Costs(np.ones(len(names)))
    need = frozenset(i for i, name in enumerate(names) if name in FEATURES and "landmarks" in FEATURES[name].needs)
    landmarks = float(dict(table.about.get("shared_ms", {})).get("landmarks", 0.0))
    return Costs(np.array([known[name] for name in names]), ((need, landmarks),) if need and landmarks else ())


def study_rows(
    tables: Sequence[FeatureTable],
    *,
    features: Sequence[str] | None = None,
    fakes: Sequence[str] | None = None,
    count: int = FOLDS,
    seed: int = 0,
) -> StudyRows:
    """Join, check, and deal families into folds.

    Args:
        tables: of images as they are and degraded, all of data that choices may be made on.
        features: to study; all by default.
        fakes: keep fakes of these manipulations only.
        count: folds, three or more.
        seed: of the deal.

    Raises:
        ConfigError: an unknown feature or manipulation, too few folds, or data of split ``test``.
        DataError: one class, no groups, too few families, tables that do not fit.
    """
    if count < 3:
        raise ConfigError("bad_config", f"--folds must be 3 or more (selection needs folds inside folds), got {count}")
    table = join_tables(tables)
    names = pick_features(table, features)
    if (table.rows["split"] == "test").any():
        raise ConfigError(
            "select_on_test",
            "a study chooses features, so it cannot take rows of split 'test'; study train or val, and name the test "
            "table with --test to measure the choice on it once",
        )
    if fakes:
        table = keep_fakes(table, fakes)
    every = rows_of(table)
    clean = table.rows["degradation"] == ""
    rows = [row for row, mine in zip(every, clean.tolist(), strict=True) if mine]
    labels = np.array([row.label == 1 for row in rows], bool)
    if not labels.any() or labels.all():
        kind = "real and no fake" if not len(rows) else "real" if labels.all() else "fake"
        raise DataError("one_class", f"a study needs real and fake images as they are; there is no {kind} one")
    if not any(row.group or row.pair for row in rows):
        raise DataError(
            "no_groups",
            "no row names its group (person, video) or its pair, so relatives cannot be kept in one fold; "
            "add the column `group` to the manifest and extract again",
        )
    family = np.array(families(every), object)  # over all rows: degraded ones share their image's path
    fold = np.array(folds(rows, count, seed), np.intp)
    for number in range(count):
        for other in range(number + 1):
            left = labels[(fold != number) & (fold != other)]
            if not left.any() or left.all():
                raise DataError(
                    "too_few_families",
                    f"without folds {other} and {number} only one class is left ({len(set(family[clean]))} families in "
                    f"{count} folds); use fewer folds or more people",
                )
    of_family = dict(zip(family[clean], fold.tolist(), strict=True))
    home = np.array([of_family.get(name, -1) for name in family], np.intp)
    worse = ~clean & (home >= 0)
    return StudyRows(
        names=names,
        table=table.take(clean),
        rows=rows,
        labels=labels,
        families=list(family[clean]),
        fold=fold,
        degraded=table.take(worse),
        degraded_families=list(family[worse]),
        degraded_fold=home[worse],
        costs=_costs(table, names),
        cost_known=_known_costs(table, names) is not None,
        strangers=int((~clean & (home < 0)).sum()),
        data_sha256=data_hash(rows),
    )
