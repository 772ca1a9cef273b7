"""The Python blocks of the pages on detectors and export run, one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(
    "page", ["detectors.md", "auranet.md", "clmf.md", "dcr_net.md", "export.md", "fmca_net.md", "temporal.md"]
)
def test_blocks_run(page: str) -> None:
    if page == "export.md":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    scope: dict[str, Any] = {}
    for block in blocks:
        exec(block, scope)
