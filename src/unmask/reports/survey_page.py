"""A data set's analysis as one HTML file: counts, then each number's distribution per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unmask.data.survey import CLASSES, NUMBERS, Survey
from unmask.reports.figures import FAKE, REAL, Picture, new_axes, to_png
from unmask.reports.page import data_uri, write_page

COLOURS = dict(zip(CLASSES, (REAL, FAKE, "#5b6675"), strict=True))
MOST_BARS, MOST_DOTS, SHOWN_PROBLEMS = 24, 4000, 50
_LOG = ("sharpness", "bytes_per_pixel")


def _bars(name: str, title: str, counts: Mapping[str, Mapping[str, int]], empty: str) -> Picture | None:
    """Images per class of each value of a column, the most frequent first; None where nothing is to be compared."""
    order = sorted(counts, key=lambda k: (-sum(counts[k].values()), k))
    if order in ([], [""]):
        return None
    shown = order[:MOST_BARS]
    rest: dict[str, int] = {}
    for key in order[MOST_BARS:]:
        for kind, count in counts[key].items():
            rest[kind] = rest.get(kind, 0) + count
    rows = [(key or empty, counts[key]) for key in shown]
    if rest:
        rows.append((f"{len(order) - MOST_BARS} others", rest))
    figure, axes = new_axes(title, "images", "", (4.8, 1.5 + 0.28 * len(rows)))
    place = np.arange(len(rows))[::-1]
    left = np.zeros(len(rows))
    for kind in CLASSES:
        width = np.array([count.get(kind, 0) for _, count in rows], float)
        if width.any():
            axes.barh(place, width, left=left, color=COLOURS[kind], alpha=0.8, height=0.7, label=kind)
            left += width
    axes.set_yticks(place, [_short(label) for label, _ in rows], fontsize=8)
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, left.max() * 1.14)
    for y, total in zip(place, left, strict=True):
        axes.text(total, y, f" {total:.0f}", va="center", fontsize=7)
    figure.legend(fontsize=8, loc="outside lower center", ncols=3)
    return Picture(name, title, "", to_png(figure))


def _short(text: str, most: int = 34) -> str:
    return text if len(text) <= most else f"…{text[1 - most :]}"


def _histogram(found: Survey, name: str) -> Picture | None:
    """Share of each class per bin."""
    from matplotlib.ticker import LogLocator, NullFormatter

    values = found.number(name)
    known = np.isfinite(values)
    log = name in _LOG
    if log:
        known &= values > 0
    if not known.any():
        return None
    low, high = float(values[known].min()), float(values[known].max())
    bins = int(np.clip(2 * np.sqrt(known.sum()), 8, 40))
    if name == "quality":
        edges = np.arange(np.floor(low) - 0.5, np.ceil(high) + 1.5, max(1, round((high - low) / 40)))
        edges = np.append(edges, edges[-1] + 1) if edges[-1] < high else edges
    elif log and high > low:
        edges = np.geomspace(low, high * (1 + 1e-9), bins + 1)
    else:
        edges = np.linspace(low, high + max(1e-9, 1e-9 * abs(high)), bins + 1)
    title, _, note = NUMBERS[name].partition(":")
    figure, axes = new_axes(title[0].upper() + title[1:], title, "share of the class")
    for kind in CLASSES:
        part = values[known & found.of(kind)]
        if len(part):
            weights = np.full(len(part), 1 / len(part))
            style: dict[str, Any] = {"bins": edges.tolist(), "weights": weights, "color": COLOURS[kind]}
            axes.hist(part, alpha=0.28, **style)
            axes.hist(part, histtype="step", linewidth=1.4, label=f"{kind} ({len(part)})", **style)
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(fontsize=8)
    note = note.strip()
    return Picture(name, title, f"{note[0].upper()}{note[1:]}." if note else "", to_png(figure))


def _sizes(found: Survey) -> Picture:
    """Width against height; where there are too many images, evenly spaced ones of each class."""
    figure, axes = new_axes("Image sizes", "width in pixels", "height in pixels")
    for kind in CLASSES:
        chosen = np.flatnonzero(found.of(kind))
        if len(chosen):
            chosen = chosen[:: -(-len(chosen) // MOST_DOTS)]
            width, height = found.number("width")[chosen], found.number("height")[chosen]
            axes.scatter(width, height, s=14, alpha=0.35, color=COLOURS[kind], linewidths=0, label=kind)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    return Picture("sizes", "Image sizes", "Dots lie on one another where many images have one size.", to_png(figure))


def figures(found: Survey, counts: Mapping[str, Any]) -> list[Picture]:
    """All figures, in order."""
    made = {name: {"fake": count["fake"]} for name, count in counts["manipulation"].items() if "fake" in count}
    pictures = [
        _bars("splits", "Class balance per split", counts["split"], "no split"),
        _bars("sources", "Images per source", counts["source"], "not known"),
        _bars("manipulations", "Fakes per manipulation", made, "not known"),
        _bars("formats", "File formats", counts["format"], ""),
        _sizes(found),
        *(_histogram(found, name) for name in NUMBERS if name not in ("width", "height")),
    ]
    return [p for p in pictures if p is not None]


def _table(numbers: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[dict[str, Any]]:
    lines = []
    for name, by_class in numbers.items():
        digits = 0 if name in ("width", "height", "quality") else 1 if name == "sharpness" else 3
        for kind, q in by_class.items():
            cells = [f"{q[k]:.{digits}f}" for k in ("q0", "q5", "q50", "q95", "q100")]
            lines.append({"name": NUMBERS[name], "kind": kind, "count": q["count"], "cells": cells})
    return lines


def write_survey_page(path: str | Path, about: Mapping[str, Any], found: Survey) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        about: what was looked at: ``name`` (shown in the title) and further facts, name to text.
        found: what was measured.
    """
    summary = found.summary()
    problems: Sequence[Mapping[str, str]] = summary["problems"]
    context = {
        "about": about,
        "summary": summary,
        "facts": [(k, v) for k, v in about.items() if v and k != "name"],
        "lines": _table(summary["numbers"]),
        "pictures": [(p, data_uri(p.png, "image/png")) for p in figures(found, summary["counts"])],
        "problems": problems[:SHOWN_PROBLEMS],
        "n_problems": len(problems),
    }
    write_page(path, "survey.html", context)
