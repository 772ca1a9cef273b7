"""AuraNet's speed and memory: HAFT against a plain loop, deformable against dense attention, the whole network.

    python benchmarks/auranet.py haft|attention|model|memory|pixels|training [--threads 1] [--rounds 5]

``haft``: the four default stages at batch 2, against a loop over patches and channels written here; the same numbers
come out. ``attention``: the deformable one against attention over all pairs of cells with a position bias for each.
``model``: counted FLOPs per second as a share of this machine's measured float32 matrix products, and where the rest of
the time goes. ``memory``: peak of the process at 256 px, batch 2. ``pixels``: peak against the number of pixels.
``training``: images per second in bf16 on a GPU (or ``--device cpu``), eager and compiled.

Methods take turns, round after round; the best round of each counts. Where other work shares the machine, processor
time says more than wall-clock time. Memory is the peak resident set of a fresh process, less what it held with the
network built and every library loaded. Freed memory is kept (``unmask.core.allocator``) unless ``--default-allocator``.
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
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.allocator import keep_freed_memory

STAGES = ((64, 64, 3), (128, 32, 3), (256, 16, 2), (512, 8, 1))
"""Channels, side of the map at 256 px, HAFT levels."""


def header(args: argparse.Namespace) -> None:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    name = names[0].split(":")[1].strip() if names else platform.processor()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    load = ", ".join(f"{v:.1f}" for v in os.getloadavg())
    print(f"command: python {' '.join(sys.argv)}\ncommit: {commit.stdout.strip() or 'unknown'}")
    print(f"machine: {name}, {os.cpu_count()} cores, load {load}; threads: {args.threads}; torch {torch.__version__}")
    print(f"allocator: {' '.join(platform.libc_ver())}, freed memory {'returned' if args.default_allocator else 'kept'}")


def measure(methods: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Best wall and processor seconds of each."""
    best = dict.fromkeys(methods, (float("inf"), float("inf")))
    for method in methods.values():
        method()
    for _ in range(rounds):
        for name, method in methods.items():
            wall, cpu = time.perf_counter(), time.process_time()
            method()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            best[name] = (min(best[name][0], wall), min(best[name][1], cpu))
    return best


def table(best: dict[str, tuple[float, float]]) -> None:
    first = next(iter(best.values()))
    print(f"{'':36}{'wall ms':>9}{'ratio':>7}{'cpu ms':>9}{'ratio':>7}")
    for name, (wall, cpu) in best.items():
        print(f"{name:36}{1e3 * wall:9.1f}{first[0] / wall:7.1f}{1e3 * cpu:9.1f}{first[1] / cpu:7.1f}", flush=True)


def channels_last(*shape: int) -> Tensor:
    return torch.randn(*shape).contiguous(memory_format=torch.channels_last).requires_grad_()


# --- HAFT ---------------------------------------------------------------------------------------------------------


def loop(haft: Any, x: Tensor) -> Tensor:
    """HAFT as one would first write it: over levels, patches and channels, each patch's context computed once."""
    from unmask.detectors.auranet.haft import angle, radial_basis

    batch, channels, height, width = x.shape
    levels, n = haft.levels, 2 ** (haft.levels - 1)
    contexts: dict[tuple[int, int, int, int], tuple[Tensor, Tensor]] = {}
    for level in range(levels):
        a, b = height >> level, width >> level
        for row in range(2**level):
            for column in range(2**level):
                for channel in range(channels):
                    patch = x[:, channel, row * a : (row + 1) * a, column * b : (column + 1) * b]
                    spectrum = torch.fft.rfft2(patch, norm="ortho")
                    size = spectrum.abs()
                    unit = spectrum / (size + 1e-2)
                    vectors = []
                    for head, maps in (
                        (haft.magnitude_heads[level], size.log1p()[:, None]),
                        (haft.phase_heads[level], torch.stack([unit.real, unit.imag], 1)),
                    ):
                        kernel = head.conv.weight.view(-1, maps.shape[1], 4, 3)
                        maps = F.pad(maps, (0, -maps.shape[3] % 3, 0, -maps.shape[2] % 4))
                        features = F.relu(F.conv2d(maps, kernel, head.conv.bias, stride=(4, 3)))
                        pooled = F.adaptive_avg_pool2d(features, (4, 2)).permute(0, 2, 3, 1).flatten(1)
                        vectors.append(head.out(pooled))
                    embedding = haft.level_embedding.weight[level].chunk(2)
                    contexts[level, row, column, channel] = (vectors[0] + embedding[0], vectors[1] + embedding[1])
    a, b = height // n, width // n
    flat, turning = (torch.from_numpy(basis) for basis in radial_basis(a, b, haft.bins))
    result = torch.empty(x.shape)
    for row in range(n):
        for column in range(n):
            for channel in range(channels):
                above = [contexts[m, row >> levels - 1 - m, column >> levels - 1 - m, channel] for m in range(levels)]
                gains = []
                for part, mlp in enumerate(haft.mlps):
                    hidden = F.relu(mlp.hidden(torch.cat([context[part] for context in above], 1)))
                    gains.append(torch.tanh(mlp.profile(hidden)))
                patch = x[:, channel, row * a : (row + 1) * a, column * b : (column + 1) * b]
                spectrum = torch.fft.rfft2(patch, norm="ortho")
                magnitude = 1 + (flat * gains[0][:, None, None]).sum(-1)
                turn = (turning * gains[1][:, None, None]).sum(-1)
                phase = turn * angle(spectrum.real, spectrum.imag, spectrum.abs().clamp_min(1e-6))
                filtered = spectrum * torch.polar(magnitude, phase)
                patch = torch.fft.irfft2(filtered, s=(a, b), norm="ortho")
                result[:, channel, row * a : (row + 1) * a, column * b : (column + 1) * b] = patch
    return result


def run_haft(args: argparse.Namespace) -> None:
    from unmask.detectors.auranet.haft import HAFT

    modules = [HAFT(levels) for _, _, levels in STAGES]
    for mlp in (m for module in modules for m in module.mlps):
        nn.init.normal_(mlp.profile.weight, std=0.1)
    maps = [channels_last(args.batch, channels, side, side) for channels, side, _ in STAGES]
    with torch.no_grad():
        gaps = [float((loop(m, x) - m(x)).abs().max()) for m, x in zip(modules, maps, strict=True)]
    print(f"largest difference between the two: {max(gaps):.1e}")

    def forward(function: Callable[[Any, Tensor], Tensor]) -> Callable[[], None]:
        def call() -> None:
            with torch.no_grad():
                for module, x in zip(modules, maps, strict=True):
                    function(module, x)

        return call

    def backward(function: Callable[[Any, Tensor], Tensor]) -> Callable[[], None]:
        def call() -> None:
            for module, x in zip(modules, maps, strict=True):
                function(module, x).square().sum().backward()

        return call

    def vectorised(module: Any, x: Tensor) -> Tensor:
        result: Tensor = module(x)
        return result

    for name, make in (("forward", forward), ("forward + backward", backward)):
        table(measure({f"loop, {name}": make(loop), f"HAFT, {name}": make(vectorised)}, args.rounds))


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {"haft": run_haft}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--default-allocator", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if not args.default_allocator:
        keep_freed_memory()
    header(args)
    PARTS[args.part](args)


if __name__ == "__main__":
    main()
