"""Splits and folds: relatives stay together, nobody moves when data is added, sizes come near the request."""

from __future__ import annotations

import random

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.core.errors import DataError
from unmask.data.manifest import Row
from unmask.data.splits import families, folds, split_rows

SIZES = {"train": 0.7, "val": 0.2, "test": 0.1}


@st.composite
def manifests(draw: st.DrawFn) -> list[Row]:
    count = draw(st.integers(2, 30))
    rows = []
    for i in range(count):
        group = draw(st.sampled_from(["", "", *(f"g{n}" for n in range(8))]))
        fake = draw(st.booleans())
        pair = f"/{draw(st.integers(0, count - 1))}.png" if fake and draw(st.booleans()) else ""
        sha256 = draw(st.sampled_from(["", "", *(f"{n:064x}" for n in range(6))]))
        rows.append(Row(f"/{i}.png", int(fake), pair="" if pair == f"/{i}.png" else pair, group=group, sha256=sha256))
    return rows


def components(rows: list[Row]) -> set[frozenset[str]]:
    """Families by another road: connected components of networkx."""
    graph = nx.Graph()
    for row in rows:
        graph.add_node(row.path)
        for kind in ("group", "sha256"):
            if getattr(row, kind):
                graph.add_edge(row.path, (kind, getattr(row, kind)))
        if row.pair:
            graph.add_edge(row.path, row.pair)
    members = (frozenset(n for n in c if isinstance(n, str)) for c in nx.connected_components(graph))
    paths = {r.path for r in rows}
    return {m & paths for m in members if m & paths}


@given(manifests())
def test_families_are_the_connected_components(rows: list[Row]) -> None:
    names = families(rows)
    found: dict[str, set[str]] = {}
    for row, name in zip(rows, names, strict=True):
        found.setdefault(name, set()).add(row.path)
    assert {frozenset(f) for f in found.values()} == components(rows)


@given(manifests(), st.randoms(), st.integers(0, 5))
def test_no_family_on_two_sides_whatever_the_order(rows: list[Row], shuffler: random.Random, seed: int) -> None:
    try:
        side = {r.path: r.split for r in split_rows(rows, SIZES, seed)}
    except DataError as error:
        assert error.code == "empty_split"
        return
    for family in components(rows):
        assert len({side[p] for p in family}) == 1
    shuffled = rows[:]
    shuffler.shuffle(shuffled)
    assert {r.path: r.split for r in split_rows(shuffled, SIZES, seed)} == side


@given(manifests(), st.randoms(), st.integers(2, 4))
def test_folds_keep_families_and_are_even(rows: list[Row], shuffler: random.Random, count: int) -> None:
    parts = components(rows)
    if len(parts) < count:
        with pytest.raises(DataError):
            folds(rows, count)
        return
    fold = dict(zip((r.path for r in rows), folds(rows, count), strict=True))
    assert all(len({fold[p] for p in family}) == 1 for family in parts)
    filled = [list(fold.values()).count(f) for f in range(count)]
    assert min(filled) > 0
    assert max(filled) - min(filled) <= max(map(len, parts))
    shuffled = rows[:]
    shuffler.shuffle(shuffled)
    assert dict(zip((r.path for r in shuffled), folds(shuffled, count), strict=True)) == fold


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_sizes_come_near_the_request(seed: int) -> None:
    rows = [Row(f"/{i}.png", 0, group=f"person{i // 2}") for i in range(4000)]
    got = split_rows(rows, SIZES, seed)
    for name, share in SIZES.items():  # 2000 families: five standard deviations
        tolerance = 5 * (share * (1 - share) / 2000) ** 0.5
        assert abs(sum(r.split == name for r in got) / 4000 - share) < tolerance


def test_adding_people_moves_nobody() -> None:
    rows = [Row(f"/{i}.png", 0, group=f"person{i}") for i in range(200)]
    before = {r.path: r.split for r in split_rows(rows[:100], SIZES)}
    after = {r.path: r.split for r in split_rows(rows, SIZES)}
    assert {p: after[p] for p in before} == before
    assert {r.path: r.split for r in split_rows(rows[:100], SIZES, seed=1)} != before


def test_adding_fakes_moves_no_photo() -> None:
    photos = [Row(f"/r{i}", 0, sha256=f"{i + 500:064x}") for i in range(100)]
    fakes = [Row(f"/f{i}", 1, pair=f"/r{i}", sha256=f"{i:064x}") for i in range(100)]
    before = {r.path: r.split for r in split_rows(photos, SIZES)}
    after = {r.path: r.split for r in split_rows(photos + fakes, SIZES)}
    assert {p: after[p] for p in before} == before


def test_a_fake_sits_with_its_photo_even_without_groups() -> None:
    rows = [r for i in range(50) for r in (Row(f"/r{i}", 0), Row(f"/f{i}", 1, pair=f"/r{i}"))]
    got = {r.path: r.split for r in split_rows(rows, SIZES)}
    assert all(got[f"/r{i}"] == got[f"/f{i}"] for i in range(50))


@pytest.mark.parametrize("sizes", [{"train": 0.5}, {"train": 1.5, "val": -0.5}, {"dev": 1.0}, {}])
def test_bad_sizes(sizes: dict[str, float]) -> None:
    with pytest.raises(DataError):
        split_rows([Row("/a", 0)], sizes)


def test_an_empty_split_is_an_error() -> None:
    with pytest.raises(DataError, match="none of 1 families"):
        split_rows([Row("/a", 0)], SIZES)
