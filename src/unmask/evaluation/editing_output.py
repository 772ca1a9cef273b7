"""The image-editing benchmark on disk: editing.json, editing.csv, stability.csv, figures and report.html."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unmask.core.files import atomic_path, write_text
from unmask.core.version import __version__
from unmask.evaluation.editing import Calibration, Edited
from unmask.evaluation.editing_tables import Tables, worst
from unmask.evaluation.output import finite, machine
from unmask.evaluation.unfinished import UNFINISHED
from unmask.reports.editing_page import crossed_figure, heat_figure, write_editing_page

CSV_COLUMNS = ("half", "name", "severity", "n_real", "n_fake", "metric", "value", "low", "high", "reason")


def write_editing(
    out: str | Path, edited: Edited, calibration: Calibration | None = None, *, seed: int = 0
) -> dict[str, Any]:
    """Measure and write everything to a folder, each file atomically; returns the content of ``editing.json``.

    What an unfinished benchmark has left there goes last.
    """
    out = Path(out)
    tables = Tables(edited, calibration, seed=seed)
    benign, malicious, images = tables.benign(), tables.malicious(), tables.images()
    content: dict[str, Any] = finite(
        {
            "about": {**edited.clean.about, "machine": machine(), "version": __version__},
            "clean": tables.clean(),
            "benign": benign,
            "by_edit": tables.by_edit(benign),
            "malicious": malicious,
            "by_manipulation": tables.crossed(),
            "operating_points": tables.operating_points(),
            "stability": tables.stability(),
            "worst": {"benign": worst(benign), "malicious": _worst_kind(malicious)},
            "calibration": None if calibration is None else calibration.about,
            "errors": [asdict(error) for error in edited.errors],
        }
    )
    write_text(out / "editing.json", json.dumps(content, indent=1, allow_nan=False, ensure_ascii=True) + "\n")
    _write_csv(out / "editing.csv", CSV_COLUMNS, _lines(content))
    _write_csv(out / "stability.csv", list(images[0]), images)
    pictures = [
        p for p in (heat_figure(content["clean"], benign), crossed_figure(content["by_manipulation"])) if p is not None
    ]
    for picture in pictures:
        with atomic_path(out / "figures" / f"{picture.name}.png") as temporary:
            temporary.write_bytes(picture.png)
    write_editing_page(out / "report.html", content, images, pictures)
    (out / UNFINISHED).unlink(missing_ok=True)
    return content


def _worst_kind(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The manipulation that passes most often, and the one that is located worst."""
    found: dict[str, Any] = {}
    for key, sign in (("far", 1), ("auc", -1), ("pixel_f1", -1)):
        known = [row for row in rows[1:] if row[key]["value"] is not None]
        row = max(known, key=lambda r: sign * r[key]["value"], default=None)
        found[key] = None if row is None else {"manipulation": row["manipulation"], **row[key]}
    return found


def _lines(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One line per row and metric of both halves."""
    lines = []
    for row in (content["clean"], *content["benign"]):
        start = {"half": "benign", "name": row["edit"], "severity": row["severity"]}
        start |= {key: row[key] for key in ("n_real", "n_fake")}
        lines += [{**start, "metric": key, **m} for key, m in row.items() if isinstance(m, Mapping)]
    for row in content["malicious"]:
        start = {"half": "malicious", "name": row["manipulation"], "severity": ""}
        start |= {key: row[key] for key in ("n_real", "n_fake")}
        for key, found in row.items():
            if key in ("oracle", "transferred"):
                lines += [{**start, "metric": f"far@frr={x} {key}", **m} for x, m in found.items()]
            elif isinstance(found, Mapping):
                lines.append({**start, "metric": key, **found})
    return lines


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
