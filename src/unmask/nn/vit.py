"""Vision transformers as tokens: one that sums the image up, and a grid of patches."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

from unmask.core.errors import ConfigError
from unmask.nn.backbones import Backbone, LoadReport, Pretrained, resolve_backbone

STEM = {"stages": 3, "frozen_stages": 2}
"""How much of a stem is used (to stride 16), and how much of that stays fixed during training."""


class ViTTokens(Pretrained):
    """Any plain vision transformer of timm, an image to its normalised tokens.

    Takes every size that ``patch`` divides: position embeddings made for ``size`` are resampled for others.

    Args:
        name: of a timm vision transformer, e.g. ``vit_base_patch14_dinov2``.
        size: side of the square images the position embeddings are made for.
        width: channels of the tokens, if not the published ones.
        depth: blocks, if not the published ones.
        stem: a network of `unmask.nn.backbones` whose map at stride 16 takes the place of the patches of pixels: a
            hybrid (Dosovitskiy et al., ICLR 2021, section 3.1). Published weights are then the stem's.

    Attributes:
        channels: of each token.
        patch: side of a patch in pixels.

    Raises:
        ConfigError: not such a network, or ``patch`` does not divide ``size``.

    >>> import torch
    >>> net = ViTTokens("vit_tiny_patch16_224", 48, width=48, depth=1).eval()
    >>> [tuple(t.shape) for t in net(torch.zeros(2, 3, 48, 64))]
    [(2, 1, 48), (2, 12, 48)]
    """

    def __init__(
        self, name: str, size: int, *, width: int | None = None, depth: int | None = None, stem: str | None = None
    ) -> None:
        super().__init__()
        import timm
        from timm.models import vision_transformer_hybrid as hybrid

        self.name = resolve_backbone(name)
        given: dict[str, Any] = {"embed_dim": width, "depth": depth}
        given = {key: value for key, value in given.items() if value is not None}
        if stem is not None:
            embed: Any = hybrid.HybridEmbed  # type: ignore[attr-defined]
            given |= {"patch_size": 1, "embed_layer": partial(embed, backbone=Backbone(stem, **STEM))}
        try:
            net: Any = timm.create_model(self.name, num_classes=0, img_size=size, dynamic_img_size=True, **given)
            self.patch = int(net.patch_embed.feat_ratio())
            self._prefix = int(net.num_prefix_tokens)
        except (AttributeError, TypeError, ValueError, RuntimeError, AssertionError) as error:
            raise ConfigError(
                "bad_backbone", f"'{name}' cannot be built as a plain vision transformer with these settings: {error}"
            ) from error
        if size % self.patch:
            below = size // self.patch * self.patch
            near = ", ".join(str(side) for side in (below, below + self.patch) if side)
            raise ConfigError(
                "bad_size",
                f"{name} takes sides that its patch of {self.patch} pixels divides, got {size}; near: {near}",
            )
        self.net = net
        self.channels = int(net.num_features)
        config: Any = net.pretrained_cfg or {}
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        if self.stem is not None:
            self.mean, self.std = self.stem.mean, self.stem.std
        self._summarised = getattr(net, "cls_token", None) is not None

    @property
    def stem(self) -> Backbone | None:
        """What reads the image before the transformer does."""
        embed: Any = self.net.patch_embed
        stem = getattr(embed, "backbone", None)
        return stem if isinstance(stem, Backbone) else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) to the class token (B, 1, C) and the patches' (B, N, C), row by row; registers are left out.

        Where the network has no class token, the mean of the patches' stands in for it.
        """
        net: Any = self.net
        tokens: Tensor = net.forward_features(x)  # (B, prefix + N, C)
        patches = tokens[:, self._prefix :]
        return (tokens[:, :1] if self._summarised else patches.mean(1, keepdim=True)), patches

    def load(self, source: str | Path) -> LoadReport:
        """Take over pretrained weights, see :meth:`Pretrained.load`; with a stem, the stem's."""
        if self.stem is None:
            return super().load(source)
        report = self.stem.load(source)
        self.mean, self.std = self.stem.mean, self.stem.std
        return report

    def _fitted(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The names and shapes of other publishers' files as timm knows them; positions resampled to our grid."""
        convert = getattr(import_module(type(self.net).__module__), "checkpoint_filter_fn", None)
        return state if convert is None else dict(convert(dict(state), self.net))
