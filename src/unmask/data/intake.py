"""Files to pixels: one pinned decoder (Pillow), a short list of formats, limits before decoding, typed errors.

Never scaled or draft decoding (it erases the traces we look for), never a silent guess: whatever was done to the
stored pixels is said in ``Decoded.reasons``. OpenCV and torchvision never see undecoded bytes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from unmask.core.errors import IntakeError
from unmask.core.types import UInt8Image
from unmask.data.colour import to_srgb
from unmask.data.filefacts import (
    bits_per_channel,
    count_frames,
    ends_early,
    jpeg_lacks_pixels,
    png_lacks_pixels,
    png_remarks,
    read_exif,
    to_stored_orientation,
    to_upright,
)

__all__ = ["CODES", "FORMATS", "Decoded", "Limits", "decode", "to_stored_orientation"]

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
"""What is decoded; Pillow's names."""

CODES: Mapping[str, str] = {
    "not_found": "there is no such file",
    "not_a_file": "a folder, pipe or device",
    "permission": "the file may not be read",
    "empty": "the file has no bytes",
    "not_an_image": "the bytes are no image format known here",
    "unsupported_format": "an image (or video), but of a format or pixel type that is not decoded",
    "too_large": "more bytes, pixels or frames than the limits allow",
    "truncated": "the file ends before the image does, or lacks some of its pixels",
    "unreadable": "damaged: the decoder gave up, or the system could not read the file",
}
"""Every code an :class:`IntakeError` of :func:`decode` can have, and what it means."""

_MAGIC: tuple[tuple[int, bytes, str, bool], ...] = (  # offset, bytes, name, whether we decode it
    (0, b"\xff\xd8\xff", "JPEG", True),
    (0, b"\x89PNG\r\n\x1a\n", "PNG", True),
    (8, b"WEBP", "WebP", True),
    (0, b"II*\0", "TIFF", True),
    (0, b"MM\0*", "TIFF", True),
    (0, b"II+\0", "TIFF", True),
    (0, b"MM\0+", "TIFF", True),
    (0, b"BM", "BMP", True),
    (0, b"GIF8", "GIF", True),
    (4, b"ftypavif", "AVIF", True),
    (4, b"ftypavis", "AVIF", True),
    (4, b"ftyphe", "HEIC", False),
    (4, b"ftypmif1", "HEIF", False),
    (4, b"ftypmsf1", "HEIF", False),
    (4, b"ftypcrx", "Canon raw", False),
    (4, b"ftyp", "MP4 or QuickTime video", False),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000", False),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000", False),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL", False),
    (0, b"\xff\x0a", "JPEG XL", False),
    (0, b"8BPS", "Photoshop", False),
    (0, b"%PDF", "PDF", False),
    (0, b"<svg", "SVG", False),
    (0, b"\0\0\x01\0", "icon", False),
    (0, b"qoif", "QOI", False),
    (0, b"gimp xcf", "GIMP", False),
    (8, b"AVI ", "AVI video", False),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM video", False),
    *((0, b"P%d" % n, "Netpbm", False) for n in range(1, 8)),
)


_ENDS_EARLY = "the {} file ends before the image does; get the whole file"
_SOCKET = (errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP)
"""What systems say when a socket is opened like a file."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused before any pixel is decoded."""

    n_bytes: int = 200_000_000
    """Most bytes of the file."""
    pixels: int = 120_000_000
    """Most pixels of the first frame. (Pillow itself refuses above 2 x ``PIL.Image.MAX_IMAGE_PIXELS``, 179 million.)"""
    frames: int = 10_000
    """Most frames or pages, of which only the first is decoded."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """An image file as pixels, with the facts a report needs."""

    pixels: UInt8Image
    """(H, W, 3) uint8 sRGB, upright."""
    format: str
    """One of :data:`FORMATS`."""
    mode: str
    """Pillow's name of the stored pixel type, e.g. ``RGB``, ``CMYK``, ``P``, ``I;16``."""
    stored_size: tuple[int, int]
    """Width and height as stored, before the orientation was applied."""
    orientation: int
    """EXIF orientation 1..8 that was applied (1 = none)."""
    sha256: str
    """Of the file's bytes, hex."""
    n_bytes: int
    """Size of the file."""
    quantization: Mapping[int, tuple[int, ...]] | None
    """JPEG quantisation tables (64 values each, row by row), None for other formats."""
    exif: Mapping[str, str]
    """EXIF fields by name as printable text, at most 100 fields of 200 characters."""
    icc: str | None
    """Description of the embedded colour profile, None without one."""
    frames: int
    """Frames or pages in the file; the first is analysed."""
    reasons: tuple[str, ...]
    """What was done to the stored pixels, and harmless damage, one sentence each; empty for a plain upright 8-bit RGB
    image."""


