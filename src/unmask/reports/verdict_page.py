"""The report page for verdicts: what each file's panel shows, as plain values for the template."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from unmask.core.types import Face, FloatMap, UInt8Image, ViewConfig
from unmask.core.verdict import Verdict
from unmask.data.views import View, views
from unmask.detectors.gradcam import grad_cam
from unmask.ops.heat import heat_overlay
from unmask.reports.curve import Curve, curve
from unmask.reports.evidence import Evidence, Member
from unmask.reports.facts import jpeg_quality, printable
from unmask.reports.maps import PixelMap, pixel_maps
from unmask.reports.page import data_uri, png_uri, write_page

PICTURE_SIDE = 900
"""Longer side of the whole picture in the report; larger ones are reduced."""
FACES_SHOWN = 6
"""Faces per file with a panel of their own, the most suspicious first."""
_HEAT = (214, 32, 96)
_EDGE = (255, 214, 10)
_CROP = ViewConfig(kind="face", size=320)
GRAD_CAM = "Grad-CAM"
_OWN = "What this detector itself shows of its view: what it received, or how much weight it gave to which place."
_CAPTIONS = {
    GRAD_CAM: "Amber: places whose features raise this detector's score. The strongest is shown bright, however weak "
    "it is. Coarse; not a mask, and not a finding of its own.",
    "difference from real": "Amber: places least like the nearest real photo that this detector remembers. The largest "
    "difference is shown bright, however small it is. Coarse; not a mask.",
    "nearest reals": "Distances to the nearest real photos that this detector remembers, nearest on top. A full bar is "
    "the largest possible distance, 2.",
    "SRM residuals": "Mean strength of ten fixed high-pass filters; the strongest hundredth is white.",
    "wavelet details": "Mean strength of the fine details of two wavelet levels; the strongest hundredth is white.",
    "radial gains": "What this detector multiplies the spectrum by at each of its stages, left to right: strength on "
    "top, phase below, from coarse to fine frequencies. The line is 1: no change; a full bar is 2.",
    "lbp": "Bright: local binary patterns that are rare in this image.",
    "dct": "Bright: blocks of 8 x 8 pixels whose frequencies are unusual in this image.",
    "suspected region": "The photo, as bright as the mask: what this detector judged as the suspected region.",
    "authentic region": "The rest: what it judged as the authentic region.",
    "spatial | frequency": "How much of the answer's features comes from what is seen (bright) and from frequencies.",
}
_NATIVE = ViewConfig(kind="native", size=256, crops=1)


@dataclass(frozen=True, slots=True)
class Picture:
    """A photo with its mask overlay, as data URIs."""

    photo: str
    overlay: str | None
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Frame:
    """A face's box in the units of the shown picture."""

    number: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class FacePanel:
    """One face."""

    number: int
    verdict: str | None
    score: float | None
    area: float | None
    pixels: str
    picture: Picture
    maps: tuple[tuple[str, str, str], ...]
    """Title, caption, data URI."""
    notes: tuple[str, ...]
    """What else the detectors have to say about it, in words."""


