"""A detector as an ONNX file, and the certificate that it computes what PyTorch computes."""

from __future__ import annotations

import json
import math
import platform
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.core.config import to_dict
from unmask.core.errors import MissingExtraError, UnmaskError
from unmask.core.files import atomic_path, sha256_file, write_text
from unmask.core.seeds import rng
from unmask.core.version import __version__
from unmask.detectors.base import AnyDetector
from unmask.detectors.weights import WeightsCard
from unmask.detectors.zoo import name_of

TOLERANCE = 1e-4
"""Largest difference a PASS allows, as a share of the largest logit (of 1 where logits are smaller)."""


@dataclass(frozen=True)
class OutputParity:
    """One output, compared over every image."""

    max_abs_diff: float | None
    """None: another shape, or a value that is not finite."""
    max_abs_reference: float

    @property
    def passed(self) -> bool:
        """Within the tolerance."""
        return self.max_abs_diff is not None and self.max_abs_diff <= TOLERANCE * max(1.0, self.max_abs_reference)


@dataclass(frozen=True)
class Certificate:
    """What was exported, how it was compared, and the verdict; written beside the model as JSON."""

    verdict: str
    """``PASS`` or ``FAIL``."""
    model: str
    onnx_sha256: str
    detector: str
    weights_sha256: str | None
    input_shape: tuple[int | str, ...]
    """``batch`` stands for any batch size."""
    outputs: dict[str, OutputParity]
    tolerance: float
    images: int
    batches: tuple[int, ...]
    versions: dict[str, str]
    machine: str


