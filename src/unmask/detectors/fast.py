"""The same detector, quicker on a CPU: fused graphs and chunks small enough to stay in the cache."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx

from unmask.core.types import DetectorOutput
from unmask.detectors.base import AnyDetector
from unmask.nn.fuse import fuse


class FastDetector:
    """A detector for inference on the CPU; built by :func:`optimize_for_inference`.

    Graphs are made per image size, at the first image of that size (a few seconds each); fewer images than a chunk go
    through a graph of their own.
    """

    def __init__(self, detector: AnyDetector, chunk: int) -> None:
        self.detector = copy.deepcopy(detector).cpu().float().eval().requires_grad_(False)
        self.chunk = chunk
        self._graphs: dict[tuple[int, int, int], fx.GraphModule] = {}

    def __call__(self, images: Tensor) -> DetectorOutput:
        """(B, 3, H, W) RGB in [0, 1] to logits, mask logits and embedding (``aux`` is dropped).

        Raises:
            SizeError: not a size the detector takes.
        """
        self.detector.normalize(images[:0])  # the size check, on no image at all
        size = (int(images.shape[-2]), int(images.shape[-1]))
        count = max(1, min(self.chunk, len(images)))
        if (count, *size) not in self._graphs:
            self._graphs[count, *size] = fuse(self.detector, images.new_zeros(count, 3, *size))
        graph, parts = self._graphs[count, *size], []
        with torch.inference_mode():
            for chunk in torch.split(images.float(), count):
                missing = count - len(chunk)
                whole = torch.cat([chunk, chunk[-1:].expand(missing, -1, -1, -1)]) if missing else chunk
                parts.append([v if v is None else v[: len(chunk)] for v in graph(whole)[:3]])
            logits, masks, embedding = (
                torch.cat(values) if values[0] is not None else None for values in zip(*parts, strict=True)
            )
        assert logits is not None
        return DetectorOutput(logits, masks, embedding)


def optimize_for_inference(detector: AnyDetector, chunk: int = 4) -> FastDetector:
    """A quick copy of ``detector`` for the CPU, equal to it within rounding (1e-4 of a logit).

    Args:
        detector: left as it is; later changes to its weights are not seen.
        chunk: images that go through the network together. Few images stay in the processor's cache, and their
            activations are small enough that the allocator does not return them to the kernel.
    """
    return FastDetector(detector, chunk)
