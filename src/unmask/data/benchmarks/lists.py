"""Lists of other projects, read and written: DeepfakeBench's JSON, IMDL-BenCo's and ForensicHub's lists.

============= ====================================================================================================
deepfakebench ``{SET: {CLASS: {SPLIT: {[QUALITY:] {VIDEO: {"label": NAME, "frames": [PATH, …], "masks": […]}}}}}}``
imdl-benco    ``[[IMAGE, MASK], [IMAGE, "Negative"], …]``; ``"Negative"``: a real image, ``"Positive"``: no mask known
forensichub   ``[{"path": IMAGE, "label": 0 or 1, "mask": MASK or "Negative"}, …]`` (``mask`` may be absent)
============= ====================================================================================================
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from unmask.core.errors import DataError
from unmask.core.files import write_text
from unmask.data.benchmarks import celebdf, faceforensics
from unmask.data.benchmarks.tree import even, natural, one_of
from unmask.data.manifest import SPLITS, Row
from unmask.data.sources import SPLIT_NAMES, Problem
from unmask.data.splits import components

_FF = {
    "FF-DF": "Deepfakes",
    "FF-F2F": "Face2Face",
    "FF-FS": "FaceSwap",
    "FF-NT": "NeuralTextures",
    "FF-FH": "FaceShifter",
    "DFD_fake": "DeepFakeDetection",
}
_FAKES = (*_FF, "FF-SH", "CelebDFv1_fake", "CelebDFv2_fake", "DFDCP_FakeA", "DFDCP_FakeB", "DFDC_Fake", "DF_fake")
_REALS = ("FF-real", "DFD_real", "CelebDFv1_real", "CelebDFv2_real", "DFDCP_Real", "DFDC_Real", "DF_real")
LABEL_NAMES = {
    **dict.fromkeys((*_REALS, "UADFV_Real", "real"), 0),
    **dict.fromkeys((*_FAKES, "UADFV_Fake", "fake"), 1),
}
"""DeepfakeBench's names of labels; ``SET_real`` and ``SET_fake`` mean what they say, too."""
_FF_SETS = ("FaceForensics++", "FaceShifter", "DeepFakeDetection", "FF-DF", "FF-F2F", "FF-FS", "FF-NT")
Found = tuple[list[Row], list[Problem]]


class _Video(NamedTuple):
    keys: tuple[str, ...]
    """Set, class, split, perhaps quality, video."""
    entry: Mapping[str, Any]


