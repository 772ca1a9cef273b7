"""Celeb-DF v1 and v2 (Li et al., CVPR 2020), WildDeepfake (Zi et al., ACM MM 2020).

Celeb-DF: ``Celeb-real/ID_NUMBER``, ``Celeb-synthesis/TARGET_DONOR_NUMBER`` (made from ``Celeb-real/TARGET_NUMBER``),
``YouTube-real/NUMBER``, and ``List_of_testing_videos.txt``, in which **1 is real**. Whatever the list does not name is
training data. People are swapped with one another across the whole set, so that their families are few and large: no
other split than the official one leaves anything over, and the official one separates videos, not people.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import PurePosixPath

from unmask.data.benchmarks.tree import About, Clip, Tree
from unmask.data.sources import LABELS
from unmask.data.splits import components

PARTS = {"Celeb-real": 0, "YouTube-real": 0, "Celeb-synthesis": 1}
_LIST = "List_of_testing_videos.txt"
_FORMS = {
    "Celeb-real": re.compile(r"(id\d+)_(\d+)"),
    "Celeb-synthesis": re.compile(r"(id\d+)_(id\d+)_(\d+)"),
    "YouTube-real": re.compile(r"(\d+)"),
}


def relatives(part: str, name: str) -> tuple[str, ...]:
    """The people in a video (a YouTube video is known by its number only); none for a name of another form.

    >>> relatives("Celeb-synthesis", "id0_id16_0003"), relatives("YouTube-real", "00170"), relatives("Celeb-real", "x")
    (('id0', 'id16'), ('youtube 00170',), ())
    """
    match = _FORMS[part].fullmatch(name)
    if match is None:
        return ()
    return (f"youtube {name}",) if part == "YouTube-real" else match.groups()[:-1]


def _test_list(tree: Tree) -> set[tuple[str, str]]:
    """Part and name of each test video."""
    listed = set()
    for number, line in enumerate(tree.text(_LIST).splitlines(), 1):
        if not line.strip():
            continue
        label, _, file = line.strip().partition(" ")
        part, name = PurePosixPath(file.strip()).parent.name, PurePosixPath(file.strip()).stem
        if label not in ("0", "1") or part not in PARTS:
            tree.problem(
                _LIST, "bad_list", f"line {number}: expected '1 Celeb-real/NAME.mp4' or the like, got '{line}'"
            )
        elif int(label) == PARTS[part]:  # in this list 1 is real
            said = "real" if label == "1" else "fake"
            tree.problem(
                _LIST, "label_conflict", f"line {number}: '{file}' is called {said}, its folder says otherwise"
            )
        else:
            listed.add((part, name))
    return listed


def celeb_df(tree: Tree, source: str) -> None:
    """One version; both have the same layout."""
    listed = _test_list(tree)
    clips: dict[str, dict[str, Clip]] = {}
    for part, form in _FORMS.items():
        written = next((f for f in tree.folders() if f.lower() == part.lower()), part)
        found = tree.clips(written)
        tree.lacking(written, {n for p, n in listed if p == part}, found.keys() | tree.videos(written), _LIST)
        for name in [n for n in found if not form.fullmatch(n)]:
            clip = found.pop(name)
            tree.problem(clip.folder, "no_group", f"'{name}' is no video name of {part}, so its people are not known")
        clips[part] = found
    group = components(relatives(part, name) for part, found in clips.items() for name in found)
    for part, found in clips.items():
        for name, clip in found.items():
            people = relatives(part, name)
            split = "" if not listed else "test" if (part, name) in listed else "train"
            about = About(f"{source}:{group[people[0]]}", split, source, part if PARTS[part] else "")
            original = f"{people[0]}_{name.rpartition('_')[2]}" if PARTS[part] else ""
            tree.add_clip(clip, PARTS[part], about, pair=clips["Celeb-real"].get(original))
    tree.unplaced(f"expected {', '.join(PARTS)}, in each [frames/]VIDEO/*")


celeb_df_v1 = partial(celeb_df, source="Celeb-DF-v1")
celeb_df_v2 = partial(celeb_df, source="Celeb-DF-v2")


def wilddeepfake(tree: Tree) -> None:
    """``{real,fake}_{train,test}/VIDEO/[{real,fake}/]SEQUENCE/*``: face crops, unpacked from the set's archives."""
    parts = {f"{name}_{split}": (LABELS[name], split) for name in ("real", "fake") for split in ("train", "test")}
    archives = [f for f in tree.others if f.name.endswith((".tar", ".tar.gz")) and f.parts[0] in parts]
    if archives:
        tree.problem(
            archives[0].parent, "missing", f"{len(archives)} archives are not unpacked, {archives[0].name} first"
        )
    for part, (label, split) in parts.items():
        folders = sorted({file.parent for file in tree.below(part)})
        if not folders:
            tree.problem(part, "missing", "the layout has this folder; there is no image in it here")
        for folder in folders:
            inner = folder.parts[1:]
            said = {LABELS[f.lower()] for f in inner if f.lower() in LABELS}
            if not inner:
                tree.problem(folder, "no_group", "images lie in no video's folder, so their relatives are not known")
            elif said - {label}:
                tree.problem(folder, "label_conflict", f"'{part}' says otherwise")
            else:
                about = About(f"wild:{part}/{inner[0]}", split, "WildDeepfake", "in the wild" if label else "")
                tree.add_clip(tree.clip(folder), label, about)
    tree.unplaced(f"expected {', '.join(parts)}")
