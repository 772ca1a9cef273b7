"""A report folder filled while a stream of verdicts runs: masks, one JSON line per file, and the page at the end."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image

from unmask.core.errors import DataError
from unmask.core.files import atomic_path
from unmask.core.verdict import Thresholds, Verdict
from unmask.data.intake import to_stored_orientation
from unmask.reports.evidence import Evidence, Member
from unmask.reports.verdict_page import FilePanel, Row, panel, row, write_verdict_page

PAGE = "report.html"
LINES = "report.jsonl"
MASKS = "masks"
DETAILS = 40
"""Files with a panel of their own in the page: those with the highest scores."""
ROWS = 5000
"""Files listed in the page; every one stands in ``report.jsonl``."""
THUMBNAILS = 1000


class VerdictReport:
    """Writes ``report.html``, ``report.jsonl`` and ``masks/`` into a folder; memory does not grow with the panels.

    Args:
        folder: new, empty, or holding an earlier report, which is replaced.
        members: the detectors that answer.
        name: of the detector or pair, as in the verdicts.
        thresholds: as in the verdicts.
        weights_sha256: as in the verdicts.

    Raises:
        DataError: ``not_empty`` when the folder holds something else.
    """

    def __init__(
        self, folder: Path, members: Sequence[Member], name: str, thresholds: Thresholds, weights_sha256: str
    ) -> None:
        self.folder = folder
        self._members, self._name = members, name
        self._thresholds, self._weights = thresholds, weights_sha256
        claim_folder(folder, {PAGE, LINES, MASKS}, LINES)
        for old in (folder / MASKS).glob("[0-9][0-9][0-9][0-9][0-9][0-9]-*.png"):
            old.unlink()
        self.page.unlink(missing_ok=True)
        self._lines: IO[str] = (folder / LINES).open("w", encoding="ascii", newline="\n")
        self._rows: list[Row] = []
        self._best: list[tuple[float, int, FilePanel]] = []  # a heap, least suspicious first
        self._counts: Counter[str] = Counter()

    @property
    def page(self) -> Path:
        """Where the page is, once :meth:`close` was called."""
        return self.folder / PAGE

    def add(self, verdict: Verdict, evidence: Evidence | None) -> Verdict:
        """Take one file in; returns its verdict with the path of the mask, where one was written.

        Raises:
            DataError: ``not_writable``, e.g. when the disk is full.
        """
        with _writing(self.folder):
            return self._add(verdict, evidence)

    def _add(self, verdict: Verdict, evidence: Evidence | None) -> Verdict:
        number = self._counts.total() + 1
        self._counts[verdict.verdict or "error"] += 1
        if evidence is not None and evidence.heatmap is not None:
            mask = self.folder / MASKS / f"{number:06d}-{_slug(verdict.path)}.png"
            write_mask(mask, evidence.heatmap >= evidence.mask_threshold, evidence.decoded.orientation)
            verdict = replace(verdict, faces=tuple(replace(face, mask=str(mask)) for face in verdict.faces))
        self._lines.write(verdict.to_json() + "\n")
        self._lines.flush()
        if number <= ROWS:
            self._rows.append(row(number, verdict, evidence, thumbnail=number <= THUMBNAILS))
        if evidence is not None:
            key = (-1.0 if verdict.score is None else verdict.score, -number)
            if len(self._best) < DETAILS:
                heapq.heappush(self._best, (*key, panel(number, verdict, evidence)))
            elif key > self._best[0][:2]:
                heapq.heapreplace(self._best, (*key, panel(number, verdict, evidence)))
        return verdict

    def close(self, *, finished: bool = True) -> None:
        """Write the page; ``finished`` False says in it that the run was stopped early."""
        panels = sorted((item[2] for item in self._best), key=lambda p: p.number)
        summary = {
            "counts": {name: self._counts[name] for name in ("fake", "uncertain", "real", "error")},
            "detector": self._name,
            "weights_sha256": self._weights,
            "thresholds": self._thresholds,
            "finished": finished,
            "rows_left_out": self._counts.total() - len(self._rows),
        }
        with _writing(self.folder):
            self._lines.close()
            write_verdict_page(self.page, self._rows, panels, self._members, summary)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """A full disk or a folder that went away as a typed error."""
    try:
        yield
    except OSError as error:
        raise DataError(
            "not_writable", f"cannot write the report into '{folder}': {error.strerror or error}"
        ) from error


def write_mask(path: Path, mask: npt.NDArray[np.bool_], orientation: int) -> None:
    """A bool mask (H, W) of the upright image as a PNG of 0 and 255, turned back to the stored orientation."""
    stored = to_stored_orientation(mask, orientation)
    with atomic_path(path) as temporary:
        Image.fromarray(stored.astype(np.uint8) * 255).save(temporary, "PNG")


def _slug(path: str | None) -> str:
    """A short, harmless file name that still reminds of ``path``."""
    stem = Path(path or "pixels").stem
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem)[:60].strip("._") or "image"


def claim_folder(folder: Path, ours: Collection[str], marker: str) -> None:
    """Make sure that a folder is new, empty, or our own from an earlier run.

    Args:
        folder: made if it is not there.
        ours: names that may be in it; ``marker``, a relative path among them, proves that an earlier run made it.
        marker: e.g. ``"report.jsonl"``.

    Raises:
        DataError: ``not_empty`` or ``not_writable``.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = {item.name for item in folder.iterdir()}
    except OSError as error:
        raise DataError("not_writable", f"cannot write into '{folder}': {error.strerror or error}") from error
    foreign = sorted(there - set(ours)) or sorted(there if not (folder / marker).exists() else ())
    if foreign:
        raise DataError(
            "not_empty",
            f"'{folder}' holds other files ('{foreign[0]}'); name a new or empty folder, or an earlier result",
        )
