"""Facts of an image file beside its pixels: frames, bits, lost parts, EXIF, orientation. Bounded work on any file."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageChops, TiffImagePlugin

MAX_FIELDS, MAX_TEXT = 100, 200


class JpegQuality(NamedTuple):
    """The quality setting of libjpeg that a file's tables come nearest to."""

    value: int
    """1 to 100."""
    exact: bool
    """The tables are those of that setting; otherwise another program's, and the value is an estimate."""


# ITU-T T.81 (1992), Annex K, tables K.1 (luminance) and K.2 (chrominance), row by row
_LUMINANCE = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMINANCE = """
17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""
_QUALITIES = np.arange(1, 101)


def _scaled(table: str) -> npt.NDArray[np.int64]:
    """(100, 64): a table at each quality, as libjpeg scales it."""
    scale = np.where(_QUALITIES < 50, 5000 // _QUALITIES, 200 - 2 * _QUALITIES)
    standard = np.array(table.split(), np.int64)
    return np.asarray(np.clip((standard * scale[:, None] + 50) // 100, 1, 255))


_STANDARD = (_scaled(_LUMINANCE), _scaled(_CHROMINANCE))


def jpeg_quality(tables: Mapping[int, tuple[int, ...]] | None) -> JpegQuality | None:
    """Estimate the quality a JPEG file was saved with from its quantisation tables (luminance 0, chrominance 1).

    Returns:
        None without tables (no JPEG).

    >>> jpeg_quality({0: (8,) * 64})
    JpegQuality(value=95, exact=False)
    """
    if not tables:
        return None
    distance = np.zeros(100, np.int64)
    for index, standard in enumerate(_STANDARD):
        if len(tables.get(index, ())) == 64:
            distance += np.abs(standard - np.array(tables[index])).sum(1)
    best = int(distance.argmin())
    return JpegQuality(int(_QUALITIES[best]), bool(distance[best] == 0))


def count_frames(image: Image.Image, data: bytes, most: int) -> int:
    """Frames or pages of an opened image; stops counting at ``most + 1``. Decodes nothing."""
    if image.format == "GIF":
        return max(1, _gif_frames(data, most))
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(getattr(image, "n_frames", 1))
    frames = 1
    try:
        while frames <= most:
            image.seek(frames)
            frames += 1
    except Exception:  # the end, or a damaged later page, which is nobody's loss
        pass
    image.seek(0)
    return frames


def _gif_frames(data: bytes, most: int) -> int:
    """Image blocks of a GIF, by walking its blocks; a cut-off file counts as far as it goes."""

    def colours(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    frames = 0
    try:
        at = 13 + colours(data[10])
        while frames <= most and data[at] in (0x21, 0x2C):
            if data[at] == 0x2C:
                frames += 1
                at += 11 + colours(data[at + 9])
            else:
                at += 2
            while data[at]:
                at += data[at] + 1
            at += 1
    except IndexError:
        pass
    return frames


def ends_early(kind: str, data: bytes) -> bool:
    """True if the container of a file that would not decode says that there should be more bytes (or its end is
    missing). ``kind`` is one of the names of ``unmask.data.intake.FORMATS``."""
    n = len(data)
    if kind == "JPEG":
        return not data.rstrip(b"\0").endswith(b"\xff\xd9")
    if kind == "PNG":
        return b"IEND" not in data
    if kind == "GIF":
        return not data.rstrip(b"\0").endswith(b";")
    if kind == "WEBP":
        return n < int.from_bytes(data[4:8], "little") + 8
    if kind == "BMP":
        return n < int.from_bytes(data[2:6], "little")
    if kind == "AVIF":  # a chain of boxes, each opening with its size
        at = 0
        while at + 8 <= n and (size := int.from_bytes(data[at : at + 4], "big")) >= 8:
            at += size
        return at > n
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    if kind != "TIFF" or n < int.from_bytes(data[4:8], order) + 6:  # where the directory should be
        return kind == "TIFF"
    try:
        tags = TiffImagePlugin.TiffImageFile(BytesIO(data)).tag_v2
        ends = (
            o + c
            for at, size in ((273, 279), (324, 325))
            for o, c in zip(tags.get(at, ()), tags.get(size, ()), strict=False)
        )
        return max(ends, default=0) > n
    except Exception as error:
        return isinstance(error, (struct.error, EOFError, IndexError))


_SPAN = 65_536
"""Bytes of a compressed stream that are looked at together, so that memory stays small."""
_FILLER = bytes(i * 97 % 254 + 1 for i in range(1024))
"""Bytes that any Huffman decoder takes for more of the image: mixed, and no marker among them."""


def jpeg_lacks_pixels(image: Image.Image, data: bytes) -> bool:
    """True if a loaded JPEG is not all there although it has an end marker.

    libjpeg only warns when the entropy data run out, Pillow drops the warning, and the rest becomes flat grey. So the
    file is decoded once more with further data before its end marker: a whole image has no use for them and stays the
    same. That is done only where it can matter: where the data come in several scans (progressive), or where the last
    block has the brightness that missing data give, 128. Arithmetic coding may leave out data on purpose and is let
    pass.
    """
    frame, scans, start, end = _jpeg_scans(data)
    if frame not in (0xC0, 0xC1, 0xC2) or not end:
        return False
    if frame != 0xC2 and scans == 1:
        left, top = (image.width - 1) // 8 * 8, (image.height - 1) // 8 * 8
        corner = image.crop((left, top, image.width, image.height))
        bands = (*corner.split(), corner.convert("L"))  # of bands stored at lower resolution, the block above leaks in
        if all(any(abs(level - 128) > 3 for level in band.tobytes()) for band in bands):
            return False
    at = max(data.rfind(bytes((0xFF, 0xD0 + n)), start, end) for n in range(8))
    following = data[at + 1] - 0xD0 + 1 if at >= 0 else 0  # the restart marker that is due if the cut is just there
    more = (bytes((0xFF, 0xD0 + (following + n) % 8)) + _FILLER[n * 9 :] for n in range(8))
    longer = data[:end] + _FILLER + b"".join(more) + b"\xff\xd9"
    with Image.open(BytesIO(longer), formats=("JPEG",)) as again:
        again.load()
        return ImageChops.difference(image, again).getbbox() is not None


_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""What ends the entropy data of a scan: any marker that is no restart marker."""


