"""The image-editing benchmark as one HTML file: heat maps, benign edits, malicious edits, verdict stability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.reports.evaluation_page import cell, facts
from unmask.reports.figures import INK, Picture, to_png
from unmask.reports.page import data_uri, number, write_page

Rows = Sequence[Mapping[str, Any]]
_PANELS = (
    ("frr", "reals called fake (FRR)", 1),
    ("far", "fakes not called fake (FAR)", 1),
    ("auc", "AUC", -1),
    ("pixel_f1", "pixel F1", -1),
    ("survived", "verdicts that survive", -1),
)
"""Measure, title, and the sign of what is worse."""
SHOWN_IMAGES, SHOWN_ERRORS = 40, 50


def heat_figure(clean: Mapping[str, Any], benign: Rows) -> Picture:
    """Edits by severities, a panel per measure: the value as text, darker where it is worse than without an edit."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["edit"] for row in benign))
    severities = sorted({row["severity"] for row in benign})
    panels = [panel for panel in _PANELS if any(row[panel[0]]["value"] is not None for row in benign)]
    width = 1.6 + len(panels) * (0.5 + 0.42 * (len(severities) + 1))
    figure = Figure(figsize=(max(width, 5.0), 1.2 + 0.27 * (len(names) + 1)), dpi=144, layout="constrained")
    axes = figure.subplots(1, max(len(panels), 1), sharey=True, squeeze=False)[0]
    for axis, (key, title, sign) in zip(axes, panels, strict=False):
        values = _grid(benign, key, names, severities)
        start = 1.0 if key == "survived" else _value(clean[key])
        loss = sign * (values - (0.0 if math.isnan(start) else start))
        most = max(0.3, _largest(loss))
        shown = np.vstack([np.zeros((1, len(severities))), loss])
        axis.imshow(shown, cmap="Reds", vmin=0, vmax=most, aspect="auto")
        for (y, x), value in np.ndenumerate(values):
            if not math.isnan(value):
                colour = "w" if loss[y, x] > 0.6 * most else INK
                axis.text(x, y + 1, _short(value), ha="center", va="center", fontsize=6.5, color=colour)
        if not math.isnan(start):
            axis.text((len(severities) - 1) / 2, 0, _short(start), ha="center", va="center", fontsize=6.5, color=INK)
        axis.axhline(0.5, color=INK, linewidth=0.8)
        axis.set_title(title, fontsize=7.5, color=INK)
        axis.set_xticks(range(len(severities)), [str(s) for s in severities], fontsize=7)
        axis.set_yticks(range(len(names) + 1), ["unedited", *names], fontsize=7)
        axis.tick_params(length=0)
        for side in axis.spines.values():
            side.set_visible(False)
    figure.supxlabel("severity", fontsize=8, color=INK)
    caption = (
        "A row per benign edit, a column per severity (1 light, 5 strong), the value in each field; the darker, the "
        "further to the worse from the unedited images in the first row."
    )
    return Picture("editing", "Benign edits", caption, to_png(figure))


