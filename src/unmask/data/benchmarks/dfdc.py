"""The Deepfake Detection Challenge (Dolhansky et al., 2020) and its preview (2019).

DFDC: each part of the training set holds videos (here: their frames) and ``metadata.json`` (``label``, ``split`` and,
for a fake, ``original``); the test set holds ``labels.csv`` (``filename``, ``label`` 1 = fake) or a ``metadata.json``.
Who is in a video is not published: a video's relatives are its original and the other fakes made from that, no more.

Preview: ``dataset.json`` names for each video ``label``, ``set`` and the people ``target_id`` and ``swapped_id``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from unmask.core.errors import DataError
from unmask.data.benchmarks.tree import FRAME_FOLDERS, About, Clip, Tree, one_of
from unmask.data.sources import SPLIT_NAMES
from unmask.data.splits import components

_LABELS = {"REAL": 0, "FAKE": 1, "real": 0, "fake": 1, "0": 0, "1": 1}


def _part_split(part: PurePosixPath) -> str:
    """The split that the folders of a part name; ``dfdc_train_part_7`` is training data."""
    names = ["train" if f.lower().startswith("dfdc_train_part") else f.lower() for f in part.parts]
    return next((SPLIT_NAMES[n] for n in names if n in SPLIT_NAMES), "")


def _entries(tree: Tree, part: PurePosixPath) -> dict[str, Mapping[str, Any]]:
    """What a part's list says of each video, by name without suffix."""
    files = {f.name for f in tree.others if f.parent == part}
    if "metadata.json" in files:
        listed = tree.json(dict, str(part / "metadata.json"))
        return {PurePosixPath(n).stem: e for n, e in listed.items() if isinstance(e, dict)}
    rows = tree.table(str(part / "labels.csv"), ("filename", "label"))
    return {PurePosixPath(r["filename"]).stem: r for r in rows}


def dfdc(tree: Tree) -> None:
    """The full set, or any number of its parts."""
    parts = sorted({f.parent for f in tree.others if f.name in ("metadata.json", "labels.csv")})
    if not parts:
        tree.problem("", "missing", "no metadata.json or labels.csv is in any folder, so no label can be read")
    found: list[tuple[Clip, int, str, str]] = []
    clips: dict[str, Clip] = {}
    for part in parts:
        here, entries = tree.clips(*part.parts), _entries(tree, part)
        clips |= here
        tree.lacking(part, entries, here.keys() | tree.videos(*part.parts), "its list")
        for name, clip in here.items():
            try:
                if name not in entries:
                    raise DataError("no_label", f"the list of {part} does not name '{name}'")
                entry = entries[name]
                label = one_of(entry.get("label"), _LABELS, f"'label' of {name} in the list of {part}")
                split = SPLIT_NAMES.get(str(entry.get("split") or "").lower()) or _part_split(part)
                original = PurePosixPath(str(entry.get("original") or "")).stem if label else ""
                found.append((clip, label, split, original))
            except DataError as error:
                tree.problem(clip.folder, error.code, error.message)
    group = components([clip.name, original] if original else [clip.name] for clip, _, _, original in found)
    for clip, label, split, original in found:
        about = About(f"dfdc:{group[clip.name]}", split, "DFDC", "DFDC" if label else "")
        tree.add_clip(clip, label, about, pair=clips.get(original))
    tree.unplaced("expected PART/[frames/]VIDEO/* beside PART/metadata.json or PART/labels.csv")


def dfdc_preview(tree: Tree) -> None:
    """The preview set: ``method_A``, ``method_B``, ``original_videos``."""
    entries: dict[str, Any] = tree.json(dict, "dataset.json")
    found: list[tuple[str, Clip, Mapping[str, Any]]] = []
    absent: dict[str, list[str]] = {}
    for key, entry in entries.items():
        if not PurePosixPath(key).suffix:
            tree.problem("dataset.json", "bad_list", f"expected names like method_A/NAME.mp4, got '{key}'")
            continue
        method, name = PurePosixPath(key).parts[0], PurePosixPath(key).stem
        places = [PurePosixPath(method, f, name) for f in FRAME_FOLDERS] + [PurePosixPath(key).with_suffix("")]
        clip = next((tree.clip(p) for p in places if tree.images(p)), None)
        if clip is not None and isinstance(entry, dict):
            found.append((method, clip, entry))
        elif (file := PurePosixPath(key)) in tree.others:
            tree.problem(file, "video", f"a video; only images are read: extract its frames into {places[0]}/")
        else:
            absent.setdefault(method, []).append(name)
    for method, names in absent.items():
        tree.lacking(method, names, (), "dataset.json")

    def people(entry: Mapping[str, Any]) -> list[str]:
        return [str(entry[k]) for k in ("target_id", "swapped_id") if entry.get(k) is not None]

    group = components(p for _, _, entry in found if (p := people(entry)))
    for method, clip, entry in found:
        try:
            label = one_of(entry.get("label"), _LABELS, f"'label' of {clip.name} in dataset.json")
            if not people(entry):
                raise DataError("no_group", "dataset.json names no target_id, so its relatives are not known")
        except DataError as error:
            tree.problem(clip.folder, error.code, error.message)
            continue
        split = SPLIT_NAMES.get(str(entry.get("set") or "").lower(), "")
        about = About(f"dfdcp:{group[people(entry)[0]]}", split, "DFDCP", method if label else "")
        tree.add_clip(clip, label, about)
    tree.unplaced("dataset.json names no such video")
