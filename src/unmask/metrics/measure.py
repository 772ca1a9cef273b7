"""A measured number, its interval, and the reason when there is none."""

from __future__ import annotations

import math
from typing import NamedTuple

NAN = float("nan")


class Measure(NamedTuple):
    """One metric. Where it cannot be measured ``value`` is nan and ``reason`` says why; it is never 0 or 0.5 instead.

    >>> Measure(0.9, 0.8, 0.95).as_json()
    {'value': 0.9, 'low': 0.8, 'high': 0.95, 'reason': ''}
    >>> missing("no reals").as_json()
    {'value': None, 'low': None, 'high': None, 'reason': 'no reals'}
    """

    value: float
    low: float = NAN
    """Lower end of the 95 % interval; nan when none was computed."""
    high: float = NAN
    """Upper end of the 95 % interval; nan when none was computed."""
    reason: str = ""
    """Why there is no value; empty when there is one."""

    def as_json(self) -> dict[str, float | str | None]:
        """Plain JSON values: nan becomes null, infinity the text ``inf``."""
        return {
            "value": plain(self.value),
            "low": plain(self.low),
            "high": plain(self.high),
            "reason": self.reason,
        }


def plain(value: float) -> float | str | None:
    """A number as strict JSON can hold it.

    >>> plain(0.5), plain(float("nan")), plain(float("inf"))
    (0.5, None, 'inf')
    """
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return float(value)


def missing(reason: str) -> Measure:
    """A measure without a value."""
    return Measure(NAN, NAN, NAN, reason)


def ratio(part: float, whole: float, reason: str) -> Measure:
    """``part / whole``, or the reason why an empty whole has no ratio.

    >>> ratio(1, 4, "no fakes").value
    0.25
    """
    return Measure(float(part / whole)) if whole else missing(reason)
