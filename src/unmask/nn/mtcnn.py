"""MTCNN face detection in torch: every pyramid level of every image goes through one packed canvas.

Zhang, Zhang, Li, Qiao: Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks, IEEE SPL
2016. The weights are those inside the ``mtcnn`` wheel (MIT); its code is not imported (it wants TensorFlow).

Departures from the usual loop, none of which changes what the three networks are: levels are packed side by side
instead of being run one by one; crops for the second and third network are averaged from a half-size pyramid
(``roi_align``) instead of being cut and resized one by one; coordinates are continuous (pixel 0 covers 0..1), so the
``+ 1`` and ``- 1`` of the original are gone; the image is surrounded by grey, and the first network may look half a
window into it, so that faces cut by the frame are found; a face's score is the third network's mean over several looks
at it, which chance resemblances in foliage and ornaments do not survive.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms

from unmask.core.errors import WeightsError
from unmask.core.types import UInt8Image
from unmask.nn.packing import Cropper, Pack, halvings, pack_copies, shrink, stretches

CELL, STRIDE = 12, 2  # the first network's window and step in pixels
# The third network's further looks at each face: zoom, and shift in x and y in units of the square's side.
LOOKS = ((1, 0, 0), (1.2, 0, 0), (0.85, 0, 0), (1, 0.08, 0), (1, -0.08, 0), (1, 0, 0.08), (1, 0, -0.08))
MARGIN, FILL = 6, 128  # grey around each pyramid level, so that faces cut by the frame are found
CANVAS_PIXELS = 1 << 18  # most pixels the first network sees at once on a CPU: what stays in its caches
GROUP_PIXELS = 12 << 20  # most pixels of photos searched together
CROPS = 256  # most crops the second network sees at once on a CPU; the third a quarter of it
ACCELERATOR = 16  # times as much elsewhere


class Faces(NamedTuple):
    """Faces of one image, best score first."""

    boxes: Tensor
    """(N, 4) x1, y1, x2, y2 in pixels of the image; may overhang it."""
    scores: Tensor
    """(N,) in [0, 1]."""
    points: Tensor
    """(N, 5, 2) left eye, right eye, nose, left and right mouth corner, as x, y."""


@lru_cache(maxsize=3)
def _arrays(name: str) -> list[np.ndarray]:
    """The arrays of one network inside the installed ``mtcnn`` wheel, in Keras order and layout."""
    spec = importlib.util.find_spec("mtcnn")
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError("no_face_weights", "the face detector's weights come with the package 'mtcnn': install it")
    import joblib  # unpickles: only ever given a file of the installed package

    arrays: list[np.ndarray] = joblib.load(Path(spec.submodule_search_locations[0]) / "assets/weights" / f"{name}.lz4")
    return arrays


class _Net(nn.Module):
    """One of the three networks: a body and linear heads; loads the Keras arrays in its own layer order."""

    def __init__(self, name: str, body: list[nn.Module], heads: list[nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        self.heads = nn.ModuleList(heads)
        arrays = iter(_arrays(name))
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                kernel = next(arrays)
                axes = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
                layer.weight.data = torch.from_numpy(np.ascontiguousarray(kernel.transpose(axes)))
                assert layer.bias is not None
                layer.bias.data = torch.from_numpy(next(arrays).copy())
            elif isinstance(layer, nn.PReLU):
                layer.weight.data = torch.from_numpy(next(arrays).reshape(-1).copy())
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalised pixels to box offsets, (points,) and the face score in [0, 1]."""
        x = self.body(x)
        *regressions, logits = [head(x) for head in self.heads]
        return [*regressions, torch.sigmoid(logits[:, 1] - logits[:, 0])]


class _Flatten(nn.Module):
    """(B, C, H, W) to (B, W·H·C): the order the dense layers were trained with."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 2, 1).flatten(1)


def _conv(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel), nn.PReLU(outputs)]


def proposal_net() -> nn.Module:
    """P-Net: (B, 3, H, W) to offsets (B, 4, h, w) and scores (B, h, w), one per 12-pixel window, step 2."""
    pool = nn.MaxPool2d(2, 2)
    body = [*_conv(3, 10, 3), pool, *_conv(10, 16, 3), *_conv(16, 32, 3)]
    return _Net("pnet", body, [nn.Conv2d(32, 4, 1), nn.Conv2d(32, 2, 1)])


def refine_net() -> nn.Module:
    """R-Net: (B, 3, 24, 24) to offsets (B, 4) and scores (B,)."""
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    body = [*_conv(3, 28, 3), pool, *_conv(28, 48, 3), pool, *_conv(48, 64, 2)]
    return _Net("rnet", [*body, _Flatten(), nn.Linear(576, 128), nn.PReLU(128)], [nn.Linear(128, 4), nn.Linear(128, 2)])


def output_net() -> nn.Module:
    """O-Net: (B, 3, 48, 48) to offsets (B, 4), points (B, 10: five x, five y) and scores (B,)."""
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    body = [*_conv(3, 32, 3), pool, *_conv(32, 64, 3), pool, *_conv(64, 64, 3), nn.MaxPool2d(2, 2), *_conv(64, 128, 2)]
    heads: list[nn.Module] = [nn.Linear(256, 4), nn.Linear(256, 10), nn.Linear(256, 2)]
    return _Net("onet", [*body, _Flatten(), nn.Linear(1152, 256), nn.PReLU(256)], heads)


def _square(boxes: Tensor) -> Tensor:
    """The squares of the longer side around the same centres."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True) / 2
    return torch.cat([centre - half, centre + half], 1)


