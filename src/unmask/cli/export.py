"""Export a detector to ONNX and certify that onnxruntime computes what PyTorch computes.

Writes MODEL.onnx and MODEL.onnx.json beside it (differences, versions, hashes, PASS or FAIL). The graph takes `image`,
(batch, 3, H, W) RGB in [0, 1], and gives `logits` (positive = fake) and, where there is one, `mask_logits`.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("detector", metavar="NAME_OR_FILE", help="shipped weights, a .safetensors file, or a design")
    parser.add_argument("--out", required=True, type=Path, help="the .onnx file to write")
    parser.add_argument("--dynamic", action="store_true", help="accept any batch size (default: batches of one)")
    parser.add_argument("--size", type=int, help="side of the square input (default: the detector's own)")
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")


def run(args: argparse.Namespace) -> int:
    """Export, compare, report. Exit code 1 if the comparison fails."""
    import sys

    from unmask.core.errors import UnmaskError
    from unmask.detectors.weights import open_detector
    from unmask.export.onnx import export_onnx

    for path in (args.out, args.out.with_suffix(".onnx.json")):
        if path.exists() and not args.force:
            raise UnmaskError("exists", f"{path} exists; give --force to overwrite it")
    detector, card = open_detector(args.detector)
    if card is None:
        print(f"unmask export: '{args.detector}' is a design without weights: exported untrained", file=sys.stderr)
    size = (args.size, args.size) if args.size else None
    certificate = export_onnx(detector, args.out, size=size, dynamic=args.dynamic, card=card)
    for name, parity in certificate.outputs.items():
        diff = "not comparable" if parity.max_abs_diff is None else f"{parity.max_abs_diff:.2e}"
        print(f"{name}: largest difference {diff} (largest value {parity.max_abs_reference:.3g})")
    print(f"{certificate.verdict} {args.out} {args.out.with_suffix('.onnx.json')}")
    return 0 if certificate.verdict == "PASS" else 1