def _jpeg_scans(data: bytes) -> tuple[int, int, int, int]:
    """The frame marker of a JPEG (0xC0 baseline, 0xC2 progressive, ...), its number of scans, where the data of the
    last scan begin, and where they end: at the end marker, or where other bytes begin (0 if the file stops before)."""
    frame, scans, start, at = 0, 0, 0, 2
    while at + 2 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF or marker in (0xD8, 0xD9):
            return frame, scans, start, at
        if marker == 0xFF:  # padding
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = marker
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:
            scans, start = scans + 1, at
            found = _MARKER.search(data, at)
            at = found.start() if found else len(data)
    return frame, scans, start, 0


def png_lacks_pixels(image: Image.Image, data: bytes) -> bool:
    """True if the stream of a loaded PNG ends properly but holds fewer rows than the header says (Pillow leaves the
    rest black). Inflated once more only if the last row is black, or the rows are interlaced."""
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    if not interlaced and image.crop((0, height - 1, width, height)).tobytes().strip(b"\0"):
        return False
    grids = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    sizes = ((-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in grids)
    bits *= {2: 3, 4: 2, 6: 4}.get(colour, 1)
    missing: int = sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns > 0 < rows)
    stream = zlib.decompressobj()
    try:
        for name, body, _ in _png_chunks(data):
            for at in range(0, len(body) if name == b"IDAT" else 0, _SPAN):
                piece = bytes(body[at : at + _SPAN])
                while piece and missing > 0:
                    missing -= len(stream.decompress(piece, _SPAN * 16))
                    piece = stream.unconsumed_tail
        return missing > 0 and missing > len(stream.flush())
    except zlib.error:  # behind the last pixel, else the decoder had complained
        return False


