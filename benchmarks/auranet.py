"""AuraNet's speed and memory: HAFT against a plain loop, deformable against dense attention, the whole network.

    python benchmarks/auranet.py haft|attention|model|memory|pixels|training [--threads 1] [--rounds 5]

``haft``: the four default stages at batch 2, against a loop over patches and channels written here; the same numbers
come out. ``attention``: the deformable one against attention over all pairs of cells with a position bias for each.
``model``: counted FLOPs per second as a share of this machine's measured float32 matrix products, and where the rest of
the time goes. ``memory``: peak of the process at 256 px, batch 2. ``pixels``: peak against the number of pixels.
``training``: images per second in bf16 on a GPU (or ``--device cpu``), eager and compiled.

Methods take turns, round after round; the best round of each counts. Where other work shares the machine, processor
time says more than wall-clock time. Memory is the peak resident set of a fresh process, less what it held with the
network built and libraries loaded. In timings freed memory is kept (``unmask.core.allocator``), unless
``--default-allocator``.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
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
    print(
        f"allocator: {' '.join(platform.libc_ver())}, freed memory {'returned' if args.default_allocator else 'kept'}"
    )


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

    _, channels, height, width = x.shape
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

    def forward(function: Callable[[Any, Tensor], Tensor]) -> None:
        with torch.no_grad():
            for module, x in zip(modules, maps, strict=True):
                function(module, x)

    def backward(function: Callable[[Any, Tensor], Tensor]) -> None:
        for module, x in zip(modules, maps, strict=True):
            function(module, x).square().sum().backward()

    for name, run in (("forward", forward), ("forward + backward", backward)):
        methods = {f"loop, {name}": partial(run, loop), f"HAFT, {name}": partial(run, HAFT.__call__)}
        table(measure(methods, args.rounds))


# --- attention ----------------------------------------------------------------------------------------------------


class DenseAttention(nn.Module):
    """All pairs of cells, with the position bias of an MLP for each pair: the plan read to the letter."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.ModuleList(nn.Linear(dim, dim) for _ in range(4))
        self.bias = nn.Sequential(nn.Linear(2, 16), nn.GELU(), nn.Linear(16, heads, bias=False))

    def forward(self, query: Tensor, context: Tensor) -> Tensor:  # noqa: D102
        height, width = query.shape[1:3]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        places = torch.stack([x, y], -1).flatten(0, 1).float()
        bias = self.bias(places[:, None] - places[None]).permute(2, 0, 1)  # (heads, HW, HW)
        q, k, v = (
            layer(x.flatten(1, 2)).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, x in zip(self.project, (query, context, context), strict=False)
        )
        weights = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5 + bias).softmax(-1)
        result: Tensor = self.project[3]((weights @ v).transpose(1, 2).flatten(2)).view(query.shape)
        return result


def attention(name: str, channels: int) -> nn.Module:
    from unmask.detectors.auranet.fusion import DeformableAttention

    return {"dense": DenseAttention, "deformable": DeformableAttention}[name](channels, channels // 32)


def run_attention(args: argparse.Namespace) -> None:
    for channels, side, _ in STAGES[:2]:
        a, b = (torch.randn(args.batch, side, side, channels) for _ in range(2))
        modules = {name: attention(name, channels) for name in ("dense", "deformable")}

        def forward(module: nn.Module, a: Tensor = a, b: Tensor = b) -> None:
            with torch.no_grad():
                module(a, b)

        def backward(module: nn.Module, a: Tensor = a, b: Tensor = b) -> None:
            module(a, b).square().sum().backward()

        print(f"{side} x {side} cells, {channels} channels, batch {args.batch}")
        for way, call in (("forward", forward), ("forward + backward", backward)):
            if way == "forward" or side <= 32:  # the backward pass of all pairs of 64 x 64 cells takes many GB
                table(measure({f"{name}, {way}": partial(call, m) for name, m in modules.items()}, args.rounds))
        for name in modules:
            print(f"{name}, forward, peak memory: {peak(args, 'attention', name, str(channels), str(side)):.0f} MB")


# --- the whole network --------------------------------------------------------------------------------------------


def network(args: argparse.Namespace, **settings: Any) -> Any:
    from unmask.detectors.zoo import create_detector

    return create_detector(args.detector, **settings)


def transform_flops(batch: int) -> int:
    """Of HAFT's matrix products that stand for Fourier transforms: an FFT would need few of them."""
    from unmask.detectors.auranet.haft import _padded

    total = 0
    for channels, side, levels in STAGES:
        for level in range(levels):
            p = side >> level
            rows, columns = _padded(p, p)
            patch = 2 * p * (2 * columns) * p * channels + 2 * (2 * rows) * (2 * p) * columns * channels
            total += batch * 4**level * patch * (2 if level == levels - 1 else 1)
    return total


def run_model(args: argparse.Namespace) -> None:
    from torch.profiler import ProfilerActivity, profile
    from torch.utils.flop_counter import FlopCounterMode

    model, image = network(args), torch.rand(args.batch, 3, 256, 256)
    a, b = torch.randn(2, 2048, 2048)

    def forward() -> None:
        with torch.no_grad():
            model.eval()(image)

    def backward() -> None:
        model.train()
        output = model(image)
        (output.logits.square().sum() + output.mask_logits.square().mean()).backward()
        model.zero_grad()

    with FlopCounterMode(display=False) as counter:
        forward()
    work = counter.get_total_flops() - transform_flops(args.batch)
    counts = {"forward": work, "forward + backward": 3 * work}  # two products backward for each one forward
    best = measure({"product": lambda: a @ b, "forward": forward, "forward + backward": backward}, args.rounds)
    rate = [2 * 2048**3 / seconds / 1e9 for seconds in best["product"]]
    print(f"float32 matrix products of 2048: {rate[0]:.0f} GFLOP/s of wall-clock, {rate[1]:.0f} of processor time")
    share = transform_flops(args.batch) / 1e9
    print(f"HAFT's transforms, {share:.2f} GFLOP forward as products, are not counted as work but take their time")
    print(f"{'':36}{'GFLOP':>8}{'wall ms':>9}{'share':>7}{'cpu ms':>9}{'share':>7}")
    for name, flops in counts.items():
        wall, cpu = best[name]
        shares = [flops / 1e9 / seconds / full for seconds, full in zip((wall, cpu), rate, strict=True)]
        print(f"{name:36}{flops / 1e9:8.1f}{1e3 * wall:9.1f}{shares[0]:7.0%}{1e3 * cpu:9.1f}{shares[1]:7.0%}")
    modules(model, image)
    for method in (forward, backward):
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            method()
        print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=40))


