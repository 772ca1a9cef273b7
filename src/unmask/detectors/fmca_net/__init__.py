"""ViT tokens and Haar-wavelet tokens that read each other."""

from unmask.detectors.fmca_net.config import FMCANetConfig
from unmask.detectors.fmca_net.model import FMCANet

__all__ = ["FMCANet", "FMCANetConfig"]
