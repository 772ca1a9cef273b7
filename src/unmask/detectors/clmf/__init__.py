"""CLMF: a cascade on several forensic maps: the whole image, a mask, its two regions, and whether they agree."""

from unmask.detectors.clmf.config import CLMFConfig, StreamConfig
from unmask.detectors.clmf.model import CLMF

__all__ = ["CLMF", "CLMFConfig", "StreamConfig"]
