"""Forgeries made from real photos, each with an exact mask and its real counterpart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from unmask.core.errors import ConfigError, DataError
from unmask.core.names import did_you_mean
from unmask.core.types import Face, UInt8Image
from unmask.data.forgeries.base import Draft, Forged, Forgery, Region, compose, visible
from unmask.data.forgeries.cloning import draw_seamless
from unmask.data.forgeries.colouring import draw_colour_transfer
from unmask.data.forgeries.copy_moving import draw_copy_move
from unmask.data.forgeries.face_warping import draw_face_warp
from unmask.data.forgeries.inpainting import draw_inpaint
from unmask.data.forgeries.resynthesizing import draw_resynthesis, draw_resynthesis_part
from unmask.data.forgeries.retouching import draw_retouch
from unmask.data.forgeries.self_blending import draw_self_blend
from unmask.data.forgeries.splicing import draw_splice
from unmask.data.forgeries.upsampling import draw_upsample
from unmask.data.forgeries.warping import draw_warp

__all__ = ["EDITS", "FORGERIES", "Draft", "Forged", "Forgery", "Region", "check_names", "forge"]

SMALLEST = 64
"""Shortest side of a photo that can be forged, in pixels."""
LARGEST = 32766
"""Longest side, in pixels: OpenCV's warps count in 16 bits."""
_ATTEMPTS = 12

FORGERIES: dict[str, Forgery] = {
    "self_blend": Forgery(draw_self_blend, "a face region blended with a changed copy of itself", least=1.5),
    "splice": Forgery(draw_splice, "content from elsewhere pasted in (never another person's face)", least=5.0),
    "copy_move": Forgery(draw_copy_move, "a region copied to another place of the same photo", least=8.0),
    "inpaint": Forgery(draw_inpaint, "a part removed and filled in", least=3.0),
    "warp": Forgery(draw_warp, "a place swirled, swollen, shrunk or pushed", least=2.0),
    "upsample": Forgery(draw_upsample, "a region re-sampled the way generators upsample", least=1.5),
    "colour": Forgery(draw_colour_transfer, "a region given other colour statistics", least=2.5),
    "resynthesis_part": Forgery(draw_resynthesis_part, "a region re-synthesised by a small network", least=1.5),
    "resynthesis": Forgery(
        draw_resynthesis, "the whole photo re-synthesised by a small network", least=1.0, answers="generated"
    ),
    "retouch": Forgery(draw_retouch, "a region smoothed, sharpened or made grainy", least=1.5),
    "face_warp": Forgery(
        draw_face_warp,
        "a face aligned, shrunk, blurred and warped back (by name only)",
        least=1.5,
        by_default=False,
    ),
    "seamless": Forgery(
        draw_seamless,
        "content from elsewhere cloned in without an edge, by its gradients (by name only)",
        least=3.0,
        by_default=False,
    ),
}
"""Every family by name; the names are the ``manipulation`` column of manifests."""


EDITS: dict[str, float] = {
    name: 1.0 for name, forgery in FORGERIES.items() if forgery.answers == "edited" and forgery.by_default
}
"""The kinds that edit a part of the photo, evenly: the default mixture. Its names and their order decide what a seed
draws (data sets on disk rest on it), so a new kind is added to :data:`FORGERIES` alone."""


def check_names(names: Iterable[str]) -> None:
    """Raise :class:`ConfigError` (``unknown_forgery``) if one of the names is not in the table."""
    for name in names:
        if name not in FORGERIES:
            hint = did_you_mean(name, FORGERIES)
            raise ConfigError("unknown_forgery", f"unknown forgery '{name}'{hint}; known: {', '.join(FORGERIES)}")


def forge(
    name: str,
    image: UInt8Image,
    face: Face | None,
    rng: np.random.Generator,
    donors: Sequence[UInt8Image] = (),
) -> Forged:
    """Forge one photo.

    Args:
        name: a key of :data:`FORGERIES`.
        image: uint8 RGB (H, W, 3), both sides 64 to 32766 pixels.
        face: the face to work on, in the image's pixels; it may reach over the frame. None: anywhere.
        rng: the draw; the same state gives the same forgery.
        donors: other photos' patches, uint8 RGB, that splices may take content from; the caller vouches that no
            face is in them.

    Raises:
        ConfigError: an unknown name (``unknown_forgery``).
        DataError: an image of another type or size (``bad_image``), or a
            photo on which no visible forgery of this kind was found (``cannot_forge``; e.g. copy-move on a blank).

    >>> import numpy as np
    >>> photo = np.random.default_rng(0).integers(0, 255, (96, 80, 3), dtype=np.uint8)
    >>> forged = forge("warp", photo, None, np.random.default_rng(1))
    >>> forged.label, forged.mask.shape, bool((forged.image == forged.real)[forged.mask == 0].all())
    (1, (96, 80), True)
    """
    check_names([name])
    good = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not good or min(image.shape[:2]) < SMALLEST or max(image.shape[:2]) > LARGEST:
        raise DataError(
            "bad_image",
            f"a forgery needs a uint8 RGB image with sides of at least {SMALLEST} and at most {LARGEST} pixels, "
            f"got {image.dtype} {image.shape}",
        )
    forgery = FORGERIES[name]
    for attempt in range(_ATTEMPTS):
        draft = forgery.draw(image, face if attempt < _ATTEMPTS - 4 else None, rng, donors)
        if draft is not None:
            forged = compose(draft, name)
            if visible(forged, draft.region, forgery.least):
                return forged
    raise DataError("cannot_forge", f"no visible '{name}' was found on this photo in {_ATTEMPTS} draws; is it blank?")
