"""Small folders of the documented shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from unmask.data.manifest import Row
from unmask.data.sources import Index


def image(path: Path, size: tuple[int, int] = (8, 8)) -> Path:
    """A small image whose colour follows from its path, so that all files differ."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = tuple(np.random.default_rng(list(str(path).encode())).integers(0, 255, 3).tolist())
    Image.new("RGB", size, colour).save(path)
    return path


def mask(path: Path, size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((size[1], size[0]), np.uint8)
    pixels[2:5, 3:6] = 255
    Image.fromarray(pixels).save(path)
    return path


def clip(folder: Path, count: int = 3, form: str = "{:04}.png", size: tuple[int, int] = (8, 8)) -> Path:
    """``count`` frames in a folder."""
    for i in range(count):
        image(folder / form.format(i), size)
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def rows(index: Index, root: Path) -> dict[str, Row]:
    """Rows by path relative to the root."""
    return {Path(r.path).relative_to(root).as_posix(): r for r in index.rows}


def problems(index: Index, root: Path) -> list[tuple[str, str]]:
    """Relative path and code of every problem."""
    return [(Path(p.path).relative_to(root).as_posix(), p.code) for p in index.problems]
