"""Speed of the metrics against scikit-learn, as ratios within one run.

    OMP_NUM_THREADS=1 python benchmarks/metrics.py

Both sides run on one thread, so CPU time is compared (neighbours lengthen wall time, not the ratio); they
alternate ``--repeat`` times and the median counts. The peak memory is that of a whole child process that makes the
scores and computes AUC and EER, imports included.
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
from typing import Any

import numpy as np

from unmask.metrics.bootstrap import bootstrap_auc
from unmask.metrics.image import auc, eer, split_scores
from unmask.metrics.pixel import overlap, pixel_auc


def scores_of(n: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.random(n, dtype=np.float32) < 0.5
    return generator.standard_normal(n, dtype=np.float32) + labels.astype(np.float32), labels


def maps_of(n: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    truth = np.zeros((n, side, side), np.float32)
    for mask in truth:
        x, y = generator.integers(0, side // 2, 2)
        mask[y : y + side // 3, x : x + side // 2] = 1.0
    guess = generator.random(truth.shape, dtype=np.float32)
    guess *= 0.7
    guess += 0.3 * truth
    return guess, truth


def ratio(name: str, ours: Callable[[], Any], theirs: Callable[[], Any], repeat: int, target: float) -> None:
    times: tuple[list[float], list[float]] = ([], [])
    values: list[Any] = [None, None]
    for _ in range(repeat):
        for side, call in enumerate((ours, theirs)):
            start = time.process_time()
            values[side] = call()
            times[side].append(time.process_time() - start)
    difference = float(np.max(np.abs(np.asarray(values[0]) - np.asarray(values[1]))))
    mine, other = map(statistics.median, times)
    print(
        f"{name:<34} ours {mine:8.3f} s   scikit-learn {other:8.3f} s   ratio {other / mine:6.1f}   "
        f"target {target:g}   largest difference {difference:.1e}",
        flush=True,
    )


def peak(n: int, compute: bool) -> float:
    command = [sys.executable, __file__, "--peak", str(n), *(["--compute"] if compute else [])]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def machine() -> str:
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next(
            (line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line), cpu
        )
    root = Path(__file__).resolve().parent.parent
    commit = subprocess.run(["git", "-C", root, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    preload = os.environ.get("LD_PRELOAD", "")
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    return (
        f"machine: {cpu}, {os.cpu_count()} cores; threads: OMP_NUM_THREADS={threads}; "
        f"allocator: {Path(preload).name or ' '.join(platform.libc_ver()) + ' malloc'}; numpy {np.__version__}, "
        f"scikit-learn {__import__('sklearn').__version__}; commit {commit.stdout.strip() or 'unknown'}\n"
        f"command: python {' '.join(sys.argv)}; load before: {os.getloadavg()[0]:.1f}"
    )


def rank_metrics(n: int, repeat: int) -> None:
    from sklearn.metrics import roc_auc_score

    scores, labels = scores_of(n)

    def auc_and_eer() -> float:
        ranked = split_scores(scores, labels)
        eer(ranked)
        return auc(ranked).value

    ratio(f"AUC + EER, {n:,} scores", auc_and_eer, lambda: roc_auc_score(labels, scores), repeat, 3.5)  # AUC alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=int, default=10_000_000)
    parser.add_argument("--masks", type=int, default=1000)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--compute", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        values, labels = scores_of(args.peak)
        if args.compute:
            ranked = split_scores(values, labels)
            auc(ranked), eer(ranked)
        status = Path("/proc/self/status").read_text()
        print(int(status.split("VmHWM:", 1)[1].split()[0]) / 1024)  # ru_maxrss would count the parent too
        return

    from sklearn.metrics import f1_score, roc_auc_score

    print(machine(), flush=True)
    whole, base = peak(args.scores, True), peak(args.scores, False)
    rank_metrics(args.scores, args.repeat)
    print(f"{'peak memory of the same':<34} {whole:.0f} MiB in all, {base:.0f} MiB of it before AUC and EER")
    few, kinds = scores_of(2000)
    groups = [str(i // 4) for i in range(2000)]
    start = time.process_time()
    bootstrap_auc(few, kinds, groups, resamples=2000)
    ours = time.process_time() - start
    start = time.process_time()
    for _ in range(50):
        roc_auc_score(kinds, few)
    theirs = (time.process_time() - start) * 40
    name = "2,000 resamples of 2,000 scores"
    print(f"{name:<34} ours {ours:8.3f} s   scikit-learn {theirs:8.3f} s   ratio {theirs / ours:6.1f}")
    guess, truth = maps_of(args.masks, args.side)
    flat, true = guess.reshape(args.masks, -1), truth.reshape(args.masks, -1) > 0
    kind = f"{args.masks:,} masks of {args.side}²"
    ratio(
        f"pixel F1, {kind}",
        lambda: overlap(guess, truth, 0.5)[0],
        lambda: [f1_score(t, g >= 0.5) for t, g in zip(true, flat, strict=True)],
        1,
        40,
    )
    ratio(
        f"pixel AUC, {kind}",
        lambda: pixel_auc(guess, truth),
        lambda: [roc_auc_score(t, g) for t, g in zip(true, flat, strict=True)],
        1,
        15,
    )


if __name__ == "__main__":
    main()
