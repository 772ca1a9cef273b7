"""Intake: every format, every odd pixel type, every orientation, every kind of bad file."""

from __future__ import annotations

import io
import os
import resource
import socket
import struct
import threading
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, ImageOps

from unmask.core.errors import IntakeError
from unmask.data.intake import CODES, FORMATS, Limits, decode, to_stored_orientation

RNG = np.random.default_rng(0)
PHOTO = (np.add.outer(np.arange(40) * 3, np.arange(48) * 2)[..., None] + (0, 20, 40)).astype(np.uint8)
LOSSLESS = {"PNG": {}, "TIFF": {"compression": "tiff_lzw"}, "BMP": {}, "WEBP": {"lossless": True}}


def encode(image: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


SAMPLES = {kind: encode(PHOTO, kind, **LOSSLESS.get(kind, {})) for kind in FORMATS}
SAMPLES["animated GIF"] = encode(
    Image.fromarray(PHOTO), "GIF", save_all=True, append_images=[Image.fromarray(255 - PHOTO)]
)
SAMPLES["progressive JPEG"] = encode(PHOTO, "JPEG", progressive=True, exif=Image.Exif())
SAMPLES["JPEG in TIFF"] = encode(PHOTO, "TIFF", compression="jpeg")


def code_of(source: bytes | Path | str, **limits: int) -> str:
    with pytest.raises(IntakeError) as caught:
        decode(source, Limits(**limits))
    assert caught.value.code in CODES
    assert "Traceback" not in caught.value.message and "BytesIO" not in caught.value.message
    return caught.value.code


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.of.no.known.suffix"
    path.write_bytes(SAMPLES[kind])
    decoded = decode(path)
    assert decoded.format == kind and decoded.stored_size == (48, 40) and decoded.n_bytes == len(SAMPLES[kind])
    assert decoded.pixels.flags.c_contiguous and decoded.pixels.flags.writeable
    assert np.abs(decoded.pixels.astype(int) - PHOTO).max() <= (0 if kind in LOSSLESS else 24)
    assert (decoded.quantization is not None) == (kind == "JPEG")
    np.testing.assert_array_equal(decode(SAMPLES[kind]).pixels, decoded.pixels)
    if kind not in ("GIF",):
        assert decoded.reasons == ()


def test_quantization_tables_are_those_of_the_encoder() -> None:
    tables = {0: tuple(range(1, 65)), 1: tuple(range(65, 129))}
    assert decode(encode(PHOTO, "JPEG", qtables=tables)).quantization == tables


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_against_pillow(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100} if kind == "AVIF" else {}
    data = encode(PHOTO, kind, exif=exif, **options)
    decoded = decode(data)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(decoded.pixels, upright)
    assert decoded.orientation == orientation and decoded.stored_size == (48, 40)
    assert any("upright" in reason for reason in decoded.reasons) == (orientation > 1)
    stored = to_stored_orientation(decoded.pixels[..., 0], orientation)
    plain = decode(encode(PHOTO, kind, **options)).pixels[..., 0]
    assert stored.shape == (40, 48)
    assert np.abs(stored.astype(int) - plain).max() <= (2 if kind in ("JPEG", "AVIF", "WEBP") else 0)


def test_odd_exif_never_refuses_a_photo() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    exif[0x010E] = "x" * 5000
    decoded = decode(encode(PHOTO, "JPEG", exif=exif))
    assert decoded.orientation == 1 and "77" in " ".join(decoded.reasons)
    assert len(decoded.exif["ImageDescription"]) <= 200
    broken = decode(encode(PHOTO, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    assert broken.orientation == 1
    np.testing.assert_array_equal(broken.pixels, decode(encode(PHOTO, "JPEG")).pixels)


def test_exif_is_plain_bounded_text() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker\0"
    exif.get_ifd(0x8769)[0x829A] = (1, 125)
    exif.get_ifd(0x8769)[0x927C] = bytes(range(256)) * 40
    exif.get_ifd(0x8825)[1] = "N"
    fields = decode(encode(PHOTO, "JPEG", exif=exif)).exif
    assert fields["Make"].startswith("Maker") and fields["GPSLatitudeRef"] == "N"
    assert all(type(v) is str and len(v) <= 200 and v.isprintable() for v in fields.values())


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for kind in ("PNG", "TIFF"):
        decoded = decode(encode(values, kind))
        np.testing.assert_array_equal(decoded.pixels[..., 1], np.round(values / 257).astype(np.uint8))
        assert "16 bits per pixel" in decoded.reasons[0] and decoded.mode.startswith("I;16")


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(bits: int, colour: int, rows: bytes, width: int, height: int, interlaced: int = 0) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    chunks = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_sixteen_bit_colour_keeps_the_high_byte_and_says_so() -> None:
    values = RNG.integers(0, 65536, (4, 5, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    decoded = decode(png(16, 2, rows, 5, 4))
    np.testing.assert_array_equal(decoded.pixels, values >> 8)
    assert decoded.reasons == ("16 bits per channel were cut to 8 by the decoder",)


def test_white_is_zero_tiff() -> None:
    values = np.linspace(0, 65535, 48 * 40).astype(np.uint16).reshape(40, 48)
    data = encode(values, "TIFF", tiffinfo={262: 0})
    with Image.open(io.BytesIO(data)) as image:
        assert image.tag_v2[262] == 0
    np.testing.assert_array_equal(decode(data).pixels[..., 0], 255 - np.round(values / 257).astype(np.uint8))


def test_one_bit_and_grey() -> None:
    bits = RNG.integers(0, 2, (9, 13)).astype(bool)
    for kind in ("PNG", "TIFF", "BMP"):
        decoded = decode(encode(Image.fromarray(bits), kind))
        np.testing.assert_array_equal(decoded.pixels, np.repeat(bits[..., None] * np.uint8(255), 3, 2))
        assert "1 bit" in decoded.reasons[0] and "grey" in decoded.reasons[-1]
    decoded = decode(encode(PHOTO[..., 0], "PNG"))
    np.testing.assert_array_equal(decoded.pixels, np.repeat(PHOTO[..., :1], 3, 2))
    assert decoded.reasons == ("grey, repeated in three channels",)


def test_palette_and_its_transparency() -> None:
    palette = Image.fromarray(PHOTO).quantize(16)
    decoded = decode(encode(palette, "PNG"))
    np.testing.assert_array_equal(decoded.pixels, np.asarray(palette.convert("RGB")))
    assert decoded.reasons == ("palette colours were looked up",)
    index = int(np.asarray(palette)[0, 0])
    decoded = decode(encode(palette, "PNG", transparency=index))
    seen = np.asarray(palette.convert("RGB")).copy()
    seen[np.asarray(palette) == index] = 255
    np.testing.assert_array_equal(decoded.pixels, seen)
    assert "transparent parts were laid on white" in decoded.reasons


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_on_white(kind: str) -> None:
    alpha = np.tile(np.linspace(0, 255, 48).astype(np.uint8), (40, 1))
    rgba = np.dstack([PHOTO, alpha])
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    decoded = decode(encode(rgba, kind, **options))
    weight = alpha[..., None] / 255
    assert np.abs(decoded.pixels - (PHOTO * weight + 255 * (1 - weight))).max() <= 1
    assert decoded.reasons == ("transparent parts were laid on white",)
    opaque = decode(encode(np.dstack([PHOTO, np.full_like(alpha, 255)]), "PNG"))
    np.testing.assert_array_equal(opaque.pixels, PHOTO)
    assert opaque.reasons == ("an opaque alpha channel was dropped",)


def test_grey_alpha_and_colour_key() -> None:
    grey_alpha = np.dstack([PHOTO[..., 0], np.full((40, 48), 0, np.uint8)])
    assert (decode(encode(Image.fromarray(grey_alpha), "PNG")).pixels == 255).all()
    keyed = decode(encode(PHOTO[..., 0], "PNG", transparency=0))
    assert (keyed.pixels[0, 0] == 255).all() and "laid on white" in keyed.reasons[-1]


def test_cmyk_without_profile() -> None:
    cmyk = Image.fromarray(PHOTO).convert("CMYK")
    decoded = decode(encode(cmyk, "TIFF"))
    np.testing.assert_array_equal(decoded.pixels, np.asarray(cmyk.convert("RGB")))
    assert decoded.mode == "CMYK" and "plain formula" in decoded.reasons[0]
    assert decode(encode(cmyk, "JPEG")).pixels.shape == PHOTO.shape


def _matrix_profile(swap: bool) -> bytes:
    """sRGB's profile, with red and green primaries exchanged on request: a profile with a known effect."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", data[128:132])[0]
    entries = {bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    if swap:
        red, green = entries[b"rXYZ"], entries[b"gXYZ"]
        data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


def test_profiles() -> None:
    plain = decode(encode(PHOTO, "PNG", icc_profile=_matrix_profile(swap=False)))
    np.testing.assert_array_equal(plain.pixels, PHOTO)
    assert plain.reasons == () and plain.icc and "sRGB" in plain.icc
    swapped = decode(encode(PHOTO, "PNG", icc_profile=_matrix_profile(swap=True)))
    assert np.abs(swapped.pixels.astype(int) - PHOTO[..., [1, 0, 2]]).max() <= 2
    assert "converted from the colour profile" in swapped.reasons[0]
    for bad in (b"nonsense", _matrix_profile(False)[:200]):
        decoded = decode(encode(PHOTO, "PNG", icc_profile=bad))
        np.testing.assert_array_equal(decoded.pixels, PHOTO)
        assert "unusable" in decoded.reasons[0] and decoded.icc == "unusable"
    mismatch = decode(encode(PHOTO[..., 0], "PNG", icc_profile=_matrix_profile(False)))
    np.testing.assert_array_equal(mismatch.pixels[..., 0], PHOTO[..., 0])
    assert "describes RGB" in mismatch.reasons[0]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"])
def test_animations_and_pages(kind: str) -> None:
    pages = [Image.fromarray(np.full((20, 30, 3), 40 * i, np.uint8)) for i in range(1, 4)]
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode(encode(pages[0], kind, save_all=True, append_images=pages[1:], **options))
    assert decoded.frames == 3 and decoded.reasons[0].startswith("3 frames")
    assert decoded.format == ("JPEG" if kind == "MPO" else kind)  # MPO: JPEGs one after the other
    assert np.abs(decoded.pixels.astype(int) - 40).max() <= 2


def test_too_many_frames_is_refused_fast() -> None:
    data = encode(Image.fromarray(PHOTO), "GIF", save_all=True, append_images=[Image.fromarray(255 - PHOTO)] * 4)
    assert decode(data, Limits(frames=5)).frames == 2  # equal neighbours are merged by the writer
    frame = b"\x2c\0\0\0\0\1\0\1\0\0\2\2\x4c\1\0"
    bomb = encode(Image.new("P", (1, 1)), "GIF")[:-1] + frame * 1_000_000 + b";"
    start = time.process_time()
    assert code_of(bomb) == "too_large"
    assert time.process_time() - start < 1


def test_float_and_integer_pixels_are_refused_not_guessed() -> None:
    assert code_of(encode(np.ones((4, 4), np.float32), "TIFF")) == "unsupported_format"
    assert code_of(encode(np.ones((4, 4), np.int32), "TIFF")) == "unsupported_format"


def test_paths(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    secret = tmp_path / "secret.png"
    secret.write_bytes(SAMPLES["PNG"])
    secret.chmod(0)
    assert code_of(tmp_path / "missing.jpg") == "not_found"
    assert code_of(tmp_path / "empty.png" / "below.jpg") == "not_found"
    assert code_of("zero\0byte") == "not_found"
    assert code_of(tmp_path) == "not_a_file"
    assert code_of(tmp_path / "pipe.png") == "not_a_file"
    assert code_of("/dev/zero") == "not_a_file"
    assert code_of(tmp_path / "s") == "not_a_file"
    assert code_of(tmp_path / "empty.png") == "empty"
    assert code_of(tmp_path / ("x" * 400)) == "unreadable"
    if os.geteuid() != 0:
        assert code_of(secret) == "permission"
    server.close()


def test_permission_error_has_its_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def deny(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", deny)
    assert code_of("photo.jpg") == "permission"
    assert code_of(tmp_path) == "not_a_file"  # what Windows says of a folder


@pytest.mark.parametrize("kind", SAMPLES)
def test_half_a_file_is_truncated(kind: str) -> None:
    data = SAMPLES[kind]
    assert code_of(data[: len(data) // 2 if kind != "animated GIF" else 200]) == "truncated"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"hello, this is text", "not_an_image"),
        (b"\0" * 4000, "not_an_image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unsupported_format"),
        (b"%PDF-1.7 ...", "unsupported_format"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "unsupported_format"),
        (encode(PHOTO, "PPM"), "unsupported_format"),
        (encode(PHOTO, "JPEG2000"), "unsupported_format"),
        (encode(PHOTO, "ICO"), "unsupported_format"),
    ],
)
def test_what_is_not_decoded(data: bytes, code: str) -> None:
    assert code_of(data) == code


def _claims(kind: str, side: int) -> bytes:
    """A small file whose header claims ``side`` x ``side`` pixels."""
    data = bytearray(SAMPLES[kind])
    if kind == "PNG":
        return png(8, 2, b"", side, side)
    if kind == "BMP":
        data[18:26] = struct.pack("<ii", side, side)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", side, side)
    elif kind == "JPEG":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    elif kind == "TIFF":
        for tag in (256, 257):
            at = next(at for code in (3, 4) if (at := data.find(struct.pack("<HHI", tag, code, 1))) >= 0)
            data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, side)
    elif kind == "WEBP":  # a lossless chunk with 14 bits for each side
        body = b"\x2f" + struct.pack("<I", (side - 1) | (side - 1) << 14) + bytes(63)
        data = bytearray(b"WEBPVP8L" + struct.pack("<I", len(body)) + body)
        data = bytearray(b"RIFF" + struct.pack("<I", len(data)) + data)
    elif kind == "AVIF":
        at = data.index(b"ispe") + 8
        data[at : at + 8] = struct.pack(">II", side, side)
    return bytes(data)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("side", [60_000, 16_000, 12_000])
def test_hostile_headers_are_refused_before_decoding(kind: str, side: int) -> None:
    if kind in ("WEBP", "AVIF") and side > 16_383:
        pytest.skip("the format (WebP) or its decoder (AVIF) has no such size")
    data = _claims(kind, side)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    assert code_of(data) == "too_large"
    assert time.process_time() - start < 0.1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_limits_are_ours(tmp_path: Path) -> None:
    assert code_of(SAMPLES["PNG"], pixels=48 * 40 - 1) == "too_large"
    assert decode(SAMPLES["PNG"], Limits(pixels=48 * 40)).pixels.shape == PHOTO.shape
    assert code_of(SAMPLES["PNG"], n_bytes=100) == "too_large"
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(10**12)  # a hole: a terabyte that takes no room
    assert code_of(path) == "too_large"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(kind=st.sampled_from(sorted(SAMPLES)), data=st.data())
def test_any_damage_gives_a_result_or_a_typed_error(kind: str, data: st.DataObject) -> None:
    good = SAMPLES[kind]
    bad = bytearray(good[: data.draw(st.one_of(st.just(len(good)), st.integers(1, len(good))))])
    places = st.one_of(st.integers(0, min(len(bad), 300) - 1), st.integers(0, len(bad) - 1))
    for at, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=8)):
        bad[at] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            decoded = decode(bytes(bad), Limits(pixels=1_000_000))
        except IntakeError as error:
            assert error.code in CODES
        else:
            h, w = decoded.pixels.shape[:2]
            assert decoded.pixels.dtype == np.uint8 and decoded.pixels.shape[2] == 3
            assert sorted((h, w)) == sorted(decoded.stored_size)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes(data: bytes) -> None:
    with pytest.raises(IntakeError):
        decode(data)


def test_threads_share_the_strictness_and_leave_no_trace() -> None:
    filters = list(warnings.filters)
    results: list[str] = []

    def work() -> None:
        for _ in range(20):
            results.append(decode(SAMPLES["JPEG"]).sha256)
            results.append(code_of(SAMPLES["JPEG"][:-300]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 160 and len(set(results)) == 2
    assert warnings.filters == filters and ImageFile.LOAD_TRUNCATED_IMAGES is False
