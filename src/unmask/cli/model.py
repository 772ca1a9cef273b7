"""A detector's card: parameters, operations, shapes, what it answers, departures from its paper, its weights.

`--import FILE --out NEW.safetensors` converts a checkpoint its authors published instead: Keras .h5 for meso4 and
mesoinception4, safetensors with the authors' own names for npr.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


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
        detector: in any mode; it is run once on a black image of its own size.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from unmask.core.config import to_dict
    from unmask.detectors.zoo import ZOO, name_of

    rule = detector.size_rule
    side = rule.fixed or detector.config.view.size
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        output = detector.eval()(torch.zeros(1, 3, side, side))
    name = name_of(detector)
    parts = {part: sum(p.numel() for p in ps) for part, ps in detector.parameter_groups().items()}
    sizes = f"{rule.fixed} only" if rule.fixed else f"{rule.minimum} or more, multiples of {rule.multiple}"
    return {
        "detector": name,
        "about": ZOO[name].line,
        "answers": detector.answers,
        "localizes": detector.localizes,
        "needs_face": detector.needs_face,
        "parameters": sum(p.numel() for p in detector.parameters()),
        "trainable": parts,
        "gflops": round(counter.get_total_flops() / 1e9, 3),
        "shapes": {
            "image": [1, 3, side, side],
            **{k: list(v.shape) for k, v in output._asdict().items() if isinstance(v, torch.Tensor)},
        },
        "sizes": sizes,
        "departures": list(detector.departures()),
        "config": to_dict(detector.config),
    }
