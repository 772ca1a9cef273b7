"""Two questions asked apart, one answer: the combination card and its arithmetic."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from unmask.analysis.standing import read_held_out
from unmask.core.config import build
from unmask.core.errors import UnmaskError, WeightsError
from unmask.core.verdict import Thresholds
from unmask.detectors.scoring import probability
from unmask.detectors.weights import Calibration

_EDGE = 1e-9
"""Probabilities are kept this far from 0 and 1 before their logit is taken."""


def calibrated(calibration: Calibration, logit: float) -> float:
    """The calibrated probability, to six digits: what is compared with a threshold is what is printed."""
    return round(probability(logit, calibration.scale, calibration.offset), 6)


def combined_logit(*probabilities: float) -> float:
    """Logit of ``1 - prod(1 - p)``: the probability that at least one of independent questions is answered yes.

    >>> from unmask.detectors.scoring import probability
    >>> round(probability(combined_logit(0.5, 0.2)), 6)
    0.6
    >>> combined_logit(1.0) < 21
    True
    """
    p = 1.0 - math.prod(1.0 - p for p in probabilities)
    p = min(max(p, _EDGE), 1.0 - _EDGE)
    return math.log(p / (1.0 - p))


def check_calibration(calibration: Calibration, where: str) -> Calibration:
    """The calibration, if it keeps the order of scores.

    Raises:
        WeightsError: ``bad_card``.
    """
    if not (math.isfinite(calibration.scale) and math.isfinite(calibration.offset) and calibration.scale > 0):
        raise WeightsError("bad_card", f"{where}: expected a finite calibration of positive scale, got {calibration}")
    return calibration


def read_threshold(thresholds: Mapping[str, Any], name: str, where: str, most: float = 1) -> float | None:
    """One entry of a card's ``thresholds``, 0 to ``most``; None where validation data could not settle it.

    Raises:
        WeightsError: ``bad_card`` when it is neither such a number nor null.
    """
    value = thresholds.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most):
        raise WeightsError(
            "bad_card", f"{where}: threshold '{name}' must be within [0, {most:g}] or null, got {value!r}"
        )
    return None if value is None else float(value)


def read_thresholds(thresholds: Mapping[str, Any], where: str) -> Thresholds:
    """The ``fake`` and ``real`` entries of a card's ``thresholds``."""
    return Thresholds(read_threshold(thresholds, "fake", where), read_threshold(thresholds, "real", where))


@dataclass(frozen=True)
class Combination:
    """What ``assets/default.json`` says: which specialists answer together, and from which score on.

    Other keys of the file (counts, metrics, hashes, the command) are for people and are not read here.
    """

    members: tuple[str, ...]
    """Names of shipped weights, each answering one question."""
    open: tuple[str, ...] = ()
    """Questions that no shipped detector answers well: said to be open; a member for one of them is not asked."""
    calibration: Calibration = field(default_factory=Calibration)
    """Applied to the combined logit."""
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    """``fake`` and ``real``, on the calibrated combined score, and the counts behind them."""
    held_out: Mapping[str, Any] = field(default_factory=dict)
    """Calibrated combined scores of the images that set them: ``real``, ``fake``, ``groups``."""


def read_combination(path: Path) -> Combination:
    """Read and check a combination card.

    Raises:
        WeightsError: ``no_default`` when there is none (nothing was shipped), ``bad_card`` when it is not one.
    """
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(
            "no_default",
            "this copy of unmask holds no trained weights; give your own to unmask detect --detector FILE.safetensors "
            "(unmask train makes them), or install a release that brings some",
        ) from None
    except (OSError, ValueError) as error:
        raise WeightsError("bad_card", f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(card, dict):
        raise WeightsError("bad_card", f"{path} must hold a JSON object")
    known = {f.name for f in fields(Combination)}
    try:
        combination = build(Combination, {key: value for key, value in card.items() if key in known})
    except UnmaskError as error:
        raise WeightsError("bad_card", f"{path}: {error.message}") from error
    check_calibration(combination.calibration, str(path))
    read_thresholds(combination.thresholds, str(path))
    read_held_out(combination.held_out, str(path))
    return combination
