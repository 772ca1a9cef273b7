"""The first minute: forge a portrait with known masks, analyse everything, and see what was found. Works offline.

The portrait is the one scikit-image ships (Eileen Collins, NASA, public domain).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from unmask.core.types import Face, UInt8Image
    from unmask.core.verdict import Verdict
    from unmask.data.forgeries import Forged
    from unmask.reports.evidence import Evidence

KINDS = {"self_blend": "blended", "resynthesis_part": "re-synthesised", "retouch": "retouched"}
"""What is done to a part of the face, one forgery each."""
FILES = (
    "original.png",
    "overview.png",
    *(f"{name}-{kind}.png" for kind in KINDS for name in ("forged", "mask", "found")),
)
SEED = 0
_SIDE, _GAP, _BAR = 240, 6, 26


class Answer(NamedTuple):
    """What was said about one picture, and how well the marks lie on the truth."""

    verdict: Verdict
    evidence: Evidence | None
    iou: float | None


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``unmask demo``."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("unmask-demo"),
        metavar="DIR",
        help="new or empty folder (default: unmask-demo)",
    )


def run(args: argparse.Namespace) -> int:
    """Forge, analyse, write and print; the exit code says whether it ran, not whether the detector was right."""
    from unmask.analysis.analyzer import load_analyzer
    from unmask.reports.verdict_report import VerdictReport, claim_folder, write_mask

    analyzer = load_analyzer(device="cpu")
    out: Path = args.out
    claim_folder(out, {*FILES, "report"}, "report/report.jsonl")
    photo = _portrait()
    face = analyzer.find_faces(photo)[0]
    forgeries = {kind: _forge(kind, photo, face) for kind in KINDS}
    _save(out / "original.png", photo)
    for kind, forged in forgeries.items():
        _save(out / f"forged-{kind}.png", forged.image)
        write_mask(out / f"mask-{kind}.png", forged.mask > 0, orientation=1)

    bench = analyzer.bench
    report = VerdictReport(out / "report", bench.members, bench.name, bench.thresholds, bench.weights_sha256)
    answers: dict[str, Answer] = {}
    names = ["original", *(f"forged-{kind}" for kind in KINDS)]
    for name, (verdict, evidence) in zip(names, analyzer.examine([out / f"{n}.png" for n in names]), strict=True):
        report.add(verdict, evidence)
        iou = None
        kind = name.removeprefix("forged-")
        if kind in forgeries and evidence is not None and evidence.heatmap is not None:
            found, truth = evidence.heatmap >= evidence.mask_threshold, forgeries[kind].mask > 0
            write_mask(out / f"found-{kind}.png", found, orientation=1)
            iou = float((found & truth).sum() / (found | truth).sum())
        answers[name] = Answer(verdict, evidence, iou)
    report.close()
    _save(out / "overview.png", _overview(forgeries, answers))
    _tell(out, answers)
    return 0 if all(answer.verdict.error is None for answer in answers.values()) else 1


def _portrait() -> UInt8Image:
    """The astronaut in the installed scikit-image, found without importing it."""
    from importlib.util import find_spec

    from unmask.core.errors import DataError
    from unmask.data.intake import decode

    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise DataError("no_portrait", "the demo's portrait comes with scikit-image, which is not installed")
    return decode(Path(spec.origin).parent / "data" / "astronaut.png").pixels


def _forge(kind: str, photo: UInt8Image, face: Face) -> Forged:
    """The first draw that takes at least a sixth of the face at nearly full strength and touches nothing else."""
    import numpy as np

    from unmask.core.seeds import rng
    from unmask.data.forgeries import forge

    x1, y1, x2, y2 = (round(edge) for edge in face.box)
    draw = 0
    while True:
        forged = forge(kind, photo, face, rng(SEED, "demo", kind, draw))
        if (forged.mask[y1:y2, x1:x2] > 0.8).mean() > 1 / 6 and np.array_equal(forged.real, photo):
            return forged
        draw += 1


def _save(path: Path, pixels: UInt8Image) -> None:
    from PIL import Image

    from unmask.core.files import atomic_path

    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG")


def _overview(forgeries: Mapping[str, Forged], answers: Mapping[str, Answer]) -> UInt8Image:
    """One row per forgery around the face: the photo, the predicted marks, the true mask."""
    import numpy as np
    from PIL import Image, ImageDraw

    from unmask.core.types import ViewConfig
    from unmask.data.views import views
    from unmask.reports.verdict_page import overlay_pixels, reals_this_high

    step = _SIDE + _GAP
    sheet = Image.new("RGB", (3 * step - _GAP, _BAR + len(forgeries) * step - _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(("forged photo", "marked by unmask", "truly forged")):
        pen.text((column * step + _SIDE / 2, _BAR / 2), title, fill="black", anchor="mm", font_size=15)
    config = ViewConfig(kind="face", size=_SIDE, margin=1.9)
    for row, (kind, forged) in enumerate(forgeries.items()):
        verdict, evidence, _ = answers[f"forged-{kind}"]
        if evidence is None:
            continue
        view = views(forged.image, evidence.faces[:1], config)[0]
        photo = Image.fromarray(view.pixels)
        marked = photo.convert("RGBA")
        if evidence.heatmap is not None:
            overlay = overlay_pixels(view.from_image(evidence.heatmap), evidence.mask_threshold)
            marked.alpha_composite(Image.fromarray(overlay))
        truth = (view.from_image(forged.mask)[..., None] * np.full(3, 255)).astype(np.uint8)
        top = _BAR + row * step
        for column, picture in enumerate((photo, marked.convert("RGB"), Image.fromarray(truth))):
            sheet.paste(picture, (column * step, top))
        reals = reals_this_high(verdict)
        notes = (KINDS[kind], f"{verdict.verdict} {verdict.score or 0:.2f}" + (f", {reals} reals" if reals else ""))
        for column, note in enumerate(notes):
            place = (column * step + 8, top + _SIDE - 8)
            pen.text(place, note, fill="white", stroke_fill="black", stroke_width=2, anchor="ls", font_size=15)
    return np.asarray(sheet)


def _tell(out: Path, answers: Mapping[str, Answer]) -> None:
    from rich.console import Console
    from rich.table import Table

    from unmask.reports.verdict_page import REALS_THIS_HIGH, reals_this_high

    table = Table(box=None, pad_edge=False, header_style="dim")
    numbers = ("score", "reals\nthis high", "mask\nIoU")
    for name in ("image", "verdict", *numbers, ""):
        table.add_column(name, justify="right" if name in numbers else "left", no_wrap=True, vertical="bottom")
    for name, (verdict, _, iou) in answers.items():
        truth = "real" if name == "original" else "fake"
        said = verdict.verdict or "error"
        settled = "right" if said == truth else "wrong" if said in ("real", "fake") else "not settled"
        score = "" if verdict.score is None else f"{verdict.score:.3f}"
        overlap = "" if iou is None else f"{iou:.2f}"
        table.add_row(f"{name}.png", said, score, reals_this_high(verdict), overlap, settled)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(f"reals this high: {REALS_THIS_HIGH}.")
    console.print("mask IoU: overlap of the marked pixels with the forged ones, 1 = the same, 0 = nothing shared.")
    console.print("One portrait shows how the tool works, not how good it is.")
    console.print(f"picture: {out / 'overview.png'}\nreport:  {out / 'report' / 'report.html'}", markup=False)
