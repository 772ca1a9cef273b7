"""Known data sets: from the folder (or the list) they come as to manifest rows. Nothing is downloaded.

:data:`LAYOUTS` is the table; an adapter reads labels, splits, pairs, masks and relatives where the set's own names and
lists say them, and says what is missing or surplus. It never guesses a label.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from unmask.core.errors import ConfigError, DataError, IntakeError
from unmask.core.names import did_you_mean
from unmask.data.benchmarks import celebdf, dfdc, faceforensics, folders, lists, spliced
from unmask.data.benchmarks.tree import Tree
from unmask.data.manifest import Row
from unmask.data.parallel import Progress, in_threads
from unmask.data.sources import Index, Problem, read_rows

__all__ = ["LAYOUTS", "Layout", "index_layout"]

Adapter = Callable[[Tree], None]
Reader = Callable[[Path, Path, int | None], lists.Found]


class Layout(NamedTuple):
    """One layout."""

    adapter: Adapter | None
    """Reads a folder; None: the layout is a list file, read by ``reader``."""
    line: str
    """What it is, in one line."""
    videos: bool = False
    """Holds frames of videos."""
    reader: Reader | None = None


LAYOUTS: dict[str, Layout] = {
    "faceforensics": Layout(
        faceforensics.faceforensics, "FaceForensics++ and DeepFakeDetection: frames, masks, official split, pairs", True
    ),
    "celeb-df-v1": Layout(celebdf.celeb_df_v1, "Celeb-DF v1 with its list of test videos: frames, pairs", True),
    "celeb-df-v2": Layout(celebdf.celeb_df_v2, "Celeb-DF v2 with its list of test videos: frames, pairs", True),
    "dfdc": Layout(dfdc.dfdc, "Deepfake Detection Challenge, metadata.json per part: frames, pairs", True),
    "dfdc-preview": Layout(dfdc.dfdc_preview, "its preview (DFDCP), dataset.json: frames, people", True),
    "deeperforensics": Layout(faceforensics.deeperforensics, "DeeperForensics-1.0: frames, lists/splits, pairs", True),
    "wilddeepfake": Layout(celebdf.wilddeepfake, "WildDeepfake: sequences of face crops, train and test", True),
    "fmca": Layout(folders.fmca, "FMCA-Net's {train,valid}/{real,fake}; methods from file names"),
    "forensynths": Layout(folders.forensynths, "ForenSynths (CNNDetection): 0_real and 1_fake per generator and class"),
    "gangen": Layout(folders.gangen, "GANGen-Detection: 0_real and 1_fake per GAN"),
    "universalfakedetect": Layout(
        folders.universal_fake_detect, "UniversalFakeDetect: diffusion models against laion and imagenet"
    ),
    "diffusionforensics": Layout(folders.diffusion_forensics, "DiffusionForensics: real and a folder per generator"),
    "genimage": Layout(folders.genimage, "GenImage: {train,val}/{nature,ai} per generator"),
    "casia1": Layout(spliced.casia1, "CASIA v1: Au, Tp or Sp, ground truth; relatives from names"),
    "casia2": Layout(spliced.casia2, "CASIA v2: Au, Tp, ground truth; relatives from names"),
    "columbia": Layout(spliced.columbia, "Columbia uncompressed splicing; masks need --masks (they are coloured)"),
    "coverage": Layout(spliced.coverage, "COVERAGE: copy-move forgeries with masks and their photos"),
    "nist16": Layout(spliced.nist16, "NIST Nimble 2016 by its reference table; masks need --masks (inverted)"),
    "tp-gt": Layout(spliced.tp_gt, "Tp/ fake, Gt/ masks of the same names, Au/ real if there: repackaged sets"),
    "deepfakebench": Layout(None, "DeepfakeBench's JSON list of videos and frames", True, lists.read_deepfakebench),
    "imdl-benco": Layout(None, 'IMDL-BenCo\'s JSON list: [image, mask or "Negative"]', reader=lists.read_imdl),
    "forensichub": Layout(None, "ForensicHub's JSON list: path, label, mask", reader=lists.read_forensichub),
}


def _converted(tree: Tree, folder: Path | None, jobs: int | None) -> None:
    """Give rows masks of the manifest's form: written to ``folder``, or none without one."""
    wanted = [(n, r) for n, r in enumerate(tree.rows) if r.mask in tree.mask_kinds]
    if folder is None:
        if wanted:
            why = f"{len(wanted)} masks are not grey with 255 = edited; --masks DIR writes them so. They were left away"
            tree.problem("", "mask_format", why)
        for n, row in wanted:
            tree.rows[n] = replace(row, mask="")
        return

    def convert(item: tuple[int, Row]) -> tuple[int, str, Problem | None]:
        n, row = item
        target = folder / Path(row.mask).relative_to(tree.root).with_suffix(".png")
        try:
            spliced.convert_mask(row.mask, tree.mask_kinds[row.mask], target)
        except IntakeError as error:
            return n, "", Problem(row.mask, "bad_mask", error.message)
        return n, str(target.absolute()), None

    for n, mask, problem in in_threads(convert, wanted, jobs=jobs):
        tree.rows[n] = replace(tree.rows[n], mask=mask)
        if problem:
            tree.problems.append(problem)


