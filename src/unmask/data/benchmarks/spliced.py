"""Photo forgeries with masks: CASIA v1 and v2, Columbia, COVERAGE, NIST16 (NC2016).

=========  =========================================================================================================
casia1/2   ``Au/`` real; ``Tp/`` (v1 also ``Sp/``) fake; masks in ``Gt/`` or ``CASIA … groundtruth/`` as ``NAME_gt.png``
columbia   ``4cam_auth/`` real; ``4cam_splc/`` fake, masks in ``4cam_splc/edgemask/`` as ``NAME_edgemask.jpg``: the
           spliced region is green, the rest red
coverage   ``image/N.tif`` real, ``image/Nt.tif`` made from it; masks ``mask/Nforged.tif``
nist16     ``reference/manipulation/NC2016-manipulation-ref.csv`` names image, label, mask (black = edited) and the
           photo an image was made from
=========  =========================================================================================================

CASIA's names say which photos a forgery was made of (``Tp_D_…_arc00013_sec00045_11700``), so these are relatives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import numpy.typing as npt

from unmask.core.errors import DataError
from unmask.core.files import atomic_path
from unmask.data.benchmarks.tree import About, Tree, one_of
from unmask.data.intake import decode
from unmask.data.splits import components

Mask = npt.NDArray[np.bool_]


def _green(pixels: npt.NDArray[np.uint8]) -> Mask:
    """More green than red; neither (black edges) is untouched."""
    return (pixels[..., 1] > pixels[..., 0]) & (pixels[..., 1] > 64)


READERS: dict[str, Callable[[npt.NDArray[np.uint8]], Mask]] = {
    "green": _green,
    "black": lambda pixels: pixels.max(-1) < 128,
}
"""How masks that are not grey with 255 = edited are read, from (H, W, 3) uint8 to (H, W)."""


def convert_mask(source: str, kind: str, target: Path) -> None:
    """Write a mask in the manifest's form: 8-bit grey PNG, 255 = edited.

    Raises:
        IntakeError: ``source`` cannot be decoded.
    """
    edited = READERS[kind](decode(Path(source)).pixels)
    _, data = cv2.imencode(".png", edited.astype(np.uint8) * 255)
    with atomic_path(target) as temporary:
        temporary.write_bytes(data.tobytes())


_CASIA = re.compile(r"(?:Tp|Sp)_([DS])_.*?_([a-z]{3}\d+)_([a-z]{3}\d+)_\d+.*", re.IGNORECASE)
_AUTHENTIC = re.compile(r"Au_([a-z]{3})_?(\d+).*", re.IGNORECASE)
_HOW = {"d": "splice", "s": "copy_move"}


def casia(tree: Tree, name: str) -> None:
    """CASIA v1 or v2; ``D`` in a name: from two photos (splice), ``S``: from one (copy and move)."""
    tops = tree.folders()
    real = [f for f in tops if f.lower() in ("au", "authentic")]
    fake = [f for f in tops if f.lower() in ("tp", "sp", "tampered")]
    truth = [f for f in tops if f.lower() in ("gt", "mask", "masks") or "groundtruth" in f.lower().replace(" ", "")]
    for folders, what in ((real, "Au"), (fake, "Tp"), (truth, "Gt")):
        if not folders:
            tree.problem(what, "missing", "the layout has this folder; it is not here")
    masks = {m.stem.removesuffix("_gt").lower(): m for f in truth for m in tree.below(f)}
    images = [(f, 0) for folder in real for f in tree.below(folder)]
    images += [(f, 1) for folder in fake for f in tree.below(folder)]
    photos: dict[PurePosixPath, tuple[str, ...]] = {}
    for file, label in images:
        match = (_CASIA if label else _AUTHENTIC).fullmatch(file.stem)
        if match is None:
            tree.problem(file, "no_group", "the name is none of CASIA's, so its relatives are not known")
        else:
            words = [w.lower() for w in match.groups()]
            photos[file] = tuple(words[1:]) if label else ("".join(words),)
    group = components(photos.values())
    lacking = []
    for file, label in images:
        if file not in photos:
            continue
        mask = masks.pop(file.stem.lower(), None) if label else None
        if label and mask is None:
            lacking.append(file.name)
        how = _HOW[file.stem.split("_")[1].lower()] if label else ""
        tree.add(file, label, About(f"{name}:{group[photos[file][0]]}", "", name, how), mask=str(mask or ""))
    _masks_left(tree, masks.values(), lacking, truth)
    tree.unplaced("expected Au/, Tp/ and Gt/")


casia1, casia2 = partial(casia, name="CASIA1"), partial(casia, name="CASIA2")


def _masks_left(tree: Tree, masks: Iterable[PurePosixPath], lacking: list[str], truth: list[str]) -> None:
    """Say which masks have no fake and which fakes no mask."""
    for mask in masks:
        tree.problem(mask, "mask_without_image", "no fake belongs to this mask")
    if lacking and truth:
        tree.problem(truth[0], "missing", f"{len(lacking)} fakes have no mask here, {lacking[0]} first")


def columbia(tree: Tree) -> None:
    """Columbia Uncompressed Image Splicing Detection; which photos a splice was made of is not said."""
    masks = {}
    for top in ("4cam_auth", "4cam_splc"):
        if top not in tree.folders():
            tree.problem(top, "missing", "the layout has this folder; it is not here")
    for file in tree.below("4cam_splc"):
        if "edgemask" in file.parent.parts:
            masks[file.stem.removesuffix("_edgemask")] = file
    lacking = []
    for top, label in (("4cam_auth", 0), ("4cam_splc", 1)):
        for file in tree.below(top):
            if "edgemask" in file.parent.parts:
                continue
            mask = masks.pop(file.stem, None) if label else None
            if mask is not None:
                tree.mask_kinds[str(tree.root / mask)] = "green"
            elif label:
                lacking.append(file.name)
            tree.add(file, label, About("", "", "Columbia", "splice" if label else ""), mask=str(mask or ""))
    _masks_left(tree, masks.values(), lacking, ["4cam_splc/edgemask"])
    tree.unplaced("expected 4cam_auth/ and 4cam_splc/")


def coverage(tree: Tree) -> None:
    """COVERAGE: every forgery lies beside its photo."""
    images = {f.stem.lower(): f for f in tree.images("image")}
    masks = {f.stem.lower(): f for f in tree.images("mask")}
    lacking = []
    for stem, file in images.items():
        match = re.fullmatch(r"(\d+)(t?)", stem)
        if match is None:
            tree.problem(file, "no_label", "expected a name like 12.tif (real) or 12t.tif (fake)")
            continue
        number, fake = match[1], bool(match[2])
        mask, pair = (masks.pop(f"{number}forged", None), images.get(number)) if fake else (None, None)
        if fake and mask is None:
            lacking.append(file.name)
        about = About(f"coverage:{number}", "", "COVERAGE", "copy_move" if fake else "")
        tree.add(file, int(fake), about, mask=str(mask or ""), pair=str(pair or ""))
    left = [m for stem, m in masks.items() if not stem.endswith(("copy", "paste"))]
    _masks_left(tree, left, lacking, ["mask"])
    tree.unplaced("expected image/ and mask/")


_REFERENCE = "reference/manipulation/NC2016-manipulation-ref.csv"
_KINDS = {
    "IsManipulationTypeRemoval": "removal",
    "IsManipulationTypeSplice": "splice",
    "IsManipulationTypeCopyClone": "copy_move",
}


def nist16(tree: Tree) -> None:
    """NIST Nimble Challenge 2016, by its reference table; an image, its base photo and its donor are relatives."""
    here = {str(f): f for f in tree.below()}
    rows = tree.table(_REFERENCE, ("ProbeFileName", "ProbeMaskFileName", "IsTarget", "BaseFileName"), "|")
    kin = [[row[c] for c in ("BaseFileName", "DonorFileName") if row.get(c)] for row in rows]
    group = components(k for k in kin if k)
    for row in rows:
        file, base = here.get(row["ProbeFileName"]), row["BaseFileName"]
        if file is None:
            tree.problem(row["ProbeFileName"], "missing", f"{_REFERENCE} names it")
            continue
        try:
            label = one_of(row["IsTarget"], {"Y": 1, "N": 0}, f"IsTarget of {file} in {_REFERENCE}")
            if not base:
                raise DataError("no_group", f"{_REFERENCE} names no BaseFileName, so its relatives are not known")
        except DataError as error:
            tree.problem(file, error.code, error.message)
            continue
        mask = here.get(row["ProbeMaskFileName"]) if label else None
        if mask is not None:
            tree.mask_kinds[str(tree.root / mask)] = "black"
        elif label:
            tree.problem(row["ProbeMaskFileName"] or file, "missing", f"the mask of {file} is not here")
        how = "+".join(word for column, word in _KINDS.items() if row.get(column) == "Y") if label else ""
        pair = base if label and base in here and base != str(file) else ""
        tree.add(file, label, About(f"nist16:{group[base]}", "", "NIST16", how), mask=str(mask or ""), pair=pair)
    named = {row["ProbeFileName"] for row in rows}
    for path, file in here.items():
        if file.parts[0] == "probe" and path not in named:
            tree.problem(file, "no_label", f"{_REFERENCE} does not name it")


def tp_gt(tree: Tree) -> None:
    """``Tp/`` with masks of the same names (then perhaps ``_gt`` or ``_mask``) in ``Gt/``, and ``Au/`` if there."""
    masks = {re.sub(r"_(gt|mask)$", "", m.stem.lower()): m for m in tree.below("Gt")}
    lacking = []
    for file in tree.below("Tp"):
        mask = masks.pop(file.stem.lower(), None)
        if mask is None:
            lacking.append(file.name)
        tree.add(file, 1, About(source=tree.root.name), mask=str(mask or ""))
    for file in tree.below("Au"):
        tree.add(file, 0, About(source=tree.root.name))
    _masks_left(tree, masks.values(), lacking, ["Gt"])
    tree.unplaced("expected Tp/, Gt/ and perhaps Au/")