_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row of each pass of an interlaced PNG, and the steps to the next."""


def png_remarks(data: bytes) -> list[str]:
    """What to say of a PNG that decodes although its container is damaged."""
    remarks, name = [], b""
    for name, body, checksum in _png_chunks(data):
        if name == b"IDAT" and len(checksum) == 4 and zlib.crc32(body, zlib.crc32(name)).to_bytes(4, "big") != checksum:
            remarks = ["the checksum of the PNG's pixel data is wrong; the pixels are used as decoded"]
    return remarks if name == b"IEND" else [*remarks, "the PNG has no end marker; its pixels are complete"]


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, bytes]]:
    """Name, body and checksum of each chunk of a PNG up to IEND, as far as the file goes."""
    view, at = memoryview(data), 8
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        name = data[at + 4 : at + 8]
        yield name, view[at + 8 : end], data[end : end + 4]
        if name == b"IEND":
            return
        at = end + 4


def bits_per_channel(image: Image.Image, data: bytes) -> int:
    """As stored in the file; 8 where the format has no other."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(258, (1,))
        return int(max(bits) if isinstance(bits, tuple) else bits)
    if image.format == "PNG":
        return data[24]
    if image.format == "AVIF":
        at = data.find(b"pixi", 0, 4096)
        return data[at + 9] if 0 < at < len(data) - 9 else 8
    return 8


def read_exif(image: Image.Image) -> tuple[int, Mapping[str, str], list[str]]:
    """Orientation 1..8, printable fields by name (bounded in number and length), and what to say about them."""
    reasons = []
    orientation, fields = 1, {}
    try:
        exif = image.getexif()
        stored = exif.get(ExifTags.Base.Orientation, 1)
        if stored in range(1, 9):
            orientation = int(stored)
        else:
            reasons.append(f"EXIF orientation {_printable(stored)} does not exist and was ignored")
        gps = {ExifTags.GPSTAGS.get(k, f"GPS {k}"): v for k, v in exif.get_ifd(ExifTags.IFD.GPSInfo).items()}
        rest = {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
        named = {ExifTags.TAGS.get(k, f"tag {k}"): v for k, v in rest.items()}
        fields = {k: _printable(v) for k, v in list({**named, **gps}.items())[:MAX_FIELDS]}
    except Exception as error:  # damaged EXIF is no reason to refuse the photo
        reasons.append(f"EXIF is damaged and was read in part or not at all ({_printable(error)})")
    return orientation, fields, reasons


def _printable(value: object) -> str:
    """At most MAX_TEXT printable characters."""
    if isinstance(value, bytes):
        text = value[:MAX_TEXT].rstrip(b"\0").decode("ascii", "replace")
        return text if text.isprintable() else f"{len(value)} bytes"
    if isinstance(value, (tuple, list)):
        return ", ".join(_printable(v) for v in value[:16])[:MAX_TEXT]
    text = str(value)[:MAX_TEXT]
    return "".join(c if c.isprintable() else " " for c in text).strip()


def to_upright(stored: npt.NDArray, orientation: int) -> npt.NDArray:  # type: ignore[type-arg]
    """(H, W[, C]) as stored to how it is meant to be seen, for EXIF orientation 1..8 (EXIF 2.32, tag 274).

    >>> import numpy as np
    >>> to_upright(np.array([[1, 2, 3]]), 6).tolist()
    [[1], [2], [3]]
    """
    if orientation >= 5:
        stored = stored.swapaxes(0, 1)
    flip_rows, flip_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return stored[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def to_stored_orientation(mask: npt.NDArray, orientation: int) -> npt.NDArray:  # type: ignore[type-arg]
    """The inverse of :func:`to_upright`: a mask (H, W[, C]) of the upright image laid over the file as stored.

    >>> import numpy as np
    >>> to_stored_orientation(to_upright(np.arange(6).reshape(2, 3), 8), 8).tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    flip_rows, flip_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    mask = mask[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    return mask.swapaxes(0, 1) if orientation >= 5 else mask
