"""Settings of AuraNet: every number of its plan, and the options its ablations compare."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from unmask.core.types import Answers, ViewConfig
from unmask.detectors.base import DetectorConfig

Attention = Literal["deformable", "global"]

STEM_STRIDE = 4
"""Pixels per cell of stage 2's maps; each later stage doubles it."""
SMALLEST_SIDE = 128
"""Images are padded to at least this many pixels per side."""
SMALLEST_PATCH = 4
"""HAFT refuses patches with fewer cells per side."""


@dataclass(frozen=True)
class AuraNetConfig(DetectorConfig):
    """Settings of AuraNet.

    The plan's ``img_size`` is ``view.size``, its ``num_stages`` the length of ``dims``.

    >>> AuraNetConfig().multiple, AuraNetConfig().smallest, AuraNetConfig().padded(100, 300)
    (32, 128, (128, 320))
    """

    view: ViewConfig = field(default_factory=lambda: ViewConfig(kind="face", size=256))
    answers: Answers = "edited"
    depths: tuple[int, ...] = (2, 2, 6, 2)
    """ConvNeXt V2 blocks per stage (the plan calls the stages 2 to 5)."""
    dims: tuple[int, ...] = (64, 128, 256, 512)
    """Channels of both streams per stage."""
    num_haft_levels: tuple[int, ...] = (3, 3, 2, 1)
    """HAFT's levels per stage; level m cuts the map into (2^m)^2 patches."""
    num_radial_bins: int = 16
    """Values of one radial profile."""
    context_vector_dim: int = 64
    """Length of the vector that describes a patch's magnitude (and of the one for its phase)."""
    dsf_dim: int = 512
    """Channels of both streams' projections before dynamic selection fusion."""
    num_classes: int = 2
    """Real and fake; the one logit is the difference of the two. Nothing else is possible."""
    decoder_embed_dim: int = 342
    """Channels of the mask decoder's trunk."""
    decoder_depth: int = 1
    """ConvNeXt V2 blocks of the mask decoder's trunk."""
    dropout: float = 0.15
    """Inside the classification head."""
    drop_path: float = 0.0
    """Probability of skipping the deepest ConvNeXt V2 block in training; rises linearly from 0 at the first."""
    attention: tuple[Attention, ...] = ("deformable", "deformable", "global", "global")
    """How the streams attend to each other, per stage."""
    head_dim: int = 32
    """Channels per attention head."""
    backbone: str | None = None
    """A network of `unmask.nn.backbones` that can start from published weights: its maps are added to the spatial
    stream's. Null: the plan's stages alone."""
    backbone_stages: int = 3
    """Deepest of its stages used (stage n has stride 2 ** (n + 1))."""
    backbone_frozen: int = 2
    """How many of its first stages (the stem counts) stay fixed during training."""
    frequency_stream: bool = True
    """False: the spatial stream alone, without HAFT, cross-fusion and dynamic selection."""
    haft: bool = True
    """False: HAFT is the identity (the frequency stream then only mixes what the spatial stream tells it)."""
    haft_context: Literal["channel", "mean"] = "channel"
    """One filter per channel of a patch, or one per patch from the mean of its channels (cheaper)."""
    haft_binning: Literal["resampled", "floor"] = "resampled"
    """Radial profile to filter: resampled to the patch's radii, or the plan's ``w[floor(d)]``, clamped, which leaves
    most bins of a small patch without a gradient."""
    haft_split: Literal["levels", "half"] = "levels"
    """Fused context to its magnitude and phase parts: by level, or in two plain halves, which scramble the levels."""
    srm_unit_l1: bool = True
    """Scale the ten SRM kernels to unit L1 norm (their gains run from 8 to 256 otherwise)."""
    decoder: Literal["pyramid", "fcmae", "coarse"] = "pyramid"
    """Mask decoder: progressive x2 with the earlier stages of both streams, 32 x 32 values per cell, or one value per
    cell, upsampled."""
    head: Literal["cosine", "linear"] = "cosine"
    """Label classifier on the head's last layer: scaled cosine similarities, or the plan's plain linear layer."""
    embedding_dim: int = 256
    """Width of the classification head's hidden layer, the embedding that the classifier reads."""
    cosine_scale: float = 30.0
    """s in ``logit = s * (cos_fake - cos_real)``."""
    pretraining: bool = False
    """Encoder with an image decoder, a mask decoder and a projection head, for self-supervised pre-training."""
    hidden_ratio: float = 0.6
    """Share of the patches that pre-training hides (FCMAE's)."""
    hidden_patch: int = 32
    """Side of these patches in pixels."""
    hidden_fill: Literal["grain", "zero"] = "grain"
    """What is shown in their place: the colours and grain around them, so that the grid is not the easiest edge for the
    frequency stream, or flat mid-grey."""
    normalized_targets: bool = True
    """Restore patches normalised by their own mean and spread, or pixels in [0, 1]."""
    projection_dim: int = 128
    """Length of the embedding that pre-training contrasts."""

    def __post_init__(self) -> None:
        if self.num_classes != 2:
            raise ValueError(f"num_classes must be 2 (real and fake), got {self.num_classes}")
        counts = {name: len(getattr(self, name)) for name in ("dims", "depths", "num_haft_levels", "attention")}
        if len(set(counts.values())) > 1 or not self.dims:
            raise ValueError("one value per stage is needed, got " + ", ".join(f"{n} {k}" for k, n in counts.items()))
        if any(dim % min(self.head_dim, dim) for dim in self.dims):
            raise ValueError(f"head_dim {self.head_dim} must divide dims {self.dims}")
        if min(self.num_haft_levels) < 1 or min(self.depths) < 0:
            raise ValueError(f"a stage has at least 1 HAFT level and 0 blocks: {self.num_haft_levels}, {self.depths}")
        if not 0 < self.hidden_ratio < 1:
            raise ValueError(f"hidden_ratio must lie in (0, 1), got {self.hidden_ratio}")
        if self.hidden_patch < 8 or (self.pretraining and self.view.size % self.hidden_patch):
            raise ValueError(
                f"hidden_patch must be 8 or more and divide view.size {self.view.size}, got {self.hidden_patch}"
            )
        if self.frequency_stream and self.haft:
            self._check_levels()

    def _check_levels(self) -> None:
        side = max(SMALLEST_SIDE, -(-self.view.size // self.multiple) * self.multiple)
        for stage, levels in enumerate(self.num_haft_levels):
            patch = side // (STEM_STRIDE << (stage + levels - 1))
            if patch < SMALLEST_PATCH:
                raise ValueError(
                    f"{levels} HAFT levels in stage {stage + 2} cut {side} x {side} images into patches of {patch} "
                    f"cells, and {SMALLEST_PATCH} is the least: take fewer levels or view.size "
                    f"{self.smallest} or more"
                )

    @property
    def img_size(self) -> int:
        """The plan's name for ``view.size``."""
        return self.view.size

    @property
    def num_stages(self) -> int:
        """The plan's name for the length of ``dims``."""
        return len(self.dims)

    @property
    def stride(self) -> int:
        """Pixels per cell of the last stage's maps."""
        return STEM_STRIDE << (len(self.dims) - 1)

    @property
    def multiple(self) -> int:
        """Padded images have sides that this divides, so that every HAFT level divides its map."""
        levels = self.num_haft_levels if self.frequency_stream and self.haft else (1,) * len(self.dims)
        return max(self.stride, *(STEM_STRIDE << (stage + n - 1) for stage, n in enumerate(levels)))

    @property
    def smallest(self) -> int:
        """Least side of a padded image: no HAFT patch is then under :data:`SMALLEST_PATCH` cells."""
        return max(SMALLEST_SIDE, SMALLEST_PATCH * self.multiple)

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """The size that an image of ``height`` x ``width`` is padded to."""
        up = [max(self.smallest, -(-side // self.multiple) * self.multiple) for side in (height, width)]
        return up[0], up[1]

    def literal(self) -> AuraNetConfig:
        """The plan to the letter, where it runs: unscaled SRM, ``w[floor(d)]``, halves, H/32 mask, linear head."""
        return dataclasses.replace(
            self, srm_unit_l1=False, haft_binning="floor", haft_split="half", decoder="coarse", head="linear"
        )
