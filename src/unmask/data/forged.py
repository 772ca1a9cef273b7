"""Real photos in, aligned pairs of real and forged views out, made on the fly and never stored."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from unmask.core.errors import DataError, IntakeError
from unmask.core.seeds import rng
from unmask.core.types import Face, FloatMap, Sample, UInt8Image, ViewConfig
from unmask.data.degradations import INTERPOLATIONS, PostConfig, post_process, u8
from unmask.data.forgeries import EDITS, FORGERIES, Forged, check_names, forge
from unmask.data.forgeries.changes import draw_change, draw_codec
from unmask.data.intake import decode
from unmask.data.manifest import Row
from unmask.data.masks import MaskPolicy, generated_mask
from unmask.data.views import resized, turn_matrix, turned, views

logger = logging.getLogger(__name__)

_RIM = 16
"""Native views of wholly generated images are made with this many more pixels on each side, cut off at the end: how
networks and filters treat the border of a crop says nothing about a whole image."""
_LEAST = 64
"""Smallest side of a view that is forged at the photo's own resolution."""
_FINEST = 4
"""Largest, in sides of the view: finer traces do not outlive the resizing."""


@dataclass(frozen=True)
class ForgedStream:
    """Pairs from real photos: an even position is a real view, the odd one after it the same view forged.

    Both of a pair come from the same crop of the same photo and go through the same history before the forgery and
    the same post-processing after it, so that only the forgery tells them apart; both carry mask (see ``mask_policy``)
    and pair. Everything depends on ``(seed, epoch, position)`` alone. A photo that cannot be read, shows no face where
    one is needed, or on which nothing can be forged gives None at both positions.
    """

    photos: Sequence[Row]
    """Real photos (label 0)."""
    view: ViewConfig
    faces: Mapping[str, Sequence[Face]] = field(default_factory=dict)
    """Faces by ``Row.path``; needed for every photo when ``view.kind`` is ``face``."""
    forgeries: Mapping[str, float] = field(default_factory=lambda: dict(EDITS))
    """Name to weight; a name left out (or of weight 0) never occurs, e.g. to hold a kind out for validation.
    The default is every kind that edits a part, evenly."""
    post: PostConfig = field(default_factory=PostConfig)
    """What happens to both of a pair after the forgery."""
    seed: int = 0
    repeat: int = 1
    """Pairs per photo and epoch."""
    jitter: float = 0.15
    """The crop's side varies by this fraction, its centre by half of it."""
    flip: bool = True
    """Mirror half of the views."""
    rotate: float = 0.0
    """Turn every view, before the forgery, by up to this many degrees either way."""
    matched: float = 0.5
    """Probability that the whole photo is first changed the way forgeries change a part (colour, sharpness, grain,
    codec): what makes a forgery is that a part differs, not that the change is there."""
    recompressed: float = 0.3
    """Probability of an earlier JPEG, on a grid of its own, before the forgery."""
    original: float = 0.5
    """Probability of forging at the photo's own resolution (at most four times the view's side) and resizing to the
    view after, up or down, as edits are made and analysed in life. ``native`` views are forged as they are seen, on
    a photo that was shrunk up to twice before, with a random kernel: the traces looked for there are those of the last
    step."""
    zoom: float = 1.0
    """Views are up to this many times larger than the view's size, evenly in log scale and never above the photo's own
    resolution; a square of the view's size that shows some of the forgery is cut from each. One network learns several
    scales for the price of the smallest. ``native`` views are not zoomed."""
    early: float = 0.0
    """Probability that what happens after the forgery (``post``) happens before a forgery made at another size is
    brought to the view's, as it does to a photo that is analysed at another resolution than it was saved at."""
    mask_policy: MaskPolicy = "ignore"
    """The mask of a view that was re-synthesised as a whole. Masks of edits are exact whatever it says."""
    cache_mb: int = 1024
    """Decoded photos are kept in memory up to this many megabytes (per process)."""

    def __post_init__(self) -> None:
        if not self.photos:
            raise DataError("empty", "a stream needs at least one photo")
        fakes = [r.path for r in self.photos if r.label != 0]
        if fakes:
            raise DataError("not_real", f"forgeries are made from real photos; {len(fakes)} rows are not: {fakes[0]}")
        check_names(self.forgeries)
        if not any(w > 0 for w in self.forgeries.values()) or min(self.forgeries.values()) < 0:
            raise DataError("bad_weights", f"forgeries need weights >= 0 and one above, got {dict(self.forgeries)}")
        missing = [r.path for r in self.photos if r.path not in self.faces] if self.view.kind == "face" else []
        if missing:
            raise DataError("no_boxes", f"no face boxes were given for {len(missing)} photos, {missing[0]} first")

    @property
    def _rim(self) -> int:
        whole = all(FORGERIES[name].answers == "generated" for name, weight in self.forgeries.items() if weight > 0)
        return _RIM if whole and self.view.kind == "native" else 0

    def __len__(self) -> int:
        return 2 * len(self.photos) * self.repeat

    def __getstate__(self) -> dict[str, Any]:
        """Without the caches: a worker process fills its own."""
        return {k: v for k, v in self.__dict__.items() if not k.startswith("_")}

    def sample(self, epoch: int, position: int) -> Sample | None:
        """The real (even position) or forged (odd) view, or None (and a warning in the log) if it cannot be made."""
        key = (epoch, position // 2)
        cached: tuple[tuple[int, int], tuple[Sample, Sample] | None] | None = self.__dict__.get("_last")
        if cached is None or cached[0] != key:
            row = self.row(epoch, position)
            try:
                cached = (key, self._pair(row, rng(self.seed, epoch, position // 2, "forge")))
            except (IntakeError, DataError) as error:
                logger.warning("left out [%s]: %s: %s", error.code, row.path, error.message)
                cached = (key, None)
            self.__dict__["_last"] = cached
        return cached[1][position % 2] if cached[1] is not None else None

    def row(self, epoch: int, position: int) -> Row:
        """The photo behind a position: each once, in random order, before any comes again."""
        order: tuple[int, Any] | None = self.__dict__.get("_order")
        if order is None or order[0] != epoch:
            generator = rng(self.seed, epoch, "order")
            order = (epoch, np.concatenate([generator.permutation(len(self.photos)) for _ in range(self.repeat)]))
            self.__dict__["_order"] = order
        return self.photos[int(order[1][position // 2])]

    def _pixels(self, path: str) -> UInt8Image:
        cache: dict[str, UInt8Image] = self.__dict__.setdefault("_cache", {})
        if path in cache:
            return cache[path]
        pixels = decode(Path(path)).pixels
        used = self.__dict__.get("_cached_bytes", 0) + pixels.nbytes
        if used <= self.cache_mb * 2**20:
            cache[path] = pixels
            self.__dict__["_cached_bytes"] = used
        return pixels

    def _pair(self, row: Row, generator: np.random.Generator) -> tuple[Sample, Sample]:
        crop, face, side = self._crop(row, generator)
        if generator.random() < self.recompressed:
            crop = draw_codec(generator)(crop)
        if generator.random() < self.matched:
            crop = draw_change(generator)(crop)
        forged = self._forge(row, crop, face, generator)
        real, fake, mask = forged.real, forged.image, forged.mask
        known = True
        if FORGERIES[forged.manipulation].answers == "generated":
            whole = generated_mask(self.mask_policy, (mask.shape[0], mask.shape[1]), [face] if face else [])
            known, mask = whole is not None, mask if whole is None else whole
        rim, size = self._rim, self.view.size
        early = real.shape[0] != side + 2 * rim and generator.random() < self.early
        if early:
            real, fake = post_process([real, fake], generator, self.post)
        if real.shape[0] != side + 2 * rim:
            real, fake, mask = (resized(values, side) for values in (real, fake, mask))
            mask = np.minimum(mask, np.float32(1))
        if not early:
            real, fake = post_process([real, fake], generator, self.post)
        inner = (slice(rim, rim + size),) * 2 if side == size else _window(mask, size, generator)
        mask = np.ascontiguousarray(mask[inner])
        pair, image = _tensor(real[inner]), _tensor(fake[inner])
        empty = torch.zeros(1, size, size)
        about = {"group": row.group, "source": row.source, "path": row.path}
        return (
            Sample(pair, 0, mask=empty, pair=pair, **about),
            Sample(
                image,
                1,
                torch.from_numpy(mask)[None] if known else None,
                pair,
                manipulation=forged.manipulation,
                **about,
            ),
        )

    def _forge(self, row: Row, crop: UInt8Image, face: Face | None, generator: np.random.Generator) -> Forged:
        """A forgery of a kind drawn by weight; where that kind cannot be made, the next draw."""
        weights = {name: weight for name, weight in self.forgeries.items() if weight > 0}
        while True:
            share = np.array(list(weights.values()))
            name = list(weights)[generator.choice(len(weights), p=share / share.sum())]
            donor = self._donor(row, generator) if name in ("splice", "colour", "seamless") else None
            try:
                return forge(name, crop, face, generator, () if donor is None else (donor,))
            except DataError:
                del weights[name]
                if not weights:
                    raise

    def _crop(self, row: Row, generator: np.random.Generator) -> tuple[UInt8Image, Face | None, int]:
        """A jittered view at the size it will be forged at, the face in it, and the view's side afterwards."""
        image = self._pixels(row.path)
        faces = self.faces.get(row.path, ())
        face = faces[int(generator.integers(len(faces)))] if faces else None
        height, width = image.shape[:2]
        stretch, shift = 1 + self.jitter * generator.uniform(-1, 1), self.jitter / 2 * generator.uniform(-1, 1, 2)
        config = replace(self.view, margin=self.view.margin * stretch, crops=1)
        frame = config.size + 2 * self._rim
        if config.kind == "native":  # a place near the face, or anywhere
            around = np.array(face.box if face else (0, 0, width, height)).reshape(2, 2)
            spread = config.size * 0.6 if face else np.array([width, height]) / 2
            place = around.mean(0) + generator.uniform(-1, 1, 2) * spread
            aims = [Face((*place, *place))]
            config = replace(config, size=frame)
        elif config.kind == "face":
            if face is None:
                raise DataError("no_view", "there is no face in it")
            x1, y1, x2, y2 = face.box
            dx, dy = shift * max(x2 - x1, y2 - y1) * config.margin
            aims = [Face((x1 + dx, y1 + dy, x2 + dx, y2 + dy))]
        else:
            aims = []
        full = min(height, width) if config.kind == "native" else max(height, width)
        if face is not None and config.kind == "face":
            full = min(full, round(_side(face) * config.margin))
        side = self.view.size
        if self.zoom > 1 and config.kind != "native":
            side = max(side, min(round(side * self.zoom ** generator.random()), full))
            config = replace(config, size=side)
        original = generator.random() < self.original
        if original and config.kind == "native":
            wanted = config.size * generator.uniform(1, 2)
            config = replace(config, size=max(config.size, min(round(wanted), full)))
        view = views(image, aims, config)[0]
        if original and config.kind != "native":
            own = min(max(view.box[2] - view.box[0], _LEAST), _FINEST * side)
            view = views(image, aims, replace(config, size=own))[0]
        crop = view.pixels
        if config.kind == "native" and config.size != frame:
            kernel = INTERPOLATIONS[str(generator.choice(list(INTERPOLATIONS)))]
            crop = u8(cv2.resize(crop, (frame, frame), interpolation=kernel))
        if face is not None:
            face = _moved(face, view.box, crop.shape[0])
            if max(face.box[:2]) > 0.8 * crop.shape[0] or min(face.box[2:]) < 0.2 * crop.shape[0]:
                face = None  # hardly any of it is in view
        if self.flip and generator.random() < 0.5:
            crop = np.ascontiguousarray(crop[:, ::-1])
            face = _mirrored(face, crop.shape[1]) if face is not None else None
        if self.rotate:
            degrees = generator.uniform(-self.rotate, self.rotate)
            crop = turned(crop, degrees)
            face = _turned(face, crop.shape[0], degrees) if face is not None else None
        return crop, face, side

    def _donor(self, row: Row, generator: np.random.Generator) -> UInt8Image | None:
        """A patch of another photo, well away from every known face; None where none is found at once."""
        other = self.photos[int(generator.integers(len(self.photos)))]
        faces = self.faces.get(other.path, ())
        if other.path == row.path or not faces:
            return None
        try:
            image = self._pixels(other.path)
        except IntakeError:
            return None
        height, width = image.shape[:2]
        for _ in range(6):
            side = int(min(height, width) * generator.uniform(0.2, 0.5))
            x, y = int(generator.integers(width - side + 1)), int(generator.integers(height - side + 1))
            if side >= 32 and not any(_touches(f, x, y, side) for f in faces):
                return np.ascontiguousarray(image[y : y + side, x : x + side])
        return None


def _window(mask: FloatMap, size: int, generator: np.random.Generator) -> tuple[slice, slice]:
    """A ``size`` x ``size`` square of the map that holds a random pixel of its stronger part, not close to the rim."""
    inside = np.flatnonzero(mask > mask.max() / 4)
    place = np.array(np.unravel_index(inside[generator.integers(len(inside))], mask.shape))
    room = np.array(mask.shape) - size
    y, x = np.clip(np.round(place - generator.uniform(0.15, 0.85, 2) * size), 0, room).astype(int)
    return slice(int(y), int(y) + size), slice(int(x), int(x) + size)


def _touches(face: Face, x: int, y: int, side: int) -> bool:
    """True when a square meets the face box grown by half its size on every side."""
    x1, y1, x2, y2 = face.box
    gx, gy = (x2 - x1) / 2, (y2 - y1) / 2
    return x < x2 + gx and x + side > x1 - gx and y < y2 + gy and y + side > y1 - gy


def _side(face: Face) -> float:
    return max(face.box[2] - face.box[0], face.box[3] - face.box[1])


def _moved(face: Face, box: tuple[int, int, int, int], size: int) -> Face:
    """A face of the image as a face of the view that shows ``box`` at ``size`` pixels."""
    left, top, scale = box[0], box[1], size / (box[2] - box[0])
    x1, y1, x2, y2 = ((v - o) * scale for v, o in zip(face.box, (left, top, left, top), strict=True))
    points = face.points and tuple(((x - left) * scale, (y - top) * scale) for x, y in face.points)
    return Face((x1, y1, x2, y2), face.score, points)


def _mirrored(face: Face, width: int) -> Face:
    x1, y1, x2, y2 = face.box
    points = face.points
    if points is not None:
        points = tuple((width - points[i][0], points[i][1]) for i in (1, 0, 2, 4, 3))
    return Face((width - x2, y1, width - x1, y2), face.score, points)


def _turned(face: Face, side: int, degrees: float) -> Face:
    """The face after :func:`turned`: points where they went, a box of the same size about its moved centre."""
    x1, y1, x2, y2 = face.box
    places = np.array([((x1 + x2) / 2, (y1 + y2) / 2), *(face.points or ())])
    moved = np.concatenate([places, np.ones((len(places), 1))], 1) @ turn_matrix(side, side, degrees).T
    dx, dy = moved[0] - places[0]
    points = tuple((float(x), float(y)) for x, y in moved[1:]) if face.points is not None else None
    return Face((x1 + dx, y1 + dy, x2 + dx, y2 + dy), face.score, points)


def _tensor(image: UInt8Image) -> torch.Tensor:
    """uint8 (H, W, 3) to float32 (3, H, W) in [0, 1]."""
    return torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1).contiguous() / 255
