"""Features of clips: what changes between the frames of a video and should not."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.core.errors import WeightsError
from unmask.core.types import ViewConfig
from unmask.data.clips import cut_clip
from unmask.features.base import Feature, Kind, Measured, Need, Subject, Vector
from unmask.nn.graph import patch_edges

_ORIENTATIONS = 8
_NEAREST = 8


def _around_the_middle(frames: int, most: int) -> range:
    start = max(frames - most, 0) // 2
    return range(start, min(start + most, frames))


class ClipFeature(Feature):
    """A descriptor of the square around the face of a clip's middle frame, the same square in every frame."""

    kinds: ClassVar[tuple[Kind, ...]] = ("clip",)
    needs: ClassVar[tuple[Need, ...]] = ("frames",)
    view: ClassVar[ViewConfig] = ViewConfig(kind="face", size=128, margin=1.6)
    """Of a clip without a face the whole frame."""
    most: ClassVar[int] = 32
    """Frames that are looked at, those around the middle; bounds the memory."""
    smallest: ClassVar[int] = 32
    """Shorter side a frame needs, in pixels."""

    def looked_at(self, frames: int) -> range:
        """At most :attr:`most` frames around the middle."""
        return _around_the_middle(frames, self.most)

    @abstractmethod
    def describe(self, clip: Tensor) -> Tensor:
        """(1, T, 3, S, S) RGB in [0, 1] to (1, D), in the order of :attr:`columns`."""

    def _measure(self, subjects: Sequence[Subject]) -> list[Measured]:
        return [self._clip(subject) for subject in subjects]

    def _clip(self, subject: Subject) -> Measured:
        shapes = {frame.shape[:2] for frame in subject.frames}
        if len(shapes) > 1:
            return Measured("not_applicable")
        if min(min(shape) for shape in shapes) < self.smallest:
            return Measured("too_small")
        frames = [subject.frames[i] for i in self.looked_at(len(subject.frames))]
        faces = [] if subject.face is None else [subject.face]
        clip = torch.from_numpy(cut_clip(frames, faces, self.view)).permute(0, 3, 1, 2).float().div_(255)
        with torch.inference_mode():
            values: Vector = self.describe(clip[None])[0].numpy()
        return Measured("ok", values)


def patch_nodes(clip: Tensor, patch: int) -> Tensor:
    """What each patch looks like: unit vectors (B, T, N, 13) of clips (B, T, 3, H, W).

    Mean colour (3), log contrast (1), and a histogram of gradient orientations over half a turn, weighted by magnitude
    (8); each standardised over the clip. A last entry of constant size keeps patches that look like the average from
    having no direction: unrelated patches then have a cosine of about 0.5.
    """
    batch, count = clip.shape[:2]
    frames = clip.flatten(0, 1)
    luma = frames.mean(1, keepdim=True)  # (B T, 1, H, W)
    across = F.pad(luma[..., 2:] - luma[..., :-2], (1, 1, 0, 0), mode="replicate")
    down = F.pad(luma[..., 2:, :] - luma[..., :-2, :], (0, 0, 1, 1), mode="replicate")
    strength = torch.hypot(across, down)
    place = torch.atan2(down, across).remainder(torch.pi) * (_ORIENTATIONS / torch.pi)  # (B T, 1, H, W) in [0, 8)
    bins = torch.arange(_ORIENTATIONS).view(1, -1, 1, 1)
    apart = (place - bins).abs()
    share = (1 - torch.minimum(apart, _ORIENTATIONS - apart)).clamp_min(0)  # linear between neighbouring bins
    pooled = F.avg_pool2d(torch.cat([frames, luma.square(), strength * share], 1), patch)
    colour, square, turns = pooled[:, :3], pooled[:, 3:4], pooled[:, 4:]
    contrast = (square - colour.mean(1, keepdim=True).square()).clamp_min(0).add(1e-6).log()
    nodes = torch.cat([colour, contrast, turns], 1).flatten(2).transpose(1, 2)  # (B T, N, 12)
    nodes = nodes.reshape(batch, -1, nodes.shape[2])
    spread = nodes.std(1, keepdim=True, correction=0)
    nodes = (nodes - nodes.mean(1, keepdim=True)) / spread.clamp_min(1e-4)
    nodes = F.pad(nodes, (0, 1), value=nodes.shape[2] ** 0.5)
    return F.normalize(nodes, dim=2).unflatten(1, (count, -1))  # type: ignore[no-untyped-call,no-any-return]


