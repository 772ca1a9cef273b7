"""Measured features on disk, so that no image is measured twice: found again by content, not by name.

One safetensors file per image and *state* (which face, which degradation), ``AB/ABCD...-STATE.safetensors`` with the
image's SHA-256 and the first 16 hex digits of the SHA-256 of the state's JSON. A tensor per feature holds the values
(float32), the metadata say why there are none and what measuring took. Files are replaced whole: two processes that
measure the same image at the same moment may lose one's values (they are measured again), never mix or tear them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from unmask.core.files import atomic_path
from unmask.features.base import Measured, Status

logger = logging.getLogger(__name__)
_KEY = "unmask"


class Entry(NamedTuple):
    """A feature of one image, and what it took to measure it."""

    measured: Measured
    ms: float
    """Processor milliseconds."""


def default_folder() -> Path:
    """``$XDG_CACHE_HOME/unmask/features``, by default ``~/.cache/unmask/features``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "unmask" / "features"


class FeatureCache:
    """Entries by image, state and feature.

    Args:
        folder: made when the first entry is added.

    >>> import tempfile
    >>> cache = FeatureCache(Path(tempfile.mkdtemp()))
    >>> cache.add("ab" * 32, {"face": None}, {"hog v1": Entry(Measured("too_small"), 0.5)})
    >>> cache.read("ab" * 32, {"face": None})
    {'hog v1': Entry(measured=Measured(status='too_small', values=None), ms=0.5)}
    >>> cache.read("ab" * 32, {"face": [1, 2, 3, 4]})
    {}
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, sha256: str, state: Mapping[str, Any]) -> Path:
        """Where the entries of an image in a state are."""
        digest = hashlib.sha256(_text(state).encode()).hexdigest()
        return self.folder / sha256[:2] / f"{sha256}-{digest[:16]}.safetensors"

    def read(self, sha256: str, state: Mapping[str, Any]) -> dict[str, Entry]:
        """What is known of an image in a state, by feature key; a damaged file counts as empty."""
        from safetensors import SafetensorError, safe_open

        path = self.path(sha256, state)
        if not path.is_file():
            return {}
        try:
            with safe_open(str(path), "np") as file:
                about = json.loads(file.metadata()[_KEY])
                if about["state"] != json.loads(_text(state)):
                    return {}
                entries = {}
                for key, (status, ms) in about["entries"].items():
                    values = file.get_tensor(key) if status == "ok" else None
                    entries[key] = Entry(Measured(cast(Status, status), values), float(ms))
                return entries
        except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
            logger.warning("%s is damaged and will be replaced: %s", path, error)
            return {}

    def add(self, sha256: str, state: Mapping[str, Any], entries: Mapping[str, Entry]) -> None:
        """Keep entries beside those that are there."""
        from safetensors.numpy import save

        together = self.read(sha256, state) | dict(entries)
        tensors = {
            k: np.ascontiguousarray(e.measured.values) for k, e in together.items() if e.measured.values is not None
        }
        lines = {key: [entry.measured.status, entry.ms] for key, entry in together.items()}
        about = {"state": dict(state), "entries": lines}
        with atomic_path(self.path(sha256, state)) as temporary:
            temporary.write_bytes(save(tensors, {_KEY: json.dumps(about)}))


def _text(state: Mapping[str, Any]) -> str:
    return json.dumps(dict(state), sort_keys=True)
