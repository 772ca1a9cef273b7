"""Trained weights on disk: ``NAME.safetensors`` and, beside it, ``NAME.json`` with everything one must know of it.

Nothing is ever unpickled. Both files are written atomically, the tensors first; the JSON names the tensors' hash.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter, init
from torch.overrides import TorchFunctionMode

from unmask.core.config import build, to_dict
from unmask.core.errors import ConfigError, UnmaskError, WeightsError
from unmask.core.files import atomic_path, sha256_file, write_text
from unmask.core.names import did_you_mean
from unmask.core.types import Answers
from unmask.detectors.base import AnyDetector
from unmask.detectors.zoo import create_detector, name_of
from unmask.nn.backbones import read_safetensors

FORMAT = 1
_RANDOM = (Tensor.uniform_, Tensor.normal_)


@dataclass(frozen=True)
class Calibration:
    """``score = sigmoid(scale * logit + offset)``."""

    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class WeightsCard:
    """What travels with weights."""

    detector: str
    """Name in the zoo."""
    config: Mapping[str, Any]
    """The detector's whole resolved config."""
    answers: Answers = "both"
    calibration: Calibration = field(default_factory=Calibration)
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    """``fake``, ``real`` (calibrated scores, or null = unresolvable), ``mask`` (mask probability), and counts."""
    held_out: Mapping[str, Any] = field(default_factory=dict)
    """Calibrated scores of the images that set them: ``real``, ``fake`` (ascending), ``groups``."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    """Hashes of manifests and counts."""
    code: Mapping[str, Any] = field(default_factory=dict)
    """Package version and commit."""
    command: str = ""
    """The command that made them."""
    seed: int | None = None
    sha256: str = ""
    """Of the safetensors file."""
    format: int = FORMAT
    notes: Mapping[str, Any] = field(default_factory=dict)
    """Anything else worth keeping: departures, limits, sources, licences."""


def save_weights(
    path: str | Path, detector: AnyDetector, meta: Mapping[str, Any] | None = None, *, half: bool = False
) -> WeightsCard:
    """Write a detector's tensors to ``path`` and its card to the same name with ``.json``, both atomically.

    Args:
        path: ends in ``.safetensors``.
        detector: of the zoo.
        meta: fields of :class:`WeightsCard`; ``detector``, ``config``, ``answers`` and ``sha256`` are filled in.
        half: store floating-point tensors as float16 (half the bytes; 3 digits).

    Raises:
        WeightsError: another suffix, or a value that float16 cannot hold.
        ConfigError: an unknown field in ``meta``.
    """
    from safetensors.torch import save

    path = Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError("bad_name", f"weights are written to a .safetensors file, got {path.name}")
    state = {key: value.detach().cpu().contiguous() for key, value in detector.state_dict().items()}
    if half:
        state = {key: _half(key, value) for key, value in state.items()}
    given = dict(meta or {})
    given.setdefault("detector", name_of(detector))
    given |= {"config": to_dict(detector.config), "answers": detector.answers}
    card = build(WeightsCard, {**given, "sha256": "", "format": FORMAT})
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(state))
    card = dataclasses.replace(card, sha256=sha256_file(path))
    write_card(path, card)
    return card


def _half(key: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value
    small = value.half()
    if not torch.equal(torch.isfinite(small), torch.isfinite(value)):
        raise WeightsError("not_half", f"{key} has values beyond float16's range (65504); save in full precision")
    return small


def write_card(path: str | Path, card: WeightsCard) -> None:
    """Write (again) the JSON beside a weights file, e.g. after calibration."""
    write_text(Path(path).with_suffix(".json"), json.dumps(to_dict(card), indent=1, ensure_ascii=False) + "\n")


def list_weights() -> list[str]:
    """Names of the weights that ship with the package, sorted."""
    folder = resources.files("unmask") / "assets"
    names = [Path(item.name).stem for item in folder.iterdir()] if folder.is_dir() else []
    return sorted(name for name in set(names) if (folder / f"{name}.json").is_file() and _is_card(name))


def _is_card(name: str) -> bool:
    folder = resources.files("unmask") / "assets"
    return (folder / f"{name}.safetensors").is_file() and '"detector"' in (folder / f"{name}.json").read_text("utf-8")


def find_weights(path_or_name: str | Path) -> Path:
    """The file behind a shipped name or a path.

    Raises:
        WeightsError: no such file.
        ConfigError: a name that is not shipped; the message lists those that are.
    """
    path = Path(path_or_name)
    if path.suffix == ".safetensors" and path.is_file():
        return path
    if str(path_or_name) in list_weights():
        with resources.as_file(resources.files("unmask") / "assets" / f"{path_or_name}.safetensors") as shipped:
            return shipped
    known = ["default", *list_weights()]
    if path.suffix == ".safetensors":
        raise WeightsError("not_found", f"no weights file '{path_or_name}'; shipped names: {', '.join(known)}")
    hint = " (weights files end in .safetensors)" if path.is_file() else did_you_mean(str(path_or_name), known)
    raise ConfigError(
        "unknown_weights",
        f"no weights '{path_or_name}'{hint}; give a .safetensors file, the .json card of a combination, or a shipped "
        f"name: {', '.join(known)}",
    )


def read_card(path_or_name: str | Path) -> WeightsCard:
    """The card of a weights file or shipped name, without reading the tensors.

    Raises:
        WeightsError: no such weights, no JSON beside them, or a JSON that is not a card.
    """
    path = find_weights(path_or_name).with_suffix(".json")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError("not_found", f"weights need their card beside them: there is no {path}") from None
    except (ValueError, OSError) as error:
        raise WeightsError("corrupt", f"{path} is not readable JSON: {error}") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        came = values.get("format") if isinstance(values, dict) else type(values).__name__
        raise WeightsError("bad_format", f"{path}: expected a weights card of format {FORMAT}, got {came!r}")
    try:
        return build(WeightsCard, values)
    except UnmaskError as error:
        raise WeightsError("bad_format", f"{path}: {error.message}") from error


def load_weights(path_or_name: str | Path) -> tuple[AnyDetector, WeightsCard]:
    """Build the detector a card describes and fill it, strictly.

    Args:
        path_or_name: a ``.safetensors`` file, or a name of :func:`list_weights`.

    Returns:
        The detector in eval mode on the CPU, in float32, and its card.

    Raises:
        WeightsError: not found, damaged, or tensors that do not fit the config.
    """
    path = find_weights(path_or_name)
    card = read_card(path)
    digest = sha256_file(path)
    if card.sha256 and card.sha256 != digest:
        raise WeightsError(
            "corrupt",
            f"{path} has hash {digest[:12]}, its card says {card.sha256[:12]}: the files do not belong together",
        )
    try:
        with _Unfilled():
            detector = create_detector(card.detector, **card.config)
    except ConfigError as error:
        raise WeightsError("bad_format", f"{path.with_suffix('.json')}: {error.message}") from error
    load_state(detector, path)
    return detector.eval(), dataclasses.replace(card, sha256=digest)


class _Unfilled(TorchFunctionMode):
    """Leaves parameters without the random values that :func:`load_state` replaces one and all."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _RANDOM or getattr(func, "__module__", None) == init.__name__:
            tensor = kwargs["tensor"] if "tensor" in kwargs else args[0]
            if isinstance(tensor, Parameter):
                return tensor
        return func(*args, **kwargs)


