"""A fake as a difference from what is remembered to be real."""

from unmask.detectors.dcr_net.config import DCRNetConfig
from unmask.detectors.dcr_net.model import DCRNet

__all__ = ["DCRNet", "DCRNetConfig"]
