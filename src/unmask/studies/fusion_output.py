"""A fusion study on disk: study.json, fusion.csv, report.html, and the detector."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unmask.core.files import atomic_path, write_text
from unmask.evaluation.output import finite
from unmask.metrics.image import auc, split_scores
from unmask.reports.fusion_study_page import write_fusion_study_page
from unmask.studies.fusion_saving import save_fusion
from unmask.studies.fusion_study import FusionStudy

WEIGHTS = "weights.safetensors"


def write_fusion_study(
    out: str | Path, about: Mapping[str, Any], content: Mapping[str, Any], study: FusionStudy
) -> dict[str, Any]:
    """Write everything to a folder, each file whole or not at all; returns what study.json holds."""
    out = Path(out)
    whole = finite({"about": dict(about), **content, "saved": _save(out / WEIGHTS, about, study)})
    with atomic_path(out / "fusion.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        lines = list(_lines(whole))
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    write_fusion_study_page(out / "report.html", whole)
    write_text(out / "study.json", json.dumps(whole, indent=1, allow_nan=False) + "\n")
    found: dict[str, Any] = whole
    return found


def _save(path: Path, about: Mapping[str, Any], study: FusionStudy) -> dict[str, Any]:
    """Write the best feature-level fusion over what a detector can compute; what was written, or why nothing."""
    fusion = study.best_feature_level()
    nothing: dict[str, Any] = {
        "path": None,
        "fusion": fusion,
        "features": [],
        "excluded": {},
        "auc": None,
        "thresholds": None,
    }
    if fusion is None:
        return nothing | {"reason": "no feature-level fusion was studied"}
    trial = next(t for t in study.trials if t.name == fusion)
    card, logits, found = save_fusion(
        path,
        study.data,
        fusion,
        study.head,
        study.seed,
        trial.logits[0],
        {"command": str(about.get("command", "")), "code": {"version": about.get("version", "")}},
    )
    if card is None or logits is None:
        return nothing | {"excluded": dict(found.excluded), "reason": "no feature can be computed in the graph"}
    known = ~np.isnan(logits)
    return {
        "path": str(path),
        "fusion": fusion,
        "features": list(found.names),
        "excluded": dict(found.excluded),
        "auc": auc(split_scores(logits[known], study.data.labels[known])).value,
        "thresholds": {key: card.thresholds.get(key) for key in ("fake", "real")},
        "reason": "",
    }


def _lines(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for rank, line in enumerate(content["trials"], 1):
        flat: dict[str, Any] = {"rank": rank}
        flat |= {key: line[key] for key in ("name", "level", "cost_ms", "parameters", "seeds")}
        flat |= {"inputs": " ".join(line["inputs"]), "chosen": line["name"] == content["choice"]["name"]}
        flat |= {"auc": line["auc"]["value"], "auc_low": line["auc"]["low"], "auc_high": line["auc"]["high"]}
        for name, found in line["metrics"].items():
            if name != "auc":
                flat |= {name: found["value"], f"{name}_low": found["low"], f"{name}_high": found["high"]}
                flat[f"{name}_reason"] = found["reason"]
        for key in ("against_single", "against_concat"):
            found = line[key] or {}
            for name in ("difference", "low", "high", "p", "p_holm"):
                flat[f"{key}_{name}"] = found.get(name)
            flat[f"{key}_delong_p"] = found.get("delong", {}).get("p")
            flat[f"{key}_mcnemar_p"] = found.get("mcnemar", {}).get("p")
        yield flat
