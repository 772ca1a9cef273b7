"""Files with a proper end that lack pixels, and damage that costs none."""

from __future__ import annotations

import io
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile
from test_intake import PHOTO, SAMPLES, chunk, code_of, encode, png

from unmask.core.errors import IntakeError
from unmask.data.filefacts import png_lacks_pixels
from unmask.data.intake import decode

NOISE = np.asarray(Image.fromarray(np.random.default_rng(1).integers(0, 256, (20, 25, 3), np.uint8)).resize((129, 98)))
FLAT = NOISE.copy()
FLAT[40:, 50:] = 128  # what missing data look like


@pytest.mark.parametrize("options", [{}, {"progressive": 1}, {"restart_marker_blocks": 5}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_part_of_a_jpeg_with_an_end_marker_is_truncated(options: dict[str, int], mode: str, subsampling: int) -> None:
    def jpeg(pixels: np.ndarray) -> bytes:
        bands = [*Image.fromarray(pixels).split(), Image.fromarray(pixels[..., 0])]
        image = Image.merge(mode, bands[: len(mode)]) if mode != "L" else bands[0]
        return encode(image, "JPEG", subsampling=subsampling, **options)

    for data in (jpeg(FLAT), jpeg(NOISE)):
        assert decode(data).stored_size == decode(data + b"trailing bytes").stored_size == (129, 98)
    start = data.rindex(b"\xff\xda") + 14
    cuts = [start + (len(data) - start) * part // 10 for part in (1, 3, 5, 7, 9)]
    if any("restart" in option for option in options):  # right before and behind a restart marker
        cuts += [data.index(b"\xff\xd3"), data.index(b"\xff\xd3") + 2]
    for cut in cuts:
        part = data[: cut - (data[cut - 1] == 255)]
        assert code_of(part + b"\xff\xd9") == "truncated"
        assert code_of(part + data) in ("truncated", "unreadable")  # another image right behind it


def test_restart_intervals_of_one_block_and_early_scans() -> None:
    data = encode(NOISE, "JPEG", restart_marker_blocks=1, progressive=True)
    for scan in (at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"):
        cut = data.index(b"\xff\xd4", scan)
        assert code_of(data[:cut] + b"\xff\xd9") == code_of(data[: cut + 2] + b"\xff\xd9") == "truncated"


# bits, colour type, bytes of 17 pixels
PNG_ROWS = [(1, 0, 3), (4, 3, 9), (8, 0, 17), (8, 2, 51), (16, 4, 68), (8, 6, 68)]


@pytest.mark.parametrize(("bits", "colour", "row"), PNG_ROWS)
def test_a_png_with_too_few_rows_is_truncated(bits: int, colour: int, row: int) -> None:
    def black(n_bytes: int) -> bytes:  # it looks like missing rows
        data = png(bits, colour, bytes(n_bytes), 17, 9)
        return data[:33] + (chunk(b"PLTE", bytes(48)) if colour == 3 else b"") + data[33:]

    whole = 9 * (1 + row)
    assert decode(black(whole)).stored_size == decode(black(whole + 1000)).stored_size == (17, 9)
    for n_bytes in (whole - 1, whole // 2, 0):
        assert code_of(black(n_bytes)) == "truncated"


def test_an_interlaced_png_with_too_few_rows_is_truncated() -> None:
    passes = [(3, 2), (2, 2), (5, 1), (4, 3), (9, 2), (8, 5), (17, 4)]  # columns and rows for 17 x 9
    whole = sum(rows * (1 + 3 * columns) for columns, rows in passes)
    assert decode(png(8, 2, bytes(whole), 17, 9, 1)).stored_size == (17, 9)
    assert code_of(png(8, 2, bytes(whole - 1), 17, 9, 1)) == "truncated"
    assert decode(png(8, 2, bytes(4), 1, 1, 1)).stored_size == (1, 1)  # passes without pixels have no rows


def test_black_rows_are_inflated_in_little_memory() -> None:
    data = png(8, 0, bytes(4001 * 4000 + 50_000_000), 4000, 4000)  # with a bomb behind the last row
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        tracemalloc.start()
        assert not png_lacks_pixels(image, data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 5_000_000


def test_a_damaged_png_container_is_said() -> None:
    data = SAMPLES["PNG"]
    for cut in (12, 8, 5):
        decoded = decode(data[:-cut])
        assert decoded.reasons == ("the PNG has no end marker; its pixels are complete",)
        np.testing.assert_array_equal(decoded.pixels, PHOTO)
    end = data.index(b"IEND") - 4
    decoded = decode(data[: end - 1] + bytes([data[end - 1] ^ 1]) + data[end:])
    assert decoded.reasons == ("the checksum of the PNG's pixel data is wrong; the pixels are used as decoded",)
    np.testing.assert_array_equal(decoded.pixels, PHOTO)
    animated = encode(PHOTO, "PNG", save_all=True, append_images=[Image.fromarray(255 - PHOTO)])
    assert decode(animated).reasons == ("2 frames or pages; only the first was analysed",)


@pytest.mark.parametrize("behind", [False, True])
def test_a_large_png_text_is_too_large(behind: bool) -> None:
    data, text = SAMPLES["PNG"], chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000)))
    at = data.index(b"IEND" if behind else b"IDAT") - 4
    with pytest.raises(IntakeError) as caught:
        decode(data[:at] + text + data[at:])
    assert caught.value.code == "too_large"
    assert caught.value.message.endswith("a text or colour profile stored in the PNG file is too large when unpacked")


def test_a_process_that_allows_truncated_files_does_not_soften_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert code_of(SAMPLES["JPEG"][:-300]) == "truncated"
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True
