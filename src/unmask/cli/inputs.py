"""From what stands on the command line to files: folders, globs and lists on stdin."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from unmask.core.files import real_path

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif"}
    | {".avif", ".heic", ".heif", ".jp2", ".jxl"}
)
"""Files taken from a folder: everything named like an image, also formats that then get a clear error."""


class Inputs:
    """The files behind PATH arguments, in order; a file named twice comes twice.

    A folder gives its image-named files, recursively and sorted, without hidden ones and without ``exclude``; links to
    folders are followed, each folder once; an argument that is no file but holds ``* ? [`` is a glob for files (``**``
    crosses folders); ``-`` reads names from stdin, one per line, or separated by zero bytes (``find -print0``).
    """

    def __init__(self, arguments: Sequence[str], stdin: IO[bytes] | None = None, exclude: Path | None = None) -> None:
        self.arguments = arguments
        self.skipped = 0
        """Files left out of folders because they are hidden or not named like an image."""
        self.empty: list[tuple[str, str]] = []
        """Arguments that gave no file, each with the reason."""
        self._stdin = stdin
        self._exclude = real_path(exclude) if exclude else None

    def __iter__(self) -> Iterator[str]:
        for argument in self.arguments:
            if argument == "-" and self._stdin is not None:
                yield from self._listed(self._stdin)
            elif argument and Path(argument).is_dir():  # Path("") is "."
                yield from self._folder(argument)
            elif not os.path.lexists(argument) and glob.has_magic(argument):
                yield from self._glob(argument)
            else:
                yield argument

    def _folder(self, top: str) -> Iterator[str]:
        found, seen = False, {real_path(top)}
        for folder, inner, names in os.walk(top, onerror=self._unreadable, followlinks=True):
            places = {name: real_path(Path(folder, name)) for name in sorted(inner) if not name.startswith(".")}
            inner[:] = [name for name, place in places.items() if place not in seen and place != self._exclude]
            seen.update(places[name] for name in inner)
            for name in sorted(names):
                if name.startswith(".") or Path(name).suffix.lower() not in SUFFIXES:
                    self.skipped += 1
                    continue
                found = True
                yield str(Path(folder, name))
        if not found and not any(path == top for path, _ in self.empty):
            self.empty.append((top, "no file in this folder is named like an image"))

    def _glob(self, pattern: str) -> Iterator[str]:
        matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        files = [match for match in matches if not Path(match).is_dir()]
        if not files:
            self.empty.append((pattern, "nothing matches this pattern" if not matches else "only folders match this"))
        yield from files

    def _listed(self, stream: IO[bytes]) -> Iterator[str]:
        found = False
        for name in read_names(stream):
            found = True
            yield name
        if not found:
            self.empty.append(("-", "stdin named no file"))

    def _unreadable(self, error: OSError) -> None:
        self.empty.append((str(error.filename), f"this folder cannot be read: {error.strerror}"))


def read_names(stream: IO[bytes]) -> Iterator[str]:
    r"""Names from a byte stream, as they arrive; separated by zero bytes if the first piece holds one, else by lines.

    >>> import io
    >>> list(read_names(io.BytesIO(b"a.jpg\n\nb c.png\n"))), list(read_names(io.BytesIO(b"a\nb.jpg\0c.png\0")))
    (['a.jpg', 'b c.png'], ['a\nb.jpg', 'c.png'])
    """
    read = getattr(stream, "read1", stream.read)
    rest, separator = b"", b""
    while piece := read(65536):
        separator = separator or (b"\0" if b"\0" in piece else b"\n" if b"\n" in piece else b"")
        rest += piece
        if separator:
            *names, rest = rest.split(separator)
            yield from (os.fsdecode(name.removesuffix(b"\r")) for name in names if name.strip())
    if rest.strip():
        yield os.fsdecode(rest)
