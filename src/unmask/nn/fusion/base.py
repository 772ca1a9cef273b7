"""What fusing streams at feature level means, whatever the strategy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor, nn


class Fused(NamedTuple):
    """Streams made one."""

    tokens: Tensor
    """(B, N, dim)."""
    shares: Tensor | None = None
    """(B, N, K): how far each stream was let in, from 0 to 1; None where the strategy has no such number."""


class FeatureFusion(nn.Module, ABC):
    """K streams of tokens to one: (B, N, D_i) each to (B, N, dim).

    All streams have the same N: 1 for vectors, the cells of aligned maps otherwise (:func:`tokens_of`).

    Args:
        dims: channels of each stream; one to any number of streams.
        dim: channels of the result.

    Attributes:
        symmetric: the result does not depend on the order of the streams (their own parameters moved along).

    Raises:
        ValueError: no stream, or a width below 1.
    """

    line: ClassVar[str]
    """What it does, for people, in one line."""
    paper: ClassVar[str]
    symmetric: ClassVar[bool] = False

    def __init__(self, dims: Sequence[int], dim: int) -> None:
        super().__init__()
        self.dims, self.dim = tuple(dims), dim
        if not self.dims or min(*self.dims, dim) < 1:
            raise ValueError(f"fusion needs at least one stream and positive widths, got dims={self.dims}, dim={dim}")

    @abstractmethod
    def fuse(self, streams: Sequence[Tensor]) -> Fused:
        """The fused tokens and how far each stream was let in."""

    def forward(self, streams: Sequence[Tensor]) -> Tensor:
        """K tensors (B, N, D_i) to (B, N, dim).

        Raises:
            ValueError: another number of streams, other widths, or unequal numbers of tokens.
        """
        return self.fuse(streams).tokens

    def check(self, streams: Sequence[Tensor]) -> list[Tensor]:
        """The streams, if they are what ``dims`` promised."""
        shapes = [tuple(x.shape) for x in streams]
        if any(x.ndim != 3 for x in streams) or tuple(x.shape[-1] for x in streams) != self.dims:
            raise ValueError(f"expected streams (B, N, D) with D = {self.dims}, got {shapes}")
        if any(x.shape[1] != streams[0].shape[1] for x in streams):
            raise ValueError(f"streams must have equally many tokens, got {shapes}; resize the maps first")
        return list(streams)

    def _projections(self) -> nn.ModuleList:
        """One linear layer per stream, to the common width."""
        return nn.ModuleList(nn.Linear(d, self.dim) for d in self.dims)


def tokens_of(feature_map: Tensor) -> Tensor:
    """A map (B, C, H, W) as tokens (B, H * W, C), row by row; a vector (B, C) as one token.

    >>> import torch
    >>> tokens_of(torch.zeros(2, 5, 3, 4)).shape, tokens_of(torch.zeros(2, 5)).shape
    (torch.Size([2, 12, 5]), torch.Size([2, 1, 5]))
    """
    return feature_map.unsqueeze(1) if feature_map.ndim == 2 else feature_map.flatten(2).transpose(1, 2)


def map_of(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Tokens (B, H * W, C) back as the map (B, C, H, W) of ``size`` = (H, W)."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *size)
