"""What the scale attention can see of an image at the start: with and without standardising its squeezed residuals.

    python benchmarks/attention_squeeze.py FOLDER [--images 150] [--seeds 10]

Reads the central 224 x 224 native pixels of the first images under FOLDER and prints, over random starts of the
attention's first layer, how many of its 6 hidden units are zero for *every* image, and the units' spread over images.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch

from unmask.data.intake import decode
from unmask.detectors.zoo import create_detector


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    crops, digest = [], hashlib.sha256()
    for path in sorted(args.folder.rglob("*.jpg"))[: args.images]:
        pixels = decode(path).pixels
        top, left = (pixels.shape[0] - 224) // 2, (pixels.shape[1] - 224) // 2
        if min(top, left) >= 0:
            digest.update(path.read_bytes())
            crops.append(np.ascontiguousarray(pixels[top : top + 224, left : left + 224].transpose(2, 0, 1)))
    images = torch.from_numpy(np.stack(crops)) / 255
    print(f"{len(images)} crops, sha256 of the files {digest.hexdigest()[:16]}, {args.seeds} random starts")
    for standardize in (True, False):
        dead, spread = [], []
        for seed in range(args.seeds):
            torch.manual_seed(seed)
            detector = create_detector("attention_npr", standardize=standardize).train()
            hidden: list[torch.Tensor] = []
            detector.attention.reduce.register_forward_hook(lambda _, __, out, into=hidden: into.append(out.relu()))
            with torch.no_grad():
                if seed == 0 and standardize:
                    residuals = detector.residuals(detector.normalize(images))
                detector.attention(residuals)
            dead.append(int((hidden[0] == 0).all(0).sum()))
            spread.append(float(hidden[0].std(0).mean()))
        print(
            f"standardize={standardize!s:5}  dead units {np.mean(dead):.1f} of 6 ({min(dead)} to {max(dead)}),"
            f" spread over images {np.mean(spread):.3f} ({min(spread):.3f} to {max(spread):.3f})"
        )


if __name__ == "__main__":
    main()
