"""The evaluation as one HTML file: numbers first, each beside its baselines, then the figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unmask.reports.figures import Picture
from unmask.reports.page import MISSING, data_uri, percent, write_page

SHOWN_ERRORS = 50
RANK = (
    *(("auc", "AUC"), ("ap", "AP"), ("eer", "EER")),
    *((f"far@frr={x:g}", f"FAR at {100 * x:g} % FRR") for x in (0.001, 0.01, 0.05)),
)
AT_HALF = (
    *(("accuracy", "accuracy"), ("precision", "precision"), ("recall", "recall")),
    *(("f1", "F1"), ("frr", "FRR"), ("far", "FAR"), ("ece", "ECE"), ("brier", "Brier")),
)
PIXEL = (
    *(("pixel_f1", "pixel F1"), ("pixel_iou", "pixel IoU"), ("pixel_auc", "pixel AUC")),
    ("false_alarm_area", "false alarm on reals"),
)


def cell(measure: Mapping[str, Any], digits: int = 3) -> dict[str, str]:
    """A measure as a table cell: value, interval, and the reason where there is no value.

    >>> cell({"value": 0.91, "low": 0.88, "high": 0.94, "reason": ""})
    {'text': '0.910', 'interval': '0.88–0.94', 'why': ''}
    """
    if measure["value"] is None:
        return {"text": MISSING, "interval": "", "why": measure["reason"]}
    there = measure["low"] is not None and measure["high"] is not None
    interval = f"{measure['low']:.2f}–{measure['high']:.2f}" if there else ""
    return {"text": f"{measure['value']:.{digits}f}", "interval": interval, "why": ""}


def _share(found: Mapping[str, Any]) -> dict[str, str]:
    """A verdict rate as a table cell."""
    if not found["n"]:
        return {"text": MISSING, "interval": "", "why": "no such images"}
    limits = f"{100 * found['low']:.1f}–{100 * found['high']:.1f}"
    return {"text": percent(found["rate"]), "interval": f"{found['count']}/{found['n']}, {limits}", "why": ""}


def _table(rows: Sequence[Mapping[str, Any]], group: str, columns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Heads and lines of one table; a column in which no row has a value is left out and its reason noted."""
    used = [(key, head) for key, head in columns if any(row[group][key]["value"] is not None for row in rows)]
    absent = {head: rows[0][group][key]["reason"] for key, head in columns if (key, head) not in used}
    lines = [
        {"row": row, "cells": [cell(row[group][key]) for key, _ in used], "baselines": _baselines(row)} for row in rows
    ]
    return {"heads": [head for _, head in used], "lines": lines if used else [], "absent": absent}


def _baselines(row: Mapping[str, Any]) -> list[dict[str, str]]:
    return [cell(row["baselines"][name]["auc"]) for name in ("blur", "metadata")]


def _verdicts(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    picked = (("real", "fake"), ("fake", "fake"), ("fake", "real"))
    lines = []
    for row in rows:
        counts = row["verdicts"]
        if counts is None:
            continue
        cells = [_share(counts["coverage"]), _share(counts["error"])]
        cells += [_share(counts[truth][answer]) for truth, answer in picked]
        lines.append({"row": row, "cells": cells, "baselines": _baselines(row)})
    heads = ["coverage", "wrong of decided", "real: fake", "fake: fake", "fake: real"]
    return {"heads": heads, "lines": lines, "absent": {}}


def warnings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows in which a baseline comes near the detector, in words."""
    found = []
    for row in rows:
        mine = row["metrics"]["auc"]["value"]
        for name, words in (("blur", "the untrained blur score"), ("metadata", "file metadata alone")):
            other = row["baselines"][name]["auc"]
            if mine is None or other["value"] is None:
                continue
            # tables report AUC as it is; as a shortcut, a low one serves as well as a high one
            reach = max(other["value"], 1 - other["value"])
            if reach >= mine or (name == "metadata" and other["low"] is not None and other["low"] > 0.6):
                upside = f" ({reach:.3f} read upside down)" if other["value"] < 0.5 else ""
                found.append(
                    f"{row['name']}: {words} reaches AUC {other['value']:.3f}{upside}, the detector {mine:.3f}"
                )
    return found


def write_evaluation_page(
    path: str | Path,
    about: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    errors: Sequence[Mapping[str, Any]],
    pictures: Sequence[Picture],
) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        about: what was measured, as in ``metrics.json``.
        rows: table rows as :meth:`unmask.evaluation.tables.TableRow.as_json` gives them, the whole set first.
        errors: files that could not be scored: path, code, message.
        pictures: figures, in order.
    """
    whole = rows[0]
    unit = str(about.get("unit", "images"))
    tables = [
        ("Ranking", f"How well the score orders {unit}; FAR at thresholds chosen here.", _table(rows, "metrics", RANK)),
        ("Localization", "Means over images; see the note below.", _table(rows, "pixel", PIXEL)),
        ("At a score of 0.5", f"A threshold that nobody chose on these {unit}.", _table(rows, "metrics", AT_HALF)),
    ]
    if unit != "images":
        tables.pop(1)
    if any(row["verdicts"] for row in rows):
        caption = (
            "Truth: answer; what is missing to 100 % is uncertain. Small: counts, and exact limits in % "
            f"(Clopper-Pearson, {unit} taken as independent)."
        )
        tables.insert(1, ("Verdicts at the given thresholds", caption, _verdicts(rows)))
    context = {
        "about": about,
        "unit": unit,
        "facts": facts(about),
        "whole": whole,
        "headline": {name: cell(whole["metrics"][name]) for name in ("auc", "eer", "ece")},
        "blur": cell(whole["baselines"]["blur"]["auc"]),
        "metadata": cell(whole["baselines"]["metadata"]["auc"]),
        "warnings": warnings(rows),
        "tables": [t for t in tables if t[2]["lines"] or t[2]["absent"]],
        "errors": errors[:SHOWN_ERRORS],
        "n_errors": len(errors),
        "pictures": [(p, data_uri(p.png, "image/png")) for p in pictures],
    }
    write_page(path, "evaluation.html", context)


def facts(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The line-by-line facts below a report's headline: what was measured, name and text."""
    matching = about.get("matching") or {}
    thresholds = about.get("thresholds") or {}
    clips = about.get("clips") or {}
    parts = [
        ("command", about.get("command")),
        ("data", about.get("data")),
        ("face boxes", about.get("boxes")),
        ("data hash", about.get("data_sha256")),
        ("calibration data", about.get("calibration")),
        ("split", about.get("split")),
        ("weights hash", about.get("weights_sha256")),
        ("frames", about.get("frames")),
        ("clips of a video, at most", clips.get("most")),
        ("frames of a clip", clips.get("frames")),
        ("one size (longer side)", matching.get("size")),
        ("one JPEG quality", matching.get("jpeg_quality")),
        ("threshold fake", thresholds.get("fake")),
        ("threshold real", thresholds.get("real")),
        *((f"mask threshold of {name}", value) for name, value in (about.get("mask_thresholds") or {}).items()),
        ("seed", about.get("seed")),
        ("machine", about.get("machine")),
        ("version", about.get("version")),
    ]
    shown = [(name, value) for name, value in parts if value is not None and value != ""]
    return [(name, f"{v:.4f}" if isinstance(v, float) and math.isfinite(v) else str(v)) for name, v in shown]