def load_state(detector: AnyDetector, path: str | Path) -> None:
    """Fill a detector from a safetensors file, strictly: every tensor there, none more, every shape right.

    Raises:
        WeightsError: not found, damaged, or it does not fit.
    """
    state, _ = read_safetensors(path)
    ours = detector.state_dict()
    missing, extra = sorted(ours.keys() - state.keys()), sorted(state.keys() - ours.keys())
    shapes = [
        f"{key} is {tuple(state[key].shape)}, expected {tuple(ours[key].shape)}"
        for key in sorted(ours.keys() & state.keys())
        if state[key].shape != ours[key].shape
    ]
    faults = [
        f"{len(found)} {what} (first: {found[0]})"
        for what, found in (("missing", missing), ("unknown", extra), ("of another shape", shapes))
        if found
    ]
    if faults:
        raise WeightsError("wrong_weights", f"{path} does not fit {type(detector).__name__}: {'; '.join(faults)}")
    detector.load_state_dict({key: value.to(ours[key].dtype) for key, value in state.items()})


def open_detector(name_or_file: str | Path) -> tuple[AnyDetector, WeightsCard | None]:
    """What a person names: a weights file, shipped weights, or a design of the zoo (untrained, no card).

    Returns:
        The detector in eval mode, and its card or None.

    Raises:
        WeightsError: a weights file that is missing, damaged or does not fit.
        ConfigError: neither weights nor a design of that name.
    """
    text = str(name_or_file)
    if text in list_weights() or Path(text).suffix or Path(text).exists():
        return load_weights(name_or_file)
    try:
        return create_detector(text).eval(), None
    except ConfigError as error:
        raise ConfigError(
            error.code, f"{error.message}; shipped weights: {', '.join(list_weights()) or 'none'}"
        ) from None
