"""What is installed, what is missing and how to get it, whether the shipped files are whole, and what runs here."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

State = Literal["ok", "missing", "broken", "optional", "note"]

EXTRAS = {
    "export": "unmask export: ONNX files with a parity certificate, and their fast runtime",
    "tensorboard": "unmask train: TensorBoard logs beside the CSV log",
    "dev": "the tests and checks of this project",
}
"""What each optional extra unlocks."""
_MARKS = {"ok": "green", "missing": "red", "broken": "red", "optional": "yellow", "note": "dim"}


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the answer. ``missing`` and ``broken`` make the exit code 1."""

    topic: str
    name: str
    state: State
    found: str
    advice: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``unmask doctor``."""
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    """Print every check; exit code 1 when something that ``unmask detect`` needs is missing or broken."""
    checks = [*system(), *packages(), *extras(), *weights(), *intake()]
    healthy = not any(check.state in ("missing", "broken") for check in checks)
    if args.json:
        print(json.dumps({"healthy": healthy, "checks": [asdict(check) for check in checks]}, indent=1))
    else:
        _show(checks, healthy)
    return 0 if healthy else 1


def system() -> Iterator[Check]:
    """Python, operating system, accelerator, threads, the data folder of the tests."""
    new_enough = sys.version_info >= (3, 11)
    yield Check(
        "system",
        "python",
        "ok" if new_enough else "broken",
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "" if new_enough else "unmask needs Python 3.11 or newer",
    )
    if find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            device = f"cuda: {torch.cuda.get_device_name(0)}"
        else:
            device = "mps" if torch.backends.mps.is_available() else "cpu"
        yield Check("system", "device", "ok", f"{device}; {torch.get_num_threads()} CPU threads")
    folder = os.environ.get("UNMASK_DATA")
    if folder:
        there = Path(folder).is_dir()
        yield Check(
            "system", "UNMASK_DATA", "ok" if there else "note", folder, "" if there else "there is no such folder"
        )
    else:
        yield Check("system", "UNMASK_DATA", "note", "not set", "only some tests and benchmarks read it")


def requirements() -> dict[str, list[str]]:
    """Distribution names this package asks for, by extra; ``""`` is the core."""
    wanted: dict[str, list[str]] = {}
    for line in metadata.requires("unmask") or []:
        name = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", line)
        if name and name.group() != "unmask":
            wanted.setdefault(extra.group(1) if extra else "", []).append(name.group())
    return wanted


def tested() -> dict[str, str]:
    """Versions of the tested set by lower-case name; empty when the file is not there."""
    here = Path(__file__).resolve()
    for path in (here.parents[1] / "assets" / "constraints.txt", here.parents[3] / "constraints.txt"):
        if path.is_file():
            pairs = (line.split("==") for line in path.read_text(encoding="utf-8").splitlines() if "==" in line)
            return {name.strip().lower(): version.strip() for name, version in pairs}
    return {}


def packages() -> Iterator[Check]:
    """Every core dependency against the tested set."""
    known = tested()
    yield Check("packages", "unmask", "ok", metadata.version("unmask"))
    for name in requirements().get("", []):
        version = _version(name)
        if version is None:
            yield Check("packages", name, "missing", "not installed", f'pip install "{name}"')
            continue
        usual = known.get(name.lower())
        same = usual in (None, version)
        yield Check("packages", name, "ok" if same else "note", version, "" if same else f"tested with {usual}")


def extras() -> Iterator[Check]:
    """What each extra unlocks, and how to get the ones that are not installed."""
    wanted = requirements()
    for extra, unlocks in EXTRAS.items():
        absent = [name for name in wanted.get(extra, []) if _version(name) is None]
        if absent:
            advice = f'{unlocks}. Get it: pip install ".[{extra}]" in the source folder'
            yield Check("extras", extra, "optional", f"not installed: {', '.join(absent)}", advice)
        else:
            yield Check("extras", extra, "ok", "installed", unlocks)


def weights() -> Iterator[Check]:
    """Trained weights, the landmarks' and the face detector's: present, and of the hash their card says."""
    from importlib import resources

    from unmask.core.errors import UnmaskError
    from unmask.core.files import sha256_file
    from unmask.detectors.weights import find_weights, list_weights, read_card
    from unmask.nn.landmarks import ASSET, load_landmark_network
    from unmask.nn.mtcnn import MTCNN

    for name in list_weights():
        try:
            card, digest = read_card(name), sha256_file(find_weights(name))
            whole = not card.sha256 or card.sha256 == digest
            found = f"{card.detector}, answers '{card.answers}', sha256 {digest}"
            advice = "" if whole else "the file is not the one its card describes: install unmask again"
            yield Check("weights", name, "ok" if whole else "broken", found, advice)
        except UnmaskError as error:
            yield Check("weights", name, "broken", error.message, "install unmask again")
    try:
        load_landmark_network()
        digest, wanted = sha256_file(ASSET), json.loads(ASSET.with_suffix(".json").read_text("utf-8"))["weights_sha256"]
        advice = "" if digest == wanted else "the file is not the one its card describes: install unmask again"
        found = f"468 face points (no irises), sha256 {digest}"
        yield Check("weights", "landmarks", "broken" if advice else "ok", found, advice)
    except (UnmaskError, OSError, ValueError, KeyError) as error:
        yield Check("weights", "landmarks", "broken", str(error), "install unmask again")
    card_file = resources.files("unmask") / "assets" / "default.json"
    if card_file.is_file():
        yield Check("weights", "default", "ok", "the shipped specialists answer together")
    else:
        advice = "unmask detect needs --detector FILE.safetensors (unmask train makes one)"
        yield Check("weights", "default", "missing", "this copy ships no trained weights", advice)
    try:
        MTCNN()
        yield Check("weights", "faces", "ok", "the face detector's weights load (package mtcnn)")
    except Exception as error:  # a damaged file can raise anything
        yield Check("weights", "faces", "broken", str(error), 'pip install --force-reinstall "mtcnn>=1.0,<2"')


def intake() -> Iterator[Check]:
    """Formats the installed Pillow can decode."""
    from PIL import features

    for name, feature in (("JPEG", "jpg"), ("PNG", "zlib"), ("WebP", "webp"), ("AVIF", "avif"), ("TIFF", "libtiff")):
        there = bool(features.check(feature))
        advice = "" if there else "this Pillow was built without it; such files give a clear error"
        yield Check("formats", name, "ok" if there else "note", "decoded" if there else "not decoded", advice)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _show(checks: list[Check], healthy: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("", "name", "state", "found"):
        table.add_column(column, overflow="fold")
    topic = ""
    for check in checks:
        text = check.found + (f" ({check.advice})" if check.advice else "")
        head = check.topic if check.topic != topic else ""
        table.add_row(Text(head, "bold"), Text(check.name), Text(check.state, _MARKS[check.state]), Text(text))
        topic = check.topic
    console = Console(highlight=False)
    console.print(table)
    console.print("everything that unmask detect needs is here" if healthy else "something is missing, see above")
