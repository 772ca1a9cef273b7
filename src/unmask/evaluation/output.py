"""An evaluation on disk: metrics.json, metrics.csv, predictions.parquet, figures and report.html."""

from __future__ import annotations

import csv
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from unmask.core.errors import DataError
from unmask.core.files import atomic_path, write_text
from unmask.core.version import __version__
from unmask.evaluation.predictions import write_predictions
from unmask.evaluation.run import Evaluation
from unmask.evaluation.unfinished import UNFINISHED
from unmask.metrics.measure import plain
from unmask.reports import figures
from unmask.reports.evaluation_page import write_evaluation_page

CSV_COLUMNS = ("kind", "name", "against", "n_real", "n_fake", "scorer", "metric", "value", "low", "high", "reason")


def check_out(out: Path, *, resumes: bool = False) -> None:
    """Refuse a folder that already holds something, before hours of work.

    Args:
        out: the folder; need not be there.
        resumes: take the folder of an evaluation that was stopped.

    Raises:
        DataError: ``exists``.
    """
    if resumes and (out / UNFINISHED).is_file():
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError("exists", f"{out} is not an empty folder; choose a new one (nothing is overwritten)")


def machine() -> str:
    """The machine in one line, for reports."""
    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def write_evaluation(out: str | Path, evaluation: Evaluation) -> dict[str, Any]:
    """Write everything to a folder, each file atomically; returns the content of ``metrics.json``.

    What an unfinished evaluation has left there goes last.
    """
    out = Path(out)
    predictions = evaluation.predictions
    about = {**predictions.about, "machine": machine(), "version": __version__}
    rows = [row.as_json() for row in evaluation.table]
    errors = [asdict(error) for error in evaluation.errors]
    content: dict[str, Any] = finite({"about": about, "rows": rows, "errors": errors})
    write_predictions(out / "predictions.parquet", predictions)
    write_text(out / "metrics.json", json.dumps(content, indent=1, allow_nan=False, ensure_ascii=True) + "\n")
    _write_csv(out / "metrics.csv", rows)
    pictures = draw(evaluation, rows)
    for picture in pictures:
        with atomic_path(out / "figures" / f"{picture.name}.png") as temporary:
            temporary.write_bytes(picture.png)
    write_evaluation_page(out / "report.html", about, rows, errors, pictures)
    (out / UNFINISHED).unlink(missing_ok=True)
    return content


def finite(value: Any) -> Any:
    """Nested values without nan and infinities, which JSON cannot hold."""
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return plain(value) if isinstance(value, float) else value


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """One line per row, scorer and metric."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            start = {name: row[name] for name in CSV_COLUMNS[:5]}
            groups = [("detector", row["metrics"] | row["pixel"] | {"pair_order": row["pair_order"]})]
            groups += list(row["baselines"].items())
            for scorer, measures in groups:
                for metric, found in measures.items():
                    writer.writerow({**start, "scorer": scorer, "metric": metric, **found})
            for truth in ("real", "fake"):
                for answer, found in (row["verdicts"] or {}).get(truth, {}).items():
                    values = {"value": found["rate"], "low": found["low"], "high": found["high"], "reason": ""}
                    writer.writerow({**start, "scorer": "verdict", "metric": f"{truth}_called_{answer}", **values})


def draw(evaluation: Evaluation, rows: Sequence[Mapping[str, Any]]) -> list[figures.Picture]:
    """The figures there is something to draw for."""
    p = evaluation.predictions
    labels = p["label"]
    scorers = {"detector": p["logit"], "blur": p["blur"], "metadata": p["metadata"]}
    thresholds = {"fake": p.thresholds.fake, "real": p.thresholds.real}
    if (p["verdict"] != "").any():
        confusion = figures.confusion_figure(p["verdict"], labels, "Verdicts")
    else:
        scored = p.scored
        answers = np.where(scored["score"] >= 0.5, "fake", "real")
        confusion = figures.confusion_figure(answers, scored["label"], "Answers at a score of 0.5")
    found = [
        figures.bars_figure(rows),
        figures.roc_figure(scorers, labels),
        figures.pr_figure(scorers, labels),
        figures.histogram_figure(p["score"], labels, thresholds),
        figures.reliability_figure(p["score"], labels),
        confusion,
    ]
    return [picture for picture in found if picture is not None]
