"""Shortcuts: what a detector could read instead of a forgery, as features and as a cross-validated probe.

The same functions give every evaluation table its two baselines: the untrained blur score and the probe that sees
only metadata. A detector that does not beat them clearly has not been shown to detect anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from unmask.core.errors import DataError
from unmask.core.seeds import rng
from unmask.core.types import UInt8Image
from unmask.data.intake import FORMATS, Decoded

Floats = npt.NDArray[np.float64]

METADATA_FEATURES = (
    *("log_width", "log_height", "aspect", "log_bytes", "bytes_per_pixel"),
    *("luma_mean", "luma_low", "chroma_mean", "tables", "has_exif", "has_icc", "orientation"),
    *(f"is_{name.lower()}" for name in FORMATS),
)
"""What :func:`metadata_features` returns, in order."""


def metadata_features(decoded: Decoded) -> Floats:
    """What is known of an image without looking at a pixel: size, bytes per pixel, quantisation tables, format.

    Returns:
        float64, one value per name in :data:`METADATA_FEATURES`; table entries are 0 without tables.
    """
    width, height = decoded.stored_size
    tables = decoded.quantization or {}
    luma = np.asarray(tables.get(0, (0.0,)), float)
    chroma = np.asarray(tables.get(1, (0.0,)), float)
    values = [
        *(np.log(width), np.log(height), np.log(width / height), np.log(decoded.n_bytes)),
        decoded.n_bytes / (width * height),
        *(luma.mean(), luma[:6].mean(), chroma.mean(), len(tables)),
        *(bool(decoded.exif), decoded.icc is not None, decoded.orientation),
        *(decoded.format == name for name in FORMATS),
    ]
    return np.array(values, np.float64)


def blur_score(pixels: UInt8Image) -> float:
    """Minus the standard deviation of the Laplacian of the grey image (0..255): higher = blurrier = "more fake".

    The untrained one-number baseline; most generators and many edits leave an image smoother than a camera does.
    (Pech-Pacheco et al., ICPR 2000, use the same operator's variance to measure focus.)

    >>> import numpy as np
    >>> blur_score(np.full((8, 8, 3), 7, np.uint8))
    -0.0
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return -float(cv2.Laplacian(grey, cv2.CV_64F).std())


COLOUR_FEATURES = ("red", "green", "blue", "brightness", "contrast", "saturation")


def colour_features(pixels: UInt8Image) -> Floats:
    """Means of red, green, blue and grey, standard deviation of grey, mean saturation; all in [0, 1]."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    mean, std = cv2.meanStdDev(grey)
    saturation = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)[..., 1]
    values = [*cv2.mean(pixels)[:3], mean[0, 0], std[0, 0], cv2.mean(saturation)[0]]
    return np.array(values, np.float64) / 255


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """How well features tell the labels apart on rows whose relatives the classifier has not seen."""

    auc: float
    low: float
    """Lower end of the 95 % bootstrap interval over families."""
    high: float
    scores: Floats
    """(N,) out-of-fold P(fake), in row order."""


def auc_interval(
    scores: Floats, labels: npt.NDArray[np.int_], families: Sequence[str], seed: int = 0, replicates: int = 1000
) -> tuple[float, float, float]:
    """AUC with its 95 % percentile bootstrap interval; whole families are drawn, so relatives count once."""
    order = np.argsort(scores, kind="stable")
    ranked, fake = np.asarray(scores)[order], np.asarray(labels, float)[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])  # where tied scores begin
    _, family = np.unique(np.asarray(families), return_inverse=True)
    family = family[order]

    def aucs(weights: Floats) -> Floats:
        positive = np.add.reduceat(weights * fake, starts, axis=1)  # (R, T) weight at each distinct score
        negative = np.add.reduceat(weights * (1 - fake), starts, axis=1)
        below = negative.cumsum(1) - negative / 2
        total = positive.sum(1) * negative.sum(1)
        result: Floats = (positive * below).sum(1) / np.where(total > 0, total, np.nan)
        return result

    count = int(family.max()) + 1
    generator = rng(seed, "auc")
    drawn: list[Floats] = []
    for start in range(0, replicates, 50):  # bounded memory
        copies = generator.multinomial(count, np.full(count, 1 / count), size=min(50, replicates - start))
        drawn.append(aucs(copies[:, family].astype(float)))
    low, high = np.nanpercentile(np.concatenate(drawn), [2.5, 97.5])
    return float(aucs(np.ones((1, len(ranked))))[0]), float(low), float(high)


def probe(
    features: npt.ArrayLike, labels: Sequence[int], families: Sequence[str], folds: Sequence[int], seed: int = 0
) -> Probe:
    """Train small classifiers on all folds but one, score the one left out, for each fold.

    The score is the mean of a logistic regression (little data, monotone features) and gradient-boosted trees
    (steps and combinations, e.g. "is exactly 256 pixels wide").

    Args:
        features: (N, D) or (N,) numbers.
        labels: 0 or 1 per row.
        families: relatives share a name (see :func:`unmask.data.splits.families`).
        folds: fold per row, families whole (see :func:`unmask.data.splits.folds`).
        seed: of the bootstrap.

    Raises:
        DataError: a fold's complement lacks one class.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    x = np.asarray(features, float).reshape(len(labels), -1)
    y, fold = np.asarray(labels), np.asarray(folds)
    scores = np.zeros(len(y))
    for left_out in np.unique(fold):
        train = fold != left_out
        if len(np.unique(y[train])) < 2:
            raise DataError("one_class", "the probe needs both labels in every training fold; there is too little data")
        trees = HistGradientBoostingClassifier(
            max_iter=50, max_leaf_nodes=8, min_samples_leaf=5, l2_regularization=1.0, early_stopping=False
        )
        with threadpool_limits(1):  # little data: more threads only wait for each other
            for model in (make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), trees):
                scores[~train] += model.fit(x[train], y[train]).predict_proba(x[~train])[:, 1] / 2
    auc, low, high = auc_interval(scores, y, families, seed)
    return Probe(auc, low, high, scores)
