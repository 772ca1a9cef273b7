"""Checkpoints: one safetensors file whose header carries the JSON state, so tensors and state cannot disagree.

A file is written beside its final name, synced to disk and renamed: at any moment, ``kill -9`` included, the name
holds either the whole previous checkpoint or the whole new one. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.core.errors import WeightsError
from unmask.core.files import atomic_path
from unmask.nn.backbones import read_safetensors

FORMAT = "unmask checkpoint 1"
_REMEDY = "no other file of the run stands in for it: put a copy of it back, or start again in another folder (--out)"


def save_checkpoint(path: str | Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors (any device; shared memory is written twice) and a JSON state as one file, atomically."""
    from safetensors.torch import save_file

    seen: set[int] = set()
    whole: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        whole[name] = value.clone() if value.untyped_storage().data_ptr() in seen else value
        seen.add(value.untyped_storage().data_ptr())
    with atomic_path(path) as temporary:
        save_file(whole, temporary, {"format": FORMAT, "state": json.dumps(state)})


def load_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and state of a checkpoint.

    Raises:
        WeightsError: no such file, damaged, or not a checkpoint of this format; says what to do.
    """
    try:
        tensors, metadata = read_safetensors(path)
    except WeightsError as error:
        raise WeightsError(error.code, f"{error.message}; {_REMEDY}") from error
    came = metadata.get("format")
    if came != FORMAT:
        raise WeightsError(
            "bad_format", f"{path} is not a training checkpoint: expected '{FORMAT}', got {came!r}; {_REMEDY}"
        )
    try:
        state: dict[str, Any] = json.loads(metadata["state"])
    except (KeyError, ValueError) as error:
        raise WeightsError("corrupt", f"the state in {path} cannot be read: {error}; {_REMEDY}") from error
    return tensors, state


def pack_module(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """A module's state dict with every name prefixed."""
    return {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}


def unpack_module(prefix: str, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Fill a module in place (memory layouts stay) from what :func:`pack_module` gave.

    Raises:
        WeightsError: a tensor is missing or has another shape.
    """
    with torch.no_grad():
        for name, target in module.state_dict().items():
            value = tensors.get(f"{prefix}.{name}")
            if value is None or value.shape != target.shape:
                came = "is missing" if value is None else f"has shape {tuple(value.shape)}"
                raise WeightsError(
                    "wrong_weights", f"checkpoint tensor {prefix}.{name} {came}, expected {tuple(target.shape)}"
                )
            target.copy_(value)


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as named tensors and a JSON rest."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            else:
                plain.setdefault(str(index), {})[key] = value
    return tensors, {"groups": state["param_groups"], "plain": plain}


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
    """Restore what :func:`pack_optimizer` gave, each tensor in the memory layout of its parameter."""
    entries: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in rest["plain"].items()}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            entries.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": entries, "param_groups": rest["groups"]})
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
