"""Inference speed of the NPR network on a CPU: plain eager, fused graph, onnxruntime, in one run.

    python benchmarks/attention_npr.py [--threads 1] [--rounds 5] [--detector npr] [--batch 32] [--size 224]

Every method sees the same images in turn, round after round; the best round of each counts. Wall-clock ratios mean
something only on an idle machine; processor-time ratios are printed beside them for a busy one. The targets, both
against plain eager: 4x without export, 5x through onnxruntime, logits equal to 1e-4. The whole is then run again with
glibc told to keep freed memory, because its default returns large activations to the kernel at every step.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

KEEP = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1)}


def processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":")[1].strip() if names else platform.processor()


def allocator() -> str:
    libc = " ".join(platform.libc_ver()) or "unknown libc"
    tuned = {k: v for k, v in os.environ.items() if k.startswith("MALLOC_") or k == "LD_PRELOAD"}
    return f"{libc} malloc, {tuned or 'defaults'}"


def measure(methods: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    best = dict.fromkeys(methods, (float("inf"), float("inf")))
    for _ in range(rounds):
        for name, method in methods.items():
            wall, cpu = time.perf_counter(), time.process_time()
            method()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            best[name] = (min(best[name][0], wall), min(best[name][1], cpu))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--detector", default="npr")
    parser.add_argument("--chunks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--one-allocator", action="store_true", help="do not repeat with freed memory kept")
    args = parser.parse_args()

    import numpy as np
    import onnxruntime
    import torch

    from unmask.detectors.fast import optimize_for_inference
    from unmask.detectors.zoo import create_detector
    from unmask.export.onnx import export_onnx

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    detector = create_detector(args.detector).eval()
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # a trained network's batch-norms are not the identity
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    images = torch.rand(args.batch, 3, args.size, args.size)

    def eager() -> torch.Tensor:
        with torch.no_grad():
            return detector(images).logits

    methods: dict[str, Callable[[], torch.Tensor]] = {"plain eager": eager}
    for chunk in args.chunks:
        quick = optimize_for_inference(detector, chunk)
        methods[f"fused, chunks of {chunk}"] = lambda quick=quick: quick(images).logits
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(detector, Path(folder) / "model.onnx", size=(args.size, args.size), dynamic=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        session = onnxruntime.InferenceSession(
            str(Path(folder) / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
    arrays = images.numpy()
    for chunk in (*args.chunks, args.batch):

        def through_onnx(chunk: int = chunk) -> torch.Tensor:
            parts = [session.run(["logits"], {"image": arrays[i : i + chunk]})[0] for i in range(0, args.batch, chunk)]
            return torch.from_numpy(np.concatenate(parts))

        methods[f"onnxruntime, chunks of {chunk}"] = through_onnx

    reference = eager()
    differences = {name: float((method() - reference).abs().max()) for name, method in methods.items()}
    best = measure(methods, args.rounds)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    load = ", ".join(f"{v:.1f}" for v in os.getloadavg())
    print(f"command: python {' '.join(sys.argv)}\ncommit: {commit.stdout.strip() or 'unknown'}")
    print(f"machine: {processor()}, {os.cpu_count()} cores, load {load}; threads: {args.threads}")
    print(f"allocator: {allocator()}")
    print(f"versions: torch {torch.__version__}, onnxruntime {onnxruntime.__version__}")
    print(f"{args.detector}, batch {args.batch}, {args.size} x {args.size}, best of {args.rounds} rounds")
    print(f"{'':28}{'wall s':>9}{'ratio':>7}{'cpu s':>9}{'ratio':>7}{'images/s':>10}{'max diff':>10}")
    wall, cpu = best["plain eager"]
    for name, (w, c) in best.items():
        row = f"{w:9.3f}{wall / w:7.2f}{c:9.3f}{cpu / c:7.2f}{args.batch / w:10.1f}{differences[name]:10.1e}"
        print(f"{name:28}{row}", flush=True)
    if not args.one_allocator and platform.libc_ver()[0] == "glibc":
        print()
        subprocess.run([sys.executable, *sys.argv, "--one-allocator"], env=os.environ | KEEP, check=True)


if __name__ == "__main__":
    main()
