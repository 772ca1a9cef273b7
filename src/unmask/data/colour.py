"""Any pixel type Pillow decodes to 8-bit sRGB, saying what was done."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from unmask.core.errors import IntakeError
from unmask.core.types import UInt8Image

_SPACE = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """Pixels after the reduction, and how they got there."""

    pixels: UInt8Image
    """(H, W, 3) sRGB."""
    reasons: tuple[str, ...]
    """What was done, one sentence each."""
    profile: str | None
    """Description of the embedded colour profile, None without one."""


def to_srgb(image: Image.Image, bits: int, inverted: bool = False) -> Reduced:
    """Reduce a loaded image to (H, W, 3) uint8 sRGB.

    In this order: 1-bit and 16-bit values are scaled to 0..255, palettes are looked up, alpha is split off, the
    embedded colour profile (if it changes any colour by more than one level) is converted to sRGB, what is
    transparent is laid on white, grey is repeated in three channels.

    Args:
        image: loaded; its mode and ``info`` say what it holds.
        bits: bits per channel as stored in the file.
        inverted: 16-bit grey where 0 is white (TIFF).

    Raises:
        IntakeError: a pixel type without a defined brightness range (32-bit integers, floats, Lab, HSV).
    """
    reasons: list[str] = []
    profile_bytes = image.info.get("icc_profile")
    if image.mode == "1":
        image = image.convert("L")
        reasons.append("1 bit per pixel became black and white")
    elif image.mode.startswith("I;16"):
        image = _grey_from_16(image, bits, inverted)
        reasons.append(f"{bits} bits per pixel were scaled to 8 (divided by {((1 << bits) - 1) / 255:g}, rounded)")
    elif bits > 8 and image.mode in ("RGB", "RGBA", "RGBX", "RGBa", "CMYK"):
        reasons.append(f"{bits} bits per channel were cut to 8 by the decoder")
    if image.mode in ("P", "PA"):
        reasons.append("palette colours were looked up")
    alpha = None
    if image.has_transparency_data:
        grey = image.mode[0] == "L"
        whole = image.convert("RGBA")
        alpha, image = whole.getchannel("A"), whole.convert("L" if grey else "RGB")
    elif image.mode in ("P", "PA", "RGBX", "RGBA", "YCbCr"):
        image = image.convert("RGB")
    if image.mode not in _SPACE:
        raise IntakeError(
            "unsupported_format", f"pixels of type '{image.mode}' have no fixed range; store 8 or 16 bits per channel"
        )
    image, profile, said = _without_profile(image, profile_bytes)
    reasons += said
    if image.mode == "CMYK":
        image = image.convert("RGB")
        reasons.append("CMYK without a usable profile was converted by the plain formula; colours are approximate")
    elif image.mode == "L":
        image = image.convert("RGB")
        reasons.append("grey, repeated in three channels")
    if alpha is not None and alpha.getextrema() != (255, 255):
        ground = Image.new("RGB", image.size, (255, 255, 255))
        ground.paste(image, mask=alpha)
        image = ground
        reasons.append("transparent parts were laid on white")
    elif alpha is not None:
        reasons.append("an opaque alpha channel was dropped")
    return Reduced(np.array(image), tuple(reasons), profile)


def _grey_from_16(image: Image.Image, bits: int, inverted: bool) -> Image.Image:
    peak = (1 << bits) - 1
    table = ((np.arange(1 << 16).clip(max=peak) * 255 + peak // 2) // peak).astype(np.uint8)
    return Image.fromarray((255 - table if inverted else table)[np.asarray(image).astype(np.uint16)])


def _without_profile(image: Image.Image, data: bytes | None) -> tuple[Image.Image, str | None, list[str]]:
    """The image in sRGB (or as it was, if the profile is none, unusable or as good as sRGB), and what to say."""
    if not data:
        return image, None, []
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(data))
        name = "".join(c for c in (profile.profile.profile_description or "") if c.isprintable()).strip()[:200]
        space = profile.profile.xcolor_space
        if space != _SPACE[image.mode]:
            raise ImageCms.PyCMSError(f"it describes {space.strip()} colours, the pixels are {image.mode}")
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            image.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if image.mode != "CMYK" and _changes_little(transform, image.mode):
            return image, name or "unnamed", []
        converted = ImageCms.applyTransform(image, transform)
        assert converted is not None  # only None when converting in place
        return converted, name or "unnamed", [f"converted from the colour profile '{name or 'unnamed'}' to sRGB"]
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError) as error:
        return image, "unusable", [f"the embedded colour profile is unusable ({error}); colours are taken as sRGB"]


def _changes_little(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """True if no colour of a lattice moves by more than one level: then pixels are better left as they are."""
    if mode == "L":
        before = np.arange(256, dtype=np.uint8)[None]
    else:
        steps = np.linspace(0, 255, 17).astype(np.uint8)
        before = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    after = ImageCms.applyTransform(Image.fromarray(before), transform)
    return bool(np.abs(np.asarray(after, int) - (before if mode == "RGB" else before[..., None])).max() <= 1)
