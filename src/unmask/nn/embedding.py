"""Whole networks as one vector per image: what a classifier, or CLIP's comparison with words, would read."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from unmask.core.errors import ConfigError
from unmask.nn.backbones import Pretrained, mobilenetv2_e1, resolve_backbone


class Embedder(Pretrained):
    """Any network of timm up to its penultimate layer, or to the projection that ends CLIP's image towers.

    Nothing is downloaded when it is built; weights come only from :meth:`load`.

    Args:
        name: as :class:`unmask.nn.backbones.Backbone` takes it.
        project: keep the network's last linear layer (CLIP's projection into the space it shares with words).

    Attributes:
        channels: length of the vector.
        size: side of the square images its published weights were made with.

    Raises:
        ConfigError: no such network, or one without such a layer.

    >>> net = Embedder("mobilenetv2_gluon_e1").eval()
    >>> net(torch.zeros(1, 3, 64, 64)).shape, net.channels, net.size
    (torch.Size([1, 1280]), 1280, 224)
    """

    def __init__(self, name: str, *, project: bool = False) -> None:
        super().__init__()
        import timm

        self.name = resolve_backbone(name)
        if self.name == "mobilenetv2_gluon_e1":
            net: Any = mobilenetv2_e1(3)
        elif self.name == "resnetv2_50_stem_norm":
            raise ConfigError("bad_backbone", f"'{name}' is known up to its third stage: it has no penultimate layer")
        else:
            known: Any = timm.get_pretrained_cfg(self.name)
            net = timm.create_model(self.name, num_classes=known.num_classes if project and known else 0)
        if project and not isinstance(net.get_classifier(), nn.Linear):
            raise ConfigError("bad_backbone", f"'{name}' does not end in a projection")
        self.net = net
        config: Any = getattr(net, "pretrained_cfg", None) or {}
        self.mean = tuple(config.get("mean", (0.485, 0.456, 0.406)))
        self.std = tuple(config.get("std", (0.229, 0.224, 0.225)))
        self.size = int(config.get("input_size", (3, 224, 224))[-1])
        self.channels = int(net.get_classifier().out_features if project else net.head_hidden_size)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] to (B, channels)."""
        mean, std = (torch.tensor(v, device=image.device).view(3, 1, 1) for v in (self.mean, self.std))
        embedded: Tensor = self.net((image - mean) / std)
        return embedded

    def _fitted(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The names and shapes of other publishers' files (OpenAI's and OpenCLIP's towers) as timm knows them."""
        convert = getattr(import_module(type(self.net).__module__), "checkpoint_filter_fn", None)
        return state if convert is None else dict(convert(dict(state), self.net))
