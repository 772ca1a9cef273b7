"""Folders of labelled images to manifest rows.

The label of a file is written in the names of the folders above it (capitals do not matter): ``real`` or ``0_real``,
``fake`` or ``1_fake``. ``train``, ``valid`` / ``val`` / ``validation`` and ``test`` give the split, whatever else
there is gives source and manipulation::

    train/real/x.jpg                   train, real
    test/progan/airplane/1_fake/x.png  test, fake, source progan/airplane, manipulation progan
    fake/sd3/x.png                     fake, source sd3

A label is never guessed: a file whose folders name no label, or both, is a problem that names the file.

Masks of fakes lie in a folder ``mask`` or ``masks`` beside (or inside) the label folder, or in ``fake_mask`` beside
``fake``, each under its image's name (``x.png`` or ``x_mask.png`` for ``x.jpg``).
"""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from unmask.core.errors import ConfigError, DataError, IntakeError
from unmask.core.files import atomic_path
from unmask.data.intake import FORMATS, Decoded, decode
from unmask.data.manifest import Row
from unmask.data.masks import read_mask
from unmask.data.parallel import Progress, in_threads

LABELS = {"real": 0, "0_real": 0, "fake": 1, "1_fake": 1}
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif"})
SUFFIXES |= {".heic", ".heif", ".jp2", ".jxl"}  # claim to be images; that they are not decoded is said file by file
_MASK_FOLDER = re.compile(r"(?:(.+)_)?masks?", re.IGNORECASE)


class Problem(NamedTuple):
    """Something that is not in the manifest (or only in part), and why."""

    path: str
    code: str
    """A code of :data:`unmask.data.intake.CODES`, or one of ``no_label``, ``no_group``, ``odd_name``,
    ``link_loop``, ``bad_mask``, ``mask_without_image``, ``ambiguous_mask``, ``bad_pair``; of a known layout also
    ``missing`` (what the data set's own lists name and the folder lacks), ``surplus`` (what they do not name),
    ``video`` (not read without its frames), ``bad_list``, ``label_conflict``, ``split_conflict``, ``mask_format``."""
    message: str


@dataclass(frozen=True, slots=True)
class Index:
    """What was found in a folder."""

    rows: list[Row]
    """Readable images with a label, by path."""
    problems: list[Problem]
    """Every image or mask that could not be used, by path."""
    ignored: dict[str, int]
    """Number of other files by suffix (``hidden`` for names that start with a dot)."""


class Place(NamedTuple):
    """What the folders above a file say about it."""

    label: int
    split: str
    source: str
    manipulation: str


def place(folders: Sequence[str], root_name: str, words: Mapping[str, int] = LABELS) -> Place:
    """Read label, split, source and manipulation from the folder names between the root and a file.

    Args:
        folders: names, outermost first.
        root_name: the source where no folder names one.
        words: label by folder name in small letters.

    Raises:
        DataError: ``no_label``, when they name no label, two labels, or two splits.

    >>> place(("test", "progan", "airplane", "1_fake"), "ForenSynths")
    Place(label=1, split='test', source='progan/airplane', manipulation='progan')
    """
    names = [f.lower() for f in folders]
    labels = {words[n] for n in names if n in words}
    splits = {SPLIT_NAMES[n] for n in names if n in SPLIT_NAMES}
    above = "/".join(folders) or "the indexed folder itself"
    if len(labels) != 1:
        what = "both real and fake" if labels else "no label"
        expected = f"exactly one label above it ({', '.join(words)})"
        raise DataError("no_label", f"its folders name {what}: expected {expected}, got '{above}'")
    if len(splits) > 1:
        raise DataError("no_label", f"its folders name two splits ({', '.join(sorted(splits))}): '{above}'")
    rest = [(i, f) for i, f in enumerate(folders) if names[i] not in words and names[i] not in SPLIT_NAMES]
    label_at = next(i for i, n in enumerate(names) if n in words)
    generators = [f for i, f in rest if i < label_at]
    label = labels.pop()
    source = "/".join(f for _, f in rest) or root_name
    return Place(label, "".join(splits), source, generators[0] if label and generators else "")


