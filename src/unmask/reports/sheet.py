"""A contact sheet: some images of every class and manipulation, with the edited region outlined."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unmask.core.errors import DataError, IntakeError
from unmask.core.files import atomic_path
from unmask.core.seeds import rng
from unmask.core.types import FloatMap, UInt8Image
from unmask.data.intake import decode
from unmask.data.manifest import Row
from unmask.data.masks import read_mask
from unmask.data.parallel import Progress, in_threads
from unmask.data.sources import Problem
from unmask.reports.figures import FAKE, INK, REAL

OUTLINE = (255, 225, 0)
GAP, HEADING, CAPTION = 10, 30, 18
_MOST_PIXELS = 60_000  # of a JPEG's side


class _Tile(NamedTuple):
    pixels: UInt8Image | None
    """(h, w, 3), at most as large as a tile; None: could not be read."""
    problem: Problem | None


def choose(rows: Sequence[Row], per_class: int, seed: int = 0) -> dict[tuple[int, str], list[Row]]:
    """Up to ``per_class`` rows of each class: the real images, and each manipulation.

    The same for any order of the rows. Rows of different groups are taken first, so that a sheet does not show one
    person or video only.

    >>> rows = [Row(f"/{n}.png", n % 2, group=str(n // 4)) for n in range(8)]
    >>> {kind: [r.path for r in chosen] for kind, chosen in choose(rows, 2).items()}
    {(0, ''): ['/2.png', '/6.png'], (1, ''): ['/3.png', '/7.png']}
    """
    members: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: r.path):
        members[row.label, row.manipulation].append(row)
    chosen = {}
    for kind in sorted(members):
        drawn = [members[kind][i] for i in rng(seed, "sheet", *kind).permutation(len(members[kind]))]
        seen: dict[str, int] = {}
        turn = [seen[r.group] for r in drawn if not seen.update({r.group: seen.get(r.group, -1) + bool(r.group)})]
        order = np.argsort(turn, kind="stable")[:per_class]  # first of each group, second of each group, ...
        chosen[kind] = sorted((drawn[i] for i in order), key=lambda r: r.path)
    return chosen


def _outlined(pixels: UInt8Image, mask: FloatMap | None, side: int) -> UInt8Image:
    """The image scaled to fit ``side``, never up, the mask's outline drawn on it."""
    height, width = pixels.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels.copy()
    if mask is not None:
        marked = (cv2.resize(mask, size, interpolation=cv2.INTER_AREA) > 0.02).astype(np.uint8)
        contours, _ = cv2.findContours(marked, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        for colour, thickness in (((0, 0, 0), 3), (OUTLINE, 1)):
            cv2.drawContours(small, contours, -1, colour, thickness)
    return np.asarray(small, np.uint8)


def contact_sheet(
    groups: Mapping[tuple[int, str], Sequence[Row]],
    totals: Mapping[tuple[int, str], int],
    *,
    side: int = 168,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> tuple[Image.Image, list[Problem]]:
    """Draw the sheet: a heading and a row of tiles for each class.

    Args:
        groups: rows by class, as :func:`choose` gives them.
        totals: number of rows of each class, for the headings.
        side: of a tile, in pixels.
        jobs: threads; None = one per core.
        progress: told how far it is.

    Raises:
        DataError: ``too_large``: more classes than fit a picture.
    """

    def tile(row: Row) -> _Tile:
        try:
            image = decode(Path(row.path))
        except IntakeError as error:
            return _Tile(None, Problem(row.path, error.code, error.message))
        mask, problem = None, None
        try:
            mask = read_mask(row.mask, image) if row.mask else None
        except (IntakeError, DataError) as error:
            problem = Problem(row.mask, "bad_mask", error.message)
        return _Tile(_outlined(image.pixels, mask, side), problem)

    columns = max(map(len, groups.values()))
    line = HEADING + side + CAPTION + GAP
    width, height = GAP + columns * (side + GAP), GAP + len(groups) * line
    if height > _MOST_PIXELS:
        raise DataError("too_large", f"{len(groups)} manipulations do not fit one picture; preview a part of the data")
    sheet = Image.new("RGB", (max(width, 2 * side), height), "white")
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(17), ImageFont.load_default(11)
    tiles = in_threads(tile, [r for rows in groups.values() for r in rows], jobs=jobs, progress=progress)
    problems = []
    for n, (kind, rows) in enumerate(groups.items()):
        top, colour = GAP + n * line, FAKE if kind[0] else REAL
        words = f"fake: {kind[1] or 'not named'}" if kind[0] else "real"
        draw.text((GAP, top), f"{words}  ({len(rows)} of {totals[kind]})", fill=colour, font=large)
        for column, row in enumerate(rows):
            x, y = GAP + column * (side + GAP), top + HEADING
            drawn = next(tiles)
            problems += [drawn.problem] if drawn.problem else []
            draw.rectangle((x - 2, y - 2, x + side + 1, y + side + 1), outline=colour, width=2)
            if drawn.pixels is None:
                draw.text((x + 8, y + side // 2), "cannot be read", fill=FAKE, font=small)
            else:
                h, w = drawn.pixels.shape[:2]
                sheet.paste(Image.fromarray(drawn.pixels), (x + (side - w) // 2, y + (side - h) // 2))
            name = f"{Path(row.path).parent.name}/{Path(row.path).name}".encode("ascii", "replace").decode()
            while draw.textlength(name, font=small) > side:
                name = f"~{name[2:]}"
            draw.text((x, y + side + 3), name, fill=INK, font=small)
    return sheet, problems


def write_sheet(path: str | Path, sheet: Image.Image) -> None:
    """Write a sheet atomically, as JPEG or PNG by suffix."""
    buffer = BytesIO()
    sheet.save(buffer, "PNG" if Path(path).suffix.lower() == ".png" else "JPEG", quality=90)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def preview(
    rows: Sequence[Row],
    *,
    per_class: int = 8,
    seed: int = 0,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> tuple[Image.Image, list[Problem]]:
    """The contact sheet of a manifest's rows: see :func:`choose` and :func:`contact_sheet`."""
    totals: dict[tuple[int, str], int] = defaultdict(int)
    for row in rows:
        totals[row.label, row.manipulation] += 1
    return contact_sheet(choose(rows, per_class, seed), totals, jobs=jobs, progress=progress)
