"""Re-synthesis: a whole photo goes through a small encoder and an upsampling decoder.

What comes out shows the same content, but every pixel was made by a generator's upsampling layers, so a "generated"
image and its real counterpart differ in nothing else. Twenty small networks are shipped (trained by
``python -m unmask.data.forgeries.resynthesis_training``); at run time their features, noise, grid phase and
combination are drawn anew, so that they stand for many generators.

The layers follow what generators use: nearest or bilinear upsampling and convolution, transposed convolution (kernels
2, 3 and 4), sub-pixel convolution (Shi et al., CVPR 2016) and the [1, 3, 3, 1] filtered upsampling with per-level noise
of StyleGAN2 (Karras et al., CVPR 2020). Latent grids are 2, 4 or 8 times coarser than the image.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from unmask.core.errors import ConfigError, WeightsError
from unmask.core.types import UInt8Image

ASSET = Path(__file__).parents[2] / "assets" / "resynthesis.safetensors"
Upsampling = Literal["nearest", "bilinear", "transposed2", "transposed3", "transposed4", "shuffle", "fir"]


@dataclass(frozen=True)
class NetworkConfig:
    """One re-synthesis network: how it upsamples, how coarse its latent grid is and what it was trained for."""

    up: Upsampling
    levels: int  # the latent grid is 2**levels coarser than the image
    width: int = 16  # channels at half resolution; deeper levels have half as many again each
    latent: int = 8  # channels of the latent grid
    act: Literal["relu", "leaky", "silu", "elu"] = "relu"
    noise: float = 0.0  # standard deviation of the noise added to each decoder level
    texture: float = 0.0  # weight of the texture loss: local energy of three high-pass filters
    adversarial: float = 0.0  # weight of a small patch discriminator's loss
    power: Literal[1, 2] = 1  # pixel loss: absolute or squared error


NETWORKS: dict[str, NetworkConfig] = {
    "nearest_2": NetworkConfig("nearest", 1, 16, 6, "relu", texture=0.5),
    "nearest_4": NetworkConfig("nearest", 2, 16, 12, "leaky", noise=0.1, texture=1.0),
    "nearest_4_adv": NetworkConfig("nearest", 2, 12, 8, "silu", adversarial=0.02),
    "nearest_8": NetworkConfig("nearest", 3, 14, 24, "silu", noise=0.1, texture=1.0),
    "bilinear_2": NetworkConfig("bilinear", 1, 12, 5, "leaky", power=2),
    "bilinear_4": NetworkConfig("bilinear", 2, 16, 12, "silu", texture=1.0),
    "bilinear_8": NetworkConfig("bilinear", 3, 14, 24, "relu", noise=0.1, adversarial=0.02),
    "transposed2_2": NetworkConfig("transposed2", 1, 12, 5, "elu"),
    "transposed2_4": NetworkConfig("transposed2", 2, 16, 12, "relu", texture=1.0),
    "transposed3_2": NetworkConfig("transposed3", 1, 12, 6, "relu", texture=0.5),
    "transposed3_4": NetworkConfig("transposed3", 2, 14, 10, "leaky", adversarial=0.02),
    "transposed4_4": NetworkConfig("transposed4", 2, 14, 10, "relu", noise=0.05, texture=1.0),
    "transposed4_8": NetworkConfig("transposed4", 3, 12, 24, "leaky", texture=1.0),
    "shuffle_2": NetworkConfig("shuffle", 1, 12, 6, "leaky", texture=0.5),
    "shuffle_4": NetworkConfig("shuffle", 2, 12, 12, "relu", texture=1.0),
    "shuffle_8": NetworkConfig("shuffle", 3, 10, 24, "silu", power=2),
    "fir_2": NetworkConfig("fir", 1, 16, 6, "leaky", noise=0.1, texture=1.0),
    "fir_4": NetworkConfig("fir", 2, 16, 12, "leaky", noise=0.2, texture=1.0),
    "fir_4_adv": NetworkConfig("fir", 2, 12, 10, "leaky", noise=0.1, adversarial=0.02),
    "fir_8": NetworkConfig("fir", 3, 14, 24, "leaky", noise=0.2, texture=1.0),
}


class Up(nn.Module):
    """Doubles height and width: (B, C_in, H, W) -> (B, C_out, 2H, 2W)."""

    fir: Tensor

    def __init__(self, kind: Upsampling, inputs: int, outputs: int) -> None:
        super().__init__()
        self.kind = kind
        if kind.startswith("transposed"):
            k = int(kind[-1])
            padding, extra = {2: (0, 0), 3: (1, 1), 4: (1, 0)}[k]
            self.conv: nn.Module = nn.ConvTranspose2d(inputs, outputs, k, 2, padding, extra)
        else:
            self.conv = nn.Conv2d(
                inputs, outputs * (4 if kind == "shuffle" else 1), 3, padding=1, padding_mode="reflect"
            )
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("fir", (taps[:, None] * taps / 16).expand(inputs, 1, 4, 4).clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Upsample and convolve."""
        if self.kind == "nearest":
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        elif self.kind == "bilinear":
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        elif self.kind == "fir":  # zeros between the samples, then the filter (gain 4)
            x = F.conv_transpose2d(
                F.pad(x, (1, 1, 1, 1), mode="replicate"), self.fir, stride=2, padding=3, groups=x.shape[1]
            )
        x = self.conv(x)
        return F.pixel_shuffle(x, 2) if self.kind == "shuffle" else x


