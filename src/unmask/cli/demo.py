"""The first minute: forge a portrait with a known mask, analyse both, and see what was found. Works offline.

The portrait is the one scikit-image ships (Eileen Collins, NASA, public domain).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from unmask.core.types import Face, FloatMap, UInt8Image
    from unmask.core.verdict import Verdict
    from unmask.data.forgeries import Forged
    from unmask.reports.evidence import Evidence

FILES = ("original.png", "forged.png", "true_mask.png", "predicted_mask.png", "overview.png")
SEED = 0
_MEANING = {
    ("original", "real"): "right",
    ("original", "fake"): "wrong: a false alarm",
    ("forged", "fake"): "right",
    ("forged", "real"): "wrong: missed",
}


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
    forged = _forge(photo, analyzer.find_faces(photo)[0])
    _save(out / "original.png", photo)
    _save(out / "forged.png", forged.image)
    truth = forged.mask > 0
    write_mask(out / "true_mask.png", truth, orientation=1)

    bench = analyzer.bench
    report = VerdictReport(out / "report", bench.members, bench.name, bench.thresholds, bench.weights_sha256)
    verdicts: list[Verdict] = []
    evidence: Evidence | None = None
    for verdict, evidence in analyzer.examine([out / "original.png", out / "forged.png"]):
        verdicts.append(report.add(verdict, evidence))
    report.close()
    found = None
    if evidence is not None and evidence.heatmap is not None:
        found = evidence.heatmap >= evidence.mask_threshold
        write_mask(out / "predicted_mask.png", found, orientation=1)
        _save(out / "overview.png", _overview(evidence, forged))
    _tell(out, verdicts, None if found is None else _iou(found, truth))
    return 0 if all(verdict.error is None for verdict in verdicts) else 1


def _portrait() -> UInt8Image:
    """The astronaut in the installed scikit-image, found without importing it."""
    from importlib.util import find_spec

    from unmask.core.errors import DataError
    from unmask.data.intake import decode

    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise DataError("no_portrait", "the demo's portrait comes with scikit-image, which is not installed")
    return decode(Path(spec.origin).parent / "data" / "astronaut.png").pixels


def _forge(photo: UInt8Image, face: Face) -> Forged:
    """The first self-blend that takes a third of the face at nearly full strength and touches nothing else."""
    from unmask.core.seeds import rng
    from unmask.data.forgeries import forge

    x1, y1, x2, y2 = face.box
    draw = 0
    while True:
        forged = forge("self_blend", photo, face, rng(SEED, "demo", draw))
        if (forged.mask > 0.8).sum() > (x2 - x1) * (y2 - y1) / 3 and (forged.real == photo).all():
            return forged
        draw += 1


def _iou(found: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    """Intersection over union; both masks are of one size and ``truth`` is not empty."""
    return float((found & truth).sum() / (found | truth).sum())


def _save(path: Path, pixels: UInt8Image) -> None:
    from PIL import Image

    from unmask.core.files import atomic_path

    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG")


def _overview(evidence: Evidence, forged: Forged) -> UInt8Image:
    """Forged photo, predicted marks, true mask, side by side around the face."""
    import numpy as np
    from PIL import Image, ImageDraw

    from unmask.core.types import ViewConfig
    from unmask.data.views import views
    from unmask.reports.verdict_page import overlay_pixels

    side, bar = 320, 28
    view = views(forged.image, evidence.faces[:1], ViewConfig(kind="face", size=side, margin=2.2))[0]
    assert evidence.heatmap is not None
    heat: FloatMap = view.from_image(evidence.heatmap)
    marked = Image.fromarray(view.pixels).convert("RGBA")
    marked.alpha_composite(Image.fromarray(overlay_pixels(heat, evidence.mask_threshold)))
    mask = (view.from_image(forged.mask)[..., None] * np.full(3, 255)).astype(np.uint8)
    sheet = Image.new("RGB", (3 * side + 16, side + bar), "white")
    draw = ImageDraw.Draw(sheet)
    named = (
        ("a forged photo", Image.fromarray(view.pixels)),
        ("where unmask marks it", marked.convert("RGB")),
        ("where it was forged", Image.fromarray(mask)),
    )
    for i, (title, picture) in enumerate(named):
        sheet.paste(picture, (i * (side + 8), bar))
        draw.text((i * (side + 8) + side / 2, bar / 2), title, fill="black", anchor="mm", font_size=16)
    return np.asarray(sheet)


def _tell(out: Path, verdicts: list[Verdict], iou: float | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("image", "truth", "verdict", "score", ""):
        table.add_column(name, justify="right" if name == "score" else "left")
    for name, verdict in zip(("original", "forged"), verdicts, strict=True):
        score = "" if verdict.score is None else f"{verdict.score:.3f}"
        meaning = _MEANING.get((name, verdict.verdict or ""), "not settled either way")
        table.add_row(f"{name}.png", "real" if name == "original" else "fake", verdict.verdict, score, meaning)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    if iou is not None:
        console.print(f"predicted against true mask of the forgery: IoU {iou:.2f} (1 = the same, 0 = nothing shared)")
    console.print("One portrait shows how the tool works, not how good it is.")
    console.print(f"open: {out / 'report' / 'report.html'}", markup=False)
