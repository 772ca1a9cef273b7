"""Where a score stands among those of held-out genuine photos and forgeries, which the card of the weights carries."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unmask.core.errors import WeightsError
from unmask.core.verdict import Share, Standing
from unmask.metrics.statistics import clopper_pearson


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Calibrated scores of images of people that the weights never learned from."""

    real: tuple[float, ...]
    """Ascending, in [0, 1]."""
    fake: tuple[float, ...]
    groups: int
    """People (or videos) they come from."""

    def standing(self, score: float | None) -> Standing | None:
        """How many of them score at least as high; None without a score.

        >>> found = HeldOut((0.1, 0.2, 0.9), (0.3, 0.9, 0.95), 2).standing(0.9)
        >>> found.real.count, found.fake.count, found.fake.n
        (1, 2, 3)
        """
        if score is None:
            return None
        return Standing(_share(self.real, score), _share(self.fake, score), self.groups)


def _share(scores: tuple[float, ...], score: float) -> Share:
    count = len(scores) - bisect_left(scores, score)
    low, high = clopper_pearson(count, len(scores))
    return Share(count, len(scores), round(low, 6), round(high, 6))


def read_held_out(values: Mapping[str, Any], where: str) -> HeldOut | None:
    """The ``held_out`` entry of a card; None where it is empty (weights of before, or never calibrated).

    Raises:
        WeightsError: ``bad_card`` when it is not two lists of scores and a count.
    """
    if not values:
        return None
    parts = []
    for name in ("real", "fake"):
        part = values.get(name)
        numbers = isinstance(part, (list, tuple)) and all(type(v) in (int, float) and 0 <= v <= 1 for v in part)
        if not numbers or not part:
            raise WeightsError("bad_card", f"{where}: expected held_out.{name} to list scores within [0, 1]")
        parts.append(tuple(sorted(map(float, part))))
    groups = values.get("groups")
    if type(groups) is not int or groups < 1:
        raise WeightsError("bad_card", f"{where}: expected held_out.groups to count people, got {groups!r}")
    return HeldOut(parts[0], parts[1], groups)