def _regress(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Move each corner by its offset in units of the box's width and height."""
    return boxes + offsets * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


class MTCNN(nn.Module):
    """All faces of many images at once.

    Args:
        min_size: smallest face looked for, side of its square in pixels of the searched image.
        max_side: larger images are reduced to this longer side for the search only (``min_size`` grows with it).
        factor: ratio of neighbouring pyramid levels.
        thresholds: least score after each of the three networks, and of the third's mean over further looks, which
            is the score of a face.
    """

    def __init__(
        self,
        min_size: float = 30,
        max_side: int = 2048,
        factor: float = 0.709,
        thresholds: tuple[float, float, float, float] = (0.6, 0.7, 0.6, 0.8),
    ) -> None:
        super().__init__()
        if not (min_size >= CELL and max_side >= CELL and 0 < factor < 1):
            raise ValueError(
                f"need min_size and max_side >= {CELL} and 0 < factor < 1: {min_size}, {max_side}, {factor}"
            )
        self.min_size, self.max_side, self.factor, self.thresholds = min_size, max_side, factor, thresholds
        self.pnet, self.rnet, self.onet = proposal_net(), refine_net(), output_net()

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.parameters()).device

    @property
    def _chunk(self) -> int:
        return 1 if self.device.type == "cpu" else ACCELERATOR

    @torch.inference_mode()
    def forward(self, images: Sequence[UInt8Image]) -> list[Faces]:
        """(H, W, 3) uint8 RGB images of any sizes to the faces of each."""
        result: list[Faces] = []
        for group in self._groups(images):
            result.extend(self._search(group))
        return result

    def _groups(self, images: Sequence[UInt8Image]) -> Iterator[list[UInt8Image]]:
        """Consecutive images whose searched pixels fit the budget together; at least one."""
        group: list[UInt8Image] = []
        pixels = 0.0
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise ValueError(f"expected uint8 images of shape (H, W, 3), got {image.dtype} {image.shape}")
            h, w = image.shape[:2]
            size = h * w * min(1.0, self.max_side / max(h, w)) ** 2
            if group and pixels + size > GROUP_PIXELS:
                yield group
                group, pixels = [], 0.0
            group.append(image)
            pixels += size
        if group:
            yield group

    def _search(self, photos: list[UInt8Image]) -> list[Faces]:
        small = [shrink(p, min(1.0, self.max_side / max(p.shape[:2]))) for p in photos]
        boxes, owner = self._propose(photos, small)
        halves = [halvings(s) for s in small]
        pack = pack_copies([h for hs in halves for h in hs], photos, [i for i, hs in enumerate(halves) for _ in hs])
        crop = Cropper(pack, self._pixels(pack.canvas, torch.contiguous_format), (FILL - 127.5) / 128)

        boxes = _square(boxes)
        offsets, scores = self._run(self.rnet, crop, boxes, owner, 24, CROPS * self._chunk)
        keep = (scores >= self.thresholds[1]).nonzero().flatten()
        boxes, scores, owner = _regress(boxes[keep], offsets[keep]), scores[keep], owner[keep]
        keep = batched_nms(boxes, scores, owner, 0.7)
        boxes, owner = _square(boxes[keep]), owner[keep]

        offsets, points, scores = self._run(self.onet, crop, boxes, owner, 48, CROPS * self._chunk // 4)
        keep = (scores >= self.thresholds[2]).nonzero().flatten()
        boxes, offsets, points, scores, owner = (t[keep] for t in (boxes, offsets, points, scores, owner))
        side = boxes[:, 2:] - boxes[:, :2]
        places = points.view(-1, 2, 5).transpose(1, 2) * side[:, None] + boxes[:, None, :2]  # (N, 5, 2)
        boxes = _regress(boxes, offsets)
        keep = batched_nms(boxes, scores, owner, 0.5)
        keep = keep[_not_inside(boxes[keep], owner[keep])]
        boxes, places, owner = boxes[keep], places[keep], owner[keep]
        scores = self._look_again(crop, boxes, owner)
        keep = scores.argsort(descending=True, stable=True)
        keep = keep[scores[keep] >= self.thresholds[3]]
        found = [keep[owner[keep] == i] for i in range(len(photos))]
        return [Faces(boxes[k].cpu(), scores[k].cpu(), places[k].cpu()) for k in found]

    def _look_again(self, crop: Cropper, boxes: Tensor, owner: Tensor) -> Tensor:
        """Mean score (N,) of the third network over ``LOOKS`` around each box (N, 4), plain and mirrored."""
        looks = torch.tensor(LOOKS, device=self.device)
        half = (boxes[:, 2:] - boxes[:, :2]).amax(1)[:, None, None] / 2  # (N, 1, 1)
        centre = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2 + looks[:, 1:] * 2 * half  # (N, L, 2)
        half = half * looks[:, :1]
        around = torch.cat([centre - half, centre + half], 2).flatten(0, 1)

        def both_ways(crops: Tensor) -> list[Tensor]:
            return [(self.onet(crops)[-1] + self.onet(crops.flip(3))[-1]) / 2]

        owner = owner.repeat_interleave(len(LOOKS))
        (scores,) = self._run(both_ways, crop, around, owner, 48, CROPS * self._chunk // 4)
        return scores.view(-1, len(LOOKS)).mean(1)

    def _pixels(self, canvas: UInt8Image, order: torch.memory_format) -> Tensor:
        """(H, W, 3) uint8 to normalised (1, 3, H, W), in the given order of memory."""
        x = torch.from_numpy(canvas).to(self.device).permute(2, 0, 1)[None].contiguous(memory_format=order)
        return x.float().sub_(127.5).div_(128)

    def _propose(self, photos: list[UInt8Image], small: list[UInt8Image]) -> tuple[Tensor, Tensor]:
        """First network over all levels of all photos: boxes (N, 4) in photo pixels and the photo of each."""
        copies, owner = [], []
        for i, image in enumerate(small):
            scale = CELL / self.min_size
            base = image
            while min(image.shape[:2]) * scale >= CELL:
                base = shrink(base, scale * image.shape[1] / base.shape[1])
                copies.append(base)
                owner.append(i)
                scale *= self.factor
        if not copies:
            return torch.zeros(0, 4, device=self.device), torch.zeros(0, dtype=torch.long, device=self.device)
        pack = pack_copies(copies, photos, owner, MARGIN, FILL)
        found = [self._propose_rows(pack, top, bottom) for top, bottom in stretches(pack, CANVAS_PIXELS * self._chunk)]
        boxes, scores, copy = (torch.cat(parts) for parts in zip(*found, strict=True))
        keep = batched_nms(boxes, scores, copy, 0.5)
        boxes, scores, of = boxes[keep], scores[keep], torch.from_numpy(pack.owner).to(self.device)[copy[keep]]
        keep = batched_nms(boxes, scores, of, 0.7)
        return boxes[keep], of[keep]

    def _propose_rows(self, pack: Pack, top: int, bottom: int) -> tuple[Tensor, Tensor, Tensor]:
        """One stretch of the canvas: boxes in photo pixels, scores, and the copy each was found on."""
        # channels last: twice as fast on a CPU
        offsets, scores = self.pnet(self._pixels(pack.canvas[top:bottom], torch.channels_last))
        copy_at = np.full(scores.shape[1:], -1)
        for i, (y, x, h, w) in enumerate(pack.place):
            if top <= y < bottom:  # windows wholly on this copy and its margin
                y, x = (y - top - MARGIN) // STRIDE, (x - MARGIN) // STRIDE
                h, w = ((side + 2 * MARGIN - CELL) // STRIDE + 1 for side in (h, w))
                copy_at[y : y + h, x : x + w] = i
        copies = torch.from_numpy(copy_at).to(self.device)
        row, column = ((scores[0] >= self.thresholds[0]) & (copies >= 0)).nonzero(as_tuple=True)
        copy = copies[row, column]
        origin = torch.from_numpy(pack.place[:, [1, 0]]).to(self.device)[copy]
        corner = torch.stack([column * STRIDE, row * STRIDE + top], 1) - origin
        boxes = torch.cat([corner, corner + CELL], 1) + CELL * offsets[0, :, row, column].T
        scale = torch.from_numpy(pack.scale).to(boxes)[copy].repeat(1, 2)
        return boxes / scale, scores[0, row, column], copy

    def _run(
        self, net: Callable[[Tensor], list[Tensor]], crop: Cropper, boxes: Tensor, owner: Tensor, size: int, chunk: int
    ) -> tuple[Tensor, ...]:
        """``net`` over square crops of all boxes, at most ``chunk`` at once."""
        # torch.split gives one empty piece where there is no box, so that the shapes stay right
        pieces = zip(torch.split(boxes, chunk), torch.split(owner, chunk), strict=True)
        return tuple(torch.cat(parts) for parts in zip(*(net(crop(b, o, size)) for b, o in pieces), strict=True))


def _not_inside(boxes: Tensor, owner: Tensor) -> Tensor:
    """Positions (best first) of boxes that no better box of the same photo covers by 70 % of the smaller one."""
    kept = []
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    for part in torch.split(torch.arange(len(boxes), device=boxes.device), 1024):
        low = torch.maximum(boxes[part, None, :2], boxes[None, :, :2])
        high = torch.minimum(boxes[part, None, 2:], boxes[None, :, 2:])
        shared = (high - low).clamp_min(0).prod(2) / torch.minimum(area[part, None], area[None])
        better = part[:, None] > torch.arange(len(boxes), device=boxes.device)
        kept.append(part[~((shared > 0.7) & better & (owner[part, None] == owner)).any(1)])
    return torch.cat(kept)
