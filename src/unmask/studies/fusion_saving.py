"""From a fusion of features to a detector that computes them itself: weights with a calibrated card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unmask.core.errors import DataError
from unmask.core.types import ViewConfig
from unmask.detectors.fused import FusedConfig, FusedDetector, VectorNet
from unmask.detectors.weights import WeightsCard, save_weights
from unmask.features.base import PixelFeature
from unmask.features.catalogue import FEATURES
from unmask.studies.feature_rows import StudyRows
from unmask.studies.fusion_heads import HeadSettings, head_out_of_fold, tensors, train_head
from unmask.studies.probe import Floats
from unmask.training.calibrate import calibrate


@dataclass(frozen=True, slots=True)
class Computable:
    """Which features a detector can compute itself, all from one view."""

    names: tuple[str, ...]
    view: ViewConfig | None
    excluded: Mapping[str, str]
    """Feature to the reason."""


def computable(data: StudyRows) -> Computable:
    """The largest set of features that torch modules compute from one and the same view."""
    by_view: dict[ViewConfig, list[str]] = {}
    excluded: dict[str, str] = {}
    for name in data.names:
        feature = FEATURES.get(name)
        if not isinstance(feature, PixelFeature) or feature.descriptor_name is None:
            excluded[name] = (
                "no torch module computes it from pixels (it needs landmarks, frames, a library or weights)"
            )
        elif feature.columns != data.table.columns[name]:
            excluded[name] = "the table holds it from another version"
        else:
            by_view.setdefault(feature.view, []).append(name)
    if not by_view:
        return Computable((), None, excluded)
    view = max(by_view, key=lambda v: len(by_view[v]))
    for other, names in by_view.items():
        if other != view:
            said = f"it looks at another view ({_seen(other)}) than the others ({_seen(view)})"
            excluded |= dict.fromkeys(names, said)
    return Computable(tuple(by_view[view]), view, excluded)


def _seen(view: ViewConfig) -> str:
    return f"{view.kind}, {view.size} px"


def as_detector(
    net: VectorNet, names: Sequence[str], fusion: str, view: ViewConfig, settings: HeadSettings
) -> FusedDetector:
    """The detector that computes descriptors and answers as the net does."""
    modules = tuple(str(FEATURES[name].descriptor_name) for name in names)  # type: ignore[attr-defined]
    config = FusedConfig(
        view=view, maps=(), descriptors=modules, fusion=fusion, dim=settings.dim, dropout=settings.dropout
    )
    detector = FusedDetector(config)
    found = detector.load_state_dict(net.state_dict(), strict=False)
    if found.unexpected_keys or set(found.missing_keys) - {"mean", "std"}:
        raise DataError("mismatch", f"the net does not fit the detector: {found}")
    return detector.eval()


def save_fusion(
    path: str | Path,
    data: StudyRows,
    fusion: str,
    settings: HeadSettings,
    seed: int,
    known: Floats | None = None,
    about: Mapping[str, Any] | None = None,
) -> tuple[WeightsCard | None, Floats | None, Computable]:
    """Train the fusion on all images, over the features it can compute itself, calibrate on out-of-fold logits, write.

    Args:
        path: the ``.safetensors`` file.
        data: the study's images.
        fusion: feature-level, by name.
        settings: of the training.
        seed: of the training.
        known: out-of-fold logits, if this very set of features was already scored.
        about: further fields of the card: ``command``, ``code`` …

    Returns:
        The card, the logits it was calibrated on, and the features; None, None where no feature can be computed.
    """
    found = computable(data)
    if not found.names or found.view is None:
        return None, None, found
    values = tensors(data.table.values, found.names)
    if known is None or found.names != data.names:
        known, _ = head_out_of_fold(values, data.labels, data.fold, fusion, seed, settings)
    there = ~np.isnan(known)
    names = [name for name, mine in zip(data.families, there.tolist(), strict=True) if mine]
    fit = calibrate(known[there], data.labels[there], names, seed=seed)
    net = train_head([x[torch.from_numpy(there)] for x in values], data.labels[there], fusion, seed, settings)
    detector = as_detector(net, found.names, fusion, found.view, settings)
    kinds = sorted({row.manipulation for row in data.rows if row.label and row.manipulation})
    meta = {
        **fit.to_meta(),
        "seed": seed,
        "data": {
            "sha256": data.data_sha256,
            "images": len(data.rows),
            "families": len(set(data.families)),
            "manipulations": kinds,
        },
        "notes": {"features": list(found.names), "excluded": dict(found.excluded)},
        **dict(about or {}),
    }
    return save_weights(path, detector, meta), known, found
