"""A feature whose values change must raise its version, or the caches of its users go on giving the old ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from unmask.core.types import Face
from unmask.features.base import Subject
from unmask.features.catalogue import FEATURES

KEPT = Path(__file__).with_name("values.json")
"""By feature: its version, and mean, spread, first and last of its values of the portrait. `python FILE` writes it."""
FACE = Face((84, 62, 172, 178), 1.0, ((110, 103), (150, 101), (131, 125), (114, 146), (149, 145)))
NAMES = [n for n, f in FEATURES.items() if f.columns and not {"landmarks", "frames", "weights"} & set(f.needs)]


def summary(name: str, pixels: np.ndarray) -> list[float]:
    values = FEATURES[name].measure([Subject(pixels, FACE)])[0].values
    assert values is not None
    return [float(f"{v:.6g}") for v in (values.mean(), values.std(), values[0], values[-1])]


def pixels() -> np.ndarray:
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut()[:256, 90:346])


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_the_version(name: str) -> None:
    kept = json.loads(KEPT.read_text())
    assert name in kept, f"new: python {Path(__file__).name}"
    if kept[name]["version"] == FEATURES[name].version:
        why = f"the values of '{name}' changed: raise its version, then python {Path(__file__).name}"
        assert summary(name, pixels()) == pytest.approx(kept[name]["values"], rel=2e-3, abs=1e-4), why
    else:
        pytest.fail(f"'{name}' has another version: python {Path(__file__).name}")


if __name__ == "__main__":
    found = {n: {"version": FEATURES[n].version, "values": summary(n, pixels())} for n in NAMES}
    KEPT.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(f"{KEPT}: {len(found)} features\n")
