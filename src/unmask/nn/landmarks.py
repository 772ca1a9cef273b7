"""A small network for the 468 points of the MediaPipe face mesh, and what the points mean.

A stack of residual convolutions ends in a few shape coefficients; a linear layer, started as the principal components
of the teacher's shapes, makes points of them (a shape model as in Cootes et al., CVIU 1995, learnt end to end). The
mesh has no irises.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from unmask.core.errors import WeightsError

ASSET = Path(__file__).parents[1] / "assets" / "landmarks.safetensors"
SIZE = 96
"""Side of the square the network looks at, in pixels."""
COUNT = 468
"""Points of the mesh."""

REGIONS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "left_eye": (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
        "right_eye": (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
        "left_brow": (46, 53, 52, 65, 55, 107, 66, 105, 63, 70),
        "right_brow": (276, 283, 282, 295, 285, 336, 296, 334, 293, 300),
        "nose": (168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 327, 48, 278, 64, 294),
        "mouth": (
            61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
            78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
        ),
        "outline": (
            10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
            152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
        ),
    }
)  # fmt: skip
"""Points of each part; left = smaller x on a frontal face. Eyes and outline are closed contours in order, the mouth is
its outer contour (20 points) and then its inner one."""
IRISES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"left_eye": (468, 469, 470, 471, 472), "right_eye": (473, 474, 475, 476, 477)}
)
"""Where points have irises (478, none of our own network's do): centre, then four points on the border of each."""
COUNT_WITH_IRISES = 478
OUTER_EYES = (33, 263)
"""Outer corners of the eyes: their distance is the unit of every error."""
FIVE: tuple[tuple[int, ...], ...] = ((33, 133, 159, 145), (263, 362, 386, 374), (1,), (61,), (291,))
"""Points whose means stand where :attr:`unmask.core.types.Face.points` do: eyes, nose, corners of the mouth."""


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(*_conv(width, width), nn.ReLU(), *_conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.inner(x))


def _conv(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)


class LandmarkNetwork(nn.Module):
    """(B, 3, 96, 96) RGB in [0, 1] to (B, 468, 2) points as fractions of the square's side, and (B,) face logits.

    The square holds one face, roughly upright, as :func:`unmask.data.faces.align` cuts it with its standard zoom.
    """

    mirror: Tensor
    """(468,) for each point the one that takes its place when the image is mirrored."""

    def __init__(self, shapes: int = 96) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, blocks in ((3, 16, 0), (16, 32, 1), (32, 64, 2), (64, 128, 1)):
            layers += [*_conv(inputs, outputs, 2), nn.ReLU(), *(_Residual(outputs) for _ in range(blocks))]
        self.trunk = nn.Sequential(*layers, nn.Conv2d(128, 32, 1), nn.ReLU(), nn.Flatten())  # (B, 32 x 6 x 6)
        self.coefficients = nn.Linear(32 * 6 * 6, shapes)
        self.shape = nn.Linear(shapes, 2 * COUNT)
        self.face = nn.Linear(32 * 6 * 6, 1)
        self.register_buffer("mirror", torch.arange(COUNT))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Points and face logits."""
        features = self.trunk(2 * image - 1)
        points: Tensor = self.shape(self.coefficients(features))
        return points.reshape(-1, COUNT, 2), self.face(features).flatten()


def load_landmark_network(path: Path = ASSET) -> LandmarkNetwork:
    """The trained network in float32, frozen and in eval mode.

    Raises:
        WeightsError: the file is missing or holds something else.
    """
    network = LandmarkNetwork().requires_grad_(False).eval()
    try:
        tensors = load_file(path)
        network.load_state_dict({k: v.float() if v.is_floating_point() else v.long() for k, v in tensors.items()})
    except (OSError, RuntimeError, SafetensorError) as error:
        raise WeightsError("landmark_weights", f"{path} does not hold the landmark network: {error}") from error
    return network.to(memory_format=torch.channels_last)


@functools.cache
def mirror_order() -> npt.NDArray[np.int64]:
    """(468,) for each point the one that takes its place in the mirrored image.

    >>> order = mirror_order()
    >>> int(order[33]), bool((order[order] == np.arange(COUNT)).all())
    (263, True)
    """
    order: npt.NDArray[np.int64] = load_landmark_network().mirror.numpy()
    order.flags.writeable = False
    return order