@dataclass(frozen=True, slots=True)
class FilePanel:
    """Everything shown of one file."""

    number: int
    folder: str
    name: str
    verdict: Verdict
    unit: str
    """What the weights answer for: ``photos`` or ``videos``."""
    scope: str
    """See :func:`scope`."""
    reasons: tuple[str, ...]
    picture: Picture
    frames: tuple[Frame, ...]
    area: float | None
    curve: Curve | None
    members: tuple[tuple[str, str, float | None], ...]
    """Name, question, calibrated score."""
    faces: tuple[FacePanel, ...]
    faces_left_out: int
    facts: tuple[tuple[str, str], ...]
    tables: tuple[tuple[int, tuple[tuple[int, ...], ...]], ...]
    exif: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the index."""

    number: int
    folder: str
    name: str
    outcome: str
    """The verdict, or ``error``."""
    note: str
    """Error message, or nothing."""
    scope: str
    """See :func:`scope`."""
    score: float | None
    reals: str
    """See :func:`reals_this_high`."""
    area: float | None
    faces: int
    thumbnail: str


def _names(verdict: Verdict) -> tuple[str, str]:
    """Folder (with the closing slash) and file name, fit to be shown."""
    path = verdict.path or "(pixels)"
    name = Path(path).name or path
    return printable(path[: len(path) - len(name)] if path.endswith(name) else ""), printable(name)


def scope(verdict: Verdict) -> str:
    """What a verdict speaks of: the kind of a fake; for a real, which of the two questions it leaves open."""
    asked = (verdict.scores.edited is not None, verdict.scores.generated is not None)
    if verdict.verdict == "real" and asked in ((True, False), (False, True)):
        return "as to edits" if asked[0] else "as to generation"
    return verdict.kind or ""


REALS_THIS_HIGH = "held-out genuine photos, of people the weights never learned from, that score at least as high"


def reals_this_high(verdict: Verdict) -> str:
    """How many held-out genuine photos score at least as high, of how many; empty where that is not known."""
    return "" if verdict.standing is None else f"{verdict.standing.real.count} of {verdict.standing.real.n}"


def marked_share(evidence: Evidence | None) -> float | None:
    """Share of the whole image marked as forged; None when nothing loaded localizes."""
    if evidence is None or evidence.heatmap is None:
        return None
    return float((evidence.heatmap >= evidence.mask_threshold).mean())


def row(number: int, verdict: Verdict, evidence: Evidence | None, *, thumbnail: bool = True) -> Row:
    """The index line of one file."""
    note = f"{verdict.error.code}: {verdict.error.message}" if verdict.error else ""
    thumb = ""
    if evidence is not None and thumbnail:
        thumb = _jpeg(_reduced(evidence.decoded.pixels, 64), quality=70)
    folder, name = _names(verdict)
    return Row(
        number=number,
        folder=folder,
        name=name,
        outcome=verdict.verdict or "error",
        note=printable(note),
        scope=scope(verdict),
        score=verdict.score,
        reals=reals_this_high(verdict),
        area=marked_share(evidence),
        faces=len(verdict.faces),
        thumbnail=thumb,
    )


def panel(number: int, verdict: Verdict, evidence: Evidence) -> FilePanel:
    """The detailed panel of one analysed file."""
    decoded = evidence.decoded
    height, width = decoded.pixels.shape[:2]
    photo = _reduced(decoded.pixels, PICTURE_SIDE)
    heat = evidence.heatmap
    small = heat
    if heat is not None and heat.shape != photo.shape[:2]:
        small = cv2.resize(heat, photo.shape[1::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
    zoom = photo.shape[1] / width
    order = sorted(range(len(verdict.faces)), key=lambda i: -(verdict.faces[i].score or 0.0))
    shown = order[:FACES_SHOWN]
    scores = [] if verdict.score is None else [("image", verdict.score)]
    own = [(f"face {i + 1}", s) for i in shown if (s := verdict.faces[i].score) is not None]
    folder, name = _names(verdict)
    return FilePanel(
        number=number,
        folder=folder,
        name=name,
        verdict=verdict,
        unit="videos" if evidence.results[0][0].detector.input_kind == "clip" else "photos",
        scope=scope(verdict),
        reasons=tuple(map(printable, verdict.reasons)),
        picture=_picture(photo, small, evidence.mask_threshold),
        frames=tuple(
            Frame(i + 1, *(round(v * zoom, 1) for v in (x1, y1, x2 - x1, y2 - y1)))
            for i, (x1, y1, x2, y2) in ((i, face.box) for i, face in enumerate(verdict.faces))
        ),
        area=marked_share(evidence),
        curve=curve(evidence.calibration, verdict.thresholds, own if len(own) > 1 else scores) if scores else None,
        members=tuple((m.name, m.answers, getattr(verdict.scores, m.answers, None)) for m, _ in evidence.results),
        faces=tuple(_face_panel(i, verdict, evidence) for i in shown),
        faces_left_out=len(order) - len(shown),
        facts=_facts(verdict, evidence, (width, height)),
        tables=tuple(
            (key, tuple(tuple(table[i : i + 8]) for i in range(0, len(table), 8)))
            for key, table in (decoded.quantization or {}).items()
        ),
        exif=tuple((printable(key), printable(value)) for key, value in decoded.exif.items()),
    )


def _face_panel(index: int, verdict: Verdict, evidence: Evidence) -> FacePanel:
    face, said = evidence.faces[index], verdict.faces[index]
    image = evidence.decoded.pixels
    crop = views(image, [face], _CROP)[0]
    native = views(image, [face], _NATIVE)[0]
    heat = None if evidence.heatmap is None else crop.from_image(evidence.heatmap)
    maps = [*pixel_maps(native.pixels), *_seen(face, evidence)]
    x1, y1, x2, y2 = face.box
    return FacePanel(
        number=index + 1,
        verdict=said.verdict,
        score=said.score,
        area=said.mask_area,
        pixels=f"{x2 - x1:.0f} x {y2 - y1:.0f}",
        picture=_picture(crop.pixels, heat, evidence.mask_threshold),
        maps=tuple((m.title, m.caption, png_uri(m.values)) for m in maps),
        notes=tuple(printable(note) for note in (*_remembered(face, evidence), *_parts(face, evidence))),
    )


def _remembered(face: Face, evidence: Evidence) -> list[str]:
    """How near this face is to the real photos that detectors remember."""
    notes = []
    for member, result in evidence.results:
        index = next((n for n, view in enumerate(result.views) if view.face is face), None)
        if result.view_nearest is None or index is None:
            continue
        told = ", ".join(f"{value:.2f}" for value in result.view_nearest[index])
        usual = "" if member.far is None else f"; real photos are rarely farther than {member.far:.2f} from the nearest"
        notes.append(f"Distances to the nearest real photos that '{member.name}' remembers, 0 to 2: {told}{usual}.")
    return notes


def _parts(face: Face, evidence: Evidence) -> list[str]:
    """What detectors that answer for the whole and for regions say of this face."""
    notes = []
    for member, result in evidence.results:
        index = next((n for n, view in enumerate(result.views) if view.face is face), None)
        if result.view_parts is None or index is None:
            continue
        whole, parts = result.view_parts[index]
        agree = "agree" if (whole > 0.5) == (parts > 0.5) else "disagree"
        notes.append(
            f"'{member.name}', before calibration: the whole is fake with {whole:.2f}, one of its regions with "
            f"{parts:.2f}: they {agree}."
        )
    return notes


def _seen(face: Face, evidence: Evidence) -> list[PixelMap]:
    """What the detectors themselves show of their view of this face."""
    maps = []
    for member, result in evidence.results:
        view = next((v for v in result.views if v.face is face), next(iter(result.views), None))
        if view is None:
            continue
        for name, values in _evidence_of(member, view).items():
            maps.append(PixelMap(printable(f"{member.name}: {name}"), printable(_CAPTIONS.get(name, _OWN)), values))
    return maps


def _evidence_of(member: Member, view: View) -> dict[str, FloatMap]:
    """The design's own maps; for one that has neither maps nor a mask, Grad-CAM."""
    image = torch.from_numpy(view.pixels.copy()).permute(2, 0, 1).float().div(255).unsqueeze(0)
    image = image.to(member.detector.mean.device)
    with torch.inference_mode():
        maps = member.detector.evidence(image)
    if not maps and not member.detector.localizes:
        heat = grad_cam(member.detector, image)
        maps = {} if heat is None else {GRAD_CAM: heat_overlay(image, heat)}
    # (1, C, h, w) to (h, w) or (h, w, 3)
    arrays = {name: values[0].permute(1, 2, 0).float().cpu().numpy() for name, values in maps.items()}
    return {name: values[..., 0] if values.shape[2] == 1 else values for name, values in arrays.items()}


