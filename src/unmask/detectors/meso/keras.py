"""The authors' Keras weight files into our layout: kernels transposed, flatten order turned, output sign flipped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unmask.core.errors import MissingExtraError, WeightsError

if TYPE_CHECKING:
    from unmask.detectors.meso.model import Meso

_KINDS = ("conv2d", "batch_normalization", "dense")


def _read(path: str | Path) -> dict[str, list[list[Tensor]]]:
    """Layers by kind, in the order the authors' code created them (the number in a Keras layer name)."""
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("missing_extra", 'reading Keras .h5 files needs h5py: pip install "h5py"') from None
    if not Path(path).is_file():
        raise WeightsError("not_found", f"no weights file {path}")
    found: dict[str, dict[int, list[Tensor]]] = {kind: {} for kind in _KINDS}
    try:
        with h5py.File(path, "r") as file:
            for group in (file[name] for name in _names(file.attrs["layer_names"])):
                weights = [torch.from_numpy(group[name][()]).float() for name in _names(group.attrs["weight_names"])]
                match = re.fullmatch(r"(\w+?)(?:_(\d+))?", str(group.name).strip("/"))
                if weights and match and match[1] in found:
                    found[match[1]][int(match[2] or 0)] = weights
    except (OSError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise WeightsError("corrupt", f"{path} is not a Keras weights file: {error}") from error
    return {kind: [layers[i] for i in sorted(layers)] for kind, layers in found.items()}


def _names(raw: Any) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in raw]


def load_keras(model: Meso, path: str | Path) -> None:
    """Fill ``model`` with the weights of a published file.

    Raises:
        WeightsError: the file is unreadable or belongs to another network.
        MissingExtraError: h5py is not installed.
    """
    layers = _read(path)
    convs = _convolutions(model)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    ours = (len(convs), len(norms), 2)
    theirs = tuple(len(layers[kind]) for kind in _KINDS)
    if ours != theirs:
        raise WeightsError(
            "wrong_weights",
            f"{path} has {theirs} convolutions, batch-norms and dense layers; {model.config.variant} has {ours}",
        )
    pairs: list[tuple[Tensor, Tensor]] = []
    for conv, (kernel, bias) in zip(convs, layers["conv2d"], strict=True):
        assert conv.bias is not None
        pairs += [(conv.weight, kernel.permute(3, 2, 0, 1)), (conv.bias, bias)]
    for norm, (gamma, beta, mean, variance) in zip(norms, layers["batch_normalization"], strict=True):
        assert norm.running_mean is not None and norm.running_var is not None
        pairs += [(norm.weight, gamma), (norm.bias, beta), (norm.running_mean, mean), (norm.running_var, variance)]
    (kernel, bias), (last, last_bias) = layers["dense"]
    if kernel.shape == (1024, 16):
        kernel = kernel.view(8, 8, 16, 16).permute(2, 0, 1, 3).reshape(1024, 16)  # Keras flattens (H, W, C)
    # The published sigmoid is P(real): its logit with the sign turned is ours.
    pairs += [(model.dense.weight, kernel.T), (model.dense.bias, bias)]
    pairs += [(model.head.weight, -last.T), (model.head.bias, -last_bias)]
    with torch.no_grad():
        for target, value in pairs:
            if target.shape != value.shape:
                raise WeightsError(
                    "wrong_weights", f"{path}: expected a tensor of {tuple(target.shape)}, got {tuple(value.shape)}"
                )
            target.copy_(value)


def _convolutions(model: Meso) -> list[nn.Conv2d]:
    """Convolutions in the authors' order of creation: in an inception module path by path."""
    ordered: list[nn.Conv2d] = []
    block: Any
    for block in model.blocks:
        if hasattr(block, "conv"):
            ordered.append(block.conv)
        else:
            ordered.append(block.points[0])
            for point, dilated in zip(block.points[1:], block.dilated, strict=True):
                ordered += [point, dilated]
    return ordered
