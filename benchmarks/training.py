"""CPU time of a training step: what the loop adds to the bare step, and what keeping freed memory saves.

    python benchmarks/training.py

Random images, one thread, batch 16, channels-last, AdamW, bf16 mixed precision. CPU time (user + system), so that other
work on the machine counts little.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NETWORKS = {
    "MobileNetV2 + mask decoder, 224 px": ("baseline", {}, 224),
    "ResNetV2-50 to stage 3 + mask decoder, 256 px": (
        "baseline",
        {"backbone": "resnetv2_50_stem_norm", "stages": 3},
        256,
    ),
    "attention NPR, 224 px": ("attention_npr", {}, 224),
}
BATCH = 16


def measure(name: str, keep: bool, steps: int) -> None:
    """Print CPU ms per image of the bare step and of the loop's step."""
    from unmask.core.allocator import keep_freed_memory

    if keep:
        keep_freed_memory()
    import torch
    from lightning.fabric import Fabric

    from unmask.core.types import Batch
    from unmask.detectors.zoo import create_detector
    from unmask.training.loop import Trainer
    from unmask.training.recipe import make_recipe

    torch.set_num_threads(1)
    design, config, size = NETWORKS[name]
    detector = create_detector(design, **config)
    losses = {"bce": 1.0, "rank": 1.0} | ({"mask_bce": 1.0, "mask_dice": 1.0} if detector.localizes else {})
    recipe = make_recipe({"losses": losses, "precision": "bf16", "batch_size": BATCH})
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(recipe, detector, [0] * BATCH, [], Path(folder), Fabric(accelerator="cpu", devices=1))
    label = torch.arange(BATCH) % 2
    known = torch.ones(BATCH, dtype=torch.bool)
    image, mask = torch.rand(BATCH, 3, size, size), (torch.rand(BATCH, 1, size, size) > 0.5).float()
    batch = Batch(image, label.float(), mask, known, image, known, path=tuple(str(i // 2) for i in range(BATCH)))

    def bare() -> None:
        with trainer.autocast():
            output = detector(batch.image.contiguous(memory_format=torch.channels_last))
        trainer.criterion(output, batch)[0].backward()
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()

    for step in (bare, lambda: trainer._step(batch)):
        step()
        begun = time.process_time()
        for _ in range(steps):
            step()
        print(1000 * (time.process_time() - begun) / steps / BATCH)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure(args.one[0], args.one[1] == "keep", args.steps)
        return 0
    import torch

    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {platform.libc_ver()[1]} glibc")
    print(f"{'network':48} {'allocator':10} {'bare ms/image':>14} {'loop ms/image':>14}")
    for name in NETWORKS:
        for allocator in ("default", "keep"):
            words = [sys.executable, __file__, "--steps", str(args.steps), "--one", name, allocator]
            said = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
            print(f"{name:48} {allocator:10} {float(said[0]):14.1f} {float(said[1]):14.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
