"""Localization: where does the predicted map agree with the true mask, image by image.

Policy:

- **Forged images** (some true pixel > 0): F1 and IoU with the truth binarised at > 0 and the prediction at
  ``>= threshold`` (chosen on validation data); AUC, a sweep over thresholds, with the truth binarised at > 0.5.
- **Authentic images** (empty true mask): F1, IoU and AUC do not exist there (nan). A perfect answer on them is not
  "F1 = 0" and a wrong one not "F1 = 0" either; what counts is the **false alarm**, the share of pixels predicted as
  forged. Means therefore run over forged images for F1, IoU, AUC, over authentic ones for the false alarm.
- A map is taken as it is: no ``max(F1, F1 of the inverted map)``. An inverted map is a wrong map.
- Per image, then averaged: every image weighs the same, whatever its size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_BLOCK = 512  # whole numbers up to 512 * 512 are exact in float32


class PixelMetrics(NamedTuple):
    """One value per image, each (N,) float64; nan where the metric does not exist for that image."""

    f1: Floats
    iou: Floats
    auc: Floats
    false_alarm: Floats


def _check(probabilities: npt.NDArray[Any], truth: npt.NDArray[Any]) -> None:
    if probabilities.ndim != 3 or probabilities.shape != truth.shape or 0 in probabilities.shape[1:]:
        raise ValueError(
            f"expected probabilities and true masks of one shape (N, H, W), got {probabilities.shape}, {truth.shape}"
        )


def _counts(mask: npt.NDArray[np.uint8]) -> Floats:
    """Set bits of each row of packed bits: (N, bytes) to (N,)."""
    counts: Floats = np.bitwise_count(mask).sum(axis=1, dtype=np.int64).astype(np.float64)
    return counts


def overlap(
    probabilities: npt.NDArray[Any], truth: npt.NDArray[Any], threshold: float = 0.5
) -> tuple[Floats, Floats, Floats]:
    """F1, IoU and false-alarm area of each image.

    Args:
        probabilities: (N, H, W) predicted P(pixel is forged), or booleans already thresholded.
        truth: (N, H, W) true masks in [0, 1]; > 0 is forged.
        threshold: a pixel is predicted forged at or above it.

    Returns:
        (N,) each: F1 and IoU, nan on authentic images; false-alarm area in [0, 1], nan on forged ones.

    >>> truth = np.array([[[0, 1], [0, 1]], [[0, 0], [0, 0]]], float)
    >>> guess = np.array([[[0, 1], [0, 0]], [[0, 1], [0, 0]]], float)
    >>> [values.round(3).tolist() for values in overlap(guess, truth)]
    [[0.667, nan], [0.5, nan], [nan, 0.25]]
    """
    _check(probabilities, truth)
    n, pixels = len(truth), truth[0].size if len(truth) else 1
    both, called, forged = np.empty(n), np.empty(n), np.empty(n)
    for row in range(n):  # one image at a time stays in the processor's cache
        guess = np.packbits(probabilities[row : row + 1].reshape(1, -1) >= threshold, axis=1)
        true = np.packbits(truth[row : row + 1].reshape(1, -1) > 0, axis=1)
        both[row], called[row], forged[row] = _counts(guess & true)[0], _counts(guess)[0], _counts(true)[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.where(forged > 0, 2 * both / (called + forged), np.nan)
        iou = np.where(forged > 0, both / (called + forged - both), np.nan)
    return f1, iou, np.where(forged > 0, np.nan, called / pixels)


def _rank_sum(keys: npt.NDArray[Any]) -> float:
    """Sum of the positions (from 0) of odd keys in the sorted (P,) ``keys``, exactly."""
    labels = np.zeros(-(-keys.size // _BLOCK) * _BLOCK, np.float32)
    labels[: keys.size] = keys & keys.dtype.type(1)
    blocks = labels.reshape(-1, _BLOCK)
    inside, count = (blocks @ np.stack([np.arange(_BLOCK), np.ones(_BLOCK)], 1).astype(np.float32)).T.astype(np.float64)
    return float(inside.sum() + np.dot(count, np.arange(len(blocks)) * float(_BLOCK)))


def _map_auc(probabilities: npt.NDArray[Any], forged: npt.NDArray[np.bool_]) -> float:
    """Exact AUC of one map, (P,) floats in [0, 1] and (P,) booleans.

    A non-negative float orders like its bits, and those of [0, 1] leave the top bit free: shifted by one they make
    room for the label, and one integer sort gives the labels in order of score. Sorting once with the negatives first
    among equals and once with the positives first counts ties as a half.
    """
    n_forged = int(np.count_nonzero(forged))
    n_clean = forged.size - n_forged
    if not n_forged or not n_clean:
        return float("nan")
    keys = (probabilities + probabilities.dtype.type(0)).view(f"u{probabilities.itemsize}")  # + 0 turns -0 into 0
    one = keys.dtype.type(1)
    keys <<= one
    keys |= forged
    keys.sort()
    forged_last = _rank_sum(keys)
    keys ^= one
    keys.sort()
    # now clean pixels are odd, and forged ones come first among equals
    forged_first = forged.size * (forged.size - 1) / 2 - _rank_sum(keys)
    own = n_forged * (n_forged - 1) / 2  # forged pixels below forged pixels
    wins = (forged_last + forged_first) / 2 - own
    return float(wins / n_forged / n_clean)


def pixel_auc(probabilities: npt.NDArray[Any], truth: npt.NDArray[Any]) -> Floats:
    """Exact AUC over the pixels of each image, ties as a half.

    Args:
        probabilities: (N, H, W) predicted P(pixel is forged) in [0, 1]; float16, float32 or float64.
        truth: (N, H, W) true masks; > 0.5 is forged.

    Returns:
        (N,); nan where the binarised mask is empty or full.

    Raises:
        ValueError: shapes differ, or values outside [0, 1] (nan included).
    """
    _check(probabilities, truth)
    if probabilities.dtype not in (np.float16, np.float32, np.float64):
        probabilities = probabilities.astype(np.float64)
    result = np.empty(len(truth))
    for row in range(len(truth)):
        flat = probabilities[row].reshape(-1)
        if not (flat.min() >= 0 and flat.max() <= 1):
            raise ValueError(f"probabilities must lie in [0, 1], got [{flat.min()}, {flat.max()}] in image {row}")
        result[row] = _map_auc(flat, truth[row].reshape(-1) > 0.5)
    return result


def pixel_metrics(probabilities: npt.NDArray[Any], truth: npt.NDArray[Any], threshold: float = 0.5) -> PixelMetrics:
    """All of a map's metrics; see the module's text for what counts on which image.

    Args:
        probabilities: (N, H, W) predicted P(pixel is forged) in [0, 1].
        truth: (N, H, W) true masks in [0, 1].
        threshold: for F1, IoU and the false alarm; chosen on validation data.
    """
    f1, iou, false_alarm = overlap(probabilities, truth, threshold)
    area = np.where(np.isnan(f1), np.nan, pixel_auc(probabilities, truth))
    return PixelMetrics(f1, iou, area, false_alarm)