def modules(model: Any, image: Tensor) -> None:
    """Processor time of the forward pass by part, best of five."""
    encoder = model.encoder
    parts = {"stem": encoder.stem, "MSAF": encoder.msaf, "decoder": model.mask_head, "selection": model.select}
    for name in ("down", "stages", "haft", "fusion"):
        parts |= {f"{name} {i + 2}": module for i, module in enumerate(getattr(encoder, name))}
    spent: dict[str, list[float]] = {name: [] for name in parts}
    begun: dict[str, float] = {}
    hooks = []
    for name, module in parts.items():
        hooks.append(module.register_forward_pre_hook(lambda *_, n=name: begun.update({n: time.process_time()})))
        hooks.append(module.register_forward_hook(lambda *_, n=name: spent[n].append(time.process_time() - begun[n])))
    with torch.no_grad():
        for _ in range(5):
            model.eval()(image)
    for hook in hooks:
        hook.remove()
    print("cpu ms by part:", ", ".join(f"{name} {1e3 * min(seconds):.1f}" for name, seconds in spent.items()))


# --- memory -------------------------------------------------------------------------------------------------------


def peak(args: argparse.Namespace, *what: str) -> float:
    """MB of a fresh process that runs :func:`alone`."""
    words = [sys.executable, __file__, "alone", "--threads", str(args.threads), "--batch", str(args.batch)]
    words += ["--detector", args.detector, "--what", *what]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-1])


def run_alone(args: argparse.Namespace) -> None:
    kind, *rest = args.what

    def held(word: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(word))

    if kind == "attention":
        module, side = attention(rest[0], int(rest[1])), int(rest[2])
        inputs = [torch.randn(args.batch, side, side, int(rest[1])) for _ in range(2)]
        before = held("VmRSS")
        with torch.no_grad():
            module(*inputs)
    else:
        model = network(args)
        image = torch.rand(args.batch, 3, int(rest[0]), int(rest[0]))
        with torch.no_grad():
            model.eval()(image[:1, :, :128, :128])  # libraries set themselves up
        before = held("VmRSS")
        if kind == "forward":
            with torch.no_grad():
                model(image)
        else:
            output = model.train()(image)
            (output.logits.square().sum() + output.mask_logits.square().mean()).backward()
    print(held("VmHWM") - before)


def run_memory(args: argparse.Namespace) -> None:
    for kind, limit in (("forward", 2), ("forward + backward", 5)):
        print(f"{kind}, 256 px, batch {args.batch}: {peak(args, kind, '256'):.0f} MB (aim: under {limit} GB)")


def run_pixels(args: argparse.Namespace) -> None:
    args.batch = 1
    for kind, sides in (("forward", (256, 512, 768, 1024)), ("forward + backward", (128, 256, 384, 512))):
        print(f"{kind}, batch 1")
        for side in sides:
            megabytes = peak(args, kind, str(side))
            print(f"{side:5} px {megabytes:8.0f} MB {1e6 * megabytes / side**2:8.0f} bytes per pixel", flush=True)


def run_training(args: argparse.Namespace) -> None:
    device = torch.device(args.device)
    image = torch.rand(args.batch, 3, 256, 256, device=device)
    for name in ("eager", "compiled"):
        model = network(args).to(device).train()
        run = torch.compile(model) if name == "compiled" else model
        optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

        def step(run: Any = run, optimizer: torch.optim.Optimizer = optimizer) -> None:
            with torch.autocast(device.type, dtype=torch.bfloat16):
                output = run(image)
            (output.logits.square().sum() + output.mask_logits.square().mean()).backward()
            optimizer.step()
            optimizer.zero_grad()
            if device.type == "cuda":
                torch.cuda.synchronize()

        wall, _ = measure({name: step}, args.rounds)[name]
        memory = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GB" if device.type == "cuda" else ""
        print(f"{name}: {args.batch / wall:.1f} images/s{memory}", flush=True)


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "haft": run_haft,
    "attention": run_attention,
    "model": run_model,
    "memory": run_memory,
    "pixels": run_pixels,
    "training": run_training,
    "alone": run_alone,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS, metavar="|".join(list(PARTS)[:-1]))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--detector", default="auranet")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--default-allocator", action="store_true")
    parser.add_argument("--what", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if not args.default_allocator and args.part != "alone":
        keep_freed_memory()
    if args.part != "alone":
        header(args)
    PARTS[args.part](args)


if __name__ == "__main__":
    main()