def _load(path: Path, kind: type) -> Any:
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise DataError("no_list", f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise DataError("bad_list", f"{path} is not JSON in UTF-8: {error}") from None
    if not isinstance(content, kind):
        raise DataError("bad_list", f"{path}: expected a JSON {kind.__name__}, got a {type(content).__name__}")
    return content


def _at(base: Path, written: object) -> str:
    """A path as a list writes it (perhaps with backslashes), below ``base`` unless absolute."""
    return str(base / str(written).replace("\\", "/"))


def _videos(content: object, keys: tuple[str, ...] = ()) -> Iterator[_Video]:
    if isinstance(content, dict):
        if isinstance(content.get("frames"), list):
            yield _Video(keys, content)
        else:
            for key, inner in content.items():
                yield from _videos(inner, (*keys, str(key)))


def _relatives(data_set: str, video: str) -> tuple[str, ...]:
    """Names that a video shares with its relatives; its own name where the set's names do not say."""
    if data_set in _FF_SETS:
        return faceforensics.relatives(video) or (video,)
    if data_set.startswith("Celeb-DF"):
        return next((r for part in celebdf.PARTS if (r := celebdf.relatives(part, video))), (video,))
    return (video,)


def read_deepfakebench(path: Path, base: Path, frames: int | None = None) -> Found:
    """Rows of a DeepfakeBench list. Of several splits that name a frame, ``test`` counts before ``val`` and ``train``.

    Raises:
        DataError: not JSON, or not of this form at all.
    """
    videos = list(_videos(_load(path, dict)))
    if not videos:
        raise DataError("bad_list", f"{path}: nothing in it has 'frames'; is it a DeepfakeBench list?")
    group = components(_relatives(v.keys[0], v.keys[-1]) for v in videos)
    problems: list[Problem] = []
    rows: dict[str, Row] = {}
    torn: Counter[str] = Counter()
    rank = {split: i for i, split in enumerate(("", *SPLITS))}
    for keys, entry in videos:
        data_set, video, where = keys[0], keys[-1], "/".join(keys)
        own = {f"{data_set}_real": 0, f"{data_set}_fake": 1}
        name = entry.get("label")
        try:
            label = one_of(name, {**LABEL_NAMES, **own}, f"'label' of {where} in {path.name}")
        except DataError as error:
            problems.append(Problem(f"{path}: {where}", error.code, error.message))
            continue
        split = next((SPLIT_NAMES[k] for k in keys[1:-1] if k in SPLIT_NAMES), "")
        quality = next((k for k in keys[1:-1] if k in faceforensics.QUALITIES), "")
        manipulation = (_FF.get(str(name), keys[1] if name in own else str(name))) if label else ""
        prefix, source = ("ff++", "FaceForensics++") if data_set in _FF_SETS else (data_set, data_set)
        if "DFD" in str(name):
            source = "DeepFakeDetection"
        listed = entry.get("masks") if label else None
        masks = {PurePosixPath(m).stem: m for m in (_at(base, m) for m in listed)} if isinstance(listed, list) else {}
        files = sorted((PurePosixPath(_at(base, f)) for f in entry["frames"]), key=natural)
        clash = ""
        for file in even(files, frames):
            known = rows.get(str(file))
            if known and known.split != split:
                clash = " and ".join(sorted((known.split, split)))
            if known is None or rank[split] > rank[known.split]:
                mask = masks.get(file.stem, "")
                about = {"split": split, "source": f"{source} {quality}".strip(), "manipulation": manipulation}
                own_group = f"{prefix}:{group[_relatives(data_set, video)[0]]}"
                rows[str(file)] = Row(str(file), label, mask=mask, group=own_group, **about)
        if clash:
            torn[clash] += 1
    for splits, count in torn.items():
        why = f"{count} videos are listed in {splits}; they count for the later of train, val, test"
        problems.append(Problem(str(path), "split_conflict", why))
    return list(rows.values()), problems


def read_imdl(path: Path, base: Path, _: int | None = None) -> Found:
    """Rows of an IMDL-BenCo list.

    Raises:
        DataError: not JSON, or no list.
    """
    rows, problems = [], []
    for number, item in enumerate(_load(path, list), 1):
        if not isinstance(item, list) or len(item) != 2 or not all(isinstance(p, str) and p for p in item):
            why = f'entry {number}: expected [image, mask], [image, "Negative"] or [image, "Positive"], got {item!r}'
            problems.append(Problem(str(path), "no_label", why))
            continue
        image, truth = item
        mask = "" if truth.lower() in ("negative", "positive") else _at(base, truth)
        rows.append(Row(_at(base, image), int(truth.lower() != "negative"), mask=mask, source=path.stem))
    return rows, problems


def read_forensichub(path: Path, base: Path, _: int | None = None) -> Found:
    """Rows of a ForensicHub list.

    Raises:
        DataError: not JSON, or no list.
    """
    rows, problems = [], []
    for number, item in enumerate(_load(path, list), 1):
        image, label, mask = (item.get(k) for k in ("path", "label", "mask")) if isinstance(item, dict) else (None,) * 3
        if not isinstance(image, str) or not image or isinstance(label, bool) or label not in (0, 1):
            why = f"entry {number}: expected a path and a label of 0 or 1, got {item!r}"
            problems.append(Problem(str(path), "no_label", why))
            continue
        named = isinstance(mask, str) and mask.lower() not in ("", "negative", "positive")
        if (label == 0 and named) or (label == 1 and str(mask).lower() == "negative"):
            why = f"entry {number}: label {label} and mask {mask!r} do not go together"
            problems.append(Problem(_at(base, image), "label_conflict", why))
            continue
        rows.append(Row(_at(base, image), int(label), mask=_at(base, mask) if named else "", source=path.stem))
    return rows, problems


def deepfakebench(rows: Sequence[Row], name: str) -> Any:
    """Rows as a DeepfakeBench list of the set ``name``; frames of one folder are one video.

    Its ``label_dict`` must be told ``NAME_real: 0`` and ``NAME_fake: 1``.

    Raises:
        DataError: a row has no split.
    """
    if without := sum(not r.split for r in rows):
        raise DataError(
            "no_split", f"{without} rows have no split, and this list is made of splits (`unmask data split`)"
        )
    content: dict[str, Any] = defaultdict(lambda: {split: {} for split in SPLITS})
    of_folder: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        kind = (row.manipulation or f"{name}_fake") if row.label else f"{name}_real"
        of_folder[kind, row.split, str(Path(row.path).parent)].append(row)
    names = Counter((kind, split, Path(folder).name) for kind, split, folder in of_folder)
    for (kind, split, folder), members in of_folder.items():
        video = Path(folder).name if names[kind, split, Path(folder).name] == 1 else folder
        entry: dict[str, Any] = {"label": f"{name}_{'fake' if members[0].label else 'real'}"}
        entry["frames"] = [r.path for r in members]
        if masks := [r.mask for r in members if r.mask]:
            entry["masks"] = masks
        content[kind][split][video] = entry
    return {name: dict(content)}


def imdl(rows: Iterable[Row], _: str = "") -> Any:
    """Rows as an IMDL-BenCo list.

    Raises:
        DataError: a fake has no mask; such a list cannot say that.
    """
    rows = list(rows)
    if without := sum(r.label == 1 and not r.mask for r in rows):
        what = f"{without} fakes have no mask, which an IMDL-BenCo list cannot say; write a ForensicHub list"
        raise DataError("no_mask", what)
    return [[r.path, r.mask or "Negative"] for r in rows]


def forensichub(rows: Iterable[Row], _: str = "") -> Any:
    """Rows as a ForensicHub list."""
    masks = {0: "Negative", 1: None}
    return [{"path": r.path, "mask": r.mask or masks[r.label], "label": r.label} for r in rows]


WRITERS: dict[str, Callable[[Sequence[Row], str], Any]] = {
    "deepfakebench": deepfakebench,
    "imdl-benco": imdl,
    "forensichub": forensichub,
}


def write_list(path: str | Path, rows: Sequence[Row], kind: str) -> None:
    """Write rows in the form ``kind`` (a key of :data:`WRITERS`), with absolute paths; replaces the file.

    Raises:
        DataError: the form cannot hold these rows.
    """
    write_text(path, json.dumps(WRITERS[kind](rows, Path(path).stem), indent=1) + "\n")