def crossed_figure(table: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Picture | None:
    """Manipulations by benign edits: AUC of the fakes of one kind against all reals."""
    from matplotlib.figure import Figure

    values = np.array([[_value({"value": v["auc"]}) for v in row.values()] for row in table.values()], float)
    if not values.size or np.isnan(values).all():
        return None
    kinds, edits = list(table), list(next(iter(table.values())))
    figure = Figure(figsize=(1.8 + 0.42 * len(edits), 1.3 + 0.27 * len(kinds)), dpi=144, layout="constrained")
    axis = figure.add_subplot()
    axis.imshow(1 - values, cmap="Reds", vmin=0, vmax=0.6, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        if not math.isnan(value):
            colour = "w" if value < 0.62 else INK
            axis.text(x, y, _short(value), ha="center", va="center", fontsize=6.5, color=colour)
    axis.axvline(0.5, color=INK, linewidth=0.8)
    axis.set_xticks(range(len(edits)), ["unedited", *edits[1:]], fontsize=7, rotation=45, ha="right")
    counts = [next(iter(row.values()))["n_fake"] for row in table.values()]
    axis.set_yticks(range(len(kinds)), [f"{kind} ({n})" for kind, n in zip(kinds, counts, strict=True)], fontsize=7)
    axis.tick_params(length=0)
    axis.set_title("AUC by manipulation and benign edit", fontsize=8, color=INK)
    for side in axis.spines.values():
        side.set_visible(False)
    caption = (
        "The fakes of one kind (how many in brackets) against all reals, both edited, a mean over the severities; the "
        "first column is unedited. At 0.5 the order is chance."
    )
    return Picture("manipulations", "Manipulations under benign edits", caption, to_png(figure))


def _value(measure: Mapping[str, Any]) -> float:
    return float("nan") if measure["value"] is None else float(measure["value"])


def _grid(rows: Rows, key: str, names: Sequence[str], severities: Sequence[int]) -> npt.NDArray[np.float64]:
    """(edits, severities) values of one measure; nan where there is none."""
    values = np.full((len(names), len(severities)), np.nan)
    for row in rows:
        values[names.index(row["edit"]), severities.index(row["severity"])] = _value(row[key])
    return values


def _largest(values: npt.NDArray[np.float64]) -> float:
    return 0.0 if np.isnan(values).all() else float(np.nanmax(values))


def _short(value: float) -> str:
    """Two digits without the leading zero.

    >>> _short(0.0), _short(0.254), _short(0.999), _short(-0.02)
    ('0', '.25', '1.0', '-.02')
    """
    text = f"{value:.2f}".replace("0.", ".")
    return {".00": "0", "-.00": "0", "1.00": "1.0"}.get(text, text)


_BENIGN = (
    *(("frr", "FRR"), ("far", "FAR"), ("auc", "AUC"), ("auc_change", "AUC change"), ("pixel_f1", "pixel F1")),
    *(("pixel_iou", "pixel IoU"), ("false_alarm_area", "false alarm"), ("survived", "verdict survives")),
    ("mask_iou", "mask with itself"),
)


def _benign_table(clean: Mapping[str, Any], benign: Rows) -> dict[str, Any]:
    used = [(key, head) for key, head in _BENIGN if any(row[key]["value"] is not None for row in benign)]
    empty = {"value": None, "low": None, "high": None, "reason": "the unedited images themselves"}
    lines = [
        {"row": row, "cells": [cell(row.get(key, empty), _digits(key)) for key, _ in used]} for row in (clean, *benign)
    ]
    absent = {head: benign[0][key]["reason"] for key, head in _BENIGN if (key, head) not in used}
    return {"heads": [head for _, head in used], "lines": lines, "absent": absent}


def _digits(key: str) -> int:
    return 4 if key == "false_alarm_area" else 3


def _malicious_table(rows: Rows) -> dict[str, Any]:
    points = list(rows[0]["oracle"])
    columns: list[tuple[str, list[Mapping[str, Any]]]] = [
        ("AUC", [row["auc"] for row in rows]),
        ("FAR, own threshold", [row["far"] for row in rows]),
    ]
    for way in ("oracle", "transferred"):
        columns += [(f"FAR at {100 * float(x):g} % FRR, {way}", [row[way][x] for row in rows]) for x in points]
    heads = (("pixel_f1", "pixel F1"), ("pixel_iou", "pixel IoU"), ("pixel_auc", "pixel AUC"))
    columns += [(head, [row[key] for row in rows]) for key, head in heads]
    used = [(head, values) for head, values in columns if any(v["value"] is not None for v in values)]
    absent = {head: values[0]["reason"] for head, values in columns if all(v["value"] is None for v in values)}
    lines = [{"row": row, "cells": [cell(values[i]) for _, values in used]} for i, row in enumerate(rows)]
    return {"heads": [head for head, _ in used], "lines": lines, "absent": absent}


_NAMES = {
    "frr": "most reals called fake",
    "far": "most fakes missed",
    "auc": "lowest AUC",
    "pixel_f1": "lowest pixel F1",
}


def write_editing_page(path: str | Path, content: Mapping[str, Any], images: Rows, pictures: Sequence[Picture]) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        content: what ``editing.json`` holds.
        images: a row per image, as in ``stability.csv``.
        pictures: the figures.
    """
    about = content["about"]
    worst = content["worst"]
    cards = [
        (_NAMES[key], f"{found['value']:.3f}", f"{found['edit']}, severity {found['severity']}")
        for key in _NAMES
        if (found := worst["benign"][key]) is not None
    ]
    shaky = sorted(
        (row for row in images if row["survived"] is not None), key=lambda row: (row["survived"], row["path"])
    )
    context = {
        "about": about,
        "clean": content["clean"],
        "cards": cards,
        "stability": [
            {"row": row, "cells": [cell(row[k]) for k in ("survived", "survives_all", "score_range", "mask_iou")]}
            for row in content["stability"]
        ],
        "points": [
            {"row": row, "threshold": _threshold(row["threshold"]), "cell": cell(row["frr"])}
            for row in content["operating_points"]
        ],
        "by_edit": [
            {"row": row, "cells": [cell(row["survived"]), cell(row["mask_iou"])], "worst": _worst_cells(row["worst"])}
            for row in content["by_edit"]
        ],
        "benign": _benign_table(content["clean"], content["benign"]),
        "malicious": _malicious_table(content["malicious"]) if content["malicious"] else None,
        "worst_malicious": worst["malicious"],
        "images": shaky[:SHOWN_IMAGES],
        "n_images": len(images),
        "errors": content["errors"][:SHOWN_ERRORS],
        "n_errors": len(content["errors"]),
        "pictures": [(p, data_uri(p.png, "image/png")) for p in pictures],
        "facts": [*facts(about), *_calibration(content["calibration"])],
    }
    write_page(path, "editing.html", context)


def _worst_cells(worst: Mapping[str, Any]) -> list[str]:
    told = []
    for key in ("frr", "far", "auc", "pixel_f1"):
        found = worst[key]
        told.append("–" if found is None else f"{found['value']:.3f} (severity {found['severity']})")
    return told


def _threshold(value: float | str | None) -> str:
    """A threshold for the page; ``inf`` rejects nothing."""
    return value if isinstance(value, str) else number(value)


def _calibration(found: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    return [
        ("calibration data hash", found["data_sha256"]),
        ("calibration images", f"{found['n_real']} real, {found['n_fake']} fake, {found['n_families']} families"),
    ]
