"""Self-supervised pre-training: restore what was hidden, find what was forged, tell the two classes apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.types import DetectorOutput
from unmask.detectors.auranet.config import AuraNetConfig
from unmask.detectors.auranet.heads import PatchDecoder, PooledNorm, mask_decoder, skips
from unmask.detectors.auranet.hiding import fill_in, hide
from unmask.nn.decoders import log_mean_exp

Encode = Callable[[Tensor], tuple[list[Tensor], list[Tensor]]]
_VALIDATION_SEED = 0
COLUMNS = 8
"""Images in a picture of how training goes."""


class Pretraining(nn.Module):
    """Everything after the encoder in pre-training, in the place of fusion and heads.

    An image decoder on the last spatial map, a mask decoder (the segmentation head's own class) on the last frequency
    map, and a projection of both, pooled, to an embedding of length 1. The logit is a soft maximum of the mask and
    has no parameters, so that a net can be validated before it has a label head.

    Args:
        config: widths, decoders, and what is hidden. Without a frequency stream the spatial map serves for both.
    """

    def __init__(self, config: AuraNetConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.dims[-1]
        pooled = channels * (1 + config.frequency_stream)
        self.image_decoder = PatchDecoder(config, channels, 3)
        self.mask_decoder = mask_decoder(config, channels)
        self.project = nn.Sequential(  # the batch-norm takes out what pooled LayerNorm outputs share, see the README
            PooledNorm(pooled), nn.Linear(pooled, pooled), nn.GELU(), nn.Linear(pooled, config.projection_dim)
        )

    def forward(self, spatial: Sequence[Tensor], frequency: Sequence[Tensor], size: tuple[int, int]) -> DetectorOutput:
        """Both streams' maps, finest first, to logits, mask logits at ``size`` and embeddings (B, projection_dim)."""
        last = [maps[-1] for maps in (spatial, frequency) if maps]
        mask_logits = self.mask_decoder(last[-1], skips(spatial, frequency))[..., : size[0], : size[1]].float()
        embedding = self.project(torch.cat([x.mean((2, 3)).float() for x in last], 1)).float()
        logits = log_mean_exp(mask_logits, 1.0).squeeze(1)
        return DetectorOutput(logits, mask_logits, F.normalize(embedding, dim=1))

    def masked(self, encode: Encode, image: Tensor, generator: torch.Generator | None = None) -> DetectorOutput:
        """The training pass: hide patches, encode what is left, decode everything.

        Args:
            encode: images (B, 3, H, W) in [0, 1] to both streams' maps.
            image: (B, 3, H, W) in [0, 1]; ``hidden_patch`` divides H and W.
            generator: of places and grain; None = torch's own.

        Returns:
            As :meth:`forward`, with ``reconstruction`` and ``target`` (B, 3, H, W), ``hidden`` (B, 1, H, W; 1 where
            hidden) and ``shown`` (B, 3, H, W), what the encoder saw, in ``aux``.

        Raises:
            SizeError: an image that cannot be cut into patches.
        """
        config, size = self.config, (int(image.shape[-2]), int(image.shape[-1]))
        hidden = hide(image, config.hidden_patch, config.hidden_ratio, generator)
        shown = fill_in(image, hidden, config.hidden_fill, generator)
        spatial, frequency = encode(shown)
        restored = self.image_decoder(spatial[-1])[..., : size[0], : size[1]].float()
        target = image
        if config.normalized_targets:
            mean, spread = patch_statistics(image, config.hidden_patch)
            target = (image - mean) / spread
        aux = {"reconstruction": restored, "target": target, "hidden": hidden, "shown": shown}
        return self.forward(spatial, frequency, size)._replace(aux=aux)

    def validated(self, encode: Encode, image: Tensor) -> DetectorOutput:
        """Whole images' logits and masks, with the ``aux`` of a masked pass that hides the same places every time."""
        spatial, frequency = encode(image)
        output = self.forward(spatial, frequency, (int(image.shape[-2]), int(image.shape[-1])))
        generator = torch.Generator(image.device).manual_seed(_VALIDATION_SEED)
        return output._replace(aux=self.masked(encode, image, generator).aux)

    def pictures(self, encode: Encode, image: Tensor, mask: Tensor) -> Tensor:
        """Rows of up to eight images: original, what is shown, what is restored, true mask, predicted mask.

        Hidden patches are restored with the true patch's mean and spread where targets are normalised, as is usual.
        The mask is that of the masked pass.
        """
        image, mask = image[:COLUMNS], mask[:COLUMNS]
        output = self.masked(encode, image, torch.Generator(image.device).manual_seed(_VALIDATION_SEED))
        assert output.aux is not None and output.mask_logits is not None
        restored, hidden = output.aux["reconstruction"], output.aux["hidden"]
        if self.config.normalized_targets:
            mean, spread = patch_statistics(image, self.config.hidden_patch)
            restored = restored * spread + mean
        restored = image * (1 - hidden) + restored * hidden
        return sheet([image, output.aux["shown"], restored, mask, output.mask_logits.sigmoid()])


def patch_statistics(image: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch over its pixels and channels, both (B, 1, H, W); after MAE (He et al.,
    2022, section 4.1)."""
    rows = F.pixel_unshuffle(image, patch).unsqueeze(1)  # (B, 1, 3 * patch^2, H / patch, W / patch)
    variance, mean = torch.var_mean(rows, 2)
    return tuple(  # type: ignore[return-value]
        F.interpolate(x, scale_factor=float(patch), mode="nearest") for x in (mean, (variance + 1e-6).sqrt())
    )


def sheet(rows: Sequence[Tensor]) -> Tensor:
    """Rows of images (B, 1 or 3, H, W) as one picture (3, len(rows) * H, B * W) in [0, 1]."""
    return torch.cat([torch.cat(list(row.expand(-1, 3, -1, -1)), 2) for row in rows], 1).float().clamp(0, 1)
