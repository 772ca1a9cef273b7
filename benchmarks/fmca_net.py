"""FMCA-Net's forward pass on a CPU against the machine's own matrix products, in one run.

    python benchmarks/fmca_net.py [--threads 1] [--rounds 5] [--detector fmca_net] [--batch 8]

Every method runs in turn, round after round, beside one 2048 x 2048 product in float32; the best round of each counts.
The share is counted FLOPs per second over the product's. Targets: 85 % in float32, bfloat16 (autocast) 2.3 times as
fast where the CPU has bfloat16 units. Times are processor time, which a busy machine distorts least (it still shares
caches and memory); wall-clock images per second stand beside them. Random weights: the change in logits is that of
rounding alone, beside the spread of the logits over images.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SIDE = 2048
METHODS = ("eager fp32", "quick fp32", "eager bf16")


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    units = [unit for unit in ("avx512f", "avx512_bf16", "amx_bf16") if any(unit in line for line in lines)]
    return f"{name} ({', '.join(units)})"


def build(args: argparse.Namespace) -> tuple[dict[str, Callable[[], object]], dict[str, object]]:
    """The methods, each a call that returns logits, and facts about the detector."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from unmask.detectors.fast import optimize_for_inference
    from unmask.detectors.zoo import create_detector
    from unmask.export.onnx import parity_images

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    detector = create_detector(args.detector).eval()
    side = detector.config.view.size
    images = parity_images(args.batch, side, side)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        detector(images[:1])
    quick = optimize_for_inference(detector, args.batch) if "quick fp32" in args.methods else None

    def eager() -> torch.Tensor:
        with torch.inference_mode():
            return detector(images).logits

    def half() -> torch.Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return detector(images).logits

    def packed() -> torch.Tensor:
        assert quick is not None
        return quick(images).logits

    calls = dict(zip(METHODS, (eager, packed, half), strict=True))
    facts = {
        "parameters": sum(p.numel() for p in detector.parameters()),
        "flops": counter.get_total_flops(),
        "side": side,
    }
    return {name: calls[name] for name in args.methods}, facts


def clocks(call: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def peak_rss() -> float:
    """Peak resident memory of this process in MB; on Linux not ru_maxrss, which a child inherits from its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def peak(name: str) -> float:
    """Peak memory in MB of a process of its own that only runs ``name`` twice."""
    words = [*sys.argv[1:], "--methods", name, "--peak"]
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--detector", default="fmca_net")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--peak", action="store_true", help="print the peak memory of two calls and nothing else")
    args = parser.parse_args()

    import torch

    methods, facts = build(args)
    if args.peak:
        for call in methods.values():
            call(), call()
        print(peak_rss())
        return
    products = {dtype: torch.randn(SIDE, SIDE).to(dtype) for dtype in (torch.float32, torch.bfloat16)}
    best = {name: (float("inf"), float("inf")) for name in (*methods, *map(str, products))}
    answers = {name: call() for name, call in methods.items()}
    for _ in range(args.rounds):
        for name, call in methods.items():
            best[name] = tuple(map(min, best[name], clocks(call)))  # type: ignore[assignment]
            for dtype, x in products.items():
                with torch.inference_mode():
                    best[str(dtype)] = tuple(map(min, best[str(dtype)], clocks(lambda x=x: x @ x)))  # type: ignore
    rates = {dtype: 2 * SIDE**3 / best[str(dtype)][0] / 1e9 for dtype in products}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    load = ", ".join(f"{v:.1f}" for v in os.getloadavg())
    print(f"command: python {' '.join(sys.argv)}\ncommit: {commit.stdout.strip() or 'unknown'}")
    print(f"machine: {processor()}, {os.cpu_count()} cores, load {load}; threads: {args.threads}")
    print(
        f"torch {torch.__version__}; product of {SIDE}: " + ", ".join(f"{k} {v:.0f} GFLOP/s" for k, v in rates.items())
    )
    flops = float(str(facts["flops"]))
    print(
        f"{args.detector}: {facts['parameters']:,} parameters, {flops / 1e9:.2f} GFLOP per image of {facts['side']} px"
    )
    reference = answers[next(iter(methods))]
    assert isinstance(reference, torch.Tensor)
    base = best[next(iter(methods))][0]
    print(
        f"batch {args.batch}, best of {args.rounds} rounds; logits of the first method spread by {reference.std():.2e}"
    )
    print(f"{'':12}{'cpu s':>8}{'ratio':>7}{'GFLOP/s':>9}{'share':>8}{'images/s':>10}{'change':>10}{'peak MB':>9}")
    for name in methods:
        cpu, wall = best[name]
        rate = flops * args.batch / cpu / 1e9
        change = float((answers[name] - reference).abs().max())  # type: ignore[operator]
        row = f"{cpu:8.3f}{base / cpu:7.2f}{rate:9.1f}{rate / rates[torch.float32]:8.1%}{args.batch / wall:10.2f}"
        print(f"{name:12}{row}{change:10.1e}{peak(name):9.0f}", flush=True)


if __name__ == "__main__":
    main()
