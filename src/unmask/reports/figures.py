"""Figures of an evaluation as PNG bytes: the detector, and beside it the two baselines.

Drawn with matplotlib's object interface on its Agg canvas: no display, no global state.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from unmask.metrics.calibration import reliability
from unmask.metrics.image import Scores, auc, roc_points, split_scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = npt.NDArray[Any]
INK, GRID = "#1c2430", "#d9dfe7"
COLOURS = {"detector": "#1f5fae", "blur": "#c77700", "metadata": "#7a4fa3"}
REAL, FAKE, UNCERTAIN = "#1d6f42", "#b3261e", "#8a5a00"
MOST_BARS = 30


class Picture(NamedTuple):
    """One figure."""

    name: str
    """File name without suffix."""
    title: str
    caption: str
    png: bytes


def new_axes(title: str, x: str, y: str, size: tuple[float, float] = (4.8, 4.0)) -> tuple[Figure, Axes]:
    """A figure with one pair of axes in the style of all reports; ``size`` in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=144, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11, color=INK)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def to_png(figure: Figure) -> bytes:
    """The figure as PNG bytes, the same for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _ranked(scorers: Mapping[str, Values], labels: Values) -> dict[str, Scores]:
    """Sorted scores of every scorer that has both classes; nan (no score) is left out."""
    found = {}
    for name, values in scorers.items():
        known = ~np.isnan(values)
        scores = split_scores(values[known], labels[known])
        if not scores.one_class:
            found[name] = scores
    return found


def roc_figure(scorers: Mapping[str, Values], labels: Values) -> Picture | None:
    """ROC curves; ``scorers`` maps ``detector``, ``blur``, ``metadata`` to (N,) values, nan = none."""
    ranked = _ranked(scorers, labels)
    if not ranked:
        return None
    figure, axes = new_axes("ROC", "reals called fake (FRR)", "fakes found (TPR)")
    axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
    for name, scores in ranked.items():
        fpr, tpr, _ = roc_points(scores)
        style = "-" if name == "detector" else "--"
        axes.plot(fpr, tpr, style, color=COLOURS[name], label=f"{name} (AUC {auc(scores).value:.3f})", linewidth=1.6)
    axes.set_aspect("equal")
    axes.legend(loc="lower right", fontsize=8)
    return Picture("roc", "ROC", "Dashed: what the blur score and file metadata alone reach.", to_png(figure))


def pr_figure(scorers: Mapping[str, Values], labels: Values) -> Picture | None:
    """Precision against recall, and the share of fakes as the level of chance."""
    ranked = _ranked(scorers, labels)
    if not ranked:
        return None
    figure, axes = new_axes("Precision and recall", "fakes found (recall)", "called fake and fake (precision)")
    for name, scores in ranked.items():
        fpr, tpr, _ = roc_points(scores)
        hits, false = tpr[1:] * scores.fake.size, fpr[1:] * scores.real.size
        style = "-" if name == "detector" else "--"
        axes.plot(tpr[1:], hits / (hits + false), style, color=COLOURS[name], label=name, linewidth=1.6)
    axes.axhline(float(np.mean(labels)), color=GRID, linewidth=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.legend(loc="lower left", fontsize=8)
    return Picture("pr", "Precision and recall", "The grey line is the share of fakes.", to_png(figure))


def reliability_figure(scores: Values, labels: Values) -> Picture | None:
    """Predicted probability against observed share of fakes; None when the scores are no probabilities."""
    known = ~np.isnan(scores)
    if not known.any() or scores[known].min() < 0 or scores[known].max() > 1:
        return None
    table = reliability(scores[known], labels[known], bins=10)
    figure, axes = new_axes("Calibration", "score: P(fake)", "share of fakes at this score")
    axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
    there = table.counts > 0
    axes.plot(table.mean_score[there], table.share_fake[there], color=COLOURS["detector"], linewidth=1.2)
    area = 12 + 160 * table.counts[there] / table.counts.max()
    axes.scatter(table.mean_score[there], table.share_fake[there], s=area, color=COLOURS["detector"], alpha=0.7)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_aspect("equal")
    caption = "On the diagonal a score of 0.8 is right eight times out of ten; larger dots stand for more answers."
    return Picture("calibration", "Calibration", caption, to_png(figure))


def histogram_figure(scores: Values, labels: Values, thresholds: Mapping[str, float | None]) -> Picture | None:
    """Scores of reals and fakes, with the thresholds."""
    known = ~np.isnan(scores) & np.isfinite(scores)
    if not known.any():
        return None
    low, high = float(scores[known].min()), float(scores[known].max())
    edges = np.linspace(0, 1, 31) if low >= 0 and high <= 1 else np.linspace(low, high + 1e-9, 31)
    figure, axes = new_axes("Scores", "score", "count")
    for name, label, colour in (("real", 0, REAL), ("fake", 1, FAKE)):
        part = scores[known & (labels == label)]
        axes.hist(part, bins=edges.tolist(), color=colour, alpha=0.55, label=f"{name} ({len(part)})")
    for name, colour in (("real", REAL), ("fake", FAKE)):
        value = thresholds.get(name)
        if value is not None:
            axes.axvline(value, color=colour, linestyle=":", linewidth=1.4, label=f"threshold {name} {value:.3f}")
    axes.legend(fontsize=8)
    caption = (
        "Between the two thresholds the answer is uncertain." if any(thresholds.values()) else "No thresholds given."
    )
    return Picture("scores", "Distribution of scores", caption, to_png(figure))


def confusion_figure(answers: Values, labels: Values, title: str) -> Picture:
    """Counts of answers (``real``, ``uncertain``, ``fake``) for real and fake images."""
    names = [name for name in ("real", "uncertain", "fake") if name != "uncertain" or (answers == name).any()]
    counts = np.array([[((answers == name) & (labels == label)).sum() for name in names] for label in (0, 1)])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = new_axes(title, "answer", "truth", (4.8, 2.8))
    axes.grid(visible=False)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks([0, 1], ["real", "fake"])
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        text = f"{count}\n{100 * share:.1f} %"
        axes.text(column, row, text, ha="center", va="center", color="white" if share > 0.55 else INK)
    return Picture("confusion", title, "Images, and their share of the row.", to_png(figure))


def bars_figure(rows: Sequence[Mapping[str, Any]]) -> Picture | None:
    """AUC with its interval per table row (as :meth:`TableRow.as_json` gives them), and both baselines as marks."""
    rows = [row for row in rows if row["metrics"]["auc"]["value"] is not None][:MOST_BARS]
    if not rows:
        return None
    figure, axes = new_axes("AUC by kind of image", "AUC", "", (4.8, 1.6 + 0.4 * len(rows)))
    place = np.arange(len(rows))[::-1]
    values = [row["metrics"]["auc"] for row in rows]
    centre = np.array([v["value"] for v in values])
    # an interval that does not exist has no length
    low, high = (np.array([v["value"] if v[end] is None else v[end] for v in values]) for end in ("low", "high"))
    axes.barh(place, centre, color=COLOURS["detector"], alpha=0.75, height=0.62, label="detector")
    axes.hlines(place, low, high, color=INK, linewidth=1.4)
    for name, mark in (("blur", "d"), ("metadata", "s")):
        there = [(row["baselines"][name]["auc"]["value"], y) for row, y in zip(rows, place, strict=True)]
        points = [(x, y) for x, y in there if x is not None]
        if points:
            x, y = zip(*points, strict=True)
            axes.scatter(x, y, marker=mark, s=30, color=COLOURS[name], label=name, zorder=3)
    axes.axvline(0.5, color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlim(0, 1)
    axes.set_yticks(place, [f"{row['name'][:40]} ({row['n_fake']} + {row['n_real']})" for row in rows], fontsize=8)
    figure.legend(fontsize=8, loc="outside lower center", ncols=3)
    caption = "Lines: 95 % interval by group bootstrap. In brackets: fakes + reals. Below 0.5 the order is wrong."
    return Picture("auc", "AUC by source and manipulation", caption, to_png(figure))