class _Graph(nn.Module):
    """Tensors only: logits and, where there are any, mask logits."""

    def __init__(self, detector: AnyDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        output = self.detector(image)
        return (output.logits,) if output.mask_logits is None else (output.logits, output.mask_logits)


def require_export() -> tuple[Any, Any]:
    """The ``onnx`` and ``onnxruntime`` modules.

    Raises:
        MissingExtraError: the ``export`` extra is not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "missing_extra", f'exporting needs {error.name}, which is not installed: pip install "unmask[export]"'
        ) from None
    return onnx, onnxruntime


def parity_images(count: int, height: int, width: int) -> Tensor:
    """Noise, and structures that noise lacks: black, white, ramps, a checkerboard, smooth blobs.

    Returns:
        (count, 3, height, width) in [0, 1], whole levels of 255 as in any photo, the same for the same arguments; six
        images or more show every kind.
    """
    noise = torch.from_numpy(rng(0, "parity").random((count, 3, height, width), dtype="float32"))
    y, x = torch.linspace(0, 1, height)[:, None].expand(-1, width), torch.linspace(0, 1, width).expand(height, -1)
    board = ((torch.arange(height)[:, None] + torch.arange(width)) % 2).float()
    blobs = nn.functional.interpolate(noise[:1, :, :6, :6], size=(height, width), mode="bicubic").clamp(0, 1)[0]
    kinds = [torch.zeros(3, height, width), torch.ones(3, height, width), torch.stack([x, y, 1 - x])]
    kinds += [board.expand(3, -1, -1), blobs]
    images = noise.clone()
    for i, kind in enumerate(kinds[: max(0, count - 1)]):
        images[i + 1] = kind
    return torch.round(255 * images) / 255


def export_onnx(
    detector: AnyDetector,
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    dynamic: bool = False,
    card: WeightsCard | None = None,
) -> Certificate:
    """Write ``path`` (.onnx) and its certificate (same name, .onnx.json), comparing onnxruntime with PyTorch.

    The graph takes ``image`` (B, 3, H, W), for a clip detector (B, T, 3, H, W) with the view's number of frames, RGB in
    [0, 1] (normalisation is inside) and gives ``logits`` (B,) and, for a localizing detector, ``mask_logits``
    (B, 1, H, W). The card, if given, is stored in the model's metadata.

    Args:
        detector: of the zoo; exported in eval mode.
        path: ends in ``.onnx``.
        size: height and width; default: the detector's view.
        dynamic: any batch size; otherwise 1.
        card: of the weights it carries.

    Raises:
        MissingExtraError: the ``export`` extra is not installed.
        SizeError: not a size the detector takes.
        UnmaskError: the exporter refused, or the path has another suffix.
    """
    onnx, runtime = require_export()
    path = Path(path)
    if path.suffix != ".onnx":
        raise UnmaskError("bad_name", f"the model is written to a .onnx file, got '{path.name}'")
    shape = detector.input_shape(*(size or ()))
    detector.size_rule.check(shape[-2], shape[-1])
    names = ["logits", "mask_logits"][: 2 if detector.localizes else 1]
    training = detector.training
    graph = _Graph(detector).eval()
    try:
        model = _to_onnx(graph, shape, names, dynamic)
        if card is not None:
            onnx.helper.set_model_props(model, {"unmask": json.dumps(to_dict(card))})
        with atomic_path(path) as temporary:
            temporary.write_bytes(model.SerializeToString())
        certificate = _certify(graph, path, names, shape, dynamic, card, (onnx, runtime))
    finally:
        detector.train(training)
    write_text(path.with_suffix(".onnx.json"), json.dumps(to_dict(certificate), indent=1) + "\n")
    return certificate


def _to_onnx(graph: _Graph, shape: tuple[int, ...], names: list[str], dynamic: bool) -> Any:
    example = torch.zeros(2 if dynamic else 1, *shape, device=graph.detector.mean.device)
    shapes = {"image": {0: torch.export.Dim("batch")}} if dynamic else None
    settings: dict[str, Any] = {"dynamic_shapes": shapes, "input_names": ["image"], "output_names": names}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(graph, (example,), dynamo=True, verbose=False, **settings)
    except torch.onnx.errors.OnnxExporterError as error:
        raise UnmaskError("export_failed", f"{type(graph.detector).__name__} did not export: {error}") from error
    return program.model_proto


def _certify(
    graph: _Graph,
    path: Path,
    names: list[str],
    shape: tuple[int, ...],
    dynamic: bool,
    card: WeightsCard | None,
    libraries: tuple[Any, Any],
) -> Certificate:
    session = libraries[1].InferenceSession(str(path), providers=["CPUExecutionProvider"])
    batches = (1, 2, 5) if dynamic else (1,) * 8
    frames = math.prod(shape[:-3])
    images = parity_images(sum(batches) * frames, shape[-2], shape[-1]).view(-1, *shape)
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in names}
    for chunk in torch.split(images, list(batches)):
        with torch.no_grad():
            expected = graph(chunk.to(graph.detector.mean.device))
        got = session.run(names, {"image": chunk.numpy()})
        for name, ours, theirs in zip(names, expected, got, strict=True):
            pairs[name].append((ours.cpu(), torch.from_numpy(theirs)))
    outputs = {name: _compare(compared) for name, compared in pairs.items()}
    return Certificate(
        verdict="PASS" if all(o.passed for o in outputs.values()) else "FAIL",
        model=path.name,
        onnx_sha256=sha256_file(path),
        detector=name_of(graph.detector),
        weights_sha256=card.sha256 if card else None,
        input_shape=("batch" if dynamic else 1, *shape),
        outputs=outputs,
        tolerance=TOLERANCE,
        images=sum(batches),
        batches=batches,
        versions={"unmask": __version__, "torch": torch.__version__, **{m.__name__: m.__version__ for m in libraries}},
        machine=f"{platform.system()} {platform.machine()}",
    )


def _compare(pairs: list[tuple[Tensor, Tensor]]) -> OutputParity:
    largest = max(float(ours.abs().max()) for ours, _ in pairs)
    if any(ours.shape != theirs.shape for ours, theirs in pairs):
        return OutputParity(None, largest)
    diff = float(torch.stack([(ours - theirs).abs().max() for ours, theirs in pairs]).max())
    return OutputParity(diff if math.isfinite(diff) else None, largest)
