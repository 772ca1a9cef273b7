"""Labelled images on disk as a stream of samples."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from unmask.core.errors import DataError, IntakeError
from unmask.core.seeds import rng
from unmask.core.types import Face, FloatMap, Sample, UInt8Image, ViewConfig
from unmask.data.forgeries import FORGERIES
from unmask.data.intake import decode
from unmask.data.manifest import Row
from unmask.data.masks import MaskPolicy, generated_mask, read_mask
from unmask.data.views import View, turned, views

logger = logging.getLogger(__name__)

PostProcess = Callable[[list[UInt8Image], np.random.Generator], list[UInt8Image]]
"""One random draw applied to all given images alike, e.g. ``functools.partial(post_process, config=...)``."""


def _cycle(members: npt.NDArray[np.intp], count: int, generator: np.random.Generator) -> npt.NDArray[np.intp]:
    """``count`` members in random order, each again only after all others."""
    rounds = -(-count // len(members))
    return np.concatenate([generator.permutation(members) for _ in range(rounds)])[:count]


def _is_generated(row: Row) -> bool:
    known = FORGERIES.get(row.manipulation)
    return not row.mask or (known is not None and known.answers == "generated")


@dataclass(frozen=True)
class ManifestStream:
    """Each position is one view of one image of the manifest, with mask and real counterpart where known.

    A real image is its own counterpart and has an empty mask. When an image gives several views, a shuffled
    stream draws one, an unshuffled one takes the first; for a fake with a known mask only views that show some of
    the edit count (of native views one is cut around the edit if need be). An image whose file, mask or counterpart
    cannot be used, or whose views show no face or no edit, gives None and a warning in the log.
    """

    rows: Sequence[Row]
    view: ViewConfig
    faces: Mapping[str, Sequence[Face]] = field(default_factory=dict)
    """Faces by ``Row.path``; must hold every image when ``view.kind`` is ``face`` (an empty list = no face)."""
    seed: int = 0
    shuffle: bool = True
    """False: manifest order, first view, no flip: for validation. Needs ``balance="none"``."""
    balance: Literal["none", "class", "m_per_class", "pair"] = "none"
    """``none``: every row once an epoch. ``class``: even positions real, odd ones fake, so that any even batch is
    balanced. ``m_per_class``: runs of ``per_class`` rows of one class, the classes being the real images and each
    manipulation. Rows of smaller classes come more than once an epoch, never a second time before all others.
    ``pair``: each fake with a known counterpart once an epoch, at an odd position, and at the even one before it that
    counterpart as a real sample, both after one crop, flip and draw of ``post``; other rows are not used."""
    per_class: int = 4
    flip: bool = False
    """Mirror every second sample (by chance), mask and counterpart with it."""
    rotate: float = 0.0
    """Turn every sample by up to this many degrees either way, mask and counterpart with it."""
    mask_policy: MaskPolicy = "ignore"
    """The mask of a fake that was generated as a whole: one without a mask file, or of a kind that does so. Where fakes
    without a file may be edits whose mask is lost, only ``ignore`` is right."""
    post: PostProcess | None = None
    """Applied to the view and its counterpart with one and the same draw."""

    def __post_init__(self) -> None:
        if not self.rows:
            raise DataError("empty", "a stream needs at least one row")
        if self.balance != "none" and not self.shuffle:
            raise DataError("bad_config", f"balance={self.balance!r} needs shuffle=True")
        if self.balance == "class" and len({r.label for r in self.rows}) < 2:
            raise DataError(
                "one_class", f"balance='class' needs both classes; all rows have label {self.rows[0].label}"
            )
        if self.balance == "pair" and not any(r.pair for r in self.rows):
            raise DataError("no_pairs", "balance='pair' needs rows with a counterpart (column pair); none has one")
        missing = [r.path for r in self.rows if r.path not in self.faces] if self.view.kind == "face" else []
        if missing:
            raise DataError("no_boxes", f"no face boxes were given for {len(missing)} images, {missing[0]} first")

    @cached_property
    def _classes(self) -> list[npt.NDArray[np.intp]]:
        names = [(r.label, r.manipulation if self.balance == "m_per_class" else "") for r in self.rows]
        return [np.flatnonzero([n == name for n in names]) for name in sorted(set(names))]

    def __len__(self) -> int:
        if self.balance == "none":
            return len(self.rows)
        if self.balance == "pair":
            return 2 * sum(bool(r.pair) for r in self.rows)
        run = 1 if self.balance == "class" else self.per_class
        return -(-max(map(len, self._classes)) // run) * run * len(self._classes)

    def order(self, epoch: int) -> npt.NDArray[np.intp]:
        """Row index at each position of ``epoch``."""
        if not self.shuffle:
            return np.arange(len(self.rows))
        cached: tuple[int, npt.NDArray[np.intp]] | None = self.__dict__.get("_order")
        if cached is None or cached[0] != epoch:
            cached = (epoch, self._draw_order(epoch))
            self.__dict__["_order"] = cached
        return cached[1]

    def _draw_order(self, epoch: int) -> npt.NDArray[np.intp]:
        generator = rng(self.seed, epoch, "order")
        if self.balance == "none":
            return generator.permutation(len(self.rows))
        if self.balance == "pair":
            return generator.permutation(np.flatnonzero([bool(r.pair) for r in self.rows])).repeat(2)
        each = len(self) // len(self._classes)
        columns = np.stack([_cycle(members, each, generator) for members in self._classes])  # (classes, each)
        if self.balance == "class":
            return columns.T.reshape(-1)
        runs = columns.reshape(len(columns), -1, self.per_class).swapaxes(0, 1)  # (rounds, classes, per_class)
        return np.stack([r[generator.permutation(len(r))] for r in runs]).reshape(-1)

    def row(self, epoch: int, position: int) -> Row:
        """The row behind a position (with ``balance="pair"`` the fake's, at both positions)."""
        return self.rows[int(self.order(epoch)[position])]

    def sample(self, epoch: int, position: int) -> Sample | None:
        """The sample at ``position``, or None (and a warning that names the file) if it cannot be made."""
        row = self.row(epoch, position)
        try:
            return self._half(row, epoch, position) if self.balance == "pair" else self._sample(row, epoch, position)
        except (IntakeError, DataError) as error:
            logger.warning("left out [%s]: %s: %s", error.code, row.path, error.message)
            return None

    def _half(self, row: Row, epoch: int, position: int) -> Sample:
        """One side of a pair. Both are made at once, and the last pair is kept: the other side comes next."""
        key = epoch, position // 2
        last: tuple[tuple[int, int], Sample] | None = self.__dict__.get("_last")
        if last is None or last[0] != key:
            last = key, self._sample(row, epoch, position // 2)
            self.__dict__["_last"] = last
        fake = last[1]
        if position % 2:
            return fake
        assert fake.pair is not None
        mask = torch.zeros(1, *fake.pair.shape[1:])
        return replace(fake, image=fake.pair, label=0, mask=mask, manipulation="", path=row.pair)

    def _sample(self, row: Row, epoch: int, position: int) -> Sample:
        image = decode(Path(row.path))
        shape = image.pixels.shape[:2]
        mask: FloatMap | None = read_mask(row.mask, image) if row.mask else None
        faces = self.faces.get(row.path, ())
        if row.label == 0:
            mask = np.zeros(shape, np.float32)
        elif _is_generated(row):
            mask = generated_mask(self.mask_policy, (shape[0], shape[1]), faces)
        if self.view.kind == "face" and not faces:
            raise DataError("no_view", "there is no face in it")
        generator = rng(self.seed, epoch if self.shuffle else 0, position, "view")
        cut = self._choose(image.pixels, faces, mask if row.label else None, generator)
        square = cut(image.pixels)
        pixels = [square.pixels]
        if row.pair:
            other = decode(Path(row.pair)).pixels
            if other.shape[:2] != shape:
                raise DataError("bad_pair", f"{row.pair} has another size ({other.shape[:2]}) than its fake ({shape})")
            pixels.append(cut(other).pixels)
        shown = square.from_image(mask) if mask is not None else None
        if self.rotate and self.shuffle:
            degrees = rng(self.seed, epoch, position, "rotate").uniform(-self.rotate, self.rotate)
            pixels = [turned(p, degrees) for p in pixels]
            shown = None if shown is None else turned(shown, degrees)
        if self.post is not None:
            pixels = self.post(pixels, rng(self.seed, epoch, position, "post"))
        mirrored = self.flip and self.shuffle and rng(self.seed, epoch, position, "flip").random() < 0.5
        tensors = [torch.from_numpy(np.ascontiguousarray(p)).permute(2, 0, 1).float() / 255 for p in pixels]
        if shown is not None:
            tensors.append(torch.from_numpy(shown).unsqueeze(0))  # (1, size, size)
        if mirrored:
            tensors = [t.flip(-1) for t in tensors]
        return Sample(
            image=tensors[0],
            label=row.label,
            mask=tensors[-1] if shown is not None else None,
            pair=tensors[0] if row.label == 0 else tensors[1] if row.pair else None,
            group=row.group,
            source=row.source,
            manipulation=row.manipulation,
            path=row.path,
        )

    def _choose(
        self, pixels: UInt8Image, faces: Sequence[Face], edit: FloatMap | None, generator: np.random.Generator
    ) -> Callable[[UInt8Image], View]:
        """Which view to cut, as a function of an image of the same size."""
        squares = views(pixels, faces, self.view)
        shown = [i for i, s in enumerate(squares) if edit is None or s.from_image(edit).max() > 0]
        if shown:
            index = shown[int(generator.integers(len(shown))) if self.shuffle else 0]
            return lambda image: views(image, faces, self.view)[index]
        edited = np.argwhere(edit) if edit is not None else np.empty((0, 2))
        if self.view.kind != "native" or not len(edited):
            raise DataError("no_view", "no view of it shows the edit")
        y, x = map(float, edited[int(generator.integers(len(edited)))])
        return lambda image: views(image, [Face((x, y, x, y))], replace(self.view, crops=1))[0]
