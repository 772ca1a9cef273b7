from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unmask.core.config import build, to_dict, with_overrides
from unmask.core.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    steps: int = 3
    names: tuple[str, ...] = ()
    span: tuple[float, float] = (0.0, 1.0)
    where: Path | None = None
    weights: dict[str, float] = field(default_factory=dict)
    on: bool = False

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps must be 0 or more, got {self.steps}")


inners = st.builds(Inner, st.floats(allow_nan=False), st.sampled_from(["a", "b"]))
outers = st.builds(
    Outer,
    inners,
    st.integers(0, 10**6),
    st.lists(st.text()).map(tuple),
    st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)),
    st.none() | st.sampled_from([Path("a"), Path("b/c")]),
    st.dictionaries(st.text(), st.floats(allow_nan=False)),
    st.booleans(),
)


@given(outers)
def test_a_config_survives_the_trip_through_plain_values(config: Outer) -> None:
    assert build(Outer, to_dict(config)) == config


def test_yaml_text_becomes_a_number_and_lists_become_tuples() -> None:
    config = build(Outer, {"inner": {"rate": "1e-4"}, "names": ["x", "y"], "span": [0, 2], "where": "a/b"})
    assert config == Outer(Inner(1e-4), names=("x", "y"), span=(0.0, 2.0), where=Path("a/b"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"stepz": 1}, ["stepz", "'steps'"]),
        ({"inner": {"kin": "a"}}, ["inner.kin", "'kind'"]),
        ({"inner": {"kind": "c"}}, ["inner.kind", "'a', 'b'", "'c'"]),
        ({"steps": "many"}, ["steps", "int", "'many'"]),
        ({"steps": True}, ["steps", "whole number"]),
        ({"steps": 1.5}, ["steps", "1.5"]),
        ({"names": "xy"}, ["names", "list"]),
        ({"span": [1, 2, 3]}, ["span", "2 values"]),
        ({"weights": {"a": "b"}}, ["weights.a", "number"]),
        ({"inner": 3}, ["inner", "mapping"]),
        ({"steps": -1}, ["steps must be 0 or more", "-1"]),
    ],
)
def test_an_error_names_the_place_what_was_expected_and_what_came(values: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Outer, values)
    for word in words:
        assert word in caught.value.message


def test_overrides_reach_nested_keys_and_leave_the_original_alone() -> None:
    values = {"inner": {"rate": 1.0, "kind": "b"}, "steps": 2}
    changed = with_overrides(values, {"inner.rate": 2.0, "weights.x": 1.0})
    assert changed == {"inner": {"rate": 2.0, "kind": "b"}, "steps": 2, "weights": {"x": 1.0}}
    assert values == {"inner": {"rate": 1.0, "kind": "b"}, "steps": 2}
    with pytest.raises(ConfigError, match="not a group"):
        with_overrides(values, {"steps.deep": 1})


def test_configs_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Outer().steps = 4  # type: ignore[misc]
