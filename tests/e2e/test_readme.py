"""What the README and the pages of docs/ promise: commands that run, links that lead somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unmask.cli.demo import KINDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
RUNS = re.compile(r"<!-- runs -->\n```(\w+)\n(.*?)```", re.DOTALL)
INSTALL = (
    "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/unmask demo",
    'python3 -m venv .venv && .venv/bin/pip install -e ".[dev]" && .venv/bin/pytest',
)


def run_blocks(page: Path, folder: Path) -> str:
    """Run a page's marked blocks one after the other in ``folder``, with this environment's commands.

    Every one must succeed, and there must be one; returns what they printed.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    blocks = RUNS.findall(page.read_text(encoding="utf-8"))
    assert blocks, f"{page.name} has no block that is marked to run"
    printed = ""
    for language, text in blocks:
        assert language in ("sh", "python"), f"a block marked to run must be sh or python, not {language}"
        command = ["bash", "-euo", "pipefail", "-c", text] if language == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
        printed += done.stdout
    return printed


def shipped() -> bool:
    return (ROOT / "src" / "unmask" / "assets" / "default.json").is_file()


@pytest.mark.skipif(not shipped(), reason="no trained weights in this copy")
def test_the_readme_runs(tmp_path: Path) -> None:
    run_blocks(ROOT / "README.md", tmp_path)
    page = (tmp_path / "my-report" / "report.html").read_text(encoding="utf-8")
    assert all(f"forged-{kind}.png" in page for kind in KINDS)
    assert (tmp_path / "forged" / "manifest.csv").is_file()


@pytest.mark.skipif(not shipped(), reason="no trained weights in this copy")
def test_the_detect_page_runs(tmp_path: Path, portrait: Path) -> None:
    shutil.copy(portrait, tmp_path / "photo.jpg")
    photo, absent, evidence = run_blocks(ROOT / "docs" / "detect.md", tmp_path).splitlines()
    assert re.fullmatch(r"photo\.jpg (fake|real|uncertain) None", photo)
    assert absent.startswith("absent.jpg None ErrorInfo(code='not_found'")
    assert evidence.startswith("(Face(box=(") and evidence.endswith(" (256, 256)")


def test_the_features_page_runs(tmp_path: Path, portrait: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    shutil.copy(portrait, tmp_path / "photos" / "portrait.jpg")
    printed = run_blocks(ROOT / "docs" / "features.md", tmp_path)
    assert "12 rows (4 images, 8 degraded)" in printed
    assert printed.splitlines()[-1].startswith("12 (12, 21) ('difference 1'")


def test_the_readme_opens_with_a_sentence_a_picture_and_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip()]
    assert lines[0] == "# unmask" and lines[1].endswith(".") and lines[2].startswith("![")
    assert all(lines.count(command) == 1 for command in INSTALL)
    assert text.index(INSTALL[0]) < text.index(INSTALL[1]) < text.index("\n## ")
    assert next(line for line in lines if ".venv/bin/pytest" in line) == INSTALL[1]  # what .ci/run takes


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, target


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    missing = [
        page.name for page in (ROOT / "docs").glob("*.md") if page.name != "README.md" and page.name not in index
    ]
    assert not missing
