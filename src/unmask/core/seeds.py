"""Randomness that depends on names and positions, never on order of execution or worker count."""

from __future__ import annotations

import zlib

import numpy as np


def rng(seed: int, *keys: int | str) -> np.random.Generator:
    """A generator that depends only on ``seed`` and the keys (e.g. epoch, position, a purpose).

    >>> int(rng(0, 1, "crop").integers(1000)) == int(rng(0, 1, "crop").integers(1000))
    True
    >>> int(rng(0, 1, "crop").integers(1 << 30)) != int(rng(0, 2, "crop").integers(1 << 30))
    True
    """
    words = [zlib.crc32(k.encode()) if isinstance(k, str) else int(k) for k in (seed, *keys)]
    return np.random.default_rng(np.random.SeedSequence(words))
