"""The nouns everybody shares: what goes into a detector and what comes out.

One logit, 1 = fake, everywhere. Images are RGB in [0, 1], channels first; boxes are ``(x1, y1, x2, y2)`` in
pixels of the upright image, with x to the right and y down.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Answers = Literal["edited", "generated", "both"]
InputKind = Literal["image", "clip"]
UInt8Image = npt.NDArray[np.uint8]
FloatMap = npt.NDArray[np.float32]


class DetectorOutput(NamedTuple):
    """What every detector returns, in training, evaluation and export alike."""

    logits: Tensor
    """(B,) one logit per image or clip, positive = fake."""
    mask_logits: Tensor | None = None
    """(B, 1, H, W) one logit per input pixel, positive = manipulated; None if the design does not localize."""
    embedding: Tensor | None = None
    """(B, D) what the label head reads; None where the design has none."""
    aux: dict[str, Tensor] | None = None
    """Whatever the family's own losses or its evidence panels need; dropped at export."""


@dataclass(frozen=True, slots=True)
class Face:
    """One detected (or given) face in an upright image."""

    box: tuple[float, float, float, float]
    score: float = 1.0
    points: tuple[tuple[float, float], ...] | None = None
    """Five points (left eye, right eye, nose, left mouth corner, right mouth corner; left = smaller x on a
    frontal face), or None when the box came from a file."""


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """Dense points of one face in an upright image."""

    points: npt.NDArray[np.float32]
    """(468, 2), or (478, 2) with irises: x and y in continuous image pixels, in the order of the MediaPipe face mesh.
    The first 468 mean the same in both; 468 to 472 are the left iris and 473 to 477 the right one (left = smaller x on
    a frontal face, so MediaPipe calls them the other way round), its centre first."""
    score: float = 1.0
    """How sure it is that these are points of a face, 0 to 1."""

    def __post_init__(self) -> None:
        if self.points.shape not in ((468, 2), (478, 2)):
            raise ValueError(f"points must be (468, 2), or (478, 2) with irises, got {self.points.shape}")


