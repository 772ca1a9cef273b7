"""Any timm backbone with a label head and, on request, a mask decoder."""

from unmask.detectors.baseline.model import Baseline, BaselineConfig

__all__ = ["Baseline", "BaselineConfig"]
