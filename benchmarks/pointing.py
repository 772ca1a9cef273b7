"""Do a detector's coarse maps point at the forgery? Its own maps and Grad-CAM against true masks.

    python benchmarks/pointing.py WEIGHTS.safetensors RECIPE.yaml [--samples 400] [--key value ...]

Takes the forged images of the recipe's validation stream (people not trained on), locally forged ones only. Per map:
the mean over images of the AUC of its values over pixels (0.5 = chance), and how often its highest place lies inside
the mask, beside the share of the image that the mask covers (what a random place reaches). A fixed map, brightest in
the middle, is the baseline: forgeries sit on faces, faces in the middle of the view.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import numpy as np
import torch
from torch.nn import functional as F

from unmask.detectors.base import AnyDetector
from unmask.detectors.gradcam import grad_cam
from unmask.detectors.weights import load_weights
from unmask.metrics.pixel import pixel_auc
from unmask.training.data import build_streams
from unmask.training.recipe import parse_overrides, read_recipe


def maps_of(detector: AnyDetector, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """Coarse maps (1, 1, h, w) by name."""
    named = getattr(detector, "token_maps", None)
    maps: dict[str, torch.Tensor] = dict(named(image)) if named else {}
    heat = grad_cam(detector, image)
    maps["Grad-CAM"] = torch.zeros(1, 1, 2, 2) if heat is None else heat
    y, x = (torch.linspace(-1, 1, n) for n in image.shape[2:])
    maps["middle"] = -(y[:, None] ** 2 + x**2)[None, None]
    return maps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("recipe")
    parser.add_argument("--samples", type=int, default=400)
    args, rest = parser.parse_known_args()
    torch.set_num_threads(1)
    recipe = read_recipe(args.recipe, parse_overrides(rest))
    detector, card = load_weights(args.weights)
    stream = build_streams(recipe, detector.config.view, detector.answers).validation
    found: dict[str, list[tuple[float, float]]] = {}
    areas = []
    for position in range(1, len(stream) * 8, 2):
        sample = stream.sample(*divmod(position, len(stream)))
        if sample is None or sample.mask is None or float(sample.mask.mean()) > 0.5:
            continue
        truth = sample.mask[0].numpy()
        if truth.max() <= 0.5:
            continue
        areas.append(float((truth > 0).mean()))
        for name, values in maps_of(detector, sample.image[None]).items():
            size = sample.image.shape[-2:]
            large = F.interpolate(values, size, mode="bilinear", align_corners=False)[0, 0].numpy()
            large = (large - large.min()) / max(float(np.ptp(large)), 1e-12)  # the order is all that counts
            peak = np.unravel_index(int(large.argmax()), large.shape)
            found.setdefault(name, []).append((float(pixel_auc(large[None], truth[None])[0]), float(truth[peak] > 0)))
        if len(areas) == args.samples:
            break
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    print(f"command: python {' '.join(sys.argv)}\ncommit: {commit.stdout.strip()}, weights {card.sha256[:12]}")
    print(f"load {os.getloadavg()[0]:.1f}; {len(areas)} forged images; masks cover {np.mean(areas):.1%}")
    for name, values in found.items():
        auc, hit = np.array(values).T
        error = auc.std() / np.sqrt(len(auc))
        print(f"{name:18} pixel AUC {auc.mean():.3f} +- {error:.3f}, highest place inside {hit.mean():.1%}")


if __name__ == "__main__":
    main()
