"""AuraNet: a spatial and a frequency stream that talk after every stage; a mask and a label."""

from unmask.detectors.auranet.config import AuraNetConfig
from unmask.detectors.auranet.model import AuraNet

__all__ = ["AuraNet", "AuraNetConfig"]
