"""Figures of a feature study: ranking, accuracy against cost, what repeats what, what dies when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.reports.figures import COLOURS, GRID, INK, Picture, new_axes, to_png

MOST_LINES = 7
"""Scorers drawn in a survival plot; the others are in the table."""
_LINES = ("#1f5fae", "#b3261e", "#1d6f42", "#c77700", "#7a4fa3", "#0f8b8d", "#8a5a00", "#5b6675")
_DOTTED = "#5b6675"


def _limits(measures: Sequence[Mapping[str, Any]]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Values and interval ends; an interval that does not exist has no length."""
    value = np.array([m["value"] for m in measures], float)
    low = np.array([m["value"] if m["low"] is None else m["low"] for m in measures], float)
    high = np.array([m["value"] if m["high"] is None else m["high"] for m in measures], float)
    return value, low, high


def ranking_figure(content: Mapping[str, Any]) -> Picture | None:
    """AUC with its interval: joint models, features, baselines."""
    rows = [(f"joint: {name}", found["metrics"]["auc"], INK) for name, found in content["joint"].items()]
    rows += [(f["name"], f["metrics"]["auc"], COLOURS["detector"]) for f in content["features"]]
    rows += [
        (f"baseline: {name}", found["auc"], COLOURS[name])
        for name, found in content["baselines"].items()
        if "auc" in found
    ]
    rows = [row for row in rows if row[1]["value"] is not None]
    if not rows:
        return None
    figure, axes = new_axes("AUC of each feature alone", "AUC, out of fold", "", (6.2, 1.1 + 0.27 * len(rows)))
    place = np.arange(len(rows))[::-1]
    value, low, high = _limits([measure for _, measure, _ in rows])
    colours = [colour for _, _, colour in rows]
    axes.hlines(place, low, high, color=colours, linewidth=2.2)
    axes.scatter(value, place, color=colours, s=26, zorder=3)
    axes.axvline(0.5, color=INK, linewidth=0.8, linestyle=":")
    axes.set_yticks(place, [name for name, _, _ in rows], fontsize=8)
    axes.set_xlim(min(0.35, float(low.min()) - 0.02), 1.0)
    caption = "Lines: 95 % interval by family. Dotted: chance."
    return Picture("ranking", "AUC of each feature alone", caption, to_png(figure))


def front_figure(content: Mapping[str, Any]) -> Picture | None:
    """AUC against milliseconds: single features, both selection paths, the front and the choice."""
    paths, chosen = content["selection"]["paths"], content["joint"]["chosen"]
    known = content["data"]["cost_known"]
    singles = [f for f in content["features"] if f["metrics"]["auc"]["value"] is not None]
    if not singles:
        return None
    unit = "processor milliseconds per image" if known else "number of features (costs are not known)"
    figure, axes = new_axes("Accuracy against cost", unit, "AUC, out of fold", (7.2, 4.8))
    cost = [f["cost_ms"] if known else 1.0 for f in singles]
    area = [f["metrics"]["auc"]["value"] for f in singles]
    axes.scatter(cost, area, s=18, color=_DOTTED, zorder=3, label="single features")
    for feature, x, y in zip(singles[:12], cost, area, strict=False):
        axes.annotate(feature["name"], (x, y), xytext=(4, 3), textcoords="offset points", fontsize=6.5, color=_DOTTED)
    styles = {"gain": (COLOURS["detector"], "o"), "gain per ms": (COLOURS["blur"], "s")}
    for rule, lines in paths.items():
        there = [line for line in lines if line["step"] and line["auc"]["value"] is not None]
        colour, mark = styles[rule]
        x = [line["cost_ms_by_fold"] for line in there]
        value, low, high = _limits([line["auc"] for line in there])
        axes.plot(x, value, color=colour, marker=mark, markersize=3.5, linewidth=1.4, label=f"forward, by {rule}")
        axes.fill_between(x, low, high, color=colour, alpha=0.08, linewidth=0)
    front = [point for point in content["selection"]["front"] if point["step"]]
    x = [point["cost_ms_by_fold"] for point in front]
    axes.step(x, [point["auc"]["value"] for point in front], where="post", color=INK, linewidth=0.9, label="front")
    if chosen["features"] and chosen["metrics"]["auc"]["value"] is not None:
        at = (chosen["cost_ms_by_fold"], chosen["metrics"]["auc"]["value"])
        axes.scatter(*at, marker="*", s=170, color=COLOURS["metadata"], edgecolors="white", zorder=4, label="chosen")
    axes.axhline(0.5, color=INK, linewidth=0.8, linestyle=":")
    if known and min(cost) > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(fontsize=8, loc="lower right")
    caption = (
        "Each step's AUC is out of fold: every fold is scored by the set that its own training images chose. "
        "Bands: 95 % interval by family."
    )
    return Picture("front", "Accuracy against cost", caption, to_png(figure))


