"""Forensic maps as torch modules: an image in, a map aligned with it out. Streams of networks, rows of a catalogue."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from unmask.core.errors import ConfigError


class PixelMap(nn.Module):
    """A map of fixed channels over (B, 3, H, W) RGB in [0, 1], on any device, without trainable parameters.

    The map is (B, ``channels``, H / ``stride``, W / ``stride``).
    """

    channels: int
    stride: int = 1

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, channels, H / stride, W / stride)."""
        raise NotImplementedError


class RGB(PixelMap):
    """The pixels themselves, from [0, 1] to [-1, 1] (Rössler et al., 2019)."""

    channels = 3

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, 3, H, W) in [-1, 1]."""
        return 2 * image - 1


MAPS: dict[str, type[PixelMap]] = {
    "rgb": RGB,
}
"""Every map by name."""


def create_map(name: str, **options: Any) -> PixelMap:
    """Build a map.

    Raises:
        ConfigError: no such map (the message names the nearest), or an option it does not have.

    >>> import torch
    >>> create_map("rgb")(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 3, 8, 8])
    """
    if name not in MAPS:
        near = get_close_matches(name, MAPS, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        raise ConfigError("unknown_map", f"no map '{name}'{hint}; there are: {', '.join(MAPS)}")
    try:
        return MAPS[name](**options)
    except TypeError as error:
        raise ConfigError("bad_config", f"map '{name}': {error}") from None
