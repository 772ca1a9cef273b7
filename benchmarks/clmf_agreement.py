"""Do the whole and its regions agree, and what a few steps with each answer's own cross-entropy change about it.

    UNMASK_DATA=/data python benchmarks/ground.py runs/manifests
    UNMASK_DATA=/data python benchmarks/clmf_agreement.py WEIGHTS [--images 48] [--steps 16] [SETTING ...]

WEIGHTS are of a cascade trained by configs/clmf_tiny.yaml, with any losses. Prints, over forged and real validation
views, the share on which both answers fall on one side of 0.5, quantiles of both, and their correlation; then trains
for some steps of 16 images with the recipe's losses and prints them again. SETTINGs are the recipe's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from unmask.core.types import Batch, collate
from unmask.data.loader import SampleStream
from unmask.detectors.base import AnyDetector
from unmask.detectors.weights import load_weights
from unmask.losses import Criterion
from unmask.training.data import build_streams
from unmask.training.recipe import parse_overrides, read_recipe

RECIPE = Path(__file__).resolve().parents[1] / "configs" / "clmf_tiny.yaml"
QUANTILES = torch.tensor([0.05, 0.5, 0.95])


def taken(stream: SampleStream, start: int, count: int) -> Batch:
    samples = (stream.sample(7, position) for position in range(start, start + count))
    return collate([sample for sample in samples if sample is not None])


def show(detector: AnyDetector, batch: Batch, steps: int) -> None:
    with torch.no_grad():
        aux = detector.eval()(batch.image).aux
    whole, regions = aux["global_logits"].sigmoid(), aux["aggregate_logits"].sigmoid()
    spread = [" ".join(f"{q:.2f}" for q in p.quantile(QUANTILES).tolist()) for p in (whole, regions)]
    print(
        f"after {steps} steps: agree on {float(aux['agreement'].mean()):.0%} of {len(batch)}; whole {spread[0]}; "
        f"regions {spread[1]} (5, 50, 95 %); correlation {np.corrcoef(whole.numpy(), regions.numpy())[0, 1]:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--steps", type=int, default=16)
    args, words = parser.parse_known_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    recipe = read_recipe(RECIPE, parse_overrides(words))
    detector, _ = load_weights(args.weights)
    streams = build_streams(recipe, detector.config.view, detector.answers)
    held = taken(streams.validation, 0, args.images)
    show(detector, held, 0)
    criterion = Criterion(recipe.losses)
    optimizer = torch.optim.AdamW([p for p in detector.parameters() if p.requires_grad], 3e-4, weight_decay=0.02)
    for step in range(args.steps):
        batch = taken(streams.train, 16 * (step // 2), 16).channels_last()  # each batch twice
        total, _ = criterion(detector.train()(batch.image), batch)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    show(detector, held, args.steps)


if __name__ == "__main__":
    main()
