"""A small network on standardised high-pass residuals at full resolution."""

from unmask.detectors.residual_cnn.model import ResidualCNN, ResidualCNNConfig

__all__ = ["ResidualCNN", "ResidualCNNConfig"]
