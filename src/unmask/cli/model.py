"""A detector's card: parameters, operations, shapes, what it answers, departures from its paper, its weights.

`--import FILE --out NEW.safetensors` converts a checkpoint its authors published instead: Keras .h5 for meso4 and
mesoinception4, safetensors with the authors' own names for npr.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_DEPTH = 3
"""Levels of nested modules that are listed."""
_SHARE = 0.002
"""Of all parameters or operations: modules below both are not listed."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("detector", metavar="NAME_OR_FILE", help="a design, shipped weights, or a .safetensors file")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--import", dest="published", metavar="FILE", type=Path, help="a published checkpoint")
    parser.add_argument("--out", type=Path, help="where the imported weights go (.safetensors)")


def run(args: argparse.Namespace) -> int:
    """Print the card, or import a published checkpoint."""
    import json

    from unmask.core.config import to_dict
    from unmask.core.errors import ConfigError
    from unmask.detectors.weights import open_detector

    if bool(args.published) != bool(args.out):
        raise ConfigError("bad_arguments", "--import FILE and --out NEW.safetensors go together")
    if args.published:
        return _import(args)
    detector, card = open_detector(args.detector)
    facts = describe(detector)
    facts["weights"] = to_dict(card) if card else None
    if args.json:
        print(json.dumps(facts, indent=1))
        return 0
    for key, value in facts.items():
        if key == "weights" and card:
            shown = {"sha256": card.sha256, "command": card.command, "seed": card.seed, **to_dict(card.calibration)}
            value = {**shown, "thresholds": dict(card.thresholds), "metrics": dict(card.metrics)}
        if key == "modules":
            value = {
                module: f"{row['parameters']:,} parameters, {row['gflops']:.3f} GFLOPs, {row['output']}"
                for module, row in value.items()
            }
        if isinstance(value, dict):
            print(f"{key}:")
            for name, item in value.items():
                print(f"  {name}: {item}")
        elif isinstance(value, (list, tuple)):
            print(f"{key}:" + "".join(f"\n  - {item}" for item in value))
        else:
            print(f"{key}: {value if value is not None else 'none (untrained design)'}")
    return 0


def _import(args: argparse.Namespace) -> int:
    from unmask.core.errors import UnmaskError
    from unmask.core.files import sha256_file
    from unmask.detectors.weights import save_weights
    from unmask.detectors.zoo import create_detector

    if args.out.exists():
        raise UnmaskError("exists", f"{args.out} exists; choose another name")
    detector = create_detector(args.detector)
    detector.load_published(args.published)
    source = {"imported_from": args.published.name, "imported_sha256": sha256_file(args.published)}
    card = save_weights(args.out, detector, {"detector": args.detector, "notes": source})
    print(f"{args.out} {card.sha256}")
    return 0


def describe(detector: Any) -> dict[str, Any]:
    """Facts about a detector as plain values.

    Args:
        detector: in any mode; it is run once on a black image (or clip) of its own size.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from unmask.core.config import to_dict
    from unmask.detectors.zoo import ZOO, name_of

    rule = detector.size_rule
    example = torch.zeros(1, *detector.input_shape())
    detector.prepare(example)
    counter = FlopCounterMode(display=False)
    outputs: dict[str, Any] = {}
    hooks = [
        module.register_forward_hook(lambda _module, _args, output, name=name: outputs.setdefault(name, output))
        for name, module in detector.named_modules()
        if name and name.count(".") < _DEPTH
    ]
    try:
        with torch.no_grad(), counter:
            output = detector.eval()(example)
    finally:
        for hook in hooks:
            hook.remove()
    name = name_of(detector)
    parts = {part: sum(p.numel() for p in ps) for part, ps in detector.parameter_groups().items()}
    sizes = f"{rule.fixed} only" if rule.fixed else f"{rule.minimum} or more, multiples of {rule.multiple}"
    if rule.frames:
        sizes += f"; clips of {rule.frames[0]} to {rule.frames[1]} frames"
    return {
        "detector": name,
        "about": ZOO[name].line,
        "input": detector.input_kind,
        "answers": detector.answers,
        "localizes": detector.localizes,
        "needs_face": detector.needs_face,
        "parameters": sum(p.numel() for p in detector.parameters()),
        "trainable": parts,
        "gflops": round(counter.get_total_flops() / 1e9, 3),
        "shapes": {
            "image": list(example.shape),
            **{k: list(v.shape) for k, v in output._asdict().items() if isinstance(v, torch.Tensor)},
        },
        "modules": _modules(detector, outputs, counter),
        "sizes": sizes,
        "departures": list(detector.departures()),
        "config": to_dict(detector.config),
    }


def _modules(detector: Any, outputs: dict[str, Any], counter: Any) -> dict[str, dict[str, Any]]:
    """Parameters, operations and first output of the modules that ran and weigh something, in order of definition."""
    counts = counter.get_flop_counts()
    everything = sum(p.numel() for p in detector.parameters()), counter.get_total_flops()
    table = {}
    for name, module in detector.named_modules():
        if name not in outputs:
            continue
        size = sum(p.numel() for p in module.parameters())
        flops = sum(counts.get(f"{type(detector).__name__}.{name}", {}).values())
        if size > _SHARE * everything[0] or flops > _SHARE * everything[1]:
            shapes = _shapes(outputs[name])
            table[name] = {"parameters": size, "gflops": round(flops / 1e9, 3), "output": shapes}
    return table


def _shapes(output: Any) -> Any:
    """The shape of a tensor, a list of those in a list, nothing for anything else."""
    if isinstance(output, (list, tuple)):
        return [_shapes(item) for item in output]
    return list(output.shape) if hasattr(output, "shape") else None
