"""Search of DCR-Net's memory: one matrix product per chunk against a loop over queries; time, memory, equality.

    OMP_NUM_THREADS=1 python benchmarks/dcr_bank.py [--prototypes 1000000] [--queries 64] [--dim 256] [--k 8]

Both search the same unit vectors, in turn, round after round; wall and processor time of the best round of each.
Memory is the process's peak beyond what it held before the search (so without the prototypes themselves), from /proc.
The targets: at least 5 times the loop, the same neighbours, memory that does not grow with the prototypes.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def status(field: str) -> float:
    """A line of /proc/self/status in MiB; nan where there is none."""
    file = Path("/proc/self/status")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), float("nan"))


def forget_peak() -> None:
    """Let VmHWM start again from what is held now."""
    file = Path("/proc/self/clear_refs")
    if file.exists():
        file.write_text("5")


def timed(method: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    method()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prototypes", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    import torch
    from torch.nn import functional as F

    from unmask.detectors.dcr_net.bank import CHUNK, MemoryBank

    torch.set_num_threads(args.threads)
    random = torch.Generator().manual_seed(0)
    bank = MemoryBank(args.prototypes, args.dim)
    for start in range(0, args.prototypes, CHUNK):
        count = min(CHUNK, args.prototypes - start)
        keys = torch.randn(count, args.dim, generator=random)
        bank.write(keys, torch.arange(start, start + count), torch.zeros(count))
    queries = F.normalize(torch.randn(args.queries, args.dim, generator=random), dim=1)

    def loop() -> tuple[torch.Tensor, torch.Tensor]:
        found = [(bank.keys @ query).topk(args.k) for query in queries]
        return torch.stack([f.values for f in found]), torch.stack([f.indices for f in found])

    def search() -> tuple[torch.Tensor, torch.Tensor]:
        found = bank.nearest(queries, args.k)
        return found.similarity, found.slot

    with torch.no_grad():
        (value, slot), (found, place) = loop(), search()
        apart = float((value - found).abs().max())
        same = float((slot.sort(1).values == place.sort(1).values).float().mean())
        best = {"loop": (float("inf"),) * 2, "search": (float("inf"),) * 2}
        peak = {}
        for _ in range(args.rounds):
            for name, method in (("loop", loop), ("search", search)):
                forget_peak()
                before = status("VmRSS")
                took = timed(method)
                peak[name] = status("VmHWM") - before
                best[name] = tuple(min(pair) for pair in zip(best[name], took, strict=True))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores (load {load:.1f}), torch {torch.__version__}, commit {commit}")
    print(
        f"{args.prototypes:,} prototypes of {args.dim}, {args.queries} queries, k = {args.k}, {args.threads} thread(s)"
    )
    for name, (wall, cpu) in best.items():
        print(f"{name:8} {wall:8.2f} s wall {cpu:8.2f} s processor {peak[name]:8.0f} MiB beyond the prototypes")
    ratios = [a / b for a, b in zip(best["loop"], best["search"], strict=True)]
    print(f"ratio    {ratios[0]:8.1f}   wall {ratios[1]:8.1f}   processor (target 5)")
    print(f"largest difference of a similarity {apart:.1e}, {same:.2%} of the neighbours the same")
    return 0 if ratios[1] >= 5 and apart < 1e-5 else 1


if __name__ == "__main__":
    sys.exit(main())
