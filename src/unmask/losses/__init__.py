"""Named loss terms over ``(DetectorOutput, Batch)`` and their weighted sum."""

from unmask.losses.criterion import TERMS, Criterion
from unmask.losses.label import counterparts

__all__ = ["TERMS", "Criterion", "counterparts"]