def heat_figure(
    name: str,
    title: str,
    caption: str,
    matrix: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    limits: tuple[float, float],
    colours: str,
) -> Picture:
    """A matrix with its numbers; a cell without a number stays empty."""
    values = np.array([[np.nan if v is None else float(v) for v in row] for row in matrix])
    size = (2.6 + 0.42 * len(columns), 1.7 + 0.3 * len(rows))
    figure, axes = new_axes(title, "", "", size)
    axes.grid(visible=False)
    axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
    axes.set_xticks(range(len(columns)), list(columns), rotation=55, ha="right", fontsize=7.5)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=7.5)
    middle = (limits[0] + limits[1]) / 2
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            far = abs(value - middle) / (limits[1] - limits[0]) > 0.33 if colours == "RdBu_r" else value > middle
            text = f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else f"{value:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=6, color="white" if far else INK)
    return Picture(name, title, caption, to_png(figure))


def redundancy_figures(content: Mapping[str, Any]) -> list[Picture]:
    """Rank correlation within the classes, and normalised mutual information."""
    found = content["redundancy"]
    names = found["names"]
    if len(names) < 2:
        return []
    within = (
        "Mean of the correlation among reals and the one among fakes. 1: one orders the images as the other does; "
        "being right about the class alone does not count."
    )
    bins = found["bins"]
    shared = f"Of scores in {bins} bins of equal frequency, reals and fakes together. 0: independent, 1: the same."
    matrices = (
        ("correlation", "Rank correlation within a class", within, found["spearman_within_class"], (-1, 1), "RdBu_r"),
        ("information", "Normalised mutual information", shared, found["normalised_information"], (0, 1), "Blues"),
    )
    return [
        heat_figure(name, title, text, matrix, names, names, limits=limits, colours=colours)
        for name, title, text, matrix, limits, colours in matrices
    ]


def manipulation_figure(content: Mapping[str, Any]) -> Picture | None:
    """AUC of each scorer on each manipulation's fakes."""
    scorers = [(name, found["by_manipulation"]) for name, found in content["joint"].items()]
    scorers += [(f["name"], f["by_manipulation"]) for f in content["features"]]
    kinds = sorted({kind for _, found in scorers for kind in found})
    if len(kinds) < 2:
        return None
    matrix = [[found[kind]["value"] if kind in found else None for kind in kinds] for _, found in scorers]
    text = "Fakes of one kind against their own photos. Probes are trained on all kinds together. White: chance."
    return heat_figure(
        "manipulations", "AUC by manipulation", text, matrix, [name for name, _ in scorers], kinds, limits=(0, 1),
        colours="RdBu_r",
    )  # fmt: skip


def survival_figures(content: Mapping[str, Any]) -> list[Picture]:
    """One plot per degradation: AUC against severity, for the joint choice and the best features."""
    from matplotlib.ticker import MaxNLocator

    curves = content["survival"]
    shown = ["chosen", *(f["name"] for f in content["features"][:MOST_LINES])]
    pictures = []
    for kind in dict.fromkeys(curve["degradation"] for curve in curves):
        seen = [cell for curve in curves if curve["degradation"] == kind for cell in curve["cells"]]
        counts = f"{max(c['n_real'] for c in seen)} reals and {max(c['n_fake'] for c in seen)} fakes"
        figure, axes = new_axes(f"{kind}: {counts}", "severity (0: as it is)", "AUC of unseen families", (4.8, 3.4))
        for name, colour in zip(shown, _LINES, strict=False):
            cells = [
                cell
                for curve in curves
                if curve["degradation"] == kind and curve["scorer"] == name
                for cell in curve["cells"]
                if cell["auc"]["value"] is not None
            ]
            if not cells:
                continue
            x = [cell["severity"] for cell in cells]
            value, low, high = _limits([cell["auc"] for cell in cells])
            joint = name == "chosen"
            axes.plot(x, value, color=colour, linewidth=2.2 if joint else 1.1, marker="o", markersize=3, label=name)
            if joint:
                axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.axhline(0.5, color=INK, linewidth=0.8, linestyle=":")
        axes.set_ylim(min(0.3, axes.get_ylim()[0]), 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.axhspan(0.0, 0.5, color=GRID, alpha=0.25, linewidth=0)
        axes.legend(fontsize=6.5, ncols=2, loc="lower left")
        pictures.append(Picture(f"survival-{kind}", kind, "", to_png(figure)))
    return pictures
