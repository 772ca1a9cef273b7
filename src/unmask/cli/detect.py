"""Was this image manipulated? Files, folders, globs or a list on stdin, to verdicts, masks and a report.

A folder is searched recursively; `-` reads file names from stdin, one per line or separated by zero bytes. With a
--detector of clips the files of a folder are the frames of one video, and each video gets a verdict.
Exit code: 0 every file was analysed, whatever the verdicts; 1 some could not be; 2 wrong usage; 130 stopped
with Ctrl-C (what was finished is kept).
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from unmask.cli.inputs import Inputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from unmask.analysis.analyzer import Analyzer, Result
    from unmask.core.types import Face
    from unmask.core.verdict import Verdict
    from unmask.reports.verdict_report import VerdictReport

_COLOURS = {"fake": "bold red", "real": "green", "uncertain": "yellow", "error": "dim"}
_NOTES = 12


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``unmask detect``."""
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a file, a folder, a quoted glob, or - for stdin")
    parser.add_argument(
        "--detector",
        metavar="NAME_OR_FILE",
        help="shipped weights by name, your own .safetensors, or the .json card of several beside it (default: the "
        "shipped specialists together)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per file and line, as soon as it is ready")
    parser.add_argument(
        "--report",
        metavar="DIR",
        type=Path,
        help="write report.html, report.jsonl and masks/ to a new, empty or earlier report's folder",
    )
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
    parser.add_argument(
        "--boxes", metavar="FILE", help="face boxes (CSV or Parquet: path,x1,y1,x2,y2) instead of searching for faces"
    )
    parser.add_argument(
        "--stability",
        action="store_true",
        help="judge each photo again after 34 benign edits: does the verdict survive? (about 35 times the work)",
    )


def run(args: argparse.Namespace) -> int:
    """Analyse everything that was named; results go to stdout, progress and remarks to stderr."""
    inputs = Inputs(args.paths, getattr(sys.stdin, "buffer", None), exclude=args.report)
    boxes = _boxes(args.boxes)
    with _uncollected():
        from unmask.analysis.analyzer import load_analyzer

        analyzer = load_analyzer(args.detector, device=args.device, clips=not args.stability)
    report = _report(args.report, analyzer)
    if args.json:
        failed = _loop(analyzer, inputs, boxes, report, _print_json, stable=args.stability, quiet=sys.stdout.isatty())
    else:
        table = _Table(stable=args.stability, placed=analyzer.bench.held_out is not None)
        try:
            failed = _loop(analyzer, inputs, boxes, report, table.add, stable=args.stability)
        finally:
            table.show()
    if report is not None:
        print(f"report: {report.page}", file=sys.stderr if args.json else sys.stdout)
    if inputs.skipped:
        print(f"files in folders left out, hidden or not named like an image: {inputs.skipped}", file=sys.stderr)
    return 1 if failed else 0


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage while modules load: they leave none, and it costs tenths of a second."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _loop(
    analyzer: Analyzer,
    inputs: Inputs,
    boxes: dict[str, list[Face]] | None,
    report: VerdictReport | None,
    take: Callable[[Result], None],
    *,
    stable: bool = False,
    quiet: bool = False,
) -> int:
    """Feed every result to the report and to ``take``; returns how many files could not be analysed."""
    from unmask.analysis.stability import PLAN, with_stability
    from unmask.cli.progress import progress_bar
    from unmask.core.files import real_path
    from unmask.core.verdict import ErrorInfo

    def results() -> Iterator[Result]:
        paths: Iterable[str | list[str]] = inputs
        if analyzer.takes_clips:
            from unmask.analysis.videos import group_frames  # what clips need is not loaded for images

            paths = group_frames(inputs)
        paths = paths if "-" in inputs.arguments else list(paths)
        total = len(paths) if isinstance(paths, list) else 0
        steps = len(PLAN) + 1 if stable else 1
        with progress_bar("analysing") if (total > 1 or stable) and not quiet else nullcontext() as advance:
            tell = advance if advance is not None else lambda done, total: None
            for number, (verdict, evidence) in enumerate(analyzer.examine(paths, boxes)):
                before = number * steps
                if stable and evidence is not None:
                    tell(before + 1, total * steps)
                    told = partial(_told, tell, before + 1, total * steps)
                    verdict = with_stability(analyzer.bench, verdict, evidence, plan=PLAN, progress=told)
                yield verdict, evidence
                tell(before + steps, total * steps)
        for path, why in inputs.empty:
            yield analyzer.failure(path, ErrorInfo("no_files", why)), None

    failed, matched, finished = 0, 0, False
    known = {real_path(path) for path in boxes or ()}
    try:
        for verdict, evidence in results():
            if report is not None:
                verdict = report.add(verdict, evidence)
            failed += verdict.error is not None
            matched += bool(known) and (analyzer.takes_clips or real_path(verdict.path or "") in known)
            take((verdict, evidence))
        finished = True
    finally:
        if report is not None:
            report.close(finished=finished)
    if known and not matched:
        print(
            "unmask detect: no path in the boxes file is one of these files; their faces were searched", file=sys.stderr
        )
    return failed


