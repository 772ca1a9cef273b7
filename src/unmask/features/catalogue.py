"""Every feature there is: a table one can read."""

from __future__ import annotations

from collections.abc import Iterable

from unmask.core.errors import ConfigError
from unmask.core.names import did_you_mean
from unmask.features.base import Feature
from unmask.features.boundary import BlendingBoundary
from unmask.features.clips import HOGCorrelation, PatchGraph, SpatioTemporal
from unmask.features.corneal import CornealHighlights
from unmask.features.keypoints import Keypoints
from unmask.features.networks import CLIPEmbedding, CNNEmbedding, GramTexture
from unmask.features.pixels import DCT, GLCM, HOG, LBP, NPR, Colour, NoiseResidual, RawRGB, Spectrum
from unmask.features.pose import HeadPoseConsistency
from unmask.features.symmetry import Symmetry
from unmask.features.warping import Warping

_ALL: tuple[Feature, ...] = (
    RawRGB(),  # 1
    NoiseResidual(),  # 2
    PatchGraph(),  # 3
    SpatioTemporal(),  # 4
    HOG(),  # 5
    HOGCorrelation(),  # 5, on clips
    LBP(),  # 6
    GLCM(),  # 7
    Colour(),  # 8
    Keypoints(),  # 9
    HeadPoseConsistency(),  # 10
    Symmetry(),  # 11
    CornealHighlights(),  # 12
    Warping(),  # 13
    BlendingBoundary(),  # 14
    Spectrum(),  # 15
    DCT(),  # 16
    NPR(),  # 17
    GramTexture(),  # 18
    CNNEmbedding(),  # 19
    CLIPEmbedding(),  # 20
)

FEATURES: dict[str, Feature] = {feature.name: feature for feature in _ALL}
"""By name, in the order of the catalogue."""

COST_MS: dict[str, float] = {
    "noise": 35,
    "hog": 3.1,
    "lbp": 8.0,
    "glcm": 26,
    "colour": 19,
    "keypoints": 32,
    "head_pose": 1.8,
    "symmetry": 6.4,
    "corneal": 62,
    "warping": 91,
    "fft": 2.7,
    "dct": 7.9,
    "npr": 7.0,
    "gram": 35,
    "cnn_embedding": 39,
}
"""Processor milliseconds per image, by feature, where they were measured.

Medians over 614 photos and edits of 106 people (data hash dc134f59), views included, the 17 ms of the landmarks not;
`unmask features extract` with two processes on a 2-core x86-64 Xeon that was busy with other work.
"""


def find_features(names: Iterable[str] | None = None) -> list[Feature]:
    """The features of these names, or all.

    Raises:
        ConfigError: no such feature; the message names the nearest.
    """
    found = []
    for name in FEATURES if names is None else names:
        if name not in FEATURES:
            hint = did_you_mean(name, FEATURES)
            raise ConfigError("unknown_feature", f"no feature '{name}'{hint}; there are: {', '.join(FEATURES)}")
        found.append(FEATURES[name])
    return found
