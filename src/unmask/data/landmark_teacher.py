"""The MediaPipe face mesh as a torch network: the teacher that our own landmark network is trained and held against.

Only training and benchmarks use it, with a weights file given to them; nothing of it ships.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from unmask.core.errors import WeightsError
from unmask.core.types import UInt8Image

SIZE = 192
"""Side of the square it looks at, in pixels."""
COUNT = 468


class _Step(nn.Module):
    """A depthwise and a pointwise convolution beside a shortcut, which is pooled and padded where shapes change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, outputs - inputs
        deep = nn.Conv2d(inputs, inputs, 3, stride, padding=1 if stride == 1 else 0, groups=inputs)
        self.convs = nn.Sequential(deep, nn.Conv2d(inputs, outputs, 1))
        self.act = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.convs(x if self.stride == 1 else F.pad(x, (0, 1, 0, 1)))
        if self.stride == 2:
            x = F.max_pool2d(x, 2)
        out: Tensor = self.act(F.pad(x, (0, 0, 0, 0, 0, self.extra)) + inner)
        return out


class Teacher(nn.Module):
    """(B, 3, 192, 192) RGB in [0, 1] to (B, 468, 3) points in pixels of the square, and (B,) a face logit.

    z grows away from the camera, in the unit of x and y. The square is about 1.5 times the face box, upright.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (16, 32, 64, 128, 128)
        trunk: list[nn.Module] = [nn.Conv2d(3, 16, 3, 2), nn.PReLU(16), _Step(16, 16, 1), _Step(16, 16, 1)]
        for before, after in itertools.pairwise(widths):
            trunk += [_Step(before, after, 2), _Step(after, after, 1), _Step(after, after, 1)]
        self.backbone1 = nn.Sequential(*trunk)  # (B, 128, 6, 6)
        self.backbone2a = nn.Sequential(
            _Step(128, 128, 2), _Step(128, 128, 1), _Step(128, 128, 1),
            nn.Conv2d(128, 32, 1), nn.PReLU(32), _Step(32, 32, 1), nn.Conv2d(32, 3 * COUNT, 3),
        )  # fmt: skip
        self.backbone2b = nn.Sequential(
            _Step(128, 128, 2), nn.Conv2d(128, 32, 1), nn.PReLU(32), _Step(32, 32, 1), nn.Conv2d(32, 1, 3)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Points and face logits."""
        features = self.backbone1(F.pad(image, (0, 1, 0, 1)))
        return self.backbone2a(features).reshape(-1, COUNT, 3), self.backbone2b(features).flatten()


def load_teacher(path: str | Path) -> Teacher:
    """The teacher with weights from a safetensors file, in eval mode.

    Raises:
        WeightsError: the file is absent or holds another network.
    """
    teacher = Teacher().requires_grad_(False).eval()
    try:
        teacher.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise WeightsError("teacher_weights", f"{path} does not hold the face mesh network: {error}") from error
    return teacher


def teach(
    teacher: Teacher, squares: Sequence[UInt8Image], mirror: npt.NDArray[np.int64] | None = None, batch: int = 16
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """What the teacher says of (N, S, S, 3) upright squares: (N, 468, 3) points as fractions of the side, (N,) logits.

    With ``mirror`` (see :attr:`unmask.nn.landmarks.LandmarkNetwork.mirror`) the mean over each square and its mirror
    image.
    """
    points, logits = [], []
    for start in range(0, len(squares), batch):
        x = torch.from_numpy(np.stack(squares[start : start + batch])).permute(0, 3, 1, 2).float() / 255
        x = F.interpolate(x, (SIZE, SIZE), mode="bilinear", antialias=True) if x.shape[-1] != SIZE else x
        with torch.inference_mode():
            here, sure = teacher(x)
            here = here / SIZE
            if mirror is not None:
                there, also = teacher(x.flip(-1))
                there = there[:, torch.from_numpy(mirror.copy())] / SIZE
                there[..., 0] = 1 - there[..., 0]
                here, sure = (here + there) / 2, (sure + also) / 2
        points.append(here.numpy())
        logits.append(sure.numpy())
    return np.concatenate(points), np.concatenate(logits)
