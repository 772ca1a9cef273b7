"""DCR-Net's update rules (and its other choices) against each other: seeds, equal budgets, the ordinary training.

    UNMASK_DATA=/data python benchmarks/dcr_rules.py OUT [--seeds 0 1 2] [--samples 40000]
        [--variants queue rebuild kmeans] [any setting of the recipe, e.g. --data.boxes boxes.csv]

Every run is `unmask train configs/dcr_net_tiny.yaml` with `--seed`, `--max_samples` and one setting changed, in a
folder of its own below OUT: what is finished is not done again, what was interrupted goes on where it stopped. The
memory is smaller than an epoch's real photos (--bank 256), else `rebuild` and `kmeans` are the same rule. Prints, per
variant, the validation AUC of the kept weights (mean, and each seed), the difference from the first variant seed by
seed, the share of fakes above their own real photo, and the time; OUT/results.csv holds the rows. Only validation
people are looked at.
"""

from __future__ import annotations

import argparse
import csv
import io
import statistics
import sys
from pathlib import Path
from typing import Any

RECIPE = Path(__file__).parents[1] / "configs" / "dcr_net_tiny.yaml"
VARIANTS: dict[str, dict[str, Any]] = {
    "queue": {"update": "queue"},
    "rebuild": {"update": "rebuild"},
    "kmeans": {"update": "kmeans"},
    "pair_only": {"single_share": 0.0},
    "one_token": {"tokens": "one"},
    "literal": {"momentum": 0.0, "single_share": 0.0, "views": False, "difference": "raw", "tokens": "one"},
}


def run(out: Path, variant: str, seed: int, args: argparse.Namespace, overrides: dict[str, Any]) -> dict[str, Any]:
    """One finished run as a row; trains what is missing of it."""
    from unmask.detectors.weights import read_card
    from unmask.training.recipe import read_recipe
    from unmask.training.run import WEIGHTS, train

    folder = out / f"{variant}-{seed}"
    settings = {"max_samples": args.samples, "max_minutes": None, "epochs": 10_000, "seed": seed} | overrides
    settings |= {f"detector.config.{key}": value for key, value in ({"bank": args.bank} | VARIANTS[variant]).items()}
    if not (folder / WEIGHTS).is_file():
        print(f"{folder} ...", file=sys.stderr, flush=True)
        train(read_recipe(RECIPE, settings), folder, resume=True, command=f"benchmarks/dcr_rules.py, {variant}")
    card = read_card(folder / WEIGHTS)
    best, notes = card.metrics["validation"], card.notes
    row = {
        "variant": variant,
        "seed": seed,
        "auc": best["auc"],
        "pair_order": best.get("pair_order"),
        "step": best["step"],
    }
    row |= {"samples": notes["samples"], "seconds": notes["seconds"], "data": card.data["train"]["hash"][:12]}
    return row | {"distance": card.thresholds.get("distance"), "sha256": card.sha256[:12]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["queue", "rebuild", "kmeans"])
    parser.add_argument("--samples", type=int, default=40_000, help="images per run")
    parser.add_argument("--bank", type=int, default=256)
    args, rest = parser.parse_known_args()

    from unmask.core.files import write_text
    from unmask.training.recipe import parse_overrides

    overrides = parse_overrides(rest)
    rows = [run(args.out, v, seed, args, overrides) for seed in args.seeds for v in args.variants]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(args.out / "results.csv", text.getvalue())
    first = [row["auc"] for row in rows if row["variant"] == args.variants[0]]
    print(
        f"{'variant':10} {'AUC':>7} {'over ' + args.variants[0]:>20} {'pairs':>7} {'s':>7}   AUC of seeds {args.seeds}"
    )
    for variant in args.variants:
        own = [row for row in rows if row["variant"] == variant]
        aucs = [row["auc"] for row in own]
        gains = [a - b for a, b in zip(aucs, first, strict=True)]
        spread = f"{statistics.mean(gains):+.4f} ({min(gains):+.3f} to {max(gains):+.3f})"
        order, seconds = (statistics.mean(row[key] for row in own) for key in ("pair_order", "seconds"))
        told = " ".join(f"{auc:.4f}" for auc in aucs)
        print(f"{variant:10} {statistics.mean(aucs):7.4f} {spread:>20} {order:7.3f} {seconds:7.0f}   {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
