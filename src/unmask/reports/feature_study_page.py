"""A feature study as one HTML file: which evidence helps, at what cost, and when it dies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unmask.reports import feature_study_figures as figures
from unmask.reports.evaluation_page import cell
from unmask.reports.figures import Picture
from unmask.reports.page import MISSING, data_uri, percent, write_page

HEADS = {
    "auc": "AUC",
    "ap": "AP",
    "far@frr=0.01": "FAR at 1 % FRR",
    "far@frr=0.05": "FAR at 5 % FRR",
    "pair_order": "order within pairs",
}


def signed(found: Mapping[str, Any]) -> dict[str, str]:
    """A difference as a table cell.

    >>> signed({"difference": 0.0312, "low": 0.01, "high": 0.05})
    {'text': '+0.031', 'interval': '+0.01 to +0.05', 'why': ''}
    """
    if found["difference"] is None:
        return {"text": MISSING, "interval": "", "why": ""}
    there = found["low"] is not None
    interval = f"{found['low']:+.2f} to {found['high']:+.2f}" if there else ""
    return {"text": f"{found['difference']:+.3f}", "interval": interval, "why": ""}


def milliseconds(cost: float | None) -> str:
    """A cost for a table.

    >>> milliseconds(0.345), milliseconds(123.4), milliseconds(None)
    ('0.34', '123', '–')
    """
    return MISSING if cost is None else f"{cost:.2f}" if cost < 10 else f"{cost:.0f}"


def covered(coverage: Mapping[str, float | None]) -> str:
    """Coverage for a table; both classes where they differ by more than two points.

    >>> covered({"all": 1.0, "real": 1.0, "fake": 1.0}), covered({"all": 0.9, "real": 1.0, "fake": 0.8})
    ('100 %', '90 % (real 100 %, fake 80 %)')
    """
    real, fake = coverage.get("real"), coverage.get("fake")
    text = percent(coverage["all"], 0)
    if real is not None and fake is not None and abs(real - fake) > 0.02:
        text += f" (real {percent(real, 0)}, fake {percent(fake, 0)})"
    return text


def _ranking(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    lines = []
    for name, found in content["joint"].items():
        lines.append(
            {"name": f"joint: {name}", "joint": True, "cost": milliseconds(found["cost_ms"]), "coverage": "100 %"}
            | {"cells": [cell(found["metrics"][key]) for key in HEADS], "more": [], "chosen": ""}
        )
    folds = content["data"]["folds"]
    final = content["joint"]["chosen"]["features"]
    for feature in content["features"]:
        drop = feature["permutation"]
        more = [
            {"text": f"{drop['drop']:+.3f}", "interval": f"± {drop['spread']:.3f}", "why": ""},
            signed(feature["leave_one_out"]),
        ]
        lines.append(
            {
                "name": feature["name"],
                "joint": False,
                "cost": milliseconds(feature["cost_ms"]),
                "coverage": covered(feature["coverage"]),
                "cells": [cell(feature["metrics"][key]) for key in HEADS],
                "more": more,
                "chosen": f"{feature['chosen_in_folds']}/{folds}{' ✓' if feature['name'] in final else ''}",
            }
        )
    for name, found in content["baselines"].items():
        if "auc" in found:
            lines.append(
                {"name": f"baseline: {name}", "joint": False, "cost": MISSING, "coverage": MISSING}
                | {"cells": [cell(found[key]) for key in HEADS], "more": [], "chosen": ""}
            )
    return lines


def _deaths(content: Mapping[str, Any]) -> dict[str, Any]:
    """A line per scorer: what kills it."""
    curves = content["survival"]
    kinds = list(dict.fromkeys(curve["degradation"] for curve in curves))
    order = [*content["joint"], *(feature["name"] for feature in content["features"])]
    words = {(curve["scorer"], curve["degradation"]): curve for curve in curves}
    lines = []
    for name in order:
        cells = []
        for kind in kinds:
            curve = words.get((name, kind))
            if curve is None:
                cells.append({"text": MISSING, "last": "", "dead": False})
                continue
            values = [c["auc"]["value"] for c in curve["cells"]]
            known = [v for v in values if v is not None]
            last = f"{known[0]:.2f} → {known[-1]:.2f}" if len(known) > 1 else ""
            text = {"not alive on these images as they are": "never alive"}.get(curve["words"], curve["words"])
            unknown = curve["words"] == "cannot be told"
            cells.append(
                {"text": "not measured" if unknown else text, "last": last, "dead": curve["dies_at"] is not None}
            )
        lines.append({"name": name, "cells": cells})
    return {"kinds": kinds, "lines": lines if kinds else []}


def _absent(content: Mapping[str, Any]) -> list[str]:
    """Why images lack a feature, a sentence per feature."""
    found = []
    for feature in content["features"]:
        reasons = [f"{status} ({count})" for status, count in feature["status"].items() if status != "ok"]
        if reasons:
            found.append(f"{feature['name']}: {', '.join(reasons)}")
    return found


def _test(content: Mapping[str, Any]) -> dict[str, Any] | None:
    test = content["test"]
    if test is None:
        return None
    order = [*content["joint"], *(feature["name"] for feature in content["features"])]
    lines = [
        {"name": name, "cells": [cell(test["scorers"][name]["metrics"][key]) for key in HEADS]}
        | {"coverage": covered(test["scorers"][name]["coverage"])}
        for name in order
    ]
    return {**test, "lines": lines}


def pictures(content: Mapping[str, Any]) -> dict[str, list[Picture]]:
    """All figures by section of the page."""
    single = {
        "ranking": [figures.ranking_figure(content), figures.manipulation_figure(content)],
        "front": [figures.front_figure(content)],
    }
    found = {section: [p for p in drawn if p is not None] for section, drawn in single.items()}
    return found | {
        "redundancy": figures.redundancy_figures(content),
        "survival": figures.survival_figures(content),
    }


def write_feature_study_page(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write the page for what study.json holds (see :mod:`unmask.studies.feature_output`)."""
    about = content["about"]
    drawn = {
        section: [(p, data_uri(p.png, "image/png")) for p in found] for section, found in pictures(content).items()
    }
    chosen = content["joint"]["chosen"]
    context = {
        "about": about,
        "facts": [(key, value) for key, value in about.items() if value and key != "name"],
        "data": content["data"],
        "shown": content["shown"],
        "chosen": chosen,
        "chosen_auc": cell(chosen["metrics"]["auc"]),
        "chosen_cost": milliseconds(chosen["cost_ms"]),
        "everything": {
            "auc": cell(content["joint"]["all features"]["metrics"]["auc"]),
            "cost": milliseconds(content["joint"]["all features"]["cost_ms"]),
        },
        "heads": list(HEADS.values()),
        "ranking": _ranking(content),
        "paths": {
            rule: [
                {**line, "cell": cell(line["auc"]), "cost": milliseconds(line["cost_ms"])}
                | {"by_fold": milliseconds(line["cost_ms_by_fold"])}
                for line in lines
                if line["step"]
            ]
            for rule, lines in content["selection"]["paths"].items()
        },
        "deaths": _deaths(content),
        "absent": _absent(content),
        "test": _test(content),
        "drawn": drawn,
        "seed": content["seed"],
    }
    write_page(path, "feature_study.html", context)
