"""The exported AuraNet: onnxruntime against PyTorch, and its sampling against the operator made for it.

    python benchmarks/auranet_export.py [--threads 1] [--rounds 5] [--batch 2] [--detector auranet] [--compile]

``sampling``: what deformable attention reads at nine points of each of 64 x 64 cells, exported as a gather and small
matrix products, against ``GridSample``. Methods take turns, round after round; the best round of each counts. The
certificate's largest difference is printed. ``--compile`` measures ``torch.compile``, too, whose first call takes
minutes (TORCHINDUCTOR_FORCE_DISABLE_CACHES=1 if it was compiled before).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auranet import header, measure, network, table
from unmask.core.allocator import keep_freed_memory
from unmask.detectors.auranet.fusion import sample
from unmask.detectors.weights import WeightsCard
from unmask.export.onnx import export_onnx

CHANNELS, SIDE, POINTS = 128, 64, 9


class Sampling(nn.Module):  # noqa: D101
    def forward(self, cells: Tensor, x: Tensor, y: Tensor) -> Tensor:  # noqa: D102
        return sample(cells, x, y)


class GridSampling(nn.Module):  # noqa: D101
    def forward(self, cells: Tensor, x: Tensor, y: Tensor) -> Tensor:  # noqa: D102
        grid = (2 * torch.stack([x, y], -1) + 1) / SIDE - 1
        return F.grid_sample(cells.permute(0, 3, 1, 2), grid, padding_mode="border", align_corners=False)


def session(file: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--detector", default="auranet")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--default-allocator", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if not args.default_allocator:
        keep_freed_memory()
    header(args)
    print(f"onnxruntime {onnxruntime.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        cells = torch.randn(args.batch, SIDE, SIDE, CHANNELS)
        x, y = SIDE * torch.rand(2, args.batch, SIDE * SIDE, POINTS)
        methods = {}
        for name, module in (("GridSample", GridSampling().eval()), ("gather and products", Sampling().eval())):
            file = Path(folder) / f"{len(methods)}.onnx"
            torch.onnx.export(module, (cells, x, y), str(file), dynamo=True, verbose=False)
            run = session(file, args.threads)
            feed = {put.name: value.numpy() for put, value in zip(run.get_inputs(), (cells, x, y), strict=True)}
            methods[f"sampling, {name}"] = partial(run.run, None, feed)
        table(measure(methods, args.rounds))

        model, image = network(args).eval(), torch.rand(args.batch, 3, 256, 256)
        file = Path(folder) / "model.onnx"
        certificate = export_onnx(model, file, card=WeightsCard(args.detector, {}), size=(256, 256), dynamic=True)
        gaps = ", ".join(f"{name} {found.max_abs_diff}" for name, found in certificate.outputs.items())
        print(f"{args.detector}: {certificate.verdict}, largest differences: {gaps}")
        run = session(file, args.threads)

        def call(model: nn.Module) -> Tensor:
            with torch.no_grad():
                return model(image).logits

        methods = {f"{args.detector}, PyTorch": partial(call, model)}
        methods[f"{args.detector}, onnxruntime"] = partial(run.run, None, {"image": image.numpy()})
        if args.compile:
            begun, compiled = time.perf_counter(), torch.compile(model)
            gap = float((call(compiled) - call(model)).abs().max())
            print(f"torch.compile: first call {time.perf_counter() - begun:.0f} s, largest difference {gap:.1e}")
            methods[f"{args.detector}, torch.compile"] = partial(call, compiled)
        table(measure(methods, args.rounds))


if __name__ == "__main__":
    main()
