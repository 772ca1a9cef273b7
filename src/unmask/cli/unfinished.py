"""What the evaluations say when they stop, go on, or could not read a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unmask.evaluation.scoring import FileError

_SHOWN = 10


@contextmanager
def resumable(folder: Path) -> Iterator[Path]:
    """The file in a results folder that keeps what was scored; says when a run goes on from it, and when Ctrl-C leaves
    one behind."""
    from unmask.evaluation.unfinished import UNFINISHED

    kept = folder / UNFINISHED
    if kept.exists():
        print(f"unmask evaluate: going on with what {kept} holds", file=sys.stderr)
    try:
        yield kept
    except KeyboardInterrupt:
        if kept.exists():
            told = f"{kept} keeps what was scored; the same command goes on from there"
            print(f"\nunmask evaluate: {told}", file=sys.stderr)
        raise


def show_errors(errors: Sequence[FileError], file: str) -> None:
    """The first few files that could not be scored, to stderr, and how many more ``file`` lists."""
    from unmask.reports.facts import printable

    for error in errors[:_SHOWN]:
        print(printable(f"error [{error.code}]: {error.path}: {error.message}"), file=sys.stderr)
    if len(errors) > _SHOWN:
        print(f"... and {len(errors) - _SHOWN} more in {file}", file=sys.stderr)
