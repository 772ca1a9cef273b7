"""A comparison as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unmask.reports.evaluation_page import cell
from unmask.reports.page import MISSING, write_page


def p_value(p: float | None) -> str:
    """A p value as text.

    >>> p_value(0.0321), p_value(1e-9), p_value(None)
    ('0.032', '< 0.001', '–')
    """
    return MISSING if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def verdict(pair: Mapping[str, Any]) -> str:
    """What the paired bootstrap says, in words."""
    found = pair["bootstrap"]
    p = pair["p_holm"]
    if p is None:
        return "cannot be told: too few groups"
    if p >= 0.05:
        return "no difference shown"
    return f"{pair['first'] if found['difference'] > 0 else pair['second']} orders better"


def write_comparison_page(path: str | Path, content: Mapping[str, Any], command: str) -> None:
    """Write the page for what :func:`unmask.evaluation.compare.compare` returned."""
    pairs = [{**pair, "words": verdict(pair)} for pair in content["pairs"]]
    files = [{**file, "cell": cell(file["auc"])} for file in content["files"]]
    context = {**content, "pairs": pairs, "files": files, "command": command, "p": p_value}
    write_page(path, "comparison.html", context)
