"""Splits and folds that keep relatives together.

Rows are relatives when they share a ``group``, when one is the ``pair`` of the other, or when their files are
identical (``sha256``); relatives of relatives are relatives. A family goes to one side as a whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from unmask.core.errors import DataError
from unmask.data.manifest import SPLITS, Row


def components(links: Iterable[Collection[str]]) -> dict[str, str]:
    """For each name the first (in alphabetical order) of all names that links join it with.

    >>> components([("003", "000"), ("001",), ("003", "007")])
    {'003': '000', '000': '000', '001': '001', '007': '000'}
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for link in links:
        first, *rest = map(root, link)
        for other in rest:
            first, other = sorted((first, root(other)))
            parent[other] = first
    return {name: root(name) for name in parent}


def families(rows: Sequence[Row]) -> list[str]:
    """The family of each row, as a name that does not depend on the order of the rows.

    A family is named after its first group in alphabetical order; without any group after the photo that the others
    are made from, by its hash (or, unhashed, its file name). So it keeps its name when fakes are added.

    >>> photo, fake = Row("/a.png", 0, group="ann"), Row("/b.png", 1, pair="/a.png")
    >>> families([photo, fake, Row("/c.png", 0)])
    ['group:ann', 'group:ann', 'file:c.png']
    """

    def own_name(row: Row) -> str:
        return f"group:{row.group}" if row.group else f"file:{row.sha256 or Path(row.path).name}"

    def names(row: Row) -> list[str]:
        known = {"path": row.path, "group": row.group, "pair": row.pair, "sha256": row.sha256}
        return [f"{'path' if kind == 'pair' else kind}:{name}" for kind, name in known.items() if name]

    node_of = components(map(names, rows))
    best: dict[str, tuple[bool, bool, str]] = {}
    for row in rows:  # a group names its family before a file does, a photo before the fakes made from it
        rank = (not row.group, bool(row.pair), own_name(row))
        node = node_of[f"path:{row.path}"]
        best[node] = min(best.get(node, rank), rank)
    return [best[node_of[f"path:{row.path}"]][2] for row in rows]


def _unit(seed: int, name: str) -> float:
    """A number in [0, 1) that depends on nothing but the seed and the name."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_rows(rows: Sequence[Row], sizes: Mapping[str, float], seed: int = 0) -> list[Row]:
    """The same rows, in the same order, with ``split`` filled in.

    Each family's side follows from a hash of its name and the seed alone: rows may be shuffled, removed or added and
    nobody else changes sides. The price is that sizes are met on average, not exactly.

    Args:
        rows: any labelled rows.
        sizes: share of the families per split, e.g. ``{"train": 0.8, "val": 0.2}``; must sum to 1.
        seed: another seed, another split.

    Raises:
        DataError: unknown split name, shares that do not sum to 1, or a split that came out empty.
    """
    if unknown := [s for s in sizes if s not in SPLITS]:
        raise DataError("bad_split", f"unknown split '{unknown[0]}'; splits are {', '.join(SPLITS)}")
    if any(not 0 < size <= 1 for size in sizes.values()) or not math.isclose(sum(sizes.values()), 1, abs_tol=1e-6):
        given = ", ".join(f"{k}={v:g}" for k, v in sizes.items())
        raise DataError("bad_split", f"the shares must be above 0 and sum to 1, got {given or 'none'}")
    bounds = [(s, sum(list(sizes.values())[: i + 1])) for i, s in enumerate(sizes)]

    def side(name: str) -> str:
        unit = _unit(seed, name)
        return next((s for s, bound in bounds if unit < bound), bounds[-1][0])

    result = [dataclasses.replace(r, split=side(f)) for r, f in zip(rows, families(rows), strict=True)]
    if empty := [s for s in sizes if not any(r.split == s for r in result)]:
        count = len(set(families(rows)))
        raise DataError("empty_split", f"'{empty[0]}' got none of {count} families; use another seed or a larger share")
    return result


def draw_families(rows: Sequence[Row], count: int, seed: int = 0) -> list[Row]:
    """At most ``count`` rows, whole families drawn at random, in the order they had.

    Families come in an order that depends on the seed and their names alone; one that no longer fits is passed over.

    Raises:
        DataError: ``bad_count``: ``count`` is below 1, or no family is small enough.
    """
    names = families(rows)
    sizes = Counter(names)
    chosen: set[str] = set()
    left = count
    for name in sorted(sizes, key=lambda name: (_unit(seed, name), name)):
        if sizes[name] <= left:
            chosen.add(name)
            left -= sizes[name]
    if not chosen:
        smallest = f"; the smallest of {len(sizes)} families has {min(sizes.values())} images" if sizes else ""
        raise DataError("bad_count", f"cannot draw {count} images without parting relatives{smallest}")
    return [row for row, name in zip(rows, names, strict=True) if name in chosen]


def folds(rows: Sequence[Row], count: int, seed: int = 0) -> list[int]:
    """The fold (0 to ``count`` - 1) of each row: families stay whole, folds have nearly equal numbers of rows.

    For out-of-fold scores and cross-validation. Depends on the set of rows, not on their order.

    Raises:
        DataError: fewer families than folds.
    """
    names = families(rows)
    sizes: dict[str, int] = {}
    for name in names:
        sizes[name] = sizes.get(name, 0) + 1
    if not 2 <= count <= len(sizes):
        raise DataError("bad_folds", f"{len(sizes)} families cannot make {count} folds (2 or more, none empty)")
    filled = [0] * count
    fold: dict[str, int] = {}
    for name in sorted(sizes, key=lambda n: (-sizes[n], _unit(seed, n))):  # largest first, to the emptiest fold
        fold[name] = filled.index(min(filled))
        filled[fold[name]] += sizes[name]
    return [fold[name] for name in names]
