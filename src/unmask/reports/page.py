"""The shell every HTML report stands in: one file, one style, autoescaped, no outside request.

A report is a template in ``reports/templates`` that starts with ``{% extends "page.html" %}`` and fills the blocks
``title``, ``content`` and, where it needs them, ``style`` and ``script``. The shell carries a Content-Security-Policy
that forbids the browser every request, so pictures must be data URIs.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from unmask.core.files import write_text
from unmask.core.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

MISSING = "–"
"""Shown in a table where a number does not exist."""


def data_uri(content: bytes, kind: str) -> str:
    """``data:`` URI of some bytes; ``kind`` is a media type such as ``image/svg+xml``.

    >>> data_uri(b"hi", "text/plain")
    'data:text/plain;base64,aGk='
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def png_uri(image: npt.NDArray[Any]) -> str:
    """``data:`` URI of an image as PNG.

    Args:
        image: uint8, or float in [0, 1] (values outside are clipped, nan is 0); (H, W) grey, (H, W, 3) RGB or
            (H, W, 4) RGB with alpha.

    Raises:
        ValueError: another shape or type.
    """
    from PIL import Image

    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)) or 0 in image.shape:
        raise ValueError(f"expected an image of shape (H, W), (H, W, 3) or (H, W, 4), got {image.shape}")
    if image.dtype != np.uint8:
        if not np.issubdtype(image.dtype, np.floating):
            raise ValueError(f"expected uint8 or floating-point pixels, got {image.dtype}")
        image = (np.nan_to_num(image, nan=0.0).clip(0.0, 1.0) * 255.0).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG", optimize=True)
    return data_uri(buffer.getvalue(), "image/png")


def number(value: float | int | None, digits: int = 3) -> str:
    """A number for a table; a dash where there is none.

    >>> number(0.12345), number(float("nan")), number(None), number(7)
    ('0.123', '–', '–', '7')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share in [0, 1] for a table; a dash where there is none.

    >>> percent(0.0123), percent(None)
    ('1.2 %', '–')
    """
    return MISSING if value is None or math.isnan(value) else f"{100 * value:.{digits}f} %"


@cache
def environment() -> Environment:
    """The jinja2 environment of all reports: autoescaping always on, an undefined name is an error.

    Filters: ``number(digits=3)`` and ``percent(digits=1)``. Everything from outside (paths, messages, metadata) is
    escaped; ``|safe`` is not used in our templates.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    env = Environment(
        loader=PackageLoader("unmask.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["number"] = number
    env.filters["percent"] = percent
    env.globals["version"] = __version__
    return env


def render(template: str, context: Mapping[str, Any]) -> str:
    """One whole HTML document from ``reports/templates/<template>``."""
    return environment().get_template(template).render(context)


def write_page(path: str | Path, template: str, context: Mapping[str, Any]) -> None:
    """Render a report and write it atomically."""
    write_text(path, render(template, context))
