"""Scores that may teach a late fusion: made by models that saw no relative of the image, and able to prove it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from unmask.core.errors import DataError
from unmask.studies.probe import Floats


class Part(NamedTuple):
    """Images scored by the same M models."""

    logits: npt.NDArray[Any]
    """(n, M), nan where a member has no value."""
    labels: npt.NDArray[Any]
    """(n,) true = fake."""
    families: Sequence[str]
    """n names of families of relatives."""
    trained_on: Collection[str]
    """Families behind any of the models: of their training, and of whatever else they were chosen on."""


class HeldOut:
    """Held-out scores of N images by M members, the only thing a late fusion learns from.

    Args:
        parts: each with the families its models were trained on; usually one per fold.

    Raises:
        DataError: ``leak``, when a part's models were trained on a family that the part scores (the message counts and
            names them), ``bad_scores`` for shapes that do not fit, ``one_class``.

    >>> ours = Part(np.zeros((2, 1)), np.array([False, True]), ["ann", "bob"], {"eve"})
    >>> len(HeldOut([ours]).labels)
    2
    >>> HeldOut([ours._replace(trained_on={"ann"})])
    Traceback (most recent call last):
    unmask.core.errors.DataError: 1 families are scored by models that were trained on them (ann): a fusion that ...
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        for part in parts:
            n = len(part.labels)
            if np.ndim(part.logits) != 2 or len(part.logits) != n or len(part.families) != n:
                raise DataError(
                    "bad_scores",
                    f"expected logits (n, members), n labels and n families, got {np.shape(part.logits)}, {n} and "
                    f"{len(part.families)}",
                )
            seen = sorted(set(part.families) & set(part.trained_on))
            if seen:
                raise DataError(
                    "leak",
                    f"{len(seen)} families are scored by models that were trained on them ({', '.join(seen[:3])}): "
                    "a fusion that learns from such scores trusts whoever memorised most; give out-of-fold scores",
                )
        if not parts or len({np.shape(part.logits)[1] for part in parts}) != 1:
            raise DataError("bad_scores", "expected one or more parts, all scored by the same number of members")
        self.logits: Floats = np.concatenate([np.asarray(part.logits, np.float64) for part in parts])
        self.labels: npt.NDArray[np.bool_] = np.concatenate([np.asarray(part.labels, bool) for part in parts])
        self.families = [name for part in parts for name in part.families]
        if not self.labels.any() or self.labels.all():
            raise DataError("one_class", "late fusion learns from real and forged images, got one class only")
