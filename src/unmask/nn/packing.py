"""Many images of any sizes on one canvas, and square crops of any of them in one call.

What lets a pyramid search run over all levels of all images at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.ops import roi_align

from unmask.core.types import UInt8Image


class Pack(NamedTuple):
    """Resized copies of images, side by side on one canvas."""

    canvas: UInt8Image
    """(H, W, 3)."""
    place: np.ndarray
    """(R, 4) int: y, x, height, width of each copy on the canvas; y and x are even."""
    scale: np.ndarray
    """(R, 2) float: how many canvas pixels one pixel of the photo takes, in x and y."""
    owner: np.ndarray
    """(R,) int: index of the photo."""
    rows: list[int]
    """Where shelves begin, and the canvas's height: the canvas may be cut there."""


def pack_copies(
    copies: Sequence[UInt8Image], photos: Sequence[UInt8Image], owner: Sequence[int], margin: int = 0, fill: int = 0
) -> Pack:
    """Shelf packing, tallest first, each copy with its (even) margin on the first shelf with room."""
    sizes = np.array([c.shape[:2] for c in copies])
    even = sizes + sizes % 2 + 2 * margin
    width = int(max(even[:, 1].max(), 2 * np.ceil(np.sqrt(even.prod(1).sum()) / 2)))
    place = np.zeros((len(copies), 4), int)
    used: list[int] = []
    rows = [0]
    for i in np.argsort(-even[:, 0], kind="stable"):
        h, w = even[i]
        shelf = next((s for s, end in enumerate(used) if end + w <= width), len(used))
        if shelf == len(used):
            used.append(0)
            rows.append(rows[-1] + int(h))
        place[i] = rows[shelf] + margin, used[shelf] + margin, *sizes[i]
        used[shelf] += int(w)
    canvas = np.full((rows[-1], width, 3), fill, np.uint8)
    for copy, (y, x, h, w) in zip(copies, place, strict=True):
        canvas[y : y + h, x : x + w] = copy
    full = np.array([photos[o].shape[:2] for o in owner])
    return Pack(canvas, place, (sizes / full)[:, ::-1].copy(), np.array(owner), rows)


def shrink(image: UInt8Image, scale: float) -> UInt8Image:
    """The image times ``scale`` (at most 1), by area averages."""
    if scale >= 1:
        return image
    h, w = (max(1, round(side * scale)) for side in image.shape[:2])
    return cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA).astype(np.uint8)


def halvings(image: UInt8Image) -> list[UInt8Image]:
    """The image and its successive halvings while a side is over 48 pixels."""
    levels = [image]
    while max(levels[-1].shape[:2]) > 48:
        levels.append(shrink(levels[-1], 0.5))
    return levels


def stretches(pack: Pack, most: int) -> Iterator[tuple[int, int]]:
    """Stretches of whole shelves of at most ``most`` pixels (or one shelf)."""
    top, width = 0, pack.canvas.shape[1]
    for row, following in zip(pack.rows[1:], [*pack.rows[2:], None], strict=True):
        if following is None or (following - top) * width > most:
            yield top, row
            top = row


class Cropper:
    """Square crops of any boxes of any photos by one ``roi_align`` over the packed half-size pyramids."""

    def __init__(self, pack: Pack, canvas: Tensor, outside: float) -> None:
        """``canvas``: the pack's as (1, 3, H, W), whose values are ``outside`` beyond the photos."""
        self.canvas, self.outside = canvas, outside
        first = np.searchsorted(pack.owner, np.arange(pack.owner[-1] + 2))  # each photo's largest copy comes first
        self.first = torch.from_numpy(first).to(canvas.device)
        self.place = torch.from_numpy(pack.place).to(canvas.device, torch.float32)
        self.scale = torch.from_numpy(pack.scale).to(canvas.device, torch.float32)

    def __call__(self, boxes: Tensor, owner: Tensor, size: int) -> Tensor:
        """(N, 4) boxes to (N, 3, size, size): each from the level where it is ``size`` to ``2 size`` pixels wide."""
        first, last = self.first[owner], self.first[owner + 1] - 1
        side = (boxes[:, 2] - boxes[:, 0]) * self.scale[first, 0]
        level = (first + (side / size).clamp_min(1).log2().long()).minimum(last)
        y, x, h, w = self.place[level].T
        local = boxes * self.scale[level].repeat(1, 2)
        there = [local + torch.stack([x, y, x, y], 1)]
        crops: Tensor = roi_align(self.canvas, there, size, sampling_ratio=2, aligned=True)
        steps = (torch.arange(size, device=boxes.device) + 0.5) / size
        columns = local[:, :1] + steps * (local[:, 2:3] - local[:, :1])
        rows = local[:, 1:2] + steps * (local[:, 3:4] - local[:, 1:2])
        rows_inside, columns_inside = (rows >= 0) & (rows < h[:, None]), (columns >= 0) & (columns < w[:, None])
        inside = rows_inside[:, None, :, None] & columns_inside[:, None, None, :]
        crops = crops.where(inside, torch.full((), self.outside, device=boxes.device))
        return crops.contiguous(memory_format=torch.channels_last)
