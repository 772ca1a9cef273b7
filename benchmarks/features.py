"""Speed of the pixel features over a batch against the library's loop over images, as ratios within one run.

    OMP_NUM_THREADS=1 python benchmarks/features.py

Both sides compute the same values (the largest difference is printed) of the same grey images, on one thread, with
freed memory kept by the process (``unmask.core.allocator``), which serves both. They alternate ``--repeat`` times and
the best of each counts, because other work on the machine only adds: processor time, and wall time beside it; the
ratio of the medians stands behind. Then the cost of every feature of the catalogue's pixel rows, from the image to the
descriptor, median.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import scipy
import scipy.fft
import skimage
import torch
from skimage import data
from skimage.feature import graycomatrix, graycoprops, hog, local_binary_pattern

import unmask.ops.hog
from unmask.core.allocator import keep_freed_memory
from unmask.core.types import Face
from unmask.features.base import PixelFeature, Subject
from unmask.features.catalogue import FEATURES
from unmask.ops.dct import block_dct, dct_matrix
from unmask.ops.glcm import PROPERTIES, co_occurrence, co_occurrence_properties, pair_offset
from unmask.ops.lbp import pattern_histogram, uniform_patterns

PAIRS = [(distance, degrees) for distance in (1, 3) for degrees in (0, 45, 90, 135)]
Call = Callable[[], np.ndarray]


def machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    cpu = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), platform.processor())
    root = Path(__file__).resolve().parent.parent
    commit = subprocess.run(["git", "-C", root, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return (
        f"machine: {cpu}, {os.cpu_count()} cores, one thread; torch {torch.__version__}, scikit-image "
        f"{skimage.__version__}, scipy {scipy.__version__}, opencv {cv2.__version__}; commit "
        f"{commit.stdout.strip() or 'unknown'}\ncommand: python {' '.join(sys.argv)}; load before: "
        f"{os.getloadavg()[0]:.1f}"
    )


def squares(count: int, side: int) -> np.ndarray:
    """(count, side, side, 3) uint8 from the photos inside scikit-image."""
    photos = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    generator = np.random.default_rng(0)
    cut = []
    for i in range(count):
        photo = photos[i % len(photos)]
        y, x = (int(generator.integers(0, room - side + 1)) for room in photo.shape[:2])
        cut.append(photo[y : y + side, x : x + side])
    return np.stack(cut)


def compare(name: str, library: str, ours: Call, theirs: Call, count: int, repeat: int, target: float = 5) -> None:
    times: list[list[tuple[float, float]]] = [[], []]
    values = [ours(), theirs()]  # warm
    for _ in range(repeat):
        for side, call in enumerate((ours, theirs)):
            before = time.process_time(), time.perf_counter()
            call()
            times[side].append((time.process_time() - before[0], time.perf_counter() - before[1]))
    difference = float(np.abs(values[0].astype(float) - values[1].astype(float)).max())
    best, middle = (
        [[how(column) for column in zip(*side, strict=True)] for side in times] for how in (min, statistics.median)
    )
    (mine, mine_wall), (other, other_wall) = best
    per_image = 1000 / count
    print(
        f"{name:<28} ours {per_image * mine:7.3f} ms   {library:<28} {per_image * other:7.3f} ms   ratio "
        f"{other / mine:5.1f} processor, {other_wall / mine_wall:5.1f} wall; of medians "
        f"{middle[1][0] / middle[0][0]:5.1f}   target {target:g}   largest difference {difference:.1e}",
        flush=True,
    )


def cost(feature: PixelFeature, subjects: list[Subject], repeat: int) -> float:
    """Processor milliseconds per image, median."""
    feature.measure(subjects)
    times = []
    for _ in range(repeat):
        before = time.process_time()
        feature.measure(subjects)
        times.append(time.process_time() - before)
    return 1000 * statistics.median(times) / len(subjects)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16, help="in a batch")
    parser.add_argument("--side", type=int, default=256, help="a multiple of 8")
    parser.add_argument("--repeat", type=int, default=7)
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(machine(), flush=True)

    count, side, repeat = args.images, args.side, args.repeat
    colour = squares(count, side)
    levels = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in colour])
    grey = levels.astype(np.float32) / 255
    levels_tensor, grey_tensor = torch.from_numpy(levels)[:, None], torch.from_numpy(grey)[:, None]

    def lbp() -> np.ndarray:
        return pattern_histogram(uniform_patterns(levels_tensor))[:, 0].numpy()

    def lbp_library() -> np.ndarray:
        codes = [local_binary_pattern(image, 8, 1, "uniform") for image in levels]
        return np.stack([np.bincount(code.astype(np.uint8).ravel(), minlength=10) / code.size for code in codes])

    def glcm() -> np.ndarray:
        found = [co_occurrence_properties(co_occurrence(levels_tensor, pair_offset(*pair))) for pair in PAIRS]
        return torch.stack(found, 1).numpy()

    def glcm_library() -> np.ndarray:
        found = []
        for image in levels:
            matrix = graycomatrix(image, [1, 3], np.deg2rad([0, 45, 90, 135]), 256, symmetric=True, normed=True)
            found.append(np.stack([graycoprops(matrix, name).ravel() for name in PROPERTIES], 1))
        return np.stack(found)

    matrix = dct_matrix()

    def dct() -> np.ndarray:
        return block_dct(grey_tensor, matrix).numpy()

    def dct_channels() -> np.ndarray:
        return block_dct(grey_tensor, matrix).flatten(1, 2).numpy()

    def order(found: np.ndarray) -> np.ndarray:
        """A view, (..., block row, u, block column, v) to (..., u, v, block row, block column)."""
        return np.moveaxis(found, (-3, -1), (-4, -3))

    def dct_scipy() -> np.ndarray:
        blocks = [image.reshape(side // 8, 8, side // 8, 8) for image in grey]
        return order(np.stack([scipy.fft.dctn(each, axes=(1, 3), norm="ortho") for each in blocks]))

    def dct_scipy_at_once() -> np.ndarray:
        blocks = grey.reshape(count, side // 8, 8, side // 8, 8)
        return order(scipy.fft.dctn(blocks, axes=(2, 4), norm="ortho"))

    def dct_scipy_channels() -> np.ndarray:
        blocks = [image.reshape(side // 8, 8, side // 8, 8) for image in grey]
        found = [order(scipy.fft.dctn(each, axes=(1, 3), norm="ortho")) for each in blocks]
        return np.stack([each.reshape(64, side // 8, side // 8) for each in found])

    def dct_opencv() -> np.ndarray:
        found = np.empty((count, side // 8, 8, side // 8, 8), np.float32)
        for i, image in enumerate(grey):
            for y in range(side // 8):
                for x in range(side // 8):
                    found[i, y, :, x] = cv2.dct(image[8 * y : 8 * y + 8, 8 * x : 8 * x + 8])
        return order(found)

    def hog_pair(cell: int, block: int) -> tuple[Call, Call]:
        def batch() -> np.ndarray:
            return unmask.ops.hog.hog(grey_tensor, cell, block).flatten(1).numpy()

        def loop() -> np.ndarray:
            return np.stack([hog(image, 9, (cell, cell), (block, block), block_norm="L2-Hys") for image in grey])

        return batch, loop

    what = f"{count} x {side}²"
    compare(f"LBP histogram, {what}", "scikit-image", lbp, lbp_library, count, repeat)
    compare(f"GLCM, 8 offsets, {what}", "scikit-image", glcm, glcm_library, count, max(1, repeat // 2))
    compare(f"block DCT, {what}", "scipy, image by image", dct, dct_scipy, count, 5 * repeat)
    compare(f"block DCT, {what}", "scipy, one call for all", dct, dct_scipy_at_once, count, 5 * repeat)
    compare(f"block DCT, {what}", "opencv, block by block", dct, dct_opencv, count, repeat)
    compare(f"64 DCT channels, {what}", "scipy, image by image", dct_channels, dct_scipy_channels, count, 5 * repeat)
    compare(f"HOG, cells of 8, {what}", "scikit-image", *hog_pair(8, 3), count, repeat)
    compare(f"HOG, cells of 32, {what}", "scikit-image", *hog_pair(32, 2), count, repeat)

    subjects = [Subject(image, Face((40, 40, side - 40, side - 40))) for image in colour]
    for name in ("noise", "hog", "lbp", "glcm", "colour", "fft", "dct", "npr"):
        feature = FEATURES[name]
        assert isinstance(feature, PixelFeature)
        print(f"cost of {name:<8} {cost(feature, subjects, repeat):7.2f} ms per image, processor time", flush=True)


if __name__ == "__main__":
    main()
