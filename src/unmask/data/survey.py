"""What a data set is made of: sizes, formats, JPEG quality, sharpness, brightness, areas of masks; per class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from unmask.core.errors import DataError, IntakeError
from unmask.data.filefacts import jpeg_quality
from unmask.data.intake import decode
from unmask.data.manifest import Manifest, data_hash
from unmask.data.masks import read_mask
from unmask.data.parallel import Progress, in_threads
from unmask.data.shortcuts import COLOUR_FEATURES, blur_score, colour_features
from unmask.data.sources import Place, Problem, place, split_masks, walk

NUMBERS: dict[str, str] = {
    "width": "width in pixels",
    "height": "height in pixels",
    "bytes_per_pixel": "bytes of the file per pixel",
    "quality": "JPEG quality: estimated from the quantisation tables",
    "sharpness": "sharpness: standard deviation of the Laplacian (low = blurred)",
    "brightness": "brightness: mean of the grey image (0 black to 1 white)",
    "contrast": "contrast: standard deviation of the grey image",
    "saturation": "mean saturation",
    "mask_area": "mask area: share of the image that its mask marks",
}
"""What is measured of each image: a name, and after a colon how."""
CLASSES = ("real", "fake", "unlabelled")
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


class Item(NamedTuple):
    """One image to look at, and what is known of it."""

    path: str
    kind: str
    """One of :data:`CLASSES`."""
    split: str = ""
    source: str = ""
    manipulation: str = ""
    group: str = ""
    mask: str = ""


class _Look(NamedTuple):
    format: str
    exact: bool
    values: tuple[float, ...]
    """In the order of :data:`NUMBERS`; nan = does not apply."""
    problem: Problem | None


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """Every readable image with its numbers."""

    items: list[Item]
    formats: list[str]
    values: npt.NDArray[np.float64]
    """(N, K): rows as ``items``, columns as :data:`NUMBERS`."""
    standard_tables: int
    """JPEG files whose tables are exactly those of a libjpeg quality."""
    problems: list[Problem]
    data_sha256: str | None
    """Of a manifest's rows; None for a folder."""

    def number(self, name: str) -> npt.NDArray[np.float64]:
        """(N,) one number of all images."""
        column: npt.NDArray[np.float64] = self.values[:, list(NUMBERS).index(name)]
        return column

    def of(self, kind: str) -> npt.NDArray[np.bool_]:
        """(N,) which images are of one class."""
        return np.array([i.kind == kind for i in self.items], bool)

    def summary(self) -> dict[str, Any]:
        """Counts and quantiles, ready for JSON."""
        groups = Counter(i.group for i in self.items if i.group)
        return {
            "images": len(self.items),
            "data_sha256": self.data_sha256,
            "counts": {
                "class": dict(Counter(i.kind for i in self.items)),
                **{
                    key: _counted(self.items, lambda i, key=key: str(getattr(i, key)))  # type: ignore[misc]
                    for key in ("split", "source", "manipulation")
                },
                "format": _crossed(zip(self.formats, (i.kind for i in self.items), strict=True)),
            },
            "groups": {"count": len(groups), "largest": max(groups.values(), default=0)}
            | {"without": sum(not i.group for i in self.items)},
            "jpeg_with_standard_tables": self.standard_tables,
            "numbers": {
                name: {kind: found for kind in CLASSES if (found := _quantiles(self.number(name)[self.of(kind)]))}
                for name in NUMBERS
            },
            "problems": [p._asdict() for p in self.problems],
        }


def _crossed(pairs: Any) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for (name, kind), count in sorted(Counter(pairs).items()):
        counts.setdefault(name, {})[kind] = count
    return counts


def _counted(items: Sequence[Item], key: Callable[[Item], str]) -> dict[str, dict[str, int]]:
    return _crossed((key(i), i.kind) for i in items)


def _quantiles(values: npt.NDArray[np.float64]) -> dict[str, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return {}
    points = np.quantile(known, QUANTILES)
    named = {f"q{100 * q:g}": float(v) for q, v in zip(QUANTILES, points, strict=True)}
    return {"count": len(known), "mean": float(known.mean()), **named}


def items_of(source: Manifest | Path) -> tuple[list[Item], list[Problem]]:
    """The images of a manifest, or of a folder: there the class is what folder names say, else ``unlabelled``.

    Raises:
        DataError: no such folder, or no image in it.
    """
    if isinstance(source, Manifest):
        kinds = ("real", "fake")
        return [
            Item(r.path, kinds[r.label], r.split, r.source, r.manipulation, r.group, r.mask) for r in source.rows
        ], []
    found = walk(source)
    items = []
    for file in split_masks(found.images)[0]:
        try:
            where = place(file.parent.parts, source.name)
        except DataError:
            where = Place(2, "", "/".join(file.parent.parts), "")
        items.append(Item(str(source / file), CLASSES[where.label], where.split, where.source, where.manipulation))
    if not items:
        raise DataError("empty", f"there is no image file in {source}")
    return items, found.problems


def _look(item: Item) -> _Look | Problem:
    try:
        image = decode(Path(item.path))
    except IntakeError as error:
        return Problem(item.path, error.code, error.message)
    area, problem = float("nan"), None
    if item.mask:
        try:
            area = float((read_mask(item.mask, image) > 0).mean())
        except (IntakeError, DataError) as error:
            problem = Problem(item.mask, "bad_mask", error.message)
    height, width = image.pixels.shape[:2]
    quality = jpeg_quality(image.quantization)
    colour = dict(zip(COLOUR_FEATURES, map(float, colour_features(image.pixels)), strict=True))
    values = {
        "width": width,
        "height": height,
        "bytes_per_pixel": image.n_bytes / (width * height),
        "quality": quality.value if quality else float("nan"),
        "sharpness": -blur_score(image.pixels),
        "mask_area": area,
        **colour,
    }
    return _Look(image.format, bool(quality and quality.exact), tuple(values[n] for n in NUMBERS), problem)


def survey(source: Manifest | Path, *, jobs: int | None = None, progress: Progress | None = None) -> Survey:
    """Decode every image once and measure it; of each only its numbers are kept.

    Args:
        source: a manifest, or a folder of images.
        jobs: threads; None = one per core.
        progress: told (done, total).

    Raises:
        DataError: no image, or none that can be read.
    """
    items, problems = items_of(source)
    kept: list[Item] = []
    formats: list[str] = []
    values = np.empty((len(items), len(NUMBERS)))
    standard = 0
    for item, look in zip(items, in_threads(_look, items, jobs=jobs, progress=progress), strict=True):
        if isinstance(look, Problem):
            problems.append(look)
            continue
        values[len(kept)] = look.values
        kept.append(item)
        formats.append(look.format)
        standard += look.exact
        if look.problem:
            problems.append(look.problem)
    if not kept:
        raise DataError("nothing_readable", f"none of {len(items)} images can be read; first: {problems[0].message}")
    digest = data_hash(source.rows) if isinstance(source, Manifest) else None
    return Survey(kept, formats, values[: len(kept)], standard, sorted(problems), digest)