def _told(tell: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    """Move a bar that counts edits."""
    tell(before + done, total)


def _boxes(path: str | None) -> dict[str, list[Face]] | None:
    if path is None:
        return None
    from unmask.data.faces import read_boxes

    return read_boxes(path)


def _report(folder: Path | None, analyzer: Analyzer) -> VerdictReport | None:
    if folder is None:
        return None
    from unmask.reports.verdict_report import VerdictReport

    bench = analyzer.bench
    return VerdictReport(folder, bench.members, bench.name, bench.thresholds, bench.weights_sha256)


def _print_json(result: Result) -> None:
    print(result[0].to_json(), flush=True)


class _Table:
    """Rows for people, shown once at the end (also when the run is interrupted)."""

    def __init__(self, stable: bool, placed: bool) -> None:
        self._stable, self._placed = stable, placed
        self._rows: list[tuple[str, ...]] = []
        self._notes: Counter[str] = Counter()

    def add(self, result: Result) -> None:
        from unmask.reports.facts import printable
        from unmask.reports.verdict_page import marked_share, reals_this_high, scope

        verdict, evidence = result
        area = marked_share(evidence) if verdict.verdict in ("fake", "uncertain") else None
        self._rows.append(
            (
                printable(verdict.path or ""),
                verdict.verdict or "error",
                scope(verdict),
                "" if verdict.score is None else f"{verdict.score:.3f}",
                "" if area is None else f"{100 * area:.1f} %",
                "" if verdict.error else str(len(verdict.faces)),
                *([reals_this_high(verdict)] if self._placed else ()),
                *(_stable_cells(verdict) if self._stable else ()),
            )
        )
        self._notes.update(map(printable, verdict.reasons))
        if verdict.error is not None:
            self._notes[printable(f"{verdict.error.code}: {verdict.error.message}")] += 1

    def show(self) -> None:
        if not self._rows:
            return
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        from unmask.reports.verdict_page import REALS_THIS_HIGH

        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("file", overflow="fold")
        for name in ("verdict", ""):
            table.add_column(name, no_wrap=True)
        extra = ("stable", "range", "mask") if self._stable else ()
        for name in ("score", "forged\narea", "faces", *(("reals\nthis high",) if self._placed else ()), *extra):
            table.add_column(name, justify="right", no_wrap=True, vertical="bottom")
        for path, outcome, *rest in self._rows:
            table.add_row(Text(path), Text(outcome, _COLOURS[outcome]), *map(Text, rest))
        console = Console(highlight=False)
        console.print(table)
        if self._placed:
            console.print(Text(f"reals this high: {REALS_THIS_HIGH}", "dim"))
        for note, count in self._notes.most_common(_NOTES):
            times = f" ({count} files)" if count > 1 else ""
            console.print(Text(f"- {note}{times}", "dim"))
        if len(self._notes) > _NOTES:
            console.print(Text(f"- and {len(self._notes) - _NOTES} more remarks: see --json or --report", "dim"))
        if self._stable:
            console.print(
                Text(
                    "stable: versions after benign edits (JPEG, crop, text ...) that get the same verdict; range: of "
                    "the score over them; mask: mean IoU of the marks with themselves; --json names those that differ",
                    "dim",
                )
            )


def _stable_cells(verdict: Verdict) -> tuple[str, str, str]:
    """How far the verdict survives benign edits, for the table."""
    from unmask.reports.page import MISSING, number

    found = verdict.stability
    if found is None:
        return ("", "", "") if verdict.error else (MISSING, MISSING, MISSING)
    low, high = number(found.score_low), number(found.score_high)
    return f"{found.survived}/{found.edits}", f"{low}–{high}", number(found.mask_iou, 2)
