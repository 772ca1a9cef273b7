"""A feature study on disk: study.json, tables as CSV, report.html."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from unmask.core.files import atomic_path, write_text
from unmask.reports.feature_study_page import write_feature_study_page

Line = dict[str, Any]


def write_study(out: str | Path, about: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """Write everything to a folder, each file whole or not at all; returns what study.json holds.

    Args:
        out: the folder; made where it is not there.
        about: what was studied and how: ``name`` (shown in the title), ``command``, ``features_sha256``, ``machine`` …
        content: what :func:`unmask.studies.feature_study.study_features` found.
    """
    out = Path(out)
    whole = {"about": dict(about), **content}
    tables = {
        "features.csv": _features(content),
        "manipulations.csv": _manipulations(content),
        "selection.csv": _selection(content),
        "redundancy.csv": _redundancy(content),
        "survival.csv": _survival(content),
        "test.csv": _test(content),
    }
    for name, lines in tables.items():
        _write_csv(out / name, lines)
    write_feature_study_page(out / "report.html", whole)
    write_text(out / "study.json", json.dumps(whole, indent=1, allow_nan=False) + "\n")
    return whole


def _write_csv(path: Path, lines: Iterable[Line]) -> None:
    """Write lines that share their columns; none, no file."""
    found = list(lines)
    if not found:
        return
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


def _flat(measures: Mapping[str, Mapping[str, Any]]) -> Line:
    """``auc``, ``auc_low``, ``auc_high``, ``auc_reason`` … of each measure."""
    line: Line = {}
    for name, found in measures.items():
        line |= {name: found["value"], f"{name}_low": found["low"], f"{name}_high": found["high"]}
        line[f"{name}_reason"] = found["reason"]
    return line


def _features(content: Mapping[str, Any]) -> Iterator[Line]:
    for rank, feature in enumerate(content["features"], 1):
        gap = feature["leave_one_out"]
        yield {
            "rank": rank,
            **{key: feature[key] for key in ("name", "width", "cost_ms")},
            **{f"coverage_{kind}": share for kind, share in feature["coverage"].items()},
            **_flat(feature["metrics"]),
            "label_information": feature["label_information"],
            "permutation_drop": feature["permutation"]["drop"],
            "permutation_spread": feature["permutation"]["spread"],
            **{f"leave_one_out_{key}": gap[key] for key in ("difference", "low", "high", "p")},
            "chosen_in_folds": feature["chosen_in_folds"],
            "chosen": feature["name"] in content["joint"]["chosen"]["features"],
        }


def _manipulations(content: Mapping[str, Any]) -> Iterator[Line]:
    scorers = [(feature["name"], feature) for feature in content["features"]] + list(content["joint"].items())
    for name, found in scorers:
        for kind, measure in found["by_manipulation"].items():
            yield {"scorer": name, "manipulation": kind, **_flat({"auc": measure})}


def _selection(content: Mapping[str, Any]) -> Iterator[Line]:
    for rule, lines in content["selection"]["paths"].items():
        for line in lines:
            yield {"rule": rule, **{k: v for k, v in line.items() if k != "auc"}, **_flat({"auc": line["auc"]})}


def _redundancy(content: Mapping[str, Any]) -> Iterator[Line]:
    found = content["redundancy"]
    kinds = [key for key in found if key not in ("names", "bins")]
    for i, first in enumerate(found["names"]):
        for j, second in enumerate(found["names"][:i]):
            yield {"first": second, "second": first, **{kind: found[kind][i][j] for kind in kinds}}


def _survival(content: Mapping[str, Any]) -> Iterator[Line]:
    for curve in content["survival"]:
        for cell in curve["cells"]:
            yield {
                "degradation": curve["degradation"],
                "scorer": curve["scorer"],
                **{key: cell[key] for key in ("severity", "n_real", "n_fake", "coverage")},
                **_flat({"auc": cell["auc"]}),
                "dies_at": curve["dies_at"],
            }


def _test(content: Mapping[str, Any]) -> Iterator[Line]:
    for name, found in (content["test"] or {"scorers": {}})["scorers"].items():
        yield {"scorer": name, "coverage": found["coverage"]["all"], **_flat(found["metrics"])}
