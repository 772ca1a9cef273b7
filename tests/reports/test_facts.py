from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unmask.reports.facts import jpeg_quality, printable


@pytest.mark.parametrize("quality", [3, 10, 49, 50, 51, 75, 92, 100])
def test_the_quality_setting_of_a_file_libjpeg_wrote_is_found(quality: int) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG", quality=quality)
    assert jpeg_quality(Image.open(buffer).quantization) == (quality, True)


def test_other_tables_get_the_nearest_setting_and_say_so() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG", quality=80)
    table = np.array(Image.open(buffer).quantization[0])
    table[5] += 1
    assert jpeg_quality({0: tuple(table.tolist())}) == (80, False)
    assert jpeg_quality({}) is jpeg_quality(None) is jpeg_quality({0: (1, 2)}) is None


@given(st.text())
def test_printable_text_is_printable_and_plain_text_unchanged(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")
    if text.isprintable():
        assert shown == text