def _facts(verdict: Verdict, evidence: Evidence, size: tuple[int, int]) -> tuple[tuple[str, str], ...]:
    decoded = evidence.decoded
    facts = [
        ("format", f"{decoded.format}, {decoded.mode}" + (f", {decoded.frames} frames" if decoded.frames > 1 else "")),
        (
            "pixels",
            f"{size[0]} x {size[1]}" + (f", EXIF orientation {decoded.orientation}" * (decoded.orientation > 1)),
        ),
        ("bytes", f"{decoded.n_bytes:,}"),
        ("bits per pixel", f"{8 * decoded.n_bytes / (size[0] * size[1]):.2f}"),
    ]
    quality = jpeg_quality(decoded.quantization)
    if quality is not None:
        how = (
            "the standard tables of that setting"
            if quality.standard
            else "nearest setting; the tables are the encoder's own"
        )
        facts.append(("JPEG quality", f"about {quality.quality} ({how})"))
    if decoded.icc:
        facts.append(("colour profile", printable(decoded.icc)))
    if verdict.sha256:
        facts.append(("SHA-256", verdict.sha256))
    return tuple(facts)


def _reduced(image: UInt8Image, side: int) -> UInt8Image:
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def _picture(photo: UInt8Image, heat: FloatMap | None, threshold: float) -> Picture:
    overlay = None if heat is None else png_uri(overlay_pixels(heat, threshold))
    return Picture(_jpeg(photo), overlay, photo.shape[1], photo.shape[0])


def overlay_pixels(heat: FloatMap, threshold: float) -> UInt8Image:
    """A heat map (H, W) in [0, 1] as RGBA (H, W, 4): red where manipulated, the border of the cut mask in yellow."""
    rgba = np.empty((*heat.shape, 4), np.uint8)
    rgba[..., :3] = _HEAT
    rgba[..., 3] = np.where(heat >= threshold, 60 + 90 * heat, 90 * heat).clip(0, 255)
    mask = (heat >= threshold).astype(np.uint8)
    border = mask != cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=0)
    rgba[border] = (*_EDGE, 255)
    return rgba


def _jpeg(image: UInt8Image, quality: int = 88) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return data_uri(buffer.getvalue(), "image/jpeg")


def write_verdict_page(
    path: Path,
    rows: Sequence[Row],
    panels: Sequence[FilePanel],
    members: Sequence[Member],
    summary: dict[str, Any],
) -> None:
    """Write the whole report.

    Args:
        path: the HTML file.
        rows: the index, in order.
        panels: details, in order; files without one stand in the index only.
        members: the detectors that answered.
        summary: ``counts`` (outcome to number), ``detector``, ``weights_sha256``, ``thresholds``, ``finished`` (False
            when stopped early), ``rows_left_out``.
    """
    context = {
        "rows": rows,
        "panels": panels,
        "detailed": {p.number for p in panels},
        "members": members,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **summary,
    }
    write_page(path, "verdict.html", context)
