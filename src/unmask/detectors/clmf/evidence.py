"""What CLMF read and concluded, as pictures."""

from __future__ import annotations

from torch import Tensor

from unmask.core.types import DetectorOutput


def unusual(values: Tensor) -> Tensor:
    """How far each place of a map is from what is usual in this image.

    The mean over channels of |value - mean| / standard deviation, both over the image; a channel that never varies
    adds nothing. Bright = rare patterns (LBP), unusual coefficients (DCT).

    Args:
        values: (B, C, h, w).

    Returns:
        (B, 1, h, w) in [0, 1]; each image's 99th percentile and above is 1.

    >>> import torch
    >>> unusual(torch.tensor([[[[0.0, 0.0, 0.0, 1.0]]]]))[0, 0, 0].tolist()[-1]
    1.0
    """
    spread = values.std((2, 3), correction=0, keepdim=True)
    far = (values - values.mean((2, 3), keepdim=True)).abs() / spread.clamp_min(1e-6)
    strength = far.mean(1, keepdim=True)
    white = strength.flatten(1).quantile(0.99, 1)[:, None, None, None]
    return (strength / white.clamp_min(1e-6)).clamp(0, 1)


def regions(image: Tensor, output: DetectorOutput) -> dict[str, Tensor]:
    """The mask, and the photo's suspected and authentic part, each as bright as it belongs there: (B, 1 or 3, H, W)."""
    assert output.mask_logits is not None
    mask = output.mask_logits.sigmoid().clamp(0, 1)
    return {"mask": mask, "suspected region": image * mask, "authentic region": image * (1 - mask)}
