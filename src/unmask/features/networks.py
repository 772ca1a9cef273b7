"""Features that pretrained networks give: rows 18 (global texture), 19 (CNN embedding) and 20 (CLIP image embedding).

Weights come from a file, or are downloaded where the word ``timm`` asks for it; without, all is ``weights_missing``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import ClassVar, Self, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.core.errors import WeightsError
from unmask.core.files import sha256_file
from unmask.core.seeds import rng
from unmask.core.types import ViewConfig
from unmask.features.base import PixelFeature
from unmask.nn.backbones import Backbone, Pretrained, resolve_backbone
from unmask.nn.embedding import Embedder
from unmask.nn.gram import gram

_NET = re.compile(r"([A-Za-z0-9_.\-]{2,}):(.+)")  # two letters or more: C:\weights is a place
N = TypeVar("N", bound=Pretrained)


class NetworkFeature(PixelFeature):
    """A descriptor that a pretrained network computes of the square around the face.

    Args:
        weights: see :meth:`with_weights`; empty = none.

    Attributes:
        net: name of the network.
        file: its weights; empty = none.
    """

    needs = ("weights",)
    view: ClassVar[ViewConfig] = ViewConfig(kind="face", size=224, margin=1.6)
    default_net: ClassVar[str]

    def __init__(self, weights: str = "") -> None:
        found = _NET.fullmatch(weights)
        self.net = resolve_backbone(found[1]) if found else self.default_net
        self.file = found[2] if found else weights
        if self.file:
            self.fingerprint = f"{self.net} {'timm' if self.file == 'timm' else self._hash()}"
            _ = self.columns  # builds and loads: what is wrong is said now

    def with_weights(self, source: str) -> Self:
        """The same feature with weights.

        Args:
            source: ``FILE`` (safetensors, names as timm's) for the network it has by default, ``NET:FILE`` for another
                of timm's; the word ``timm`` in place of the file downloads timm's own.

        Raises:
            WeightsError: no such file, damaged, or tensors are missing in it.
            ConfigError: no such network.
        """
        return type(self)(source)

    def _hash(self) -> str:
        try:
            return sha256_file(self.file)[:16]
        except OSError as error:
            raise WeightsError("not_found", f"no weights file {self.file}: {error.strerror}") from None


@lru_cache(maxsize=2)
def _embedder(net: str, file: str, project: bool) -> Embedder:
    """One network per process."""
    return _whole(Embedder(net, project=project), file)


@lru_cache(maxsize=1)
def _backbone(net: str, file: str) -> Backbone:
    return _whole(Backbone(net, stages=3), file)


def _whole(network: N, file: str) -> N:
    report = network.load(file)
    if report.missing:
        raise WeightsError("wrong_weights", f"{file} is not all of {network.name}: {report}")
    return network.eval().requires_grad_(False)


class CNNEmbedding(NetworkFeature):
    """What the last layer of an ImageNet network reads: its pooled features (any network of timm)."""

    name = "cnn_embedding"
    line = "penultimate layer of an ImageNet network, by default MobileNetV2"
    paper = "Wang et al., 2020"
    kinds = ("descriptor",)
    default_net = "mobilenetv2_gluon_e1"
    _channels: ClassVar[int] = 1280
    _project: ClassVar[bool] = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Channels by number."""
        count = _embedder(self.net, self.file, self._project).channels if self.file else self._channels
        return tuple(map(str, range(count)))

    def describe(self, pixels: Tensor) -> Tensor:
        """(B, channels)."""
        network = _embedder(self.net, self.file, self._project)
        if network.size != pixels.shape[-1] and self._project:  # a ViT takes one size only
            pixels = F.interpolate(pixels, (network.size, network.size), mode="bicubic", antialias=True)
        embedded: Tensor = network(pixels)
        return embedded


class CLIPEmbedding(CNNEmbedding):
    """CLIP's image embedding, of unit length: what simple probes tell generators apart by."""

    name = "clip_embedding"
    line = "image embedding of CLIP, by default OpenAI's ViT-L/14, unit length"
    paper = "Ojha et al., 2023; Cozzolino et al., 2023"
    default_net = "vit_large_patch14_clip_quickgelu_224"
    _channels = 768
    _project = True

    def describe(self, pixels: Tensor) -> Tensor:
        """(B, channels), each of length 1."""
        return F.normalize(super().describe(pixels), dim=1)


class GramTexture(NetworkFeature):
    """Global texture at four scales: which features of a network go together, wherever they are in the image.

    The Gram matrix of each of a backbone's first four feature maps, seen through a fixed random orthogonal projection
    to eight channels: the logarithms of its diagonal (how strong), and its correlations (what goes with what). As a
    part of networks it is :class:`unmask.nn.gram.GramBlock`.
    """

    name = "gram"
    line = "Gram matrices of a network's first four feature maps, projected to eight channels"
    paper = "Liu, Qi and Torr, 2020 (Gram-Net)"
    kinds = ("descriptor",)
    default_net = "mobilenetv2_gluon_e1"
    width: ClassVar[int] = 8
    """Channels after the projection."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Per map: log energies ``0`` .. ``7``, then correlations ``i-j`` of the pairs i < j."""
        levels = len(_backbone(self.net, self.file).channels) if self.file else 4
        pairs = [f"{i}-{j}" for i in range(self.width) for j in range(i + 1, self.width)]
        return tuple(f"{level} {c}" for level in range(levels) for c in [*map(str, range(self.width)), *pairs])

    def describe(self, pixels: Tensor) -> Tensor:
        """(B, levels x 36)."""
        network = _backbone(self.net, self.file)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (network.mean, network.std))
        parts = []
        for level, features in enumerate(network((pixels - mean) / std)):
            parts.append(texture(torch.einsum("kc,bchw->bkhw", self._projection(level, features.shape[1]), features)))
        return torch.cat(parts, 1)

    def _projection(self, level: int, channels: int) -> Tensor:
        """(width, channels) with orthonormal rows, the same for ever."""
        drawn = rng(0, "gram", level, channels).standard_normal((max(channels, self.width), self.width))
        return torch.from_numpy(np.linalg.qr(drawn)[0].T[:, :channels].astype(np.float32))


def texture(features: Tensor) -> Tensor:
    """(B, K, H, W) to (B, K + K (K - 1) / 2): log energy of each channel, then the correlation of each pair.

    >>> same = torch.ones(1, 1, 4, 4)
    >>> [round(v, 3) for v in texture(torch.cat([same, 2 * same, -same], 1))[0].tolist()]
    [0.0, 1.386, 0.0, 1.0, -1.0, -1.0]
    """
    matrix = gram(features)
    energy = matrix.diagonal(dim1=1, dim2=2).clamp(min=1e-12)  # (B, K)
    i, j = torch.triu_indices(features.shape[1], features.shape[1], 1)
    return torch.cat([energy.log(), matrix[:, i, j] / (energy[:, i] * energy[:, j]).sqrt()], 1)
