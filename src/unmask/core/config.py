"""Typed, frozen configuration: dataclass defaults are the truth, files hold only differences."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from unmask.core.errors import ConfigError
from unmask.core.names import did_you_mean

T = TypeVar("T")


def _fail(where: str, expected: str, came: object) -> ConfigError:
    return ConfigError("bad_config", f"{where or 'the config'}: expected {expected}, got {came!r}")


def _convert(kind: Any, value: Any, where: str) -> Any:
    """Check (and where lossless, convert) one value against its annotation."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        failures = []
        for option in inner:
            try:
                return _convert(option, value, where)
            except ConfigError as error:
                failures.append(error)
        raise failures[0] if len(failures) == 1 else _fail(where, str(kind), value)
    if kind is type(None):
        if value is not None:
            raise _fail(where, "nothing (null)", value)
        return None
    if origin is Literal:
        if value not in inner:
            near = get_close_matches(str(value), [str(i) for i in inner], n=1)
            hint = f" (nearest: {near[0]})" if near else ""
            raise _fail(where, f"one of {', '.join(map(repr, inner))}{hint}", value)
        return value
    if dataclasses.is_dataclass(kind):
        if isinstance(value, typing.cast(type, kind)):
            return value
        return build(typing.cast(type, kind), value, where)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise _fail(where, "a list", value)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_convert(inner[0], v, f"{where}[{i}]") for i, v in enumerate(value))
        if len(value) != len(inner):
            raise _fail(where, f"{len(inner)} values", value)
        return tuple(_convert(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(inner, value, strict=True)))
    if origin in (dict, Mapping) or kind in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise _fail(where, "a mapping", value)
        value_kind = inner[1] if inner else Any
        return {str(k): _convert(value_kind, v, f"{where}.{k}") for k, v in value.items()}
    if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 1e-4 as text
        except ValueError:
            raise _fail(where, "a number", value) from None
    if kind is Path and isinstance(value, (str, Path)):
        return Path(value)
    if kind is int and isinstance(value, bool):
        raise _fail(where, "a whole number", value)
    if isinstance(kind, type) and isinstance(value, kind):
        return value
    raise _fail(where, getattr(kind, "__name__", str(kind)), value)


def build(cls: type[T], values: Mapping[str, Any] | None, where: str = "") -> T:
    """Build a (nested) frozen dataclass from a mapping.

    Raises:
        ConfigError: an unknown key (the message suggests the nearest known one), a wrong type, or a value the
            class itself refuses.

    >>> from unmask.core.types import ViewConfig
    >>> build(ViewConfig, {"size": 128}).size
    128
    >>> build(ViewConfig, {"sise": 128})
    Traceback (most recent call last):
    unmask.core.errors.ConfigError: unknown key 'sise' (did you mean 'size'?); known: kind, size, margin, wider, crops,
    frames
    """
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        raise _fail(where, "a mapping of settings", values)
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(typing.cast(Any, cls)) if f.init]
    settings = {}
    for key, value in values.items():
        path = f"{where}.{key}" if where else str(key)
        if key not in names:
            hint = did_you_mean(str(key), names)
            raise ConfigError("unknown_key", f"unknown key '{path}'{hint}; known: {', '.join(names)}")
        settings[key] = _convert(hints[key], value, path)
    try:
        return cls(**settings)
    except (TypeError, ValueError) as error:
        raise ConfigError("bad_config", f"{where or cls.__name__}: {error}") from error


def to_dict(config: Any) -> dict[str, Any]:
    """The whole resolved config as plain JSON values, ready for :func:`build`.

    >>> from unmask.core.types import ViewConfig
    >>> build(ViewConfig, to_dict(ViewConfig())) == ViewConfig()
    True
    """

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(k): plain(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(v) for v in value]
        return str(value) if isinstance(value, Path) else value

    return typing.cast(dict[str, Any], plain(dataclasses.asdict(config)))


def with_overrides(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested ``values`` with dotted keys replaced.

    >>> with_overrides({"optimizer": {"lr": 1.0}}, {"optimizer.lr": 0.5, "epochs": 3})
    {'optimizer': {'lr': 0.5}, 'epochs': 3}
    """
    result = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    for dotted, value in overrides.items():
        head, _, rest = dotted.partition(".")
        if rest:
            inner = result.get(head) or {}
            if not isinstance(inner, Mapping):
                raise ConfigError("bad_config", f"'{head}' is not a group of settings, so '{dotted}' has no place")
            result[head] = with_overrides(inner, {rest: value})
        else:
            result[head] = value
    return result
