"""A folder of real photos to a labelled data set on disk: forgeries, exact masks, real counterparts, manifest.

Layout, which ``unmask data index`` reads too::

    real/NAME.png    fake/KIND/NAME.png    fake_mask/KIND/NAME.png    manifest.csv

Both classes are decoded once and encoded the same way; nothing else happens after the forgery.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from unmask.core.errors import DataError, UnmaskError
from unmask.core.files import atomic_path, sha256_file
from unmask.core.seeds import rng
from unmask.core.types import Face, UInt8Image
from unmask.data.forgeries import EDITS, Forged, check_names, forge
from unmask.data.intake import decode
from unmask.data.manifest import Row, write_manifest
from unmask.data.sources import Problem

FindFaces = Callable[[str, UInt8Image], Sequence[Face]]
"""Faces of a photo, given its path as listed and its pixels."""


@dataclass
class ForgedFiles:
    """What was written, and what could not be."""

    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    without_face: int = 0
    """Photos in which no face was found: their forgeries lie anywhere."""


def write_forgeries(
    folder: Path,
    names: Sequence[str],
    out: Path,
    find_faces: FindFaces,
    *,
    kinds: Sequence[str] = tuple(EDITS),
    per_photo: int = 1,
    seed: int = 0,
    image_format: Literal["png", "jpg"] = "png",
    groups: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ForgedFiles:
    """Forge every photo ``per_photo`` times and write files and ``manifest.csv`` under ``out``.

    Args:
        folder: where the photos are.
        names: their paths relative to it.
        out: an empty or new folder; existing files of the same names are replaced.
        find_faces: gives the faces of a photo; of several, one is drawn for each forgery.
        kinds: names of forgeries; each photo goes through them in its own random order.
        per_photo: forgeries per photo.
        seed: with a photo's name it decides everything, whatever other photos there are.
        image_format: ``png``, or ``jpg`` (quality 95, 4:4:4); masks are always PNG.
        groups: person (or video) by photo name; by default each photo is its own group.
        progress: called with (photos done, photos in all).

    Returns:
        Rows of the manifest and the photos that could not be used. On Ctrl-C, too, the manifest lists what is there.

    Raises:
        DataError: an unknown kind, a photo that ``groups`` does not list, or a file that cannot be written.
    """
    check_names(kinds)
    missing = [n for n in names if n not in groups] if groups is not None else []
    if missing:
        raise DataError("no_group", f"the groups file does not list {len(missing)} photos, {missing[0]} first")
    result = ForgedFiles()
    try:
        for done, name in enumerate(names):
            progress(done, len(names))
            try:
                pixels = decode(folder / name).pixels
                faces = find_faces(name, pixels)
                result.without_face += not faces
                about = Row("", 0, group=groups[name] if groups is not None else name, source=folder.resolve().name)
                real: dict[str, str] = {}
                for number, forged in enumerate(_forgeries(name, pixels, faces, kinds, per_photo, seed)):
                    result.rows += _write(out, f"{_flat(name)}_{number}.{image_format}", forged, about, real)
            except UnmaskError as error:
                result.problems.append(Problem(str(folder / name), error.code, error.message))
            except UnicodeEncodeError:
                text = "the name is not UTF-8 and cannot stand in a manifest; rename it"
                result.problems.append(Problem(str(folder / name), "odd_name", text))
            except OSError as error:
                raise DataError("cannot_write", f"cannot write below {out}: {error}") from error
        progress(len(names), len(names))
    finally:
        if result.rows:
            write_manifest(out / "manifest.csv", result.rows, overwrite=True)
    return result


def _forgeries(
    name: str, pixels: UInt8Image, faces: Sequence[Face], kinds: Sequence[str], per_photo: int, seed: int
) -> Iterator[Forged]:
    """All forgeries of one photo; a kind that cannot be made of it gives way to the next."""
    order = [kinds[i] for i in rng(seed, name, "kinds").permutation(len(kinds))]
    made = turn = 0
    while made < per_photo:
        kind, generator = order[turn % len(order)], rng(seed, name, turn)
        face = faces[int(generator.integers(len(faces)))] if faces else None
        try:
            yield forge(kind, pixels, face, generator)
            made, turn = made + 1, turn + 1
        except DataError:
            order.remove(kind)
            if not order:
                raise


def _write(out: Path, name: str, forged: Forged, about: Row, real: dict[str, str]) -> list[Row]:
    """Write one pair and its mask and give its rows; a counterpart that is in ``real`` (sha256 to path) already is
    not written twice."""
    kind = forged.manipulation
    pair, fake = out / "real" / name, out / "fake" / kind / name
    mask = (out / "fake_mask" / kind / name).with_suffix(".png")
    _save(pair, forged.real)
    _save(fake, forged.image)
    _save(mask, np.rint(forged.mask * 255).astype(np.uint8))
    rows = []
    digest = sha256_file(pair)
    if digest in real:
        pair.unlink()
    else:
        real[digest] = str(pair)
        rows.append(replace(about, path=str(pair), sha256=digest))
    edited = replace(about, path=str(fake), label=1, mask=str(mask), pair=real[digest], sha256=sha256_file(fake))
    return [*rows, replace(edited, manipulation=kind)]


def _save(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    with atomic_path(path) as temporary:
        if path.suffix == ".jpg":
            Image.fromarray(pixels).save(temporary, "JPEG", quality=95, subsampling=0)
        else:
            Image.fromarray(pixels).save(temporary, "PNG", compress_level=3)


def _flat(name: str) -> str:
    """A relative path as one file name, suffix and all, so that ``a/x.jpg`` and ``b/x.png`` stay apart.

    >>> _flat("b/x.y.png")
    'b__x.y.png'
    """
    return name.replace("\\", "/").replace("/", "__")


def read_groups(path: Path) -> dict[str, str]:
    """Group by photo name from a CSV with the columns ``path`` and ``group`` (or ``person_id``).

    Raises:
        DataError: no such file or column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or [])
            column = next((n for n in ("group", "person_id") if n in names), None)
            if "path" not in names or column is None:
                raise DataError("bad_groups", f"{path} needs the columns path and group, got: {', '.join(names)}")
            return {row["path"]: row[column] for row in reader}
    except (OSError, ValueError, csv.Error) as error:
        raise DataError("bad_groups", f"cannot read groups from {path}: {error}") from error
