"""A fusion study as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unmask.reports.comparison_page import p_value
from unmask.reports.evaluation_page import cell
from unmask.reports.figures import INK, Picture, new_axes, to_png
from unmask.reports.page import MISSING, data_uri, write_page

LEVELS = {"single": "#5b6675", "early": "#c77700", "feature": "#1f5fae", "late": "#1d6f42"}
HEADS = {"ap": "AP", "far@frr=0.01": "FAR at 1 % FRR", "far@frr=0.05": "FAR at 5 % FRR", "pair_order": "order in pairs"}


def gap(found: Mapping[str, Any] | None) -> str:
    """A paired difference as text, with a star where Holm's p is below 0.05.

    >>> gap({"difference": 0.0312, "p_holm": 0.01}), gap({"difference": -0.002, "p_holm": 0.7}), gap(None)
    ('+0.031*', '-0.002', '–')
    """
    if found is None:
        return MISSING
    return f"{found['difference']:+.3f}" + ("*" if found["p_holm"] is not None and found["p_holm"] < 0.05 else "")


def front_figure(content: Mapping[str, Any]) -> Picture:
    """AUC against milliseconds, by level."""
    figure, axes = new_axes("Quality against cost", "processor milliseconds per image", "AUC, out of fold", (7.2, 4.8))
    for level, colour in LEVELS.items():
        lines = [line for line in content["trials"] if line["level"] == level]
        if lines:
            x, y = [line["cost_ms"] for line in lines], [line["auc"]["value"] for line in lines]
            axes.scatter(x, y, color=colour, s=30, alpha=0.8, label=level)
    for line in content["trials"]:
        chosen = line["name"] == content["choice"]["name"]
        if chosen or line["finalist"] or line["name"] == content["best_single"]:
            place = (line["cost_ms"], line["auc"]["value"])
            axes.annotate(line["name"], place, fontsize=7, color=INK, xytext=(3, 3), textcoords="offset points")
        if chosen:
            axes.scatter([line["cost_ms"]], [line["auc"]["value"]], s=130, facecolors="none", edgecolors=INK)
    if all(line["cost_ms"] > 0 for line in content["trials"]):
        axes.set_xscale("log")
    axes.legend(fontsize=8, loc="lower right")
    return Picture("front", "Quality against cost", "Ringed: the chosen one.", to_png(figure))


def _difference(found: Mapping[str, Any] | None) -> dict[str, str]:
    if found is None:
        return {"text": MISSING, "interval": "", "why": ""}
    low, high = found["low"], found["high"]
    limits = f"{low:+.3f} to {high:+.3f}" if low is not None and high is not None else ""
    tests = f"Holm {p_value(found['p_holm'])}, DeLong {p_value(found['delong']['p'])}, "
    tests += f"McNemar {p_value(found['mcnemar']['p'])}"
    return {"text": gap(found), "interval": limits, "why": tests}


def write_fusion_study_page(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write the page for what study.json holds (see :mod:`unmask.studies.fusion_output`)."""
    lines = []
    for line in content["trials"]:
        seeds = ", ".join(f"{value:.3f}" for value in line["auc_by_seed"])
        lines.append(
            {
                **{key: line[key] for key in ("name", "level", "parameters")},
                "chosen": line["name"] == content["choice"]["name"],
                "cost": f"{line['cost_ms']:.3g}",
                "auc": cell(line["auc"]),
                "seeds": seeds if len(line["auc_by_seed"]) > 1 else "",
                "single": _difference(line["against_single"]),
                "concat": _difference(line["against_concat"]),
                "cells": [cell(line["metrics"][key]) for key in HEADS],
            }
        )
    shares = [
        {"fusion": line["name"], "name": name, **{key: cell({"value": found[key], "low": None, "high": None,
         "reason": "none"})["text"] for key in ("valid", "missing")}}
        for line in content["trials"] if line["shares"] for name, found in line["shares"].items()
    ]  # fmt: skip
    figure = front_figure(content)
    kinds = sorted({kind for line in content["trials"] for kind in line["by_manipulation"]})
    missing = {"value": None, "low": None, "high": None, "reason": "too few"}
    by_kind = [
        {"name": line["name"], "cells": [cell(line["by_manipulation"].get(kind, missing)) for kind in kinds]}
        for line in content["trials"]
    ]
    context = {
        "about": content["about"],
        "facts": [(key, value) for key, value in content["about"].items() if value and key != "name"],
        "data": content["data"],
        "choice": content["choice"],
        "best_single": content["best_single"],
        "features": content["features"],
        "maps": content["maps"],
        "heads": list(HEADS.values()),
        "lines": lines,
        "shares": shares,
        "kinds": kinds,
        "by_kind": by_kind,
        "saved": content["saved"],
        "picture": (figure, data_uri(figure.png, "image/png")),
        "seed": content["seed"],
    }
    write_page(path, "fusion_study.html", context)