class Walk(NamedTuple):
    """The files below a folder, relative to it, sorted."""

    images: list[PurePosixPath]
    """Files that claim to be images."""
    others: list[PurePosixPath]
    """All other files but hidden ones."""
    problems: list[Problem]
    ignored: Counter[str]
    """Number of ``others`` by suffix (and of hidden entries as ``hidden``)."""


def walk(root: Path) -> Walk:
    """Every file below ``root``; links are followed, but never back upwards.

    Raises:
        DataError: no such folder.
    """
    if not root.is_dir():
        raise DataError("no_folder", f"there is no folder {root}")
    files: list[PurePosixPath] = []
    others: list[PurePosixPath] = []
    problems: list[Problem] = []
    ignored: Counter[str] = Counter()
    start = root.stat()
    waiting = [(root, PurePosixPath(), frozenset({(start.st_dev, start.st_ino)}))]
    while waiting:
        folder, relative, ancestors = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            problems.append(Problem(str(folder), "permission", f"the folder cannot be listed: {error.strerror}"))
            continue
        for entry in entries:
            if entry.name.startswith("."):
                ignored["hidden"] += 1
            elif Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir():
                info = entry.stat()
                if (info.st_dev, info.st_ino) in ancestors:
                    problems.append(Problem(entry.path, "link_loop", "the link leads back to a folder above it"))
                else:
                    identity = ancestors | {(info.st_dev, info.st_ino)}
                    waiting.append((Path(entry.path), relative / entry.name, identity))
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122 (hot)
                files.append(relative / entry.name)
            else:
                others.append(relative / entry.name)
                ignored[others[-1].suffix.lower() or "no suffix"] += 1
    return Walk(sorted(files), sorted(others), problems, ignored)


def _key(folders: Iterable[str], stem: str) -> str:
    return unicodedata.normalize("NFC", "/".join((*folders, stem)))


def split_masks(files: list[PurePosixPath]) -> tuple[list[PurePosixPath], dict[PurePosixPath, tuple[str, ...]]]:
    """Images, and for each mask file the keys under which its image may be found."""
    folders = {f.parent for f in files}
    folders |= {a for f in folders for a in f.parents}
    images: list[PurePosixPath] = []
    masks: dict[PurePosixPath, tuple[str, ...]] = {}
    for file in files:
        parts = file.parent.parts
        for i, name in enumerate(parts):
            match = _MASK_FOLDER.fullmatch(name)
            if match and (match[1] is None or PurePosixPath(*parts[:i], match[1]) in folders):
                place_of_image = (*parts[:i], *([match[1]] if match[1] else []), *parts[i + 1 :])
                stems = dict.fromkeys((file.stem, file.stem.removesuffix("_mask")))
                masks[file] = tuple(_key(place_of_image, stem) for stem in stems)
                break
        else:
            images.append(file)
    return images, masks


def _match_masks(
    root: Path, masks: dict[PurePosixPath, tuple[str, ...]], places: dict[PurePosixPath, Place]
) -> tuple[dict[PurePosixPath, PurePosixPath], list[Problem]]:
    """The mask of each fake that has one. A mask of a real image says nothing and is passed over."""
    images: dict[str, list[PurePosixPath]] = {}
    for image, known in places.items():
        folders = image.parent.parts
        without_label = tuple(f for f in folders if f.lower() not in LABELS)
        for key in {_key(folders, image.stem), _key(without_label, image.stem)}:
            images.setdefault(key, []).extend([image] if known.label else [])
    chosen: dict[PurePosixPath, PurePosixPath] = {}
    problems: list[Problem] = []
    for mask, keys in masks.items():
        found = next((images[k] for k in keys if k in images), None)
        path = str(root / mask)
        if found is None:
            problems.append(
                Problem(path, "mask_without_image", f"no labelled image belongs to this mask ({keys[0]}.*)")
            )
        elif len(found) > 1 or (found and found[0] in chosen):
            named = ", ".join(map(str, [*found, chosen.get(found[0], "")])).strip(", ")
            problems.append(Problem(path, "ambiguous_mask", f"mask and image do not belong one to one: {named}"))
        elif found:
            chosen[found[0]] = mask
    return chosen, problems


