"""A network in eval mode as a flat graph for the CPU: batch-norms folded, activations and sums inside convolutions.

oneDNN does the work: weights are packed once for the input's size, layouts are channels-last, and each convolution
applies its batch-norm, its activation and the addition of a shortcut while its output is still in registers. MKL packs
the weights of large linear layers once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

aten = torch.ops.aten
_RELU = {aten.relu.default, aten.relu_.default}
_ADD = {aten.add.Tensor, aten.add_.Tensor}
_ACTIVATIONS: dict[Any, Callable[[tuple[Any, ...]], tuple[str, list[float]]]] = {
    **{target: lambda _: ("relu", []) for target in _RELU},
    aten.hardtanh.default: lambda limits: ("hardtanh", [float(v) for v in limits]),
    aten.hardtanh_.default: lambda limits: ("hardtanh", [float(v) for v in limits]),
    aten.silu.default: lambda _: ("swish", []),
    aten.silu_.default: lambda _: ("swish", []),
    aten.hardswish.default: lambda _: ("hardswish", []),
    aten.hardswish_.default: lambda _: ("hardswish", []),
}


_ROWS = 64
"""Fewest rows for which packing a linear layer's weights was found to pay."""


def can_pack() -> bool:
    """True where PyTorch was built with MKL's packed matrix products."""
    mkl: Any = torch.backends.mkl
    return bool(mkl.is_available()) and hasattr(torch.ops.mkl, "_mkl_linear")


