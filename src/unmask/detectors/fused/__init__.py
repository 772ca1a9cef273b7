"""Forensic maps and descriptors of one image, fused by name."""

from unmask.detectors.fused.head import VectorNet
from unmask.detectors.fused.model import FusedConfig, FusedDetector

__all__ = ["FusedConfig", "FusedDetector", "VectorNet"]
