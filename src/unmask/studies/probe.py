"""The probe of a feature: standardise, then a logistic regression with a ridge penalty, both classes weighing alike.

There is no principal-component cut: the penalty keeps wide vectors in bounds, and a direction of little variance, where
traces often lie, is not thrown away. Vectors wider than the images are many are rotated into the space the images span,
which changes no solution (the penalty is blind to rotations) and saves the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""Values of C (the loss's weight against the penalty) to choose from, for D columns of variance 1 / D each."""
FEWEST = 8
"""Images of each class below which no probe is trained."""


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A trained probe: ``logits(values) = (values - centre) / scale @ weights + bias``."""

    centre: Floats
    """(D,)"""
    scale: Floats
    """(D,)"""
    weights: Floats
    """(D,)"""
    bias: float

    def logits(self, values: npt.NDArray[Any]) -> Floats:
        """(N, D) to (N,); a row of nan (no value) stays nan."""
        found: Floats = (values.astype(np.float64) - self.centre) / self.scale @ self.weights + self.bias
        return found


def fit_probes(
    values: npt.NDArray[Any], labels: npt.NDArray[Any], strengths: Sequence[float] = STRENGTHS
) -> list[Probe]:
    """Train one probe per strength on (n, D) values and (n,) labels; empty below :data:`FEWEST` images of a class.

    Args:
        values: without nan.
        labels: 1 = fake.
        strengths: ascending; each solution starts from the one before.
    """
    from sklearn.linear_model import LogisticRegression

    labels = np.asarray(labels)
    if min((labels == 0).sum(), (labels == 1).sum()) < FEWEST:
        return []
    raw = np.asarray(values, np.float64)
    n, width = raw.shape
    centre, spread = raw.mean(axis=0), raw.std(axis=0)
    constant = spread <= 1e-12 * np.maximum(np.abs(centre), 1.0)
    scale = np.where(constant, 1.0, spread) * np.sqrt(width)
    x = (raw - centre) / scale
    x[:, constant] = 0.0
    back = None
    if width > n:
        squares, vectors = np.linalg.eigh(x @ x.T)
        kept = squares > 1e-10 * max(float(squares[-1]), 1e-300)
        roots = np.sqrt(squares[kept])
        back = x.T @ (vectors[:, kept] / roots)  # (D, r): orthonormal columns
        x = vectors[:, kept] * roots
    model = LogisticRegression(class_weight="balanced", warm_start=True, max_iter=2000, tol=1e-5)
    found = []
    for strength in strengths:
        model.set_params(C=strength)
        if x.shape[1]:
            model.fit(x, labels)
            weights = model.coef_[0] if back is None else back @ model.coef_[0]
            bias = float(model.intercept_[0])
        else:  # every column is constant: nothing to learn
            weights, bias = np.zeros(width), 0.0
        found.append(Probe(centre, scale, np.where(constant, 0.0, weights), bias))
    return found
