"""The contract every detector keeps."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from unmask.core.errors import SizeError, WeightsError
from unmask.core.types import Answers, Batch, DetectorOutput, InputKind, ViewConfig
from unmask.nn.backbones import LoadReport, Pretrained

C = TypeVar("C", bound="DetectorConfig")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DetectorConfig:
    """Settings every detector has; a family's config adds its own fields. Defaults are the truth."""

    view: ViewConfig = dataclasses.field(default_factory=ViewConfig)
    """How an image becomes inputs; travels with the weights."""
    answers: Answers = "both"
    """Which question the logit answers: was a real photo edited, was the image generated as a whole, or both."""


@dataclass(frozen=True)
class SizeRule:
    """Input sizes a detector takes.

    ``fixed`` wins when set; otherwise any height and width of at least ``minimum`` that ``multiple`` divides.
    """

    minimum: int = 32
    multiple: int = 1
    fixed: int | None = None
    frames: tuple[int, int] | None = None
    """Least and most frames of a clip; None: it takes images."""

    def check_frames(self, count: int) -> None:
        """Raise :class:`SizeError` if clips of ``count`` frames cannot be used."""
        least, most = self.frames or (1, 1)
        if not least <= count <= most:
            raise SizeError(
                "needs_frames" if count < least else "bad_size",
                f"this detector takes clips of {least} to {most} frames, got {count}",
            )

    def check(self, height: int, width: int) -> None:
        """Raise :class:`SizeError` with the nearest good size if ``height`` x ``width`` cannot be used."""

        def nearest(side: int) -> int:
            if self.fixed is not None:
                return self.fixed
            return max(-(-self.minimum // self.multiple) * self.multiple, round(side / self.multiple) * self.multiple)

        good = (nearest(height), nearest(width))
        if (height, width) != good:
            raise SizeError(
                "bad_size",
                f"this detector cannot take {height}x{width} pixels; the nearest size it takes is {good[0]}x{good[1]}",
            )


class Detector(nn.Module, Generic[C]):
    """Base of every design: images in [0, 1] in, one logit (1 = fake) per image out.

    A design of ``input_kind`` "clip" takes clips (B, T, 3, H, W) wherever it says images here, and its ``size_rule``
    names the numbers of frames.

    A detector knows no loss, optimiser, data set or device. Normalisation is a buffer, so nobody can forget it.
    """

    config_class: ClassVar[type[DetectorConfig]] = DetectorConfig
    input_kind: ClassVar[InputKind] = "image"
    uses_pairs: ClassVar[bool] = False
    """True when :meth:`forward_train` reads the real counterparts, ``Batch.pair``; others are not given any."""

    def __init__(
        self,
        config: C,
        *,
        mean: tuple[float, ...] = (0.0, 0.0, 0.0),
        std: tuple[float, ...] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        self.config = config
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    @property
    def localizes(self) -> bool:
        """True when the output carries mask logits."""
        return False

    @property
    def needs_face(self) -> bool:
        """True when the detector only means something on a face crop (no whole-frame fallback)."""
        return False

    @property
    def answers(self) -> Answers:
        """Which question the logit answers."""
        return self.config.answers

    @property
    def size_rule(self) -> SizeRule:
        """Input sizes this detector takes."""
        return SizeRule()

    def input_shape(self, height: int | None = None, width: int | None = None) -> tuple[int, ...]:
        """Shape of one input, without the batch: (3, H, W), or (T, 3, H, W) with the view's number of frames.

        Sides default to those of the view.
        """
        side = self.size_rule.fixed or self.config.view.size
        frames = (self.config.view.frames,) if self.input_kind == "clip" else ()
        return (*frames, 3, height or side, width or side)

    def normalize(self, image: Tensor) -> Tensor:
        """Check the size of (B, 3, H, W) images, or (B, T, 3, H, W) clips, in [0, 1] and standardise them.

        Raises:
            SizeError: not a size this detector takes; ``needs_frames``: an image where it takes clips.
        """
        if not torch.compiler.is_compiling() and not torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            self._check_shape(tuple(image.shape))
            self.size_rule.check(int(image.shape[-2]), int(image.shape[-1]))
        return (image - self.mean) / self.std

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        clip = self.input_kind == "clip"
        if len(shape) != (5 if clip else 4) or shape[-3] != 3:
            expected = "clips of shape (B, T, 3, H, W)" if clip else "images of shape (B, 3, H, W)"
            code = "needs_frames" if clip and len(shape) == 4 else "bad_size"
            raise SizeError(code, f"expected {expected}, got {shape}")
        if clip:
            self.size_rule.check_frames(shape[1])

    def forward(self, image: Tensor) -> DetectorOutput:
        """(B, 3, H, W) RGB in [0, 1] to logits and, where the design has them, masks at the input's size."""
        raise NotImplementedError

    def forward_train(self, batch: Batch) -> DetectorOutput:
        """The training pass; designs whose training sees more than the image override it."""
        output: DetectorOutput = self(batch.image)
        return output

    def forward_validate(self, batch: Batch) -> DetectorOutput:
        """The pass that validation scores, in eval mode: logits and masks are those of :meth:`forward`; designs whose
        losses read more override it to add that to ``aux``. Nothing may depend on labels, masks or earlier calls."""
        output: DetectorOutput = self(batch.image)
        return output

    def training_pictures(self, batch: Batch) -> Tensor | None:
        """A picture (3, height, width) in [0, 1] that shows how training goes, written at each validation; None (the
        default) where the design has none. Called in eval mode; batches may hold any number of images."""
        return None

    def prepare(self, images: Tensor) -> None:
        """Show real images (B, 3, H, W) in [0, 1] to a design that can say nothing before it has seen some, such as an
        untrained one with a memory. Nothing to do for most, nor for trained weights."""

    def remembered(self) -> list[Tensor]:
        """Tensors that :meth:`forward_train` and :meth:`end_epoch` write themselves, without a gradient: a memory. A
        skipped training step restores them, and an average of weights copies them instead of mixing them."""
        return []

    def end_epoch(self) -> None:
        """Called in training after each pass over the data, in every process that shares it."""

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Trainable parameters by named part (e.g. ``backbone``, ``head``), for learning rates by module."""
        return {"all": [p for p in self.parameters() if p.requires_grad]}

    def load_backbone(self, source: str | Path) -> LoadReport:
        """Start ``self.backbone`` from pretrained weights: a safetensors file, or ``timm`` to download timm's own.

        The mean and standard deviation the weights expect come along. Designs with another backbone override it.

        Raises:
            WeightsError: the design has no such backbone, or the file does not fit.
        """
        backbone = getattr(self, "backbone", None)
        if not isinstance(backbone, Pretrained):
            raise WeightsError("no_backbone", f"{type(self).__name__} has no backbone with pretrained weights")
        report = backbone.load(source)
        self.mean.copy_(torch.tensor(backbone.mean).view_as(self.mean))
        self.std.copy_(torch.tensor(backbone.std).view_as(self.std))
        return report

    def load_published(self, path: str | Path) -> None:
        """Take over the checkpoint its authors published, in the authors' own layout.

        Raises:
            WeightsError: the design has no published checkpoint, or the file is not one.
        """
        raise WeightsError("no_published", f"there is no published checkpoint of {type(self).__name__} to import")

    def evidence(self, image: Tensor) -> dict[str, Tensor]:
        """Maps the detector saw, by name, for the report: each (B, 1 or 3, h, w) in [0, 1]. Empty by default."""
        return {}

    def departures(self) -> tuple[str, ...]:
        """Where the default differs from the paper, one sentence each; printed by ``unmask model``."""
        return ()


AnyDetector = Detector[Any]
