"""Fusion of streams by name: at feature level (tokens) and early (maps)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from unmask.core.errors import ConfigError
from unmask.core.names import did_you_mean
from unmask.nn.fusion.attention import CrossAttentionFusion, Reliability
from unmask.nn.fusion.base import FeatureFusion, Fused, map_of, tokens_of
from unmask.nn.fusion.early import ConcatChannels, ConcatSpace, EarlyFusion, Merge
from unmask.nn.fusion.simple import Concat, FiLM, Gating, Hierarchical, MlpFusion, Pooling, WeightedSum

FUSIONS: dict[str, type[FeatureFusion]] = {
    "concat": Concat,
    "weighted_sum": WeightedSum,
    "mlp": MlpFusion,
    "cross_attention": CrossAttentionFusion,
    "gating": Gating,
    "film": FiLM,
    "pooling": Pooling,
    "hierarchical": Hierarchical,
    "reliability": Reliability,
}
"""Every feature-level fusion by name."""

EARLY: dict[str, type[EarlyFusion]] = {
    "concat_channels": ConcatChannels,
    "concat_space": ConcatSpace,
    "merge": Merge,
}
"""Every early fusion by name."""

T = TypeVar("T")


def _find(table: Mapping[str, type[T]], name: str, what: str) -> type[T]:
    if name not in table:
        hint = did_you_mean(name, table)
        raise ConfigError("unknown_fusion", f"no {what} fusion '{name}'{hint}; there are: {', '.join(table)}")
    return table[name]


def create_fusion(name: str, dims: Sequence[int], dim: int, **options: Any) -> FeatureFusion:
    """Build a feature-level fusion of streams with ``dims`` channels into ``dim`` channels.

    Raises:
        ConfigError: no such fusion (the message names the nearest), or options it does not take.

    >>> import torch
    >>> fusion = create_fusion("reliability", [6, 3], 8)
    >>> fusion([torch.zeros(2, 10, 6), torch.zeros(2, 10, 3)]).shape
    torch.Size([2, 10, 8])
    """
    kind = _find(FUSIONS, name, "feature-level")
    try:
        return kind(dims, dim, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError("bad_config", f"fusion '{name}': {error}") from None


def create_early(name: str, channels: Sequence[int]) -> EarlyFusion:
    """Build an early fusion of maps with these ``channels``.

    Raises:
        ConfigError: no such fusion (the message names the nearest).

    >>> import torch
    >>> create_early("concat_channels", [3, 1])([torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 4, 4)]).shape
    torch.Size([1, 4, 8, 8])
    """
    return _find(EARLY, name, "early")(channels)


__all__ = [
    "EARLY",
    "FUSIONS",
    "EarlyFusion",
    "FeatureFusion",
    "Fused",
    "create_early",
    "create_fusion",
    "map_of",
    "tokens_of",
]
