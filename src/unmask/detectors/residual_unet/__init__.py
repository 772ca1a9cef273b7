"""A pretrained network that also hears standardised residuals, with a mask decoder."""

from unmask.detectors.residual_unet.model import ResidualUNet, ResidualUNetConfig

__all__ = ["ResidualUNet", "ResidualUNetConfig"]
