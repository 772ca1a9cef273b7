"""FaceForensics++ (Rössler et al., ICCV 2019), with DeepFakeDetection; DeeperForensics-1.0 (Jiang et al., CVPR 2020).

``original_sequences/{youtube,actors}`` and ``manipulated_sequences/METHOD`` hold one folder per quality (``raw`` or
``c0``, ``c23``, ``c40``), and that holds the videos' frames. A fake made from YouTube videos is called
``TARGET_SOURCE``: video 000 with the face or the mimics of video 003 is ``000_003``, so both are its relatives, and
frame k of it was made from frame k of 000. A DeepFakeDetection fake is ``TARGET_SOURCE__SCENE__ID`` (of actors).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from unmask.data.benchmarks.tree import FRAME_FOLDERS, About, Clip, Tree
from unmask.data.manifest import SPLITS
from unmask.data.splits import components

QUALITIES = ("raw", "c0", "c23", "c40")
METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
_REAL, _FAKE = "original_sequences", "manipulated_sequences"
_NUMBER = re.compile(r"\d{3}")
_VIDEO = re.compile(r"(\d{3})(?:_(\d{3}))?")
_ACTORS = re.compile(r"(\d\d)(?:_(\d\d))?__.+")
_DEEPER = re.compile(r"(\d{3})_([MW]\d{3})")


class Splits(NamedTuple):
    """The official split: pairs of video numbers in train.json, val.json and test.json."""

    side: dict[str, str]
    """Split by video number."""
    pairs: list[tuple[str, str]]
    whole: bool
    """All three files are there and readable, so a video that none of them names is surplus."""


def relatives(name: str) -> tuple[str, ...]:
    """The videos (or actors) a video's name names; none for a name of another form.

    >>> relatives("000_003"), relatives("042"), relatives("01_02__exit_phone_room__ABC"), relatives("cat")
    (('000', '003'), ('042',), ('actor 01', 'actor 02'), ())
    """
    if match := _VIDEO.fullmatch(name):
        return tuple(n for n in match.groups() if n)
    if match := _ACTORS.fullmatch(name):
        return tuple(f"actor {n}" for n in match.groups() if n)
    return ()


def _is_pair(item: object) -> bool:
    return isinstance(item, list) and len(item) == 2 and all(_NUMBER.fullmatch(str(n)) for n in item)


def read_splits(tree: Tree) -> Splits:
    """The three files, at the root or in ``splits/``; a missing or broken one is a problem and says nothing."""
    side: dict[str, str] = {}
    read: list[list[tuple[str, str]]] = []
    before = len(tree.problems)
    for split in SPLITS:
        name = f"{split}.json"
        pairs = tree.json(list, name, f"splits/{name}")
        if bad := [
            p for p in pairs if not isinstance(p, list) or len(p) != 2 or not all(_NUMBER.fullmatch(str(n)) for n in p)
        ]:
            tree.problem(name, "bad_list", f"expected pairs of three-digit video numbers, got {bad[0]!r}")
            continue
        read.append([(str(a), str(b)) for a, b in pairs])
        for number in (n for pair in read[-1] for n in pair):
            if side.setdefault(number, split) != split:
                why = f"video {number} is in {side[number]} too, and stays there"
                tree.problem(name, "split_conflict", why)
    return Splits(side, [pair for pairs in read for pair in pairs], whole=len(tree.problems) == before)


def _masks(tree: Tree, method: str, quality: str) -> dict[str, Clip]:
    """Folders of masks by video: those of the quality, else those of the method."""
    for where in ((_FAKE, method, quality, "masks"), (_FAKE, method, "masks")):
        if found := tree.clips(*where, masks=True):
            return found
        if videos := tree.videos(*where):
            why = f"{len(videos)} masks are videos; only images are read: extract each into frames/VIDEO/ here"
            tree.problem("/".join(where), "video", why)
    return {}


def _known(tree: Tree, clips: Mapping[str, Clip], form: re.Pattern[str], splits: Splits) -> dict[str, Clip]:
    """Those whose names and split are readable; the others become problems."""
    known = {}
    for name, clip in clips.items():
        if not form.fullmatch(name):
            why = f"'{name}' is no video name of this layout, so its relatives are not known"
            tree.problem(clip.folder, "no_group", why)
        elif splits.whole and form is _VIDEO and not all(n in splits.side for n in relatives(name)):
            tree.problem(clip.folder, "surplus", "the official split does not name this video; it was left out")
        else:
            known[name] = clip
    return known


def faceforensics(tree: Tree) -> None:
    """FaceForensics++ and DeepFakeDetection."""
    splits = read_splits(tree)
    reals: dict[tuple[str, str], dict[str, Clip]] = {}
    fakes: dict[tuple[str, str], dict[str, Clip]] = {}
    for part, found in ((_REAL, reals), (_FAKE, fakes)):
        for kind in tree.folders(part):
            form = _ACTORS if kind in ("actors", "DeepFakeDetection") else _VIDEO
            for quality in tree.folders(part, kind):
                if quality in QUALITIES:
                    found[kind, quality] = _known(tree, tree.clips(part, kind, quality), form, splits)
                    present = found[kind, quality].keys() | tree.videos(part, kind, quality)
                    _missing(tree, PurePosixPath(part, kind, quality), splits, present)
    names = {n for found in (reals, fakes) for clips in found.values() for n in clips}
    group = components([*splits.pairs, *(relatives(n) for n in names)])

    def about(name: str, kind: str, quality: str, manipulation: str = "") -> About:
        first = relatives(name)[0]
        source = "DeepFakeDetection" if kind in ("actors", "DeepFakeDetection") else "FaceForensics++"
        return About(f"ff++:{group[first]}", splits.side.get(first, ""), f"{source} {quality}", manipulation)

    for (kind, quality), clips in reals.items():
        for name, clip in clips.items():
            tree.add_clip(clip, 0, about(name, kind, quality))
    for (kind, quality), clips in fakes.items():
        masks = _masks(tree, kind, quality)
        originals = reals.get(("youtube", quality), {}) if kind in METHODS else {}
        for name, clip in clips.items():
            pair = originals.get(relatives(name)[0])
            tree.add_clip(clip, 1, about(name, kind, quality, kind), pair=pair, masks=masks.get(name))
        for name in sorted(masks.keys() - clips.keys() - tree.videos(_FAKE, kind, quality)):
            tree.problem(masks[name].folder, "mask_without_image", "there are no frames of this video")
    here = f"{_REAL}/KIND/QUALITY/[{'|'.join(FRAME_FOLDERS)}/]VIDEO/*, {_FAKE}/METHOD/QUALITY/… with QUALITY one of"
    tree.unplaced(f"expected {here} {', '.join(QUALITIES)}")


def _missing(tree: Tree, where: PurePosixPath, splits: Splits, present: Collection[str]) -> None:
    """Say which videos of the official split a folder lacks."""
    if where.parts[1] == "youtube":
        tree.lacking(where, splits.side, present, "the official split")
    elif where.parts[1] in METHODS:
        fakes = [f"{a}_{b}" for pair in splits.pairs for a, b in (pair, pair[::-1])]
        tree.lacking(where, fakes, present, "the official split")


def deeperforensics(tree: Tree) -> None:
    """DeeperForensics-1.0: ``manipulated_videos/VARIANT/TARGET_ACTOR``, and as reals the FaceForensics++ videos that
    its documentation names as such: ``original_sequences/youtube/c23``, copied or linked into the folder."""
    side: dict[str, str] = {}
    for split in SPLITS:
        for line in tree.text(f"lists/splits/{split}.txt").split():
            side.setdefault(line.removesuffix(".mp4"), split)
    fakes = {variant: tree.clips("manipulated_videos", variant) for variant in tree.folders("manipulated_videos")}
    reals = _known(tree, tree.clips(_REAL, "youtube", "c23"), _VIDEO, Splits({}, [], whole=False))
    if not reals:
        why = "the set's real videos, FaceForensics++ c23, are not here; copy or link them, or index them by themselves"
        tree.problem(f"{_REAL}/youtube/c23", "missing", why)
    for variant, clips in fakes.items():
        present = clips.keys() | tree.videos("manipulated_videos", variant)
        tree.lacking(PurePosixPath("manipulated_videos", variant), side, present, "lists/splits")
    names = {n for clips in fakes.values() for n in clips} | side.keys()
    matches = {n: m for n in names if (m := _DEEPER.fullmatch(n))}
    group = components([*(m.groups() for m in matches.values()), *((n,) for n in reals)])
    of_target = {m[1]: side[n] for n, m in matches.items() if n in side}
    for name, clip in reals.items():
        tree.add_clip(clip, 0, About(f"deeper:{group[name]}", of_target.get(name, ""), "DeeperForensics"))
    for variant, clips in fakes.items():
        for name, clip in clips.items():
            if name not in matches:
                tree.problem(clip.folder, "no_group", f"expected a name like 000_M101, got '{name}'")
                continue
            target = matches[name][1]
            deeper = About(f"deeper:{group[target]}", side.get(name, ""), "DeeperForensics", variant)
            tree.add_clip(clip, 1, deeper, pair=reals.get(target))
    if count := sum(1 for _ in tree.below("source_videos")):
        why = f"{count} images left out: by the set's documentation the actors' recordings are not its real part"
        tree.problem("source_videos", "surplus", why)
    tree.unplaced(f"expected manipulated_videos/VARIANT/[frames/]VIDEO/* and {_REAL}/youtube/c23/…")