class PatchGraph(ClipFeature):
    """Frames as graphs of patches; along time, how like itself each patch and its place in the graph stay."""

    name = "patch_graph"
    line = "consistency of a clip's patch graph: each patch against itself a frame later, and against its graph"
    paper = "Liu 2025"
    patch: ClassVar[int] = 8
    """Side of a patch, in pixels of the view."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Similarity along temporal edges (``edge``), change of the edges within frames (``turn``), share of each
        patch's nearest patches that it keeps (``kept``), and steps that the patches like it do not make (``alone``);
        ``weakest`` / ``most``: of the patch that is worst over time."""
        return (
            "edge_mean",
            "edge_std",
            "edge_min",
            "edge_weakest",
            "edge_unsteady",
            "edge_inner_outer",
            "turn_mean",
            "turn_std",
            "turn_most",
            "kept_mean",
            "kept_weakest",
            "alone_mean",
            "alone_most",
            "alone_inner_outer",
        )

    def describe(self, clip: Tensor) -> Tensor:
        """(B, T, 3, S, S) in [0, 1] to (B, 14)."""
        nodes = patch_nodes(clip, self.patch)
        time, space, turn = patch_edges(nodes)
        nearest = space.topk(_NEAREST + 1, dim=3).indices  # (B, T, N, 9), itself among them
        near = torch.zeros_like(space).scatter_(3, nearest, 1.0)
        kept = ((near[:, 1:] * near[:, :-1]).sum(3) - 1) / _NEAREST  # (B, T - 1, N)
        step = nodes[:, 1:] - nodes[:, :-1]
        alone = (step - near[:, 1:] @ step / (_NEAREST + 1)).norm(dim=3)
        side = clip.shape[-1] // self.patch
        row = torch.arange(side)
        middle = (row >= side // 4) & (row < side - side // 4)
        inner = (middle[:, None] & middle[None, :]).flatten()  # (N,)

        def contrast(values: Tensor) -> Tensor:
            return values[..., inner].mean((1, 2)) - values[..., ~inner].mean((1, 2))

        return torch.stack(
            [
                time.mean((1, 2)),
                time.std((1, 2), correction=0),
                time.amin((1, 2)),
                time.mean(1).amin(1),
                time.mean(2).std(1, correction=0),
                contrast(time),
                turn.mean((1, 2)),
                turn.std((1, 2), correction=0),
                turn.mean(1).amax(1),
                kept.mean((1, 2)),
                kept.mean(1).amin(1),
                alone.mean((1, 2)),
                alone.mean(1).amax(1),
                contrast(alone),
            ],
            1,
        )


class HOGCorrelation(ClipFeature):
    """Whether the histograms of oriented gradients of consecutive frames go together."""

    name = "hog_correlation"
    line = "correlation of the HOG descriptors of consecutive frames, and of the frame after"
    paper = "Megahed 2020"

    @property
    def columns(self) -> tuple[str, ...]:
        """Correlation of each frame with the next, over the clip, and of the first with the last."""
        return "mean", "std", "min", "first_last"

    def describe(self, clip: Tensor) -> Tensor:
        """(B, T, 3, S, S) in [0, 1] to (B, 4), all but ``std`` in [-1, 1]."""
        from unmask.nn.descriptors import create_descriptor

        described: Tensor = create_descriptor("hog")(clip.flatten(0, 1))  # (B T, D)
        described = described.view(*clip.shape[:2], -1)
        unit = F.normalize(described - described.mean(2, keepdim=True), dim=2)
        each = (unit[:, 1:] * unit[:, :-1]).sum(2)  # (B, T - 1)
        ends = (unit[:, -1] * unit[:, 0]).sum(1)
        return torch.stack([each.mean(1), each.std(1, correction=0), each.amin(1), ends], 1)


class SpatioTemporal(ClipFeature):
    """What a trained clip detector makes of a clip: its logit and what its classifier reads."""

    name = "spatio_temporal"
    line = "a network on each frame and a stacked bidirectional LSTM over them: logit and embedding (needs weights)"
    paper = "Khudhur 2025"
    needs: ClassVar[tuple[Need, ...]] = ("frames", "weights")

    def __init__(self, detector: Any = None, fingerprint: str = "") -> None:
        self._detector, self.fingerprint = detector, fingerprint

    @property
    def columns(self) -> tuple[str, ...]:
        """``logit``, and with weights the entries of the embedding."""
        length = 0 if self._detector is None else self._detector.classifier.in_features
        return ("logit", *(f"embedding_{i}" for i in range(length)))

    def with_weights(self, source: str) -> SpatioTemporal:
        """With the weights of a ``temporal`` detector, a file or a shipped name.

        Raises:
            WeightsError: missing, damaged, or of another design.
        """
        from unmask.detectors.temporal import Temporal
        from unmask.detectors.weights import load_weights

        detector, card = load_weights(source)
        if not isinstance(detector, Temporal):
            what = f"{Path(source).name} holds {card.detector}"
            raise WeightsError("wrong_weights", f"feature '{self.name}' takes weights of a temporal detector, {what}")
        return SpatioTemporal(detector, card.sha256)

    def looked_at(self, frames: int) -> range:
        """As many frames around the middle as the detector's view has."""
        return range(0) if self._detector is None else _around_the_middle(frames, self._detector.config.view.frames)

    def _clip(self, subject: Subject) -> Measured:
        view = self._detector.config.view
        frames = [subject.frames[i] for i in self.looked_at(len(subject.frames))]
        if len({frame.shape for frame in frames}) > 1:
            return Measured("not_applicable")
        pixels = torch.from_numpy(cut_clip(frames, [] if subject.face is None else [subject.face], view))
        described = self.describe(pixels.permute(0, 3, 1, 2).float()[None] / 255)
        return Measured("ok", described[0].numpy())

    def describe(self, clip: Tensor) -> Tensor:
        """(B, T, 3, S, S) in [0, 1] to (B, 1 + embedding)."""
        with torch.inference_mode():
            output = self._detector.eval()(clip)
        return torch.cat([output.logits[:, None], output.embedding], 1)