class ResynthesisNetwork(nn.Module):
    """Encoder, latent grid, upsampling decoder: RGB in [-1, 1] (B, 3, H, W) to the same; sides divide by 2**levels."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        widths = [max(8, config.width // 2), *(config.width + config.width // 2 * i for i in range(config.levels))]
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 4, 2, 1, padding_mode="reflect")
            for a, b in zip([3, *widths[1:-1]], widths[1:], strict=True)
        )
        self.squeeze = nn.Conv2d(widths[-1], config.latent, 1)
        self.expand = nn.Conv2d(config.latent, widths[-1], 3, padding=1, padding_mode="reflect")
        self.deep = nn.Conv2d(widths[-1], widths[-1], 3, padding=1, padding_mode="reflect")
        self.up = nn.ModuleList(Up(config.up, a, b) for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.out = nn.Conv2d(widths[0], 3, 3, padding=1, padding_mode="reflect")
        acts: dict[str, Callable[[Tensor], Tensor]] = {
            "relu": F.relu,
            "leaky": functools.partial(F.leaky_relu, negative_slope=0.2),
            "silu": F.silu,
            "elu": F.elu,
        }
        self.act = acts[config.act]

    def forward(
        self, x: Tensor, noise: float = 1.0, jitter: float = 0.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Re-synthesise; ``noise`` scales the configured noise, ``jitter`` is the spread of random channel gains."""
        for conv in self.down:
            x = self.act(conv(x))
        x = self.act(self.expand(self.squeeze(x)))
        x = x + self.act(self.deep(x))
        for up in self.up:
            x = self.act(up(self._vary(x, jitter, generator)))
            if noise * self.config.noise > 0:
                x = x + noise * self.config.noise * torch.randn(x.shape[0], 1, *x.shape[2:], generator=generator)
        out: Tensor = self.out(x)
        return out

    @staticmethod
    def _vary(x: Tensor, jitter: float, generator: torch.Generator | None) -> Tensor:
        if jitter == 0:
            return x
        return x * (1 + jitter * torch.randn(1, x.shape[1], 1, 1, generator=generator))


@functools.cache
def load_networks(path: Path = ASSET) -> dict[str, ResynthesisNetwork]:
    """The trained networks by name, in float32, frozen and in eval mode.

    Raises:
        WeightsError: the file is missing or does not hold the networks of ``NETWORKS``.
    """
    try:
        tensors = load_file(path)
        networks = {}
        for name, config in NETWORKS.items():
            network = ResynthesisNetwork(config).requires_grad_(False).eval()
            prefix = f"{name}."
            network.load_state_dict({k[len(prefix) :]: v.float() for k, v in tensors.items() if k.startswith(prefix)})
            networks[name] = network.to(memory_format=torch.channels_last)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise WeightsError("resynthesis_weights", f"{path} does not hold the re-synthesis networks: {error}") from error
    return networks


def resynthesize(
    images: UInt8Image, random: np.random.Generator, names: str | Sequence[str] | None = None, *, plain: bool = False
) -> UInt8Image:
    """Re-synthesise one image (H, W, 3) or several of one size (N, H, W, 3) with one random generator.

    A draw chooses a network out of ``names`` (default: all), the phase of its grid, the strength of its noise, random
    gains of its features and, for one in five each, a second network whose output is averaged in or that works on the
    first one's output. ``plain`` leaves the trained network as it is. Deterministic in ``random``.

    Returns:
        uint8, same shape as ``images``.

    Raises:
        ConfigError: a name is unknown.

    >>> image = np.full((40, 30, 3), 128, np.uint8)
    >>> resynthesize(image, np.random.default_rng(0), "nearest_2").shape
    (40, 30, 3)
    """
    known = load_networks()
    choices = list(known) if names is None else [names] if isinstance(names, str) else list(names)
    if not choices or any(c not in known for c in choices):
        raise ConfigError("unknown_network", f"re-synthesis networks are {', '.join(known)}; got {names!r}")
    x = torch.from_numpy(np.array(images[None] if images.ndim == 3 else images))
    x = x.permute(0, 3, 1, 2).float() / 127.5 - 1
    first, second = (known[str(random.choice(choices))] for _ in range(2))
    y = _pass(first, x, random, plain)
    combine = 1.0 if plain else random.random()
    if combine < 0.2:
        weight = float(random.uniform(0.3, 0.7))
        y = weight * y + (1 - weight) * _pass(second, x, random, plain)
    elif combine < 0.4:
        y = _pass(second, y.clamp(-1, 1), random, plain)
    out: UInt8Image = ((y + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return out[0] if images.ndim == 3 else out


def _pass(network: ResynthesisNetwork, x: Tensor, random: np.random.Generator, plain: bool) -> Tensor:
    """One network at a random grid phase, on reflected borders."""
    height, width = x.shape[2:]
    grid = 2**network.config.levels
    top, left = (0, 0) if plain else (int(v) for v in random.integers(grid, size=2))
    rows = _reflected(top, height, grid)
    columns = _reflected(left, width, grid)
    generator = torch.Generator().manual_seed(int(random.integers(1 << 31)))
    noise = 1.0 if plain else float(random.uniform(0.5, 1.5))
    jitter = 0.0 if plain else float(random.uniform(0, 0.08)) * float(random.random() < 0.6)
    with torch.no_grad():
        y: Tensor = network(x[:, :, rows][:, :, :, columns], noise, jitter, generator)
    return y[:, :, top : top + height, left : left + width]


def _reflected(before: int, size: int, grid: int) -> Tensor:
    """Indices of a line of ``size`` pixels, reflected at both ends, with at least one extra grid cell after it."""
    after = -(before + size) % grid + grid
    index = torch.arange(-before, size + after)
    period = max(2 * (size - 1), 1)
    index = index.abs() % period
    return torch.where(index < size, index, period - index)
