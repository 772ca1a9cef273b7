"""What both studies write about themselves."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unmask.features.table import FeatureTable


def study_facts(
    tables: Sequence[Path], table: FeatureTable, start: float, others: Sequence[Path] = ()
) -> dict[str, Any]:
    """Command, files with their hashes, where the features came from, machine and cost.

    Args:
        tables: files of features, whose names are the study's.
        table: what they hold together.
        start: processor seconds when the study began.
        others: further files it read.
    """
    from unmask.core.files import sha256_file
    from unmask.core.version import __version__
    from unmask.evaluation.output import machine

    return {
        "name": ", ".join(path.stem for path in tables),
        "command": shlex.join(["unmask", *sys.argv[1:]]),
        "files": "; ".join(f"{path} sha256 {sha256_file(path)[:16]}" for path in (*tables, *others)),
        "extracted": str(table.about.get("command", "")),
        "extracted_from": str(table.about.get("data_sha256", "")),
        "machine": machine(),
        "processor_seconds": round(time.process_time() - start, 1),
        "version": __version__,
    }
