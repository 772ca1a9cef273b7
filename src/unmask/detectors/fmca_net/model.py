"""FMCA-Net: ViT tokens and Haar-wavelet tokens query each other and meet in a gate; one logit.

See README.md for the plan, what was left open in it, and every departure.
"""

from __future__ import annotations

import itertools
from typing import ClassVar

import torch
from torch import Tensor, nn

from unmask.core.errors import ConfigError
from unmask.core.types import DetectorOutput
from unmask.detectors.base import Detector, DetectorConfig, SizeRule
from unmask.detectors.fmca_net.blocks import FTMA, GSFC, SFCM, FrequencyBranch, to_grid
from unmask.detectors.fmca_net.config import FMCANetConfig
from unmask.nn.vit import ViTTokens
from unmask.ops.heat import above_mean, heat_overlay


class FMCANet(Detector[FMCANetConfig]):
    """Spatial branch, frequency branch, exchange, gated fusion, classifier. Label only.

    >>> import torch
    >>> config = FMCANetConfig(backbone="vit_tiny_patch16_224", vit_width=48, vit_depth=1, sfcm_heads=4)
    >>> out = FMCANet(config).eval()(torch.zeros(2, 3, 64, 96))
    >>> out.logits.shape, out.embedding.shape
    (torch.Size([2]), torch.Size([2, 176]))
    """

    config_class: ClassVar[type[DetectorConfig]] = FMCANetConfig

    def __init__(self, config: FMCANetConfig) -> None:
        backbone = ViTTokens(
            config.backbone, config.view.size, width=config.vit_width, depth=config.vit_depth, stem=config.vit_stem
        )
        super().__init__(config, mean=backbone.mean, std=backbone.std)
        dim, read = backbone.channels, config.summary == "tokens"
        if config.frequency and config.sfcm and dim % config.sfcm_heads:
            raise ConfigError(
                "bad_config", f"sfcm_heads={config.sfcm_heads} does not divide the tokens' {dim} channels"
            )
        self.backbone = backbone
        self.ftma = (
            FTMA(dim, config.ftma_widths, mean=config.ftma_pool == "mean", alpha=config.ftma_alpha)
            if config.ftma
            else None
        )
        self.frequency: FrequencyBranch | None = None
        self.to_tokens: nn.Linear | None = None
        self.sfcm: SFCM | None = None
        self.gsfc: GSFC | None = None
        features = dim
        if config.frequency:
            channels = config.frequency_channels[-1]
            self.frequency = FrequencyBranch(
                config.frequency_channels, config.frequency_strides, standardize=config.standardize_bands
            )
            if config.sfcm:
                self.to_tokens = nn.Linear(channels, dim)
                self.sfcm = SFCM(dim, config.sfcm_heads, dropout=config.sfcm_dropout, gate=config.sfcm_gate, both=read)
            summary = dim if config.sfcm and read else channels
            self.gsfc = GSFC(summary, config.frequency_features, config.gsfc_gamma if config.gsfc else None)
            features += config.frequency_features
        self.norm = nn.LayerNorm(dim) if read else nn.Identity()
        self.classifier = nn.Sequential(
            nn.Linear(features, config.hidden), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(config.hidden, 1)
        )

    @property
    def size_rule(self) -> SizeRule:
        """Multiples of the patch (and of 2, for the wavelets), two patches or more."""
        patch = self.backbone.patch
        return SizeRule(minimum=2 * patch, multiple=patch * (1 + patch % 2))

    def _spatial(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) to the ViT's (B, 1 + N, C), class token first."""
        return torch.cat(self.backbone(self.normalize(image)), 1)

    def _grid(self, image: Tensor) -> tuple[int, int]:
        """Patches in a column and in a row."""
        return image.shape[-2] // self.backbone.patch, image.shape[-1] // self.backbone.patch

    def forward(self, image: Tensor) -> DetectorOutput:
        """(B, 3, H, W) in [0, 1] to logits and, as embedding, what the classifier reads."""
        tokens = self._spatial(image)  # (B, 1 + N, C)
        if self.ftma is not None:
            tokens = self.ftma(tokens)
        heard: Tensor | None = None
        if self.frequency is not None:
            bands = self.frequency(image)  # (B, c, h, w)
            if self.sfcm is not None and self.to_tokens is not None:
                frequency = self.to_tokens(to_grid(bands, *self._grid(image)))  # (B, N, C)
                tokens, frequency = self.sfcm(tokens, frequency)
                heard = frequency.mean(1) if self.config.summary == "tokens" else None
            heard = bands.mean((2, 3)) if heard is None else heard
        seen = tokens[:, 0]
        if self.config.summary == "tokens":
            seen = seen + tokens[:, 1:].mean(1)
        seen = self.norm(seen)
        embedding = seen if heard is None or self.gsfc is None else self.gsfc(seen, heard)
        return DetectorOutput(self.classifier(embedding).squeeze(1).float(), None, embedding)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``backbone`` (the ViT), ``ftma``, ``frequency``, ``sfcm`` and ``head``, by module and never by name."""
        parts: dict[str, list[nn.Module | None]] = {
            "backbone": [self.backbone],
            "ftma": [self.ftma],
            "frequency": [self.frequency],
            "sfcm": [self.to_tokens, self.sfcm],
            "head": [self.gsfc, self.norm, self.classifier],
        }
        groups = {
            part: [p for p in itertools.chain(*(m.parameters() for m in modules if m is not None)) if p.requires_grad]
            for part, modules in parts.items()
        }
        return {part: members for part, members in groups.items() if members}

    @torch.no_grad()
    def token_maps(self, image: Tensor) -> dict[str, Tensor]:
        """Weights of the patch tokens by name, each (B, 1, rows, columns), as they are.

        ``token weights``: FTMA's, mean over channels (not with ``ftma_pool="mean"``: there is nothing to see).
        ``frequency read``: what SFCM's spatial tokens read of each frequency token, mean over those that count for
        the logit (all, or the class token alone).
        """
        rows, columns = self._grid(image)
        tokens, maps = self._spatial(image), {}
        if self.ftma is not None:
            if not self.ftma.mean:
                maps["token weights"] = self.ftma.weights(tokens)[:, 1:].mean(2)
            tokens = self.ftma(tokens)
        if self.frequency is not None and self.sfcm is not None and self.to_tokens is not None:
            frequency = self.to_tokens(to_grid(self.frequency(image), rows, columns))
            reading = self.sfcm.reading(tokens, frequency)  # (B, 1 + N, N)
            maps["frequency read"] = reading[:, 0]
            if self.config.summary == "tokens":
                maps["frequency read"] = (reading[:, 0] + reading[:, 1:].mean(1)) / 2
        return {name: values.float().view(-1, 1, rows, columns) for name, values in maps.items()}

    @torch.no_grad()
    def evidence(self, image: Tensor) -> dict[str, Tensor]:
        """:meth:`token_maps` laid over the photo: amber from this image's mean (grey) to its maximum."""
        return {name: heat_overlay(image, above_mean(values)) for name, values in self.token_maps(image).items()}

    def departures(self) -> tuple[str, ...]:
        """Where these settings differ from the plan and from its published code."""
        config, said = self.config, []
        if config.vit_stem:
            said.append(f"the ViT reads a map of {config.vit_stem} in the place of patches of pixels")
        if config.ftma and config.ftma_pool == "token":
            said.append("FTMA gives every token weights of its own; the published code averages them over tokens")
        if config.ftma and config.ftma_alpha:
            said.append(
                f"FTMA's strength starts at {config.ftma_alpha:g}, so that its inside learns from the first step"
            )
        if config.summary == "tokens":
            said.append(
                "the image's summary is LayerNorm(class token + mean patch token) and the mean of the frequency tokens "
                "after SFCM, so that every part lies on the way to the loss"
            )
        if config.frequency and config.gsfc:
            said.append("the gate of GSFC weighs the frequency summary; the published code only concatenates")
        if config.frequency:
            said.append("wavelets see the image in [0, 1], never the standardised one")
        if config.frequency and config.standardize_bands:
            said.append("the bands are batch-normed before the first convolution: raw, LL drowns the details")
        if config.frequency and config.sfcm:
            said.append("SFCM's keys and values have no bias, its dropout acts on what the attention adds")
        return tuple(said)
