"""Scores and distances of trained DCR-Net weights in both modes, on the people held out of their training.

    UNMASK_DATA=/data python benchmarks/dcr_modes.py WEIGHTS.safetensors [--images 200] [--refill]
        [any setting of the recipe, e.g. --data.boxes boxes.csv]

The same images in *single* mode (against the memory, as in use) and in *pair* mode (against another view of their own
real counterpart). Prints AUC and the quantiles of P(fake), anomaly score and distance of real and forged images.
--refill first replaces the memory by the training photos as the finished weights encode them.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--refill", action="store_true")
    args, rest = parser.parse_known_args()

    import torch

    from unmask.core.config import with_overrides
    from unmask.data.loader import make_loader
    from unmask.detectors.dcr_net import DCRNet
    from unmask.detectors.dcr_net.memory import identities
    from unmask.detectors.dcr_net.views import other_view
    from unmask.detectors.weights import load_weights
    from unmask.metrics.image import auc, split_scores
    from unmask.training.data import build_streams
    from unmask.training.feed import Endless
    from unmask.training.recipe import make_recipe, parse_overrides

    torch.set_num_threads(1)
    torch.manual_seed(0)
    detector, card = load_weights(args.weights)
    assert isinstance(detector, DCRNet), f"{args.weights} is no DCR-Net"
    recipe = make_recipe(with_overrides(card.notes["recipe"], parse_overrides(rest)))
    streams = build_streams(recipe, detector.config.view, detector.answers)
    if args.refill:
        plain = dataclasses.replace(streams.train, flip=False, jitter=0.0, view=detector.config.view)  # type: ignore[type-var]
        detector.memory.bank.replace(torch.zeros(0, detector.extractor.channels), torch.zeros(0, dtype=torch.long))
        for batch in make_loader(Endless(plain, min(len(plain), 2 * detector.config.bank)), 32, epoch=0):
            real = batch.label < 0.5
            detector.update_memory(batch.image[real], batch.label[real], identities(batch)[real])
    said: dict[str, dict[str, list[Any]]] = {mode: {} for mode in ("single", "pair")}
    labels = []
    with torch.no_grad():
        for batch in make_loader(Endless(streams.validation, args.images), 32, epoch=0):
            labels.append(batch.label.numpy())
            outputs = {"single": detector(batch.image), "pair": detector.compare(batch.image, other_view(batch.pair))}
            for mode, out in outputs.items():
                values = {"P(fake)": out.logits.sigmoid(), "anomaly": out.aux["anomaly_logits"].sigmoid()}
                for name, value in (values | {"distance": out.aux["distance"]}).items():
                    said[mode].setdefault(name, []).append(value.numpy())
    label = np.concatenate(labels) > 0.5
    print(
        f"{card.sha256[:12]}, memory {len(detector.memory.bank)}, {int((~label).sum())} real, {int(label.sum())} forged"
    )
    print(f"{'mode':7} {'value':9} {'AUC':>6}  {'real: ' + ' '.join(map(str, QUANTILES)):32} forged")
    for mode, table in said.items():
        for name, parts in table.items():
            x = np.concatenate(parts).astype(np.float64)
            told = [" ".join(f"{q:5.3f}" for q in np.quantile(x[side], QUANTILES)) for side in (~label, label)]
            print(f"{mode:7} {name:9} {auc(split_scores(x, label)).value:6.3f}  {told[0]:32} {told[1]}")


if __name__ == "__main__":
    main()