def _writable(rows: list[Row]) -> tuple[list[Row], list[Problem]]:
    """Rows that can stand in one manifest: each path once, and in UTF-8."""
    good: dict[str, Row] = {}
    problems = []
    for row in rows:
        try:
            "".join((row.path, row.mask, row.pair)).encode()
        except UnicodeEncodeError:
            shown = row.path.encode("utf-8", "backslashreplace").decode()
            problems.append(Problem(shown, "odd_name", "the name is not UTF-8 and cannot stand in a manifest"))
            continue
        if row.path in good:
            problems.append(Problem(row.path, "surplus", "it is listed twice; the first one counts"))
        good.setdefault(row.path, row)
    return list(good.values()), problems


def _regrouped(rows: list[Row], root: Path, group: str) -> tuple[list[Row], list[Problem]]:
    """Groups by a pattern instead of the layout's own."""
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise ConfigError("bad_config", f"group: '{group}' is not a regular expression ({error})") from None
    good, problems = [], []
    for row in rows:
        path = Path(row.path)
        name = (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
        if found := pattern.search(name):
            good.append(replace(row, group=found[1] if pattern.groups else found[0]))
        else:
            problems.append(Problem(row.path, "no_group", f"the group pattern '{group}' finds nothing in '{name}'"))
    return good, problems


def index_layout(
    root: str | Path,
    name: str,
    *,
    frames: int | None = None,
    base: str | Path | None = None,
    masks: str | Path | None = None,
    group: str | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Index:
    """Index a data set of a known layout; every image that gets a row is decoded.

    Args:
        root: the data set's folder, or the list file of a layout that is one.
        name: a key of :data:`LAYOUTS`.
        frames: at most this many frames of each video, evenly spaced; None = all.
        base: where relative paths of a list start; None = the list's own folder.
        masks: folder for masks that have to be converted; None = such masks are left away (and that is said).
        group: a regular expression for groups instead of the layout's own, as in :func:`index_folder`.
        jobs: threads; None = one per core.
        progress: told how far it is.

    Raises:
        ConfigError: unknown layout, or an option that it has no use for.
        DataError: nothing there, or a list that cannot be read.
    """
    if name not in LAYOUTS:
        hint = did_you_mean(name.lower(), LAYOUTS)
        raise ConfigError("unknown_layout", f"there is no layout '{name}'{hint}; see `unmask list layouts`")
    layout, root = LAYOUTS[name], Path(root).absolute()
    if frames is not None and (not layout.videos or frames < 1):
        why = f"must be 1 or more, got {frames}" if layout.videos else f"the layout {name} has no videos"
        raise ConfigError("bad_config", f"frames: {why}")
    if base is not None and layout.reader is None:
        raise ConfigError("bad_config", f"base: the layout {name} is a folder, not a list")
    ignored: dict[str, int] = {}
    if layout.reader is not None:
        if root.is_dir():
            raise DataError("no_list", f"the layout {name} is a JSON file, but {root} is a folder")
        rows, problems = layout.reader(root, Path(base).absolute() if base else root.parent, frames)
        root = root.parent
    else:
        tree = Tree(root, frames)
        assert layout.adapter is not None
        layout.adapter(tree)
        _converted(tree, Path(masks) if masks else None, jobs)
        rows, problems, ignored = tree.rows, tree.problems, tree.ignored
    if not rows and not problems:
        raise DataError("empty", f"there is nothing of the layout {name} in {root}")
    if group is not None:
        rows, ungrouped = _regrouped(rows, root, group)
        problems = [*problems, *ungrouped]
    rows, unfit = _writable(rows)
    good, unreadable = read_rows(rows, jobs=jobs, progress=progress)
    return Index(good, sorted([*problems, *unfit, *unreadable]), ignored)