class _Strict:
    """While any thread is inside: Pillow's warnings are quiet and truncated files are errors.

    Both are settings of the whole process, so entries are counted and the last one out restores them.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self.lock:
            if self.inside == 0:
                self.truncated = ImageFile.LOAD_TRUNCATED_IMAGES
                self.warnings = warnings.catch_warnings()
                self.warnings.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.|unmask\.data\.(intake|colour)")
                ImageFile.LOAD_TRUNCATED_IMAGES = False
            self.inside += 1
        try:
            yield
        finally:
            with self.lock:
                self.inside -= 1
                if self.inside == 0:
                    ImageFile.LOAD_TRUNCATED_IMAGES = self.truncated
                    self.warnings.__exit__(None, None, None)


_strict = _Strict()


def decode(source: str | Path | bytes, limits: Limits | None = None) -> Decoded:
    """Decode an image file, or the bytes of one, to upright 8-bit sRGB.

    Raises:
        IntakeError: whatever went wrong, with one of :data:`CODES`.

    >>> import io, numpy as np
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.fromarray(np.full((2, 3), 65535, np.uint16)).save(file, "PNG")
    >>> decoded = decode(file.getvalue())
    >>> decoded.pixels.shape, decoded.pixels.max(), decoded.reasons
    ((2, 3, 3), np.uint8(255), ('16 bits per pixel were scaled to 8 (divided by 257, rounded)', 'grey, repeated...'))
    """
    limits = limits or Limits()
    data = source if isinstance(source, bytes) else _read(source, limits)
    name = "the image" if isinstance(source, bytes) else f"'{source}'"
    if not data:
        raise IntakeError("empty", f"{name} has no bytes")
    if len(data) > limits.n_bytes:
        raise IntakeError("too_large", f"{name} has {len(data)} bytes, more than the limit of {limits.n_bytes}")
    with _strict():
        try:
            return _decode(data, limits)
        except IntakeError as error:
            raise IntakeError(error.code, f"{name}: {error.message}") from error.__cause__
        except Exception as error:  # decoders raise whatever they like
            code, why = _explain(data, error)
            raise IntakeError(code, f"{name}: {why}") from error


def _read(path: str | Path, limits: Limits) -> bytes:
    """The bytes of a regular file; never waits on a pipe or device."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            info = os.fstat(handle)
            if not stat.S_ISREG(info.st_mode):
                raise IntakeError("not_a_file", f"'{path}' is a folder, pipe or device; expected an image file")
            if info.st_size > limits.n_bytes:
                raise IntakeError(
                    "too_large", f"'{path}' has {info.st_size} bytes, more than the limit of {limits.n_bytes}"
                )
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read(limits.n_bytes + 1)
        finally:
            os.close(handle)
    except IsADirectoryError:
        raise IntakeError("not_a_file", f"'{path}' is a folder; expected an image file") from None
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a zero byte in the name
        raise IntakeError("not_found", f"there is no file '{path}'") from error
    except PermissionError as error:
        if Path(path).is_dir():  # what Windows says of a folder
            raise IntakeError("not_a_file", f"'{path}' is a folder; expected an image file") from None
        raise IntakeError("permission", f"'{path}' may not be read by this user") from error
    except OSError as error:
        code = "not_a_file" if error.errno in _SOCKET else "unreadable"
        raise IntakeError(code, f"'{path}' cannot be read: {error.strerror or error}") from error


def _explain(data: bytes, error: Exception) -> tuple[str, str]:
    """The code and the sentence for what a decoder raised."""
    name, ours = next(((n, o) for at, magic, n, o in _MAGIC if data.startswith(magic, at)), ("", False))
    if isinstance(error, (Image.DecompressionBombError, MemoryError)):
        return "too_large", f"the {name or 'image'} claims more pixels than can be held: {error}"
    if isinstance(error, ValueError) and ("MAX_TEXT_CHUNK" in str(error) or "MAX_TEXT_MEMORY" in str(error)):
        return "too_large", f"a text or colour profile stored in the {name} file is too large when unpacked"
    if isinstance(error, UnidentifiedImageError) and not ours:
        if not name:
            return "not_an_image", f"not an image; expected one of {', '.join(FORMATS)}"
        return "unsupported_format", f"{name} is not decoded; convert it to one of {', '.join(FORMATS)}"
    if ends_early(name.upper(), data) or isinstance(error, EOFError) or "truncated" in str(error).lower():
        return "truncated", _ENDS_EARLY.format(name)
    if isinstance(error, UnidentifiedImageError):
        return "unreadable", f"the {name} file is damaged: its header makes no sense"
    return "unreadable", f"the {name or 'image'} file is damaged: {str(error) or type(error).__name__}"


def _decode(data: bytes, limits: Limits) -> Decoded:
    with Image.open(BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        if width * height > limits.pixels:
            raise IntakeError("too_large", f"{width} x {height} pixels, more than the limit of {limits.pixels}")
        frames = count_frames(image, data, limits.frames)
        if frames > limits.frames:
            raise IntakeError("too_large", f"more frames or pages than the limit of {limits.frames}")
        mode, kind = image.mode, "JPEG" if image.format == "MPO" else str(image.format)
        tables = getattr(image, "quantization", None)
        bits = bits_per_channel(image, data)
        tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
        inverted = isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(262) == 0
        if tiff:  # Pillow turns TIFF upright while loading and forgets the tag; elsewhere EXIF may follow the pixels
            orientation, exif, remarks = read_exif(image)
        image.load()
        if not tiff:
            orientation, exif, remarks = read_exif(image)
        lacks = {"JPEG": jpeg_lacks_pixels, "PNG": png_lacks_pixels}.get(kind)
        if lacks and lacks(image, data):
            raise IntakeError("truncated", _ENDS_EARLY.format(kind))
        if kind == "PNG":
            remarks += png_remarks(data)
        reduced = to_srgb(image, bits, inverted)
    pixels = np.ascontiguousarray(reduced.pixels if tiff else to_upright(reduced.pixels, orientation))
    reasons = [*reduced.reasons, *remarks]
    if frames > 1:
        reasons.insert(0, f"{frames} frames or pages; only the first was analysed")
    if orientation > 1:
        reasons.append(f"turned upright (EXIF orientation {orientation})")
    h, w = pixels.shape[:2]
    return Decoded(
        pixels=pixels,
        format=kind,
        mode=mode,
        stored_size=(h, w) if orientation >= 5 else (w, h),
        orientation=orientation,
        sha256=hashlib.sha256(data).hexdigest(),
        n_bytes=len(data),
        quantization={k: tuple(v) for k, v in tables.items()} if tables else None,
        exif=exif,
        icc=reduced.profile,
        frames=frames,
        reasons=tuple(reasons),
    )
