"""What every adapter of a data set's layout works with: the folder's files, videos as folders of frames, relatives.

An adapter asks a :class:`Tree` for files at the places its layout has, and adds a row for each. Whatever it never
asked for is, in the end, a file whose label cannot be read from the layout: a problem that names it.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from unmask.core.errors import DataError
from unmask.data.manifest import Row
from unmask.data.sources import Problem, walk

VIDEOS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg"})
FRAME_FOLDERS = ("frames", "images")
"""``WHERE/frames/VIDEO/*`` (or ``images``) and ``WHERE/VIDEO/*`` hold the frames of ``WHERE/[videos/]VIDEO.mp4``."""
_SHOWN = 5
T = TypeVar("T")


class Clip(NamedTuple):
    """The frames of one video, in natural order."""

    name: str
    folder: PurePosixPath
    frames: tuple[PurePosixPath, ...]


class About(NamedTuple):
    """What rows of one origin share: see :class:`unmask.data.manifest.Row`."""

    group: str = ""
    split: str = ""
    source: str = ""
    manipulation: str = ""


def natural(path: PurePosixPath) -> tuple[Any, ...]:
    """Sort key in which frame 10 comes after frame 9.

    >>> [p.name for p in sorted(map(PurePosixPath, ("f10.png", "f9.png", "f009.png")), key=natural)]
    ['f009.png', 'f9.png', 'f10.png']
    """
    return (*(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)), path.name)


def even(items: Sequence[T], count: int | None) -> Sequence[T]:
    """``count`` items, one from the middle of each of ``count`` equal parts; all where there are no more.

    >>> even(range(100), 4), even("ab", 3)
    ([12, 37, 62, 87], 'ab')
    """
    if count is None or count >= len(items):
        return items
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


class Tree:
    """The files below ``root``, and the rows and problems an adapter finds in them.

    Args:
        root: the data set's folder.
        frames: at most this many frames per video, evenly spaced; None = all.
    """

    def __init__(self, root: Path, frames: int | None = None) -> None:
        self.root = root
        self.frames = frames
        self.rows: list[Row] = []
        found = walk(root)
        self.problems = found.problems
        self.ignored = dict(found.ignored)
        self.others = frozenset(found.others)
        """All files that are no images."""
        self.mask_kinds: dict[str, str] = {}
        """How a mask is to be read that is not grey with 255 = edited, by path: see ``spliced.READERS``."""
        self._images: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
        for image in found.images:
            self._images[image.parent].append(image)
        self._videos: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
        for file in found.others:
            if file.suffix.lower() in VIDEOS:
                self._videos[file.parent].append(file)
        leaves = {f.parent for f in found.others} | self._images.keys()
        self._folders = leaves | {a for f in leaves for a in f.parents}
        self._asked: set[PurePosixPath] = set()
        self._told: set[PurePosixPath] = set()

    def problem(self, where: PurePosixPath | str, code: str, message: str) -> None:
        """Note what is wrong with a file or folder given relative to the root."""
        path = str(self.root / where).encode("utf-8", "backslashreplace").decode()
        self.problems.append(Problem(path, code, message))

    @property
    def image_folders(self) -> list[PurePosixPath]:
        """Every folder that holds images itself."""
        return sorted(self._images)

    def folders(self, *where: str) -> list[str]:
        """Names of the folders directly below a folder."""
        above = PurePosixPath(*where)
        return sorted(f.name for f in self._folders if f.parent == above and f != above)

    def images(self, where: PurePosixPath | str) -> list[PurePosixPath]:
        """The images directly in a folder; they now count as placed."""
        folder = PurePosixPath(where)
        self._asked.add(folder)
        return self._images.get(folder, [])

    def below(self, *where: str) -> Iterator[PurePosixPath]:
        """All images below a folder, however deep; they now count as placed."""
        above = PurePosixPath(*where)
        for folder in sorted(f for f in self._images if f == above or above in f.parents):
            yield from self.images(folder)

    def clip(self, folder: PurePosixPath, name: str = "") -> Clip:
        """A folder as the frames of a video."""
        return Clip(name or folder.name, folder, tuple(sorted(self.images(folder), key=natural)))

    def clips(self, *where: str, masks: bool = False) -> dict[str, Clip]:
        """Videos of a folder by name. A video file without a folder of frames is a problem (a mask is none)."""
        above = PurePosixPath(*where)
        places = [above / inner for inner in FRAME_FOLDERS if above / inner in self._folders] or [above]
        found = {f.name: self.clip(f) for f in sorted(self._images) if f.parent in places}
        for file in () if masks else self._video_files(above):
            if file.stem not in found and file not in self._told:
                frames = above / FRAME_FOLDERS[0] / file.stem
                self.problem(file, "video", f"a video; only images are read: extract its frames into {frames}/")
                self._told.add(file)
        return found

    def _video_files(self, above: PurePosixPath) -> list[PurePosixPath]:
        return [*self._videos.get(above, ()), *self._videos.get(above / "videos", ())]

    def videos(self, *where: str) -> set[str]:
        """Names of the video files of a folder, whether they have frames or not."""
        return {f.stem for f in self._video_files(PurePosixPath(*where))}

    def lacking(self, where: PurePosixPath | str, wanted: Iterable[str], present: Collection[str], who: str) -> None:
        """One problem for all names that a list ``who`` names and the folder ``where`` lacks."""
        if lacking := sorted(set(wanted) - set(present)):
            more = ", …" if len(lacking) > _SHOWN else ""
            named = ", ".join(lacking[:_SHOWN]) + more
            self.problem(where, "missing", f"{len(lacking)} of the videos that {who} names are not here: {named}")

    def add(self, file: PurePosixPath, label: int, about: About, *, mask: str = "", pair: str = "") -> None:
        """Add a row; ``mask`` and ``pair`` relative to the root like the file."""
        paths = {k: str(self.root / v) for k, v in (("mask", mask), ("pair", pair)) if v}
        self.rows.append(Row(str(self.root / file), label, **paths, **about._asdict()))

    def add_clip(
        self, clip: Clip, label: int, about: About, *, pair: Clip | None = None, masks: Clip | None = None
    ) -> None:
        """Add evenly spaced frames of a video, each with the frame and mask of its own name."""
        of_pair = {f.stem: str(f) for f in pair.frames} if pair else {}
        of_masks = {f.stem: str(f) for f in masks.frames} if masks else {}
        chosen = even(clip.frames, self.frames)
        for file in chosen:
            self.add(file, label, about, mask=of_masks.get(file.stem, ""), pair=of_pair.get(file.stem, ""))
        if masks and (bare := [f.name for f in chosen if f.stem not in of_masks]):
            self.problem(masks.folder, "missing", f"{len(bare)} frames of {clip.folder} have no mask, {bare[0]} first")

    def unplaced(self, expected: str) -> None:
        """A problem for every image the adapter never asked for."""
        for folder in sorted(set(self._images) - self._asked):
            for file in self._images[folder]:
                self.problem(file, "no_label", f"no place of this layout, so its label cannot be read: {expected}")

    def text(self, *names: str) -> str:
        """The text of the first file there is of ``names``; empty, and a problem, without any."""
        for name in names:
            file = self.root / name
            if file.is_file():
                try:
                    return file.read_bytes().decode("utf-8-sig")
                except (OSError, UnicodeDecodeError) as error:
                    self.problem(name, "bad_list", f"cannot be read as UTF-8 text: {error}")
                    return ""
        self.problem(names[0], "missing", "the data set's own list is not there (what it says stays empty)")
        return ""

    def json(self, kind: type[T], *names: str) -> T:
        """The content of the first JSON file there is of ``names``; an empty ``kind``, and a problem, otherwise."""
        text = self.text(*names)
        if not text:
            return kind()
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            self.problem(names[0], "bad_list", f"not valid JSON: {error}")
            return kind()
        if not isinstance(content, kind):
            self.problem(names[0], "bad_list", f"expected a JSON {kind.__name__}, got a {type(content).__name__}")
            return kind()
        return content

    def table(self, name: str, columns: Sequence[str], delimiter: str = ",") -> list[Mapping[str, str]]:
        """The lines of a CSV file; none, and a problem, where it lacks one of ``columns``."""
        rows: list[Mapping[str, str]] = list(
            csv.DictReader(io.StringIO(self.text(name), newline=""), delimiter=delimiter)
        )
        good = [r for r in rows if all(r.get(c) is not None for c in columns)]
        if len(good) < len(rows):
            why = f"{len(rows) - len(good)} of its lines lack one of the columns {', '.join(columns)}"
            self.problem(name, "bad_list", why)
        return good


def one_of(value: object, words: Mapping[str, T], what: str) -> T:
    """The meaning of a word in a data set's list.

    Raises:
        DataError: ``no_label``: not one of ``words``; nothing is guessed.
    """
    if isinstance(value, str) and value in words:
        return words[value]
    raise DataError("no_label", f"{what} must be one of {', '.join(words)}, got {value!r}")
