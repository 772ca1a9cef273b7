"""Row 14: the blending boundary that a trained detector sees (Face X-ray)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from unmask.core.errors import ConfigError
from unmask.core.types import FloatMap
from unmask.detectors.base import AnyDetector
from unmask.detectors.scoring import score_images
from unmask.detectors.weights import find_weights, load_weights, read_card
from unmask.features.base import Feature, Measured, Subject

COLUMNS = ("mean", "top", "area")


class BlendingBoundary(Feature):
    """Where a foreign face was blended in: the mask of a localizing detector trained on boundaries, ``4 M (1 - M)``.

    Train one with the loss ``boundary_bce`` in place of the other terms on masks, on self-blended pairs; its weights
    are this feature's. ``mean``, ``top`` (mean of the highest hundredth) and ``area`` (share over 0.5) are of the map
    over what the detector sees of the face.
    """

    name = "boundary"
    line = "blending boundary that a detector trained on 4 M (1 - M) sees"
    paper = "Li et al., 2020 (Face X-ray)"
    kinds = ("map", "descriptor")
    needs = ("face", "weights")
    columns = COLUMNS

    def __init__(self, weights: str = "") -> None:
        self.file = weights
        if weights:
            detector = _detector(weights)
            if not detector.localizes or detector.input_kind != "image":
                raise ConfigError("bad_config", f"{weights} holds a detector without masks of images: no boundary map")
            self.fingerprint = read_card(find_weights(weights)).sha256[:16]

    def with_weights(self, source: str) -> BlendingBoundary:
        """The same feature with the weights of a detector (``.safetensors`` with its card, or a shipped name).

        Raises:
            WeightsError: not found, damaged or without a card.
            ConfigError: the detector does not localize.
        """
        return type(self)(source)

    def _measure(self, subjects: Sequence[Subject]) -> list[Measured]:
        return [self._one(subject) for subject in subjects]

    def _one(self, subject: Subject) -> Measured:
        assert subject.face is not None
        scored = score_images(_detector(self.file), [subject.image], [[subject.face]])[0]
        if scored.view_masks is None or not len(scored.view_masks):
            return Measured("not_applicable")
        seen = np.sort(scored.view_masks[0], axis=None)
        top = seen[-max(1, len(seen) // 100) :]
        return Measured("ok", np.array([seen.mean(), top.mean(), (seen > 0.5).mean()], np.float32))

    def boundary_map(self, subject: Subject) -> FloatMap | None:
        """(H, W) over the image: probability that something was blended here, 0 where the detector did not look.

        None where the feature has no value.
        """
        if self._lacking(subject) is not None:
            return None
        assert subject.face is not None
        scored = score_images(_detector(self.file), [subject.image], [[subject.face]])[0]
        if scored.view_masks is None or not len(scored.view_masks):
            return None
        height, width = subject.image.shape[:2]
        return scored.views[0].to_image(scored.view_masks[0], (height, width))


@lru_cache(maxsize=1)
def _detector(file: str) -> AnyDetector:
    return load_weights(file)[0]
