"""When an image lies outside what the detectors were trained and measured on, the answer is ``uncertain``."""

from __future__ import annotations

from collections.abc import Sequence

from unmask.core.types import Face
from unmask.data.intake import Decoded
from unmask.detectors.scoring import ImageScore, reduce_logits
from unmask.reports.evidence import Member
from unmask.reports.facts import jpeg_quality

MIN_SIDE = 96
"""Images with a shorter side below this many pixels get no verdict."""
MIN_JPEG_QUALITY = 40
"""Files compressed below about this quality get no verdict."""
MIN_FACE = 48
"""Faces whose longer side is below this many pixels get no verdict."""


def is_small(face: Face) -> bool:
    """True for a face of too few pixels to be judged.

    >>> is_small(Face((0, 0, 30, 40))), is_small(Face((0, 0, 40, 60)))
    (True, False)
    """
    x1, y1, x2, y2 = face.box
    return max(x2 - x1, y2 - y1) < MIN_FACE


def distance(member: Member, result: ImageScore, face: Face | None = None) -> float | None:
    """From the image, or one face in it, to the nearest real image a detector remembers, reduced over views as logits
    are; None where it remembers none, or does not look at that face by itself."""
    if result.view_nearest is None or not len(result.view_nearest):
        return None
    nearest = result.view_nearest[:, 0]
    if face is None:
        return reduce_logits(member.detector, nearest, result.views)
    own = [n for n, view in enumerate(result.views) if view.face is face]
    return float(nearest[own].mean()) if own and member.detector.config.view.kind == "face" else None


def is_unfamiliar(member: Member, result: ImageScore, face: Face | None = None) -> bool:
    """True when the image, or one face in it, is like nothing that a detector knows to be real."""
    apart = distance(member, result, face)
    return member.far is not None and apart is not None and apart > member.far


def unfamiliar(results: Sequence[tuple[Member, ImageScore]]) -> tuple[str, ...]:
    """A reason per detector that finds the image like nothing it knows to be real."""
    return tuple(
        f"out_of_domain: '{member.name}' remembers no real photo like this one: the nearest is "
        f"{distance(member, result):.2f} away, for real photos rarely above {member.far:.2f}; that it found no forgery "
        "either says little"
        for member, result in results
        if is_unfamiliar(member, result)
    )


def disagreement(results: Sequence[tuple[Member, ImageScore]]) -> tuple[str, ...]:
    """A reason per detector whose answers for the whole and for its regions fall on two sides, in its highest view."""
    found = []
    for member, result in results:
        if result.view_parts is None or not len(result.view_parts):
            continue
        whole, parts = result.view_parts[int(result.view_logits.argmax())]
        if (whole > 0.5) != (parts > 0.5):
            found.append(
                f"disagreement: to '{member.name}' the whole looks {'fake' if whole > 0.5 else 'real'} "
                f"({whole:.2f} before calibration), its regions {'fake' if parts > 0.5 else 'real'} ({parts:.2f})"
            )
    return tuple(found)


def warnings(decoded: Decoded, faces: Sequence[Face]) -> tuple[str, ...]:
    """Reasons, each ``"code: plain words"``, why no verdict should be given for the image as a whole."""
    found = []
    height, width = decoded.pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        found.append(f"tiny_image: {width}x{height} pixels; below {MIN_SIDE} on a side too little is left to judge")
    quality = jpeg_quality(decoded.quantization)
    if quality is not None and quality.quality < MIN_JPEG_QUALITY:
        found.append(
            f"heavy_compression: JPEG quality about {quality.quality}; below {MIN_JPEG_QUALITY} the traces of an edit "
            "are mostly gone"
        )
    if not faces:
        found.append("no_face: no face was found; the thresholds were set on photos with a face")
    elif all(is_small(face) for face in faces):
        largest = max(max(f.box[2] - f.box[0], f.box[3] - f.box[1]) for f in faces)
        found.append(f"small_face: the largest face has {largest:.0f} pixels, fewer than {MIN_FACE}")
    return tuple(found)
