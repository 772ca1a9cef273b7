"""Time `unmask data index` on many small files: python benchmarks/indexing.py [--files 100000]

Writes JPEG files of about 20 KB (256 x 256 pixels of textured noise, 100 different ones, each file with its own
trailing comment so that all hashes differ) into a temporary folder, indexes them, prints files per second with every
image decoded, and beside it the time of reading and hashing alone.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import platform
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from unmask.data.sources import index_folder


def jpeg(seed: int) -> bytes:
    generator = np.random.default_rng(seed)
    smooth = ndimage.zoom(generator.uniform(0, 255, (16, 16, 3)), (16, 16, 1), order=1)
    pixels = np.clip(smooth + generator.normal(0, 10, smooth.shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=86)
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    files = parser.parse_args().files
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    print(f"commit {commit.strip()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    pictures = [jpeg(seed) for seed in range(100)]
    with tempfile.TemporaryDirectory() as folder:
        for label in ("real", "fake"):
            (Path(folder) / label).mkdir()
        paths = [Path(folder) / ("real", "fake")[i % 2] / f"{i:06}.jpg" for i in range(files)]
        for i, path in enumerate(paths):  # bytes after the end marker change the hash and no pixel
            path.write_bytes(pictures[i % 100] + i.to_bytes(4, "big"))
        size = sum(map(len, pictures)) / 100_000
        start, used = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            digests = set(pool.map(lambda p: hashlib.sha256(p.read_bytes()).hexdigest(), paths))
        print(f"{files} files of {size:.1f} KB: hash alone {time.perf_counter() - start:.1f} s", end="")
        print(f" ({time.process_time() - used:.1f} s of CPU)")
        start, used = time.perf_counter(), time.process_time()
        index = index_folder(folder)
        wall, cpu = time.perf_counter() - start, time.process_time() - used
        assert {r.sha256 for r in index.rows} == digests
        print(f"index with full decoding: {wall:.1f} s, {files / wall:.0f} files/s ({cpu:.1f} s of CPU)")


if __name__ == "__main__":
    main()
