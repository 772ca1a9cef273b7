"""What there is: detector designs, shipped weights, features, fusions, forgeries, degradations, data-set layouts."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any


def _detectors() -> Mapping[str, str]:
    from unmask.detectors.zoo import ZOO

    return {name: entry.line for name, entry in ZOO.items()}


def _weights() -> Mapping[str, str]:
    from unmask.detectors.weights import list_weights, read_card

    cards = {name: read_card(name) for name in list_weights()}
    together = {"default": f"the shipped specialists together: {', '.join(cards) or 'none'}"}
    return together | {
        name: f"{card.detector}, answers: {card.answers}, sha256 {card.sha256[:12]}" for name, card in cards.items()
    }


def _features() -> Mapping[str, str]:
    from unmask.features.catalogue import COST_MS, FEATURES

    lines = {}
    for name, feature in FEATURES.items():
        needs = f", needs {' and '.join(feature.needs)}" if feature.needs else ""
        cost = f", {COST_MS[name]:.3g} ms" if name in COST_MS else ""
        lines[name] = f"{' and '.join(feature.kinds)}{needs}{cost}: {feature.line} ({feature.paper})"
    return lines


def _fusions() -> Mapping[str, str]:
    from unmask.nn.fusion import EARLY, FUSIONS
    from unmask.studies.late import LATE

    levels: dict[str, Mapping[str, Any]] = {"early": EARLY, "feature": FUSIONS, "late": LATE}
    return {
        name: f"{level}: {kind.line} ({kind.paper})" for level, table in levels.items() for name, kind in table.items()
    }


def _forgeries() -> Mapping[str, str]:
    from unmask.data.forgeries import FORGERIES

    return {name: forgery.help for name, forgery in FORGERIES.items()}


def _degradations() -> Mapping[str, str]:
    from unmask.data.degradations import DEGRADATIONS

    return {name: f"{d.unit}: {', '.join(f'{level:g}' for level in d.levels)}" for name, d in DEGRADATIONS.items()}


def _layouts() -> Mapping[str, str]:
    from unmask.data.benchmarks import LAYOUTS

    return {name: layout.line for name, layout in LAYOUTS.items()}


TABLES: dict[str, Callable[[], Mapping[str, str]]] = {
    "detectors": _detectors,
    "weights": _weights,
    "features": _features,
    "fusions": _fusions,
    "forgeries": _forgeries,
    "degradations": _degradations,
    "layouts": _layouts,
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("what", nargs="?", choices=list(TABLES), help="one table (default: all)")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the tables."""
    import json

    tables = {what: dict(TABLES[what]()) for what in ([args.what] if args.what else TABLES)}
    if args.json:
        print(json.dumps(tables, indent=1))
        return 0
    for what, rows in tables.items():
        if len(tables) > 1:
            print(f"{what}:")
        width = max((len(name) for name in rows), default=0)
        for name, line in rows.items():
            print(f"  {name:<{width}}  {line}")
        if not rows:
            print("  none")
    return 0
