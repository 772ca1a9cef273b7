"""What a forensic feature is: what it sees, what it needs, what it gives, and what it says where it does not apply."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unmask.core.errors import ConfigError
from unmask.core.types import Face, Landmarks, UInt8Image, ViewConfig
from unmask.data.views import views
from unmask.nn.descriptors import PixelDescriptor, create_descriptor
from unmask.nn.maps import PixelMap, create_map

Vector = npt.NDArray[np.float32]
Kind = Literal["map", "descriptor", "clip"]
Need = Literal["face", "landmarks", "frames", "weights"]
Status = Literal["ok", "no_face", "no_landmarks", "needs_frames", "weights_missing", "too_small", "not_applicable"]
"""Why a feature has no value: nothing to look at (``no_face``, ``no_landmarks``, ``needs_frames``), nothing to look
with (``weights_missing``), too few pixels, or a question that makes no sense for this image (``not_applicable``)."""

FACE = ViewConfig(kind="face", size=256, margin=1.6)
NATIVE = ViewConfig(kind="native", size=256, crops=1)


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What features look at: one upright image (or clip) and what is known about the face in it."""

    image: UInt8Image
    """(H, W, 3) RGB; for a clip, its middle frame."""
    face: Face | None = None
    """The largest face."""
    landmarks: Landmarks | None = None
    """Dense points of that face, in image pixels."""
    frames: tuple[UInt8Image, ...] = ()
    """Consecutive frames of one size; empty for a still image."""


class Measured(NamedTuple):
    """A feature of one subject."""

    status: Status
    values: Vector | None = None
    """(D,) finite, in the order of :attr:`Feature.columns`; None unless ``status`` is ``ok``."""


class Feature(ABC):
    """One feature of the catalogue; a subclass is one row of the table.

    A descriptor gives a vector of fixed length per image or clip. Where it cannot be computed it names why: zeros that
    look like data are never returned.
    """

    name: ClassVar[str]
    line: ClassVar[str]
    """What it measures, for people, in one line."""
    paper: ClassVar[str]
    """Authors and year."""
    kinds: ClassVar[tuple[Kind, ...]]
    needs: ClassVar[tuple[Need, ...]] = ()
    version: ClassVar[int] = 1
    """Raised whenever its values change; part of the cache's key."""
    fingerprint: str = ""
    """Hash of the weights its values depend on; part of the cache's key."""
    map_name: ClassVar[str | None] = None
    """Its map in :data:`unmask.nn.maps.MAPS`, for features of kind ``map``."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Names of the descriptor's entries; empty for a feature that is only a map."""

    @abstractmethod
    def _measure(self, subjects: Sequence[Subject]) -> list[Measured]:
        """The descriptors of subjects that have everything in :attr:`needs`."""

    def measure(self, subjects: Sequence[Subject]) -> list[Measured]:
        """One descriptor per subject, or the reason why there is none. Never raises for what an image shows."""
        lacking = [self._lacking(subject) for subject in subjects]
        found = iter(self._measure([s for s, why in zip(subjects, lacking, strict=True) if why is None]))
        results = [Measured(why) if why is not None else next(found) for why in lacking]
        return [self._checked(result) for result in results]

    def looked_at(self, frames: int) -> range:
        """Which frames of a video of so many it must see in :attr:`Subject.frames`; none, for features of one image."""
        return range(0)

    @property
    def lacks_weights(self) -> bool:
        """It needs weights and has none: every image would be ``weights_missing``."""
        return "weights" in self.needs and not self.fingerprint

    def with_weights(self, source: str) -> Feature:
        """The same feature with the weights of a file (see the feature for what it takes).

        Raises:
            ConfigError: it takes none.
            WeightsError: the file is missing, damaged or does not fit.
        """
        raise ConfigError("bad_config", f"feature '{self.name}' takes no weights, got '{source}'")

    def create_map(self, **options: Any) -> PixelMap:
        """The feature as a torch module over batches (B, 3, H, W) in [0, 1], usable as a stream of a network.

        Raises:
            ValueError: it is not of kind ``map``.
        """
        if self.map_name is None:
            raise ValueError(f"feature '{self.name}' has no map; it is a {' and '.join(self.kinds)}")
        return create_map(self.map_name, **options)

    def _lacking(self, subject: Subject) -> Status | None:
        if self.lacks_weights:
            return "weights_missing"
        if "frames" in self.needs and len(subject.frames) < 2:
            return "needs_frames"
        if "face" in self.needs and subject.face is None:
            return "no_face"
        if "landmarks" in self.needs and subject.landmarks is None:
            return "no_face" if subject.face is None else "no_landmarks"
        return None

    def _checked(self, found: Measured) -> Measured:
        if found.values is None:
            return found
        values = np.asarray(found.values, np.float32)
        if values.shape != (len(self.columns),):
            raise ValueError(f"feature '{self.name}' promised {len(self.columns)} values and gave {values.shape}")
        return Measured("ok", values) if np.isfinite(values).all() else Measured("not_applicable")


class PixelFeature(Feature):
    """A descriptor of one square view per image, computed over whole batches of views."""

    descriptor_name: ClassVar[str | None] = None
    """Its module in :data:`unmask.nn.descriptors.DESCRIPTORS`; a feature without one writes :meth:`describe` and
    :attr:`columns` itself."""
    view: ClassVar[ViewConfig] = FACE
    """What it looks at: by default the square around the face (the whole frame where there is no face)."""
    smallest: ClassVar[int] = 32
    """Shorter side an image needs, in pixels."""
    batch: ClassVar[int] = 16
    """Views at once; bounds the memory."""

    @cached_property
    def descriptor(self) -> PixelDescriptor:
        """The module that :attr:`descriptor_name` names."""
        if self.descriptor_name is None:
            raise NotImplementedError(f"feature '{self.name}' has no descriptor module and no describe() of its own")
        return create_descriptor(self.descriptor_name)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the descriptor's entries."""
        return self.descriptor.names

    def describe(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) RGB in [0, 1] to (B, D), in the order of :attr:`columns`; nan where there is no value."""
        found: Tensor = self.descriptor(pixels)
        return found

    def _measure(self, subjects: Sequence[Subject]) -> list[Measured]:
        results = [Measured("too_small")] * len(subjects)
        able = [i for i, subject in enumerate(subjects) if min(subject.image.shape[:2]) >= self.smallest]
        for start in range(0, len(able), self.batch):
            part = able[start : start + self.batch]
            cut = [views(subjects[i].image, _faces(subjects[i]), self.view)[0].pixels for i in part]
            pixels = torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).float().div_(255)  # (B, 3, S, S)
            with torch.inference_mode():
                described = self.describe(pixels).numpy()
            for i, values in zip(part, described, strict=True):
                results[i] = Measured("ok", values)
        return results


def _faces(subject: Subject) -> list[Face]:
    return [] if subject.face is None else [subject.face]
