"""How much two features say the same: rank correlation and mutual information of their out-of-fold logits."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from unmask.studies.probe import Floats

BINS = 6
"""Bins of equal frequency for mutual information."""
FEWEST = 20
"""Images with both features below which a pair has no number."""


def rank_correlation(logits: Floats) -> Floats:
    """Spearman's correlation of each pair of columns of (N, F) logits, over the images that have both; nan where there
    are fewer than :data:`FEWEST` or one of them is constant."""
    from scipy.stats import rankdata

    count = logits.shape[1]
    absent = np.isnan(logits)
    found = np.full((count, count), np.nan)
    if not absent.any():
        ranks = rankdata(logits, axis=0)
        with np.errstate(invalid="ignore"):
            if len(logits) >= FEWEST:
                found = np.atleast_2d(np.corrcoef(ranks, rowvar=False))
        return found
    for first in range(count):
        for second in range(first + 1):
            both = ~absent[:, first] & ~absent[:, second]
            if both.sum() >= FEWEST:
                pair = rankdata(logits[both][:, [first, second]], axis=0)
                with np.errstate(invalid="ignore"):
                    found[first, second] = found[second, first] = float(
                        np.atleast_2d(np.corrcoef(pair, rowvar=False))[0, 1]
                    )
    return found


def within_class(logits: Floats, labels: npt.NDArray[np.bool_]) -> Floats:
    """Mean over the two classes of :func:`rank_correlation`: two good features agree about the class by being right,
    so only what they share beyond it is redundancy."""
    return (rank_correlation(logits[labels]) + rank_correlation(logits[~labels])) / 2


def binned(logits: Floats, bins: int = BINS) -> npt.NDArray[np.int_]:
    """(N, F) bin numbers of equal frequency among each column's known values; -1 where there is none.

    Equal values share a bin.
    """
    from scipy.stats import rankdata

    absent = np.isnan(logits)
    ranks = rankdata(np.where(absent, np.inf, logits), axis=0)
    places = ((ranks - 0.5) / np.maximum((~absent).sum(axis=0), 1) * bins).astype(int)
    return np.where(absent, -1, np.minimum(places, bins - 1))


def mutual_information(codes: npt.NDArray[np.int_]) -> tuple[Floats, Floats]:
    """Mutual information in nats of each pair of columns of (N, F) codes (-1: none), over the images that have both,
    and the same normalised by the mean of the two entropies (0: independent, 1: one tells the other).

    Counting makes independent features look dependent by about ``(bins - 1) ** 2 / (2 N)`` nats.
    """
    kinds = int(codes.max(initial=0)) + 1
    n, count = codes.shape
    hot = (codes[:, :, None] == np.arange(kinds)).reshape(n, count * kinds).astype(np.float64)
    together = (hot.T @ hot).reshape(count, kinds, count, kinds).transpose(0, 2, 1, 3)  # (F, F, bins, bins)
    total = together.sum(axis=(2, 3))
    share = together / np.where(total > 0, total, 1.0)[:, :, None, None]

    def entropy(p: Floats) -> Floats:
        logs = np.log(p, out=np.zeros_like(p), where=p > 0)
        found: Floats = -(p * logs).sum(axis=-1)
        return found

    first, second = entropy(share.sum(axis=3)), entropy(share.sum(axis=2))
    information = np.maximum(first + second - entropy(share.reshape(count, count, -1)), 0.0)
    mean = (first + second) / 2
    normalised = np.divide(information, mean, out=np.zeros_like(mean), where=mean > 0)
    few = total < FEWEST
    return np.where(few, np.nan, information), np.where(few, np.nan, normalised)


def label_information(codes: npt.NDArray[np.int_], labels: npt.NDArray[np.bool_]) -> Floats:
    """(F,) mutual information of each binned feature with the label, as a share of the label's entropy."""
    known = np.concatenate([codes, labels[:, None].astype(int)], axis=1)
    information = mutual_information(known)[0][:-1, -1]
    found = []
    for column, value in zip(codes.T, information.tolist(), strict=True):
        part = labels[column >= 0]
        share = float(part.mean()) if part.size else 0.0
        entropy = -sum(p * math.log(p) for p in (share, 1 - share) if p > 0)
        found.append(value / entropy if entropy else math.nan)
    return np.array(found)