@dataclass(frozen=True, slots=True)
class ViewConfig:
    """How an image becomes detector inputs. Part of every detector's config, so it travels with the weights."""

    kind: Literal["face", "frame", "native"] = "face"
    """``face``: a square crop around each face, resized to ``size``. ``frame``: the whole image in one square,
    its longer side resized to ``size``. ``native``: unresized ``size``-pixel squares of the original pixels
    (resizing destroys generator traces)."""
    size: int = 256
    """Side of the input square in pixels."""
    margin: float = 1.6
    """Side of the face crop over the longer side of the face box (``face`` only)."""
    wider: tuple[float, ...] = ()
    """Further squares around each face, this many times wider than the first (``face`` only); a face's logit and mask
    are the mean over its squares."""
    crops: int = 5
    """At most this many squares per image, those nearest the faces first (``native`` only)."""
    frames: int = 1
    """1: images. More: clips of so many consecutive frames of a video, all cut alike."""

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames must be 1 (images) or more (clips), got {self.frames}")


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One training or evaluation example: an image, or a clip of consecutive frames.

    Raises:
        ValueError: a field has the wrong shape, type or range.

    >>> Sample(torch.zeros(8, 3, 4, 4), 1).is_clip
    True
    """

    image: Tensor
    """(3, H, W) float32 RGB in [0, 1]; a clip is (T, 3, H, W) with two frames or more."""
    label: int
    """1 = fake, 0 = real."""
    mask: Tensor | None = None
    """(1, H, W), of a clip (T, 1, H, W), float32 in [0, 1]: foreign-content weight times blend ratio; None = not known.
    A real image's mask is known: all zeros."""
    pair: Tensor | None = None
    """Like ``image``: the real counterpart after the same crop, size and encoding; None = not known."""
    group: str = ""
    """Relatives share it: same person, same source photo, same video."""
    source: str = ""
    """Where the photo came from (data set, camera, site)."""
    manipulation: str = ""
    """Name of the forgery; empty for real."""
    path: str = ""

    def __post_init__(self) -> None:
        shape = tuple(self.image.shape)
        if len(shape) not in (3, 4) or shape[-3] != 3 or self.image.dtype != torch.float32:
            raise ValueError(f"image must be float32 (3, H, W), or a clip (T, 3, H, W), got {self.image.dtype} {shape}")
        if self.is_clip and shape[0] < 2:
            raise ValueError(f"a clip must be two frames or more, got {shape}")
        if self.label not in (0, 1):
            raise ValueError(f"label must be 0 (real) or 1 (fake), got {self.label!r}")
        wanted = (*shape[:-3], 1, *shape[-2:])
        if self.mask is not None and self.mask.shape != wanted:
            raise ValueError(f"mask must be {wanted} like its image, got {tuple(self.mask.shape)}")
        if self.pair is not None and self.pair.shape != self.image.shape:
            raise ValueError(f"pair must be {shape}, got {tuple(self.pair.shape)}")

    @property
    def is_clip(self) -> bool:
        """True for consecutive frames, False for one image."""
        return self.image.ndim == 4


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Samples stacked; absent masks, and pairs beside others, are zeros with their ``*_valid`` flag off."""

    image: Tensor
    """(B, 3, H, W) float32 RGB in [0, 1]; clips are (B, T, 3, H, W)."""
    label: Tensor
    """(B,) float32, 1 = fake."""
    mask: Tensor
    """(B, 1, H, W) float32 in [0, 1]; of clips (B, T, 1, H, W)."""
    mask_valid: Tensor
    """(B,) bool."""
    pair: Tensor
    """Like ``image``, the real counterpart; (B, 0) when none is known."""
    pair_valid: Tensor
    """(B,) bool."""
    group: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    manipulation: tuple[str, ...] = ()
    path: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.label.shape[0])

    @property
    def is_clip(self) -> bool:
        """True for clips, False for images."""
        return self.image.ndim == 5

    def channels_last(self) -> Batch:
        """The same batch with its images channels last in memory, as convolutions like them; clips as they are."""
        if self.is_clip:
            return self
        return dataclasses.replace(self, image=self.image.contiguous(memory_format=torch.channels_last))

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with every tensor on ``device``."""
        return self._with_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, from which a GPU copies while the program goes on."""
        return self._with_tensors(Tensor.pin_memory)

    def _with_tensors(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return dataclasses.replace(
            self,
            image=change(self.image),
            label=change(self.label),
            mask=change(self.mask),
            mask_valid=change(self.mask_valid),
            pair=change(self.pair),
            pair_valid=change(self.pair_valid),
        )


def collate(samples: list[Sample]) -> Batch:
    """Stack samples of one size, all images or all clips of one length, into a batch.

    >>> import torch
    >>> batch = collate([Sample(torch.zeros(3, 4, 4), 0), Sample(torch.ones(3, 4, 4), 1, mask=torch.ones(1, 4, 4))])
    >>> len(batch), batch.mask_valid.tolist(), batch.label.tolist()
    (2, [False, True], [0.0, 1.0])
    """
    if not samples:
        raise ValueError("cannot collate an empty list of samples")
    blank_mask = torch.zeros_like(samples[0].image[..., :1, :, :])
    blank_pair = torch.zeros_like(samples[0].image if any(s.pair is not None for s in samples) else torch.empty(0))
    return Batch(
        image=torch.stack([s.image for s in samples]),
        label=torch.tensor([float(s.label) for s in samples]),
        mask=torch.stack([blank_mask if s.mask is None else s.mask for s in samples]),
        mask_valid=torch.tensor([s.mask is not None for s in samples]),
        pair=torch.stack([blank_pair if s.pair is None else s.pair for s in samples]),
        pair_valid=torch.tensor([s.pair is not None for s in samples]),
        group=tuple(s.group for s in samples),
        source=tuple(s.source for s in samples),
        manipulation=tuple(s.manipulation for s in samples),
        path=tuple(s.path for s in samples),
    )
