"""What an evaluation has scored so far: a JSON-lines file, so that a stopped one goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.core.errors import ConfigError
from unmask.core.files import write_text
from unmask.core.version import __version__
from unmask.data.manifest import Row

UNFINISHED = "unfinished.jsonl"
"""Its name in the folder of an evaluation; gone when that is complete."""

Answer = tuple[dict[str, Any], npt.NDArray[np.float64]]
"""The record of one image and its metadata features."""
_COLUMNS = [field.name for field in fields(Row)]


class Unfinished:
    """Answers by row: those of an earlier run with the same settings, and new ones as they come.

    A first line names the settings, each further line holds one image. A line that was cut off, and an image or mask
    whose size or time has changed since, are as if they had never been scored.

    Args:
        path: the file; need not be there.
        settings: all that the answers depend on beside the image and its row; their ``repr`` must be stable.
        files: what a row's answer was made from; by default its image and its mask.

    Raises:
        ConfigError: ``other_settings``: the file is of another evaluation.
    """

    def __init__(self, path: Path, *settings: object, files: Callable[[Row], Sequence[str]] | None = None) -> None:
        self.path = path
        self._files = files or _files
        self._key = hashlib.sha256(repr((__version__, *settings)).encode()).hexdigest()
        self._answers: dict[Row, tuple[list[Any], Answer]] = {}
        if path.exists():
            self._read()

    def _read(self) -> None:
        first, *lines = self.path.read_bytes().splitlines(keepends=True) or [b""]
        if first != self._first().encode():
            raise ConfigError(
                "other_settings",
                f"{self.path} was left by an evaluation with other weights or settings; repeat its command to go on "
                "with it, choose another folder, or delete this file to start anew",
            )
        good = len(first)
        for line in lines:
            try:
                if not line.endswith(b"\n"):
                    break
                stamp, record, features = json.loads(line)
                row = Row(**{name: record[name] for name in _COLUMNS})
                self._answers[row] = stamp, (record, np.array(features, np.float64))
            except (ValueError, KeyError, TypeError):
                break
            good += len(line)
        os.truncate(self.path, good)

    def _first(self) -> str:
        return json.dumps({"what": "images scored by an unfinished `unmask evaluate`", "settings": self._key}) + "\n"

    def get(self, row: Row) -> Answer | None:
        """The answer for a row, if it was scored and its files are as they were then."""
        stamp, answer = self._answers.get(row, (None, None))
        return answer if answer is not None and stamp == self._stamp(row) else None

    def add(self, answers: Sequence[tuple[Row, Answer]]) -> None:
        """Append images that were just scored."""
        if not self.path.exists():
            write_text(self.path, self._first())
        lines = [[self._stamp(row), record, features.tolist()] for row, (record, features) in answers]
        with self.path.open("ab") as file:
            file.write("".join(json.dumps(line, default=float) + "\n" for line in lines).encode())

    def _stamp(self, row: Row) -> list[Any]:
        """Sizes and times of a row's files, a hash of more than two; empty if one is not there, so that it equals no
        stored stamp."""
        try:
            found = [Path(path).stat() for path in self._files(row)]
        except (OSError, ValueError):
            return []
        stamps = [[info.st_size, info.st_mtime_ns] for info in found]
        return stamps if len(stamps) <= 2 else [hashlib.sha256(repr(stamps).encode()).hexdigest()]


def _files(row: Row) -> list[str]:
    return [path for path in (row.path, row.mask) if path]
