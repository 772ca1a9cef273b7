"""What a run leaves to read: CSV logs, TensorBoard on request, a progress line on stderr."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unmask.core.errors import MissingExtraError
from unmask.core.files import write_text

_QUIET_SECONDS = 60.0


class CsvLog:
    """Rows appended to a CSV file; a column that appears later widens the file."""

    def __init__(self, path: Path, resume_at: int | None) -> None:
        """``resume_at``: keep rows up to this step of an interrupted run; None: start a new file."""
        self.path = path
        self._columns: list[str] = []
        if resume_at is not None and path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                self._columns = list(reader.fieldnames or [])
                rows = [row for row in reader if (row.get("step") or "").isdigit() and int(row["step"]) <= resume_at]
            self._rewrite(rows)
        else:
            self._rewrite([])

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        if self._columns:
            writer.writeheader()
        writer.writerows(rows)
        write_text(self.path, text.getvalue())

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row and flush it."""
        new = [name for name in row if name not in self._columns]
        if new:
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            self._columns += new
            self._rewrite(rows)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns, lineterminator="\n").writerow(row)


def summary_writer() -> Any:
    """TensorBoard's class that writes events.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtraError(
            "missing_extra", "tensorboard is not installed; get it with: pip install 'unmask[tensorboard]'"
        ) from None
    return SummaryWriter


class Journal:
    """Everything a run writes for people; silent except on the first process.

    Args:
        out: folder for ``log.csv``, ``validation.csv`` and ``tensorboard/``.
        steps: planned steps; for the progress line.
        resume_at: step an interrupted run goes on from, or None.
        tensorboard: also write events.
        active: False on all but the first process.

    Raises:
        MissingExtraError: TensorBoard is asked for and not installed.
    """

    def __init__(self, out: Path, steps: int, *, resume_at: int | None, tensorboard: bool, active: bool) -> None:
        self._active = active
        self._events: Any = None
        if not active:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._steps = CsvLog(out / "log.csv", resume_at)
        self._checks = CsvLog(out / "validation.csv", resume_at)
        if tensorboard:
            self._events = summary_writer()(str(out / "tensorboard"), purge_step=resume_at)
        self._console = Console(stderr=True)
        self._told, self._total = time.monotonic(), steps
        self._progress = Progress(
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[info]}"),
            TimeElapsedColumn(),
            console=self._console,
            refresh_per_second=2,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("train", total=steps, completed=resume_at or 0, info="")
        self._progress.start()

    def advance(self, step: int, info: str) -> None:
        """Move the progress line; where nobody watches a terminal, write a line a minute instead."""
        if not self._active:
            return
        self._progress.update(self._task, completed=step, info=info)
        if not self._console.is_terminal and info and time.monotonic() - self._told > _QUIET_SECONDS:
            self._told = time.monotonic()
            self.say(f"step {step} of {self._total}: {info}")

    def step(self, row: Mapping[str, Any]) -> None:
        """One row of ``log.csv``."""
        if self._active:
            self._steps.add(row)
            self._scalars("train", row)

    def validation(self, row: Mapping[str, Any], line: str) -> None:
        """One row of ``validation.csv``, and a line on stderr."""
        if self._active:
            self._checks.add(row)
            self._scalars("val", row)
            self.say(line)

    def say(self, line: str) -> None:
        """A line on stderr, above the progress line."""
        if self._active:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _scalars(self, prefix: str, row: Mapping[str, Any]) -> None:
        if self._events is not None:
            for name, value in row.items():
                if name != "step" and isinstance(value, (int, float)):
                    self._events.add_scalar(f"{prefix}/{name}", value, row["step"])

    def close(self) -> None:
        """Stop the progress line and flush."""
        if self._active:
            self._progress.stop()
            if self._events is not None:
                self._events.close()