def can_fuse() -> bool:
    """True where PyTorch was built with oneDNN's fused convolutions (the usual wheels on x86-64)."""
    mkldnn: Any = torch.backends.mkldnn
    return bool(mkldnn.is_available()) and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def fuse(module: nn.Module, example: Tensor) -> fx.GraphModule:
    """Trace ``module`` at exactly ``example``'s shape and fuse what can be fused.

    Args:
        module: in eval mode, on the CPU, float32; its own weights are left alone.
        example: an input of the one shape the result will take.

    Returns:
        A module that computes the same up to rounding, for inference only. Where oneDNN is missing, only the
        batch-norms are folded.
    """
    with torch.no_grad():
        graph_module: Any = torch.export.export(module, (example,)).module()
    graph: fx.Graph = graph_module.graph
    for node in list(graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            graph.erase_node(node)
    for node in list(graph.nodes):
        if node.target is aten.batch_norm.default:
            _fold(graph_module, node)
        elif node.target is aten.linear.default and can_pack():
            _pack(graph_module, node)
    if can_fuse():
        fused: set[fx.Node] = set()
        for node in list(graph.nodes):
            if node.target is aten.conv2d.default:
                fused.add(_fuse(graph_module, node, fused))
    graph.eliminate_dead_code()
    graph_module.delete_all_unused_submodules()
    graph.lint()
    graph_module.recompile()
    return graph_module  # type: ignore[no-any-return]


def _value(graph_module: fx.GraphModule, node: Any) -> Any:
    """The tensor behind a ``get_attr`` node; other values pass."""
    if isinstance(node, fx.Node):
        return operator.attrgetter(str(node.target))(graph_module).detach() if node.op == "get_attr" else None
    return node


def _constant(graph_module: fx.GraphModule, before: fx.Node, name: str, value: Tensor) -> fx.Node:
    """Store a tensor in the module and read it just before a node."""
    name = f"_fused_{name}_{len(list(graph_module.buffers()))}"
    graph_module.register_buffer(name, value)
    with graph_module.graph.inserting_before(before):
        return graph_module.graph.get_attr(name)


def _fold(graph_module: fx.GraphModule, norm: fx.Node) -> None:
    """Multiply a batch-norm into the convolution that alone feeds it."""
    conv: Any = norm.args[0]
    if conv.target is not aten.conv2d.default or len(conv.users) != 1 or norm.args[5]:
        return
    gamma, beta, mean, variance = (_value(graph_module, arg) for arg in norm.args[1:5])
    weight = _value(graph_module, conv.args[1])
    bias = _value(graph_module, conv.args[2]) if len(conv.args) > 2 else None
    scale = torch.rsqrt(variance.double() + norm.args[7])
    scale = scale if gamma is None else scale * gamma.double()
    shift = ((0.0 if bias is None else bias.double()) - mean.double()) * scale
    shift = shift if beta is None else shift + beta.double()
    args = list(conv.args) + [None] * (3 - len(conv.args))
    args[1] = _constant(graph_module, conv, "weight", (weight.double() * scale.view(-1, 1, 1, 1)).float())
    args[2] = _constant(graph_module, conv, "bias", shift.float())
    conv.args = tuple(args)
    norm.replace_all_uses_with(conv)
    graph_module.graph.erase_node(norm)


def _pack(graph_module: fx.GraphModule, linear: fx.Node) -> None:
    """Replace a linear layer of many rows by MKL's product with weights packed for that number of rows."""
    source: Any = linear.args[0]
    rows = source.meta["val"].shape[:-1].numel()
    weight = _value(graph_module, linear.args[1])
    if rows < _ROWS or weight is None:
        return
    packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, rows)
    stored = _constant(graph_module, linear, "linear", packed)
    bias = linear.args[2] if len(linear.args) > 2 else None
    with graph_module.graph.inserting_before(linear):
        source = graph_module.graph.call_function(aten.contiguous.default, (source,))
        operands = (source, stored, linear.args[1], bias, rows)
        result = graph_module.graph.call_function(torch.ops.mkl._mkl_linear.default, operands)
    result.meta = dict(linear.meta)
    linear.replace_all_uses_with(result)
    graph_module.graph.erase_node(linear)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _fuse(graph_module: fx.GraphModule, conv: fx.Node, fused: set[fx.Node]) -> fx.Node:
    """Replace a convolution, and the shortcut addition and activation that follow it, by one oneDNN call."""
    graph = graph_module.graph
    defaults: tuple[Any, ...] = (None, None, None, [1, 1], [0, 0], [1, 1], 1)
    args = (*conv.args, *defaults[len(conv.args) :])
    source: Any = args[0]
    stride, padding, dilation, groups = args[3:]
    shape = list(source.meta["val"].shape)
    weight = _value(graph_module, args[1])
    reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
    packed = reorder(weight.to_mkldnn(), padding, stride, dilation, groups, shape)
    last, other = conv, None
    added = _only_user(conv)
    if added is not None and added.target in _ADD and not added.kwargs:
        rest: list[Any] = [arg for arg in added.args if arg is not conv]
        if len(rest) == 1 and isinstance(rest[0], fx.Node) and rest[0].meta["val"].shape == conv.meta["val"].shape:
            # Of two convolutions that are added, the later one takes the sum.
            last, other = (conv, None) if rest[0].target is aten.conv2d.default else (added, rest[0])
    activation: str = "none"
    scalars: list[float] = []
    after = _only_user(last)
    if after is not None and after.target in (_RELU if other is not None else _ACTIVATIONS):
        activation, scalars = _ACTIVATIONS[after.target](after.args[1:])
        last = after
    weights = _constant(graph_module, last, "packed", packed)
    with graph.inserting_before(last):
        if source not in fused:
            layout: dict[str, Any] = {"memory_format": torch.channels_last}
            source = graph.call_function(aten.contiguous.default, (source,), layout)
        operands = (source, weights, args[2], padding, stride, dilation, groups)
        if other is None:
            ending: tuple[Any, ...] = (activation, scalars, "")
            result = graph.call_function(torch.ops.mkldnn._convolution_pointwise.default, (*operands, *ending))
        else:
            # The shortcut's memory takes the result, if a fused convolution made it and only earlier ones read it.
            spare = other in fused and all(user in fused and user < last for user in other.users if user is not added)
            call = torch.ops.mkldnn._convolution_pointwise_ if spare else torch.ops.mkldnn._convolution_pointwise
            first = (other, source) if spare else (source, other)
            ending = ("add", 1.0, None if activation == "none" else activation, [], None)
            result = graph.call_function(call.binary, (*first, *operands[1:], *ending))
    result.meta = dict(last.meta)
    last.replace_all_uses_with(result)
    for node in dict.fromkeys((last, added if other is not None else None, conv)):
        if node is not None:
            graph.erase_node(node)
    return result
