"""Losses on images that a detector restores. Each takes ``(output, batch)`` and returns a scalar."""

from __future__ import annotations

from torch import Tensor

from unmask.core.errors import ConfigError
from unmask.core.types import Batch, DetectorOutput


def reconstruction(output: DetectorOutput, batch: Batch) -> Tensor:
    """Mean squared error over the hidden pixels only, after FCMAE (Woo et al., "ConvNeXt V2", 2023, section 3.1).

    Reads three maps of ``output.aux``: ``reconstruction`` and ``target`` (both (B, 3, H, W), normalised as the detector
    is configured), and ``hidden`` (B, 1, H, W), 1 where the detector did not see the pixel. What it saw costs nothing.

    Raises:
        ConfigError: the detector restores no pixels.
    """
    aux = output.aux or {}
    if not {"reconstruction", "target", "hidden"} <= aux.keys():
        raise ConfigError(
            "no_reconstruction",
            "reconstruction needs a detector that hides patches and restores them (for AuraNet: pretraining: true); "
            "leave the term out",
        )
    hidden = aux["hidden"].float()
    error = (aux["reconstruction"].float() - aux["target"].float()).square() * hidden
    return error.sum() / (hidden.sum() * error.shape[1]).clamp_min(1.0)
