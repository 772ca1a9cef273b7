"""The streams of a recipe: where its files lie, who is held out, which faces there are."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unmask.core.errors import ConfigError, DataError, IntakeError
from unmask.core.files import sha256_file
from unmask.core.seeds import rng
from unmask.core.types import Answers, Face, ViewConfig
from unmask.data.clips import ClipStream
from unmask.data.degradations import post_process
from unmask.data.faces import FaceFinder, read_boxes
from unmask.data.forged import ForgedStream
from unmask.data.forgeries import FORGERIES, check_names
from unmask.data.intake import decode
from unmask.data.labelled import ManifestStream
from unmask.data.loader import SampleStream
from unmask.data.manifest import Row, data_hash, read_manifest
from unmask.data.sources import SUFFIXES
from unmask.data.splits import families, split_rows
from unmask.training.recipe import Recipe

logger = logging.getLogger(__name__)
Progress = Callable[[int, int], None]
_CHUNK = 8


@dataclass(frozen=True)
class Streams:
    """What a run reads."""

    train: SampleStream
    validation: SampleStream
    about: dict[str, Any]
    """Counts and hashes for the weights card."""
    found: dict[str, list[Face]] = dataclasses.field(default_factory=dict)
    """Faces to keep for the next start, by path; empty where none had to be looked for."""


def locate(path: Path, root: Path | None) -> Path:
    """A recipe's path as it lies on this machine: below ``root``, else below $UNMASK_DATA, else the current folder.

    Raises:
        DataError: it is nowhere; the message says what to set.
    """
    path = path.expanduser()
    places = [p for p in (root, os.environ.get("UNMASK_DATA"), ".") if p]
    tried = [path] if path.is_absolute() else [Path(place) / path for place in places]
    for candidate in tried:
        if candidate.exists():
            return candidate.absolute()
    hint = "" if path.is_absolute() else "; set the environment variable UNMASK_DATA or --data.root to its folder"
    raise DataError("not_found", f"there is no {' nor '.join(map(str, tried))}{hint}")


def photo_rows(path: Path) -> list[Row]:
    """Real photos of a folder (every image file below it, each its own group) or of a manifest (rows of label 0)."""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not files:
            raise DataError("empty", f"there is no image file in {path}")
        return [Row(str(f), 0, group=str(f.relative_to(path).with_suffix("")), source=path.name) for f in files]
    rows = [row for row in read_manifest(path) if row.label == 0]
    if not rows:
        raise DataError("empty", f"{path} has no row with label 0: forgeries are made from real photos")
    return rows


def _split(recipe: Recipe) -> tuple[list[Row], list[Row]]:
    """Rows to train on and rows to validate on, no relatives across.

    Raises:
        DataError: nothing to train or validate on, or relatives on both sides.
        ConfigError: not exactly one of ``data.photos`` and ``data.manifest``.
    """
    data, held = recipe.data, recipe.validation
    if (data.photos is None) == (data.manifest is None):
        raise ConfigError(
            "no_data", "set exactly one of data.photos (real photos, forged on the fly) and data.manifest (labelled)"
        )
    if "test" in (data.split, held.split):
        raise ConfigError("select_on_test", "test data is for `unmask evaluate` only, never for training or selection")

    def load(path: Path) -> list[Row]:
        where = locate(path, data.root)
        return photo_rows(where) if data.photos is not None else list(read_manifest(where))

    rows = load(data.photos or data.manifest or Path())
    others = load(held.manifest) if held.manifest is not None else None
    if not any(row.split for row in rows):
        sizes = {data.split: 1.0} if others is not None else {"train": 1 - held.share, "val": held.share}
        if others is None:
            rows = split_rows(rows, sizes, recipe.seed)
        else:
            rows = [dataclasses.replace(row, split=data.split) for row in rows]
    if others is not None and not any(row.split for row in others):
        others = [dataclasses.replace(row, split=held.split) for row in others]
    train = [row for row in rows if row.split == data.split]
    validation = [row for row in (others if others is not None else rows) if row.split == held.split]
    for name, chosen, wanted in (("train", train, data.split), ("validate", validation, held.split)):
        if not chosen:
            found = Counter(row.split or "no split" for row in (others if name == "validate" and others else rows))
            raise DataError("empty_split", f"nothing to {name} on: no row has split '{wanted}', found {dict(found)}")
    seen = {row.path for row in train}
    both = train + [row for row in validation if row.path not in seen]
    kin = dict(zip((row.path for row in both), families(both), strict=True))
    shared = {kin[row.path] for row in train} & {kin[row.path] for row in validation}
    if shared:
        raise DataError(
            "leak",
            f"{len(shared)} families (people, photos) are trained on and validated on, e.g. '{min(shared)}'; "
            "split by group with `unmask data split`",
        )
    return train, validation


def _faces(
    rows: Sequence[Row], recipe: Recipe, kept: Path | None, progress: Progress
) -> tuple[dict[str, list[Face]], dict[str, list[Face]]]:
    """Faces by path, from the recipe's file, from an earlier start of this run, or found now; those to keep.

    Files that cannot be read are in neither: that they show no face is not known, and the next start tries them again.
    """
    known: dict[str, list[Face]] = {}
    found = False
    if recipe.data.boxes is not None:
        file = locate(recipe.data.boxes, recipe.data.root)
        roots = [str(file.parent), str(recipe.data.root or ""), os.environ.get("UNMASK_DATA", "")]
        for name, faces in read_boxes(file).items():
            for root in roots:
                known[os.path.normpath(os.path.join(root, name))] = faces  # noqa: PTH118
    elif kept is not None and kept.is_file():
        known = read_boxes(kept)
    unknown = [row.path for row in rows if row.path not in known]
    if unknown:
        finder = FaceFinder()
        for start in range(0, len(unknown), _CHUNK):
            paths, images = [], []
            for path in unknown[start : start + _CHUNK]:
                try:
                    images.append(decode(Path(path)).pixels)
                    paths.append(path)
                except IntakeError as error:
                    logger.warning("left out [%s]: %s: %s", error.code, path, error.message)
            known |= dict(zip(paths, finder.find(images), strict=True))
            found = found or bool(paths)
            progress(min(start + _CHUNK, len(unknown)), len(unknown))
    wanted = {row.path: known[row.path] for row in rows if row.path in known}
    return wanted, known if found and recipe.data.boxes is None else {}


def _smaller(view: ViewConfig, size: int | None, zoom: float = 1.0) -> ViewConfig:
    """The view cut down to squares of ``size`` at the same scale; the whole view when there is a zoom."""
    if size is None:
        return view
    return dataclasses.replace(view, size=size, margin=view.margin * (size / view.size if zoom == 1 else 1))


def forgery_weights(recipe: Recipe, answers: Answers) -> tuple[dict[str, float], dict[str, float]]:
    """How often each forgery is drawn to train and to validate on, checked before any photo is read.

    Raises:
        ConfigError: an unknown name, or a weight below 0, or none above it.
    """
    kinds = [name for name, f in FORGERIES.items() if answers in (f.answers, "both") and f.by_default]
    drawn = recipe.data.forgeries or dict.fromkeys(kinds, 1.0)
    judged = recipe.validation.forgeries or drawn
    for name, weights in (("data", drawn), ("validation", judged)):
        check_names(weights)
        if min(weights.values()) < 0 or max(weights.values()) == 0:
            raise ConfigError("bad_weights", f"{name}.forgeries need weights >= 0 and one above, got {weights}")
    return drawn, judged


def build_streams(
    recipe: Recipe,
    view: ViewConfig,
    answers: Answers = "both",
    *,
    kept_boxes: Path | None = None,
    most: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Streams:
    """Training and validation streams of a recipe.

    Args:
        recipe: its ``data`` and ``validation`` parts, and the seed.
        view: how the detector sees images.
        answers: the detector's question; where the recipe names no forgeries, all that ask it are drawn.
        kept_boxes: where an earlier start kept the faces it found, if there was one; nothing is written.
        most: use this many photos of each side only (a dry run).
        progress: told how many photos were searched for faces.

    Raises:
        DataError, ConfigError: see :class:`Recipe`; every message says what to change.
    """
    data, seed = recipe.data, recipe.seed
    drawn, judged = forgery_weights(recipe, answers)
    clips = view.frames > 1
    if clips and data.manifest is None:
        raise ConfigError(
            "no_clips",
            "a clip detector is trained on frames of videos: set data.manifest (a folder of frames per video), not "
            "data.photos; forgeries on the fly are made from single photos",
        )
    most = None if most is None else most * view.frames
    train, validation = (rows[:most] for rows in _split(recipe))
    rows = list({row.path: row for row in [*train, *validation]}.values())
    known: dict[str, list[Face]] = {}
    found: dict[str, list[Face]] = {}
    if not (view.kind == "frame" and data.manifest):
        known, found = _faces(rows, recipe, kept_boxes, progress)
    faces = {row.path: known.get(row.path, []) for row in rows}
    if view.kind == "face" and not clips:  # of a clip only the middle frame needs a face: its stream asks
        unreadable = [path for path in faces if path not in known]
        without = [path for path in known if not known[path]]
        for what, paths in (("cannot be read", unreadable), ("show no face", without)):
            if paths:
                logger.warning("%d of %d photos %s and are left out, e.g. %s", len(paths), len(rows), what, paths[0])
        train, validation = ([r for r in part if faces[r.path]] for part in (train, validation))
        if not train or not validation:
            raise DataError(
                "no_faces",
                f"no photo with a face is left to {'validate' if train else 'train'} on: of {len(rows)}, "
                f"{len(unreadable)} cannot be read and {len(without)} show no face",
            )
    order = rng(seed, "validation order").permutation(len(validation))
    validation = [validation[i] for i in order]
    about: dict[str, Any] = {
        "train": {"images": len(train), "groups": len({r.group for r in train}), "hash": data_hash(train)},
        "validation": {"images": len(validation), "groups": len({r.group for r in validation})}
        | {"hash": data_hash(validation)},
        "sources": dict(Counter(r.source for r in train)),
    }
    for name, path in (("photos", data.photos), ("manifest", data.manifest), ("boxes", data.boxes)):
        where = None if path is None else locate(path, data.root)
        if where is not None and where.is_file():
            about[name] = {"name": where.name, "sha256": sha256_file(where)}
    if data.manifest is not None:
        post = functools.partial(post_process, config=data.post)
        if clips:
            change: dict[str, Any] = {"flip": data.flip, "rotate": data.rotate, "post": post}
            return Streams(
                ClipStream(train, _smaller(view, data.size), faces, seed=seed, clips=data.clips, **change),
                ClipStream(validation, view, faces, seed=seed, clips=data.clips, shuffle=False),
                about,
                found,
            )
        stream: SampleStream = ManifestStream(
            train,
            _smaller(view, data.size),
            faces,
            seed=seed,
            balance=data.balance,
            per_class=data.per_class,
            flip=data.flip,
            rotate=data.rotate,
            mask_policy=data.mask_policy,
            post=post,
        )
        unseen = ManifestStream(validation, view, faces, seed=seed, shuffle=False, mask_policy=data.mask_policy)
        return Streams(stream, unseen, about, found)
    common: dict[str, Any] = {"faces": faces, "post": data.post, "matched": data.matched}
    common |= {"recompressed": data.recompressed, "original": data.original, "early": data.early}
    common |= {"mask_policy": data.mask_policy}
    return Streams(
        ForgedStream(
            train,
            _smaller(view, data.size, data.zoom),
            forgeries=drawn,
            seed=seed,
            repeat=data.repeat,
            jitter=data.jitter,
            zoom=data.zoom,
            flip=data.flip,
            rotate=data.rotate,
            **common,
        ),
        ForgedStream(validation, view, forgeries=judged, seed=seed + 1, jitter=0.0, flip=False, **common),
        about | {"forgeries": {"train": drawn, "validation": judged}},
        found,
    )
