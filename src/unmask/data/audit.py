"""Leaks and shortcuts in a manifest: reasons why a number measured on it would not mean what it says."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from unmask.core.errors import DataError, IntakeError
from unmask.data.duplicates import fingerprint, near_duplicates
from unmask.data.intake import decode
from unmask.data.manifest import Manifest, Row
from unmask.data.parallel import Progress, in_threads
from unmask.data.shortcuts import Floats, blur_score, colour_features, metadata_features, probe
from unmask.data.splits import families, folds

__all__ = ["AuditReport", "Finding", "audit", "blur_score", "metadata_features"]

Level = Literal["problem", "note", "ok"]
PROBE_ROWS = 5000
"""The probes look at no more than this many images per label (evenly spaced in order of file hash)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer of the audit."""

    check: str
    level: Level
    text: str
    """One sentence in words."""
    details: list[str] = field(default_factory=list)
    """Files, groups or pairs it is about (all of them)."""
    numbers: dict[str, float] = field(default_factory=dict)
    """What was measured, e.g. ``auc``, ``low``, ``high``."""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """All findings, in the order of the checks."""

    images: int
    data_sha256: str
    findings: list[Finding]

    @property
    def clean(self) -> bool:
        """True when nothing is a problem."""
        return all(f.level != "problem" for f in self.findings)


class _Look(NamedTuple):
    """What the audit keeps of one image."""

    sha256: str
    metadata: Floats
    blur: float
    colour: Floats
    hash: np.uint64
    thumbnail: npt.NDArray[np.float32]


def _look(row: Row) -> _Look | str:
    try:
        decoded = decode(Path(row.path))
    except IntakeError as error:
        return f"{row.path}: [{error.code}] {error.message}"
    pixels = decoded.pixels
    word, thumbnail = fingerprint(pixels)
    return _Look(
        decoded.sha256, metadata_features(decoded), blur_score(pixels), colour_features(pixels), word, thumbnail
    )


def audit(
    manifest: Manifest, *, seed: int = 0, jobs: int | None = None, progress: Progress | None = None
) -> AuditReport:
    """Decode every image once and run all checks.

    Args:
        manifest: rows to look at.
        seed: of folds and bootstrap.
        jobs: threads; None = one per core.
        progress: told (done, total).
    """
    looks = list(in_threads(_look, manifest.rows, jobs=jobs, progress=progress))
    seen = [(r, k) for r, k in zip(manifest.rows, looks, strict=True) if isinstance(k, _Look)]
    findings = [*_files(manifest.rows, looks), *_classes(manifest.rows), *_relatives(manifest.rows)]
    if seen:
        findings += [*_duplicates(seen), *_probes(seen, seed)]
    return AuditReport(len(manifest), manifest.sha256, findings)


def _finding(check: str, details: Iterable[str], problem: str, ok: str, level: Level = "problem") -> Finding:
    listed = list(details)
    return Finding(check, level, problem.format(n=len(listed)), listed) if listed else Finding(check, "ok", ok)


def _files(rows: Sequence[Row], looks: Sequence[_Look | str]) -> list[Finding]:
    changed = [
        r.path for r, k in zip(rows, looks, strict=True) if isinstance(k, _Look) and r.sha256 and r.sha256 != k.sha256
    ]
    unreadable = [k for k in looks if isinstance(k, str)]
    masks = [p for r in rows for p in (r.mask, r.pair) if p and not Path(p).is_file()]
    return [
        _finding("unreadable", unreadable, "{n} images cannot be read", "every image can be read"),
        _finding("missing", masks, "{n} masks or counterparts are missing", "no mask or counterpart is missing"),
        _finding("changed", changed, "{n} files are not those the manifest describes", "no file was changed"),
    ]


def _classes(rows: Sequence[Row]) -> list[Finding]:
    findings = []
    for split in sorted({r.split for r in rows}):
        counts = Counter(r.label for r in rows if r.split == split)
        name = f"split '{split}'" if split else "the manifest" if len({r.split for r in rows}) == 1 else "no split"
        text = f"{name}: {counts[0]} real, {counts[1]} fake"
        level: Level = "ok" if counts[0] and counts[1] else "note"
        findings.append(Finding("classes", level, text + ("" if level == "ok" else "; only one class")))
    labels = defaultdict(set)
    for row in rows:
        labels[row.source].add(row.label)
    if len(labels) > 1 and len({r.label for r in rows}) == 2:
        pure = {s for s, seen in labels.items() if len(seen) == 1}
        share = sum(r.source in pure for r in rows) / len(rows)
        text = f"{share:.0%} of the images come from a source that holds one class only"
        level = "problem" if share > 0.5 else "note" if share else "ok"
        warn = "; a detector trained on this can learn the source" if share > 0.5 else ""
        findings.append(Finding("source", level, text + warn, sorted(pure), {"share": share}))
    return findings


def _relatives(rows: Sequence[Row]) -> list[Finding]:
    splits: dict[str, set[str]] = defaultdict(set)
    for row, family in zip(rows, families(rows), strict=True):
        splits[family].add(row.split)
    if {r.split for r in rows} == {""}:
        text = "the manifest has no splits, so leaks between them were not looked for (see `unmask data split`)"
        return [Finding("relatives", "note", text)]
    torn = sorted(f"{f.partition(':')[2]} ({', '.join(sorted(s))})" for f, s in splits.items() if len(s) > 1)
    findings = [
        _finding("relatives", torn, "{n} families have images in more than one split", "no family is torn apart")
    ]
    alone = sum(not r.group for r in rows)
    if alone:
        text = f"{alone} images have no group: whether they show one person or video twice cannot be told"
        findings.append(Finding("groups", "note", text))
    return findings


def _duplicates(seen: Sequence[tuple[Row, _Look]]) -> list[Finding]:
    same: dict[str, list[Row]] = defaultdict(list)
    for row, look in seen:
        same[look.sha256].append(row)
    copies = [rows for rows in same.values() if len(rows) > 1]

    def told(many: Iterable[list[Row]]) -> list[str]:
        return [" = ".join(r.path for r in rows) for rows in many]

    leaks = [rows for rows in copies if len({r.split for r in rows}) > 1]
    both = [rows for rows in copies if len({r.label for r in rows}) > 1]
    rest = [rows for rows in copies if rows not in leaks and rows not in both]
    findings = [
        _finding("copies across labels", told(both), "{n} files are real and fake at once", "no file has both labels"),
        _finding("copies", told(rest), "{n} files are listed several times over", "no file is listed twice", "note"),
    ]
    if len({r.split for r, _ in seen}) > 1:
        hashes = np.array([k.hash for _, k in seen], np.uint64)
        thumbnails = np.stack([k.thumbnail for _, k in seen])
        pairs = near_duplicates(hashes, thumbnails, [r.split for r, _ in seen])
        near = [(seen[i], seen[j]) for i, j in pairs if seen[i][1].sha256 != seen[j][1].sha256]
        listed = [f"{a.path} ({a.split}) ~ {b.path} ({b.split})" for (a, _), (b, _) in near]
        findings += [
            _finding("copies across splits", told(leaks), "{n} files are in two splits", "no file is in two splits"),
            _finding(
                "near-duplicates",
                listed,
                "{n} pairs of nearly the same picture lie in different splits",
                "no picture is nearly repeated in another split",
            ),
        ]
    return findings


_PROBES: tuple[tuple[str, str, str, Callable[[_Look], Floats | float]], ...] = (
    ("metadata", "metadata alone (size, bytes, tables, format)", "the encoding", lambda look: look.metadata),
    ("blur", "sharpness alone", "sharpness", lambda look: look.blur),
    ("colour", "mean colour and brightness alone", "colour and brightness", lambda look: look.colour),
)


def _probes(seen: Sequence[tuple[Row, _Look]], seed: int) -> list[Finding]:
    if len({r.label for r, _ in seen}) < 2:
        return [Finding("shortcuts", "note", "shortcuts were not looked for: every image has the same label")]
    chosen: list[tuple[Row, _Look]] = []
    for label in (0, 1):
        members = sorted((s for s in seen if s[0].label == label), key=lambda s: s[1].sha256)
        step = max(1, -(-len(members) // PROBE_ROWS))
        chosen += members[::step]
    rows = [r for r, _ in chosen]
    labels = [r.label for r in rows]
    names = families(rows)
    findings = []
    for check, what, learns, feature in _PROBES:
        try:
            count = min(5, *(len({n for n, y in zip(names, labels, strict=True) if y == label}) for label in (0, 1)))
            if count < 2:
                raise DataError("too_few", "each label needs images of at least two families")
            result = probe(np.array([feature(k) for _, k in chosen]), labels, names, folds(rows, count, seed), seed)
        except DataError as error:
            findings.append(Finding(check, "note", f"whether {what} tells the labels was not tested: {error.message}"))
            continue
        numbers = {"auc": result.auc, "low": result.low, "high": result.high}
        measured = f"AUC {result.auc:.2f} [{result.low:.2f}, {result.high:.2f}]"
        if result.low <= 0.5:
            findings.append(Finding(check, "ok", f"labels cannot be told from {what}: {measured}", numbers=numbers))
        elif result.auc < 0.6 or result.low < 0.55:  # may be chance: three probes are made
            findings.append(
                Finding(check, "note", f"labels can hardly be told from {what}: {measured}", numbers=numbers)
            )
        else:
            how = "" if result.auc >= 0.9 else "largely " if result.auc >= 0.75 else "partly "
            text = f"labels can {how}be told from {what}: {measured}; a detector trained on this learns {learns}"
            findings.append(Finding(check, "problem", text, numbers=numbers))
    return findings