def _bad_pair(row: Row, image: Decoded) -> Problem | None:
    """What is wrong with the counterpart of a row; only its header is read (it is an image of its own)."""
    try:
        with Image.open(row.pair, formats=FORMATS) as other:
            size = other.size
    except Exception as error:
        return Problem(row.pair, "bad_pair", f"the counterpart of {row.path} cannot be read: {error}")
    if size == image.stored_size:
        return None
    (w, h), (wide, high) = size, image.stored_size
    message = f"the counterpart has {w}x{h} pixels, {row.path} {wide}x{high}; it was left away"
    return Problem(row.pair, "bad_pair", message)


def _read(row: Row) -> tuple[Row | None, Problem | None]:
    """Decode a row's files: the row with its hash, and what is wrong."""
    try:
        image = decode(Path(row.path))
    except IntakeError as error:
        return None, Problem(row.path, error.code, error.message)
    try:
        if row.mask:
            read_mask(row.mask, image)
    except (IntakeError, DataError) as error:
        return None, Problem(row.mask, "bad_mask", error.message)
    problem = _bad_pair(row, image) if row.pair else None
    return replace(row, sha256=image.sha256, pair="" if problem else row.pair), problem


def read_rows(
    rows: Sequence[Row], *, jobs: int | None = None, progress: Progress | None = None
) -> tuple[list[Row], list[Problem]]:
    """Decode the image and the mask of every row.

    Args:
        rows: rows without hashes.
        jobs: threads; None = one per core.
        progress: told how far it is.

    Returns:
        The rows that can be used, with their hashes (a counterpart that does not fit is taken out of its row), and
        a problem for everything that cannot.
    """
    good: list[Row] = []
    problems: list[Problem] = []
    for row, problem in in_threads(_read, rows, jobs=jobs, progress=progress):
        if row is not None:
            good.append(row)
        if problem is not None:
            problems.append(problem)
    return good, problems


def index_folder(
    root: str | Path, *, group: str | None = None, jobs: int | None = None, progress: Progress | None = None
) -> Index:
    """Find, label and fully decode every image below ``root``.

    Args:
        root: the folder; links in it are followed.
        group: a regular expression searched in each path relative to the root (with ``/``); what it finds (its
            first parenthesis, if any) is the group, e.g. ``([^/]+)/[^/]+$`` for the folder of a video's frames.
        jobs: threads; None = one per core.
        progress: told how far it is.

    Raises:
        DataError: no such folder, or no image file in it.
        ConfigError: ``group`` is not a regular expression.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100 (resolve() would replace links)
    try:
        pattern = re.compile(group) if group is not None else None
    except re.error as error:
        raise ConfigError("bad_config", f"group: '{group}' is not a regular expression ({error})") from None
    files, _, problems, ignored = walk(root)
    if not files:
        other = ", ".join(f"{n} {suffix}" for suffix, n in ignored.items()) or "nothing"
        raise DataError("empty", f"there is no image file in {root} (found: {other})")
    images, masks = split_masks(files)
    places: dict[PurePosixPath, Place] = {}
    groups: dict[PurePosixPath, str] = {}
    for image in images:
        path = str(root / image)
        found = pattern.search(str(image)) if pattern else None
        try:
            path.encode()
            places[image] = place(image.parent.parts, root.name)
        except DataError as error:
            problems.append(Problem(path, error.code, error.message))
        except UnicodeEncodeError:
            shown = path.encode("utf-8", "backslashreplace").decode()
            problems.append(
                Problem(shown, "odd_name", "the name is not UTF-8 and cannot stand in a manifest; rename it")
            )
        if pattern and not found:
            problems.append(Problem(path, "no_group", f"the group pattern '{group}' finds nothing in '{image}'"))
            places.pop(image, None)
        elif found:
            groups[image] = found[1] if found.re.groups else found[0]
    mask_of, mask_problems = _match_masks(root, masks, places)
    rows = []
    for image, p in places.items():
        mask = str(root / mask_of[image]) if image in mask_of else ""
        about = {"split": p.split, "source": p.source, "manipulation": p.manipulation}
        rows.append(Row(str(root / image), p.label, mask=mask, group=groups.get(image, ""), **about))
    good, unreadable = read_rows(rows, jobs=jobs, progress=progress)
    return Index(good, sorted([*problems, *mask_problems, *unreadable]), dict(ignored))


def write_problems(path: str | Path, problems: Sequence[Problem]) -> None:
    """Write problems as CSV (path, code, message), replacing the file."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Problem._fields)
        writer.writerows(problems)
