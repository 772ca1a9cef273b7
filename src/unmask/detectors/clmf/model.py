"""CLMF: RGB, LBP and DCT streams that read each other; a global answer, a mask, an answer for each of its regions.

See README.md for the plan, what was left open in it, and every departure.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.errors import WeightsError
from unmask.core.types import DetectorOutput
from unmask.detectors.base import IMAGENET_MEAN, IMAGENET_STD, Detector, DetectorConfig, SizeRule
from unmask.detectors.clmf.config import CLMFConfig
from unmask.detectors.clmf.evidence import regions, unusual
from unmask.detectors.clmf.regions import Head, noisy_or, soft_regions
from unmask.detectors.clmf.streams import EarlyStream, Stream
from unmask.nn.backbones import Backbone, LoadReport
from unmask.nn.decoders import UNetDecoder
from unmask.nn.fusion import EARLY, create_fusion, map_of, tokens_of

_REGION_PRIOR = 1 - 0.5**0.5
"""Both regions at this probability make a noisy-or of one half."""


class CLMF(Detector[CLMFConfig]):
    """Streams, fusion, cascade.

    Takes any image of at least 64 x 64 (reflected to a multiple of the deepest stride, masks cropped back), or one size
    alone where a backbone is made for one (CoAtNet).

    ``aux``: ``global_logits`` and ``aggregate_logits`` (B,), what the whole image and what its regions together say;
    ``local_logits``, ``region_area``, ``region_weight`` (B, 2), suspected region first: its logit, its share of the
    image, what it counts (0 = skipped); ``agreement`` (B,), 1 where both say the same; where the fusion has them,
    ``stream_shares`` (B, streams).

    >>> from unmask.detectors.clmf.config import StreamConfig
    >>> config = CLMFConfig(streams=(StreamConfig("rgb"),), dim=8, grid=8)
    >>> out = CLMF(config).eval()(torch.rand(2, 3, 72, 100))
    >>> out.logits.shape, out.mask_logits.shape, out.aux["local_logits"].shape
    (torch.Size([2]), torch.Size([2, 1, 72, 100]), torch.Size([2, 2]))
    """

    config_class: ClassVar[type[DetectorConfig]] = CLMFConfig

    def __init__(self, config: CLMFConfig) -> None:
        super().__init__(config, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        side = config.view.size
        self.early = config.fusion in EARLY
        self.streams = nn.ModuleList(
            [EarlyStream(config.streams, config.fusion, config.grid, side)]
            if self.early
            else [Stream(stream, config.grid, side) for stream in config.streams]
        )
        dims = [stream.channels[-1] for stream in self._each]
        name = "concat" if self.early or len(dims) == 1 else config.fusion  # one stream: a projection
        self.fusion = create_fusion(name, dims, config.dim, **({} if name != config.fusion else config.fusion_options))
        self.norm = nn.BatchNorm2d(config.dim)
        self.global_head = Head(config.dim, config.hidden, config.dropout)
        self.local_head = Head(config.dim, config.hidden, config.dropout, _REGION_PRIOR)
        strides = [2**k for k in range(2, 6) if 2**k < config.grid]
        self.skips = [(stride, row) for stride in strides if (row := self._places(stride))]
        widths = [sum(self._each[n].channels[i] for n, i in row) for _, row in self.skips]
        self.decoder = UNetDecoder([*widths, config.dim], config.decoder_width)
        self._adopt()

    @property
    def _each(self) -> list[Stream | EarlyStream]:
        return [stream for stream in self.streams if isinstance(stream, (Stream, EarlyStream))]

    def _places(self, stride: int) -> list[tuple[int, int]]:
        """(stream, level) of every feature map of this stride."""
        return [(n, s.strides.index(stride)) for n, s in enumerate(self._each) if stride in s.strides]

    def _pretrained(self) -> Backbone | None:
        """The backbone of the first RGB stream."""
        for stream in self._each:
            if stream.maps[0].rgb and isinstance(stream.network, Backbone):
                return stream.network
        return None

    def _adopt(self) -> None:
        """Standardise images as the RGB stream's backbone expects."""
        backbone = self._pretrained()
        if backbone is not None:
            self.mean.copy_(torch.tensor(backbone.mean).view_as(self.mean))
            self.std.copy_(torch.tensor(backbone.std).view_as(self.std))

    @property
    def localizes(self) -> bool:
        """Always."""
        return True

    @property
    def size_rule(self) -> SizeRule:
        """Any size from 64; the view's alone with a backbone made for one size."""
        fixed = max(stream.side for stream in self._each)
        return SizeRule(minimum=64, fixed=fixed or None)

    def _padded(self, image: Tensor) -> Tensor:
        """Reflected to the right and below, to whole cells of the deepest stride (and of the blocks of 8 x 8)."""
        multiple = max(self.config.grid, *(stream.strides[-1] for stream in self._each))
        below, right = -int(image.shape[-2]) % multiple, -int(image.shape[-1]) % multiple
        return F.pad(image, (0, right, 0, below), mode="reflect") if below or right else image

    def _aligned(self, features: Tensor, stride: int, cell: int, image: Tensor) -> Tensor:
        """Features of one stride on a grid of ``cell`` pixels: averaged if finer, interpolated if coarser (or a pixel
        short, as where a network does not pad)."""
        if cell > stride:
            features = F.avg_pool2d(features, cell // stride, ceil_mode=True)
        size = (int(image.shape[-2]) // cell, int(image.shape[-1]) // cell)
        if (int(features.shape[-2]), int(features.shape[-1])) == size:
            return features
        return F.interpolate(features, size=size, mode="bilinear", align_corners=False)

    def forward(self, image: Tensor) -> DetectorOutput:
        """(B, 3, H, W) in [0, 1] to logits, mask logits (B, 1, H, W) and, in ``aux``, what the cascade said."""
        standard = self._padded(self.normalize(image))
        padded = self._padded(image)
        height, width = image.shape[-2:]
        pyramids = [stream(padded, standard) for stream in self._each]
        grid, size = self.config.grid, (int(padded.shape[-2]), int(padded.shape[-1]))
        last = [
            self._aligned(maps[-1], stream.strides[-1], grid, padded)
            for maps, stream in zip(pyramids, self._each, strict=True)
        ]
        fused, shares = self.fusion.fuse([tokens_of(x) for x in last])
        features = self.norm(map_of(fused, (size[0] // grid, size[1] // grid)))  # (B, dim, h, w)
        skips = [
            torch.cat([self._aligned(pyramids[n][i], stride, stride, padded) for n, i in row], 1)
            for stride, row in self.skips
        ]
        mask_logits = self.decoder([*skips, features], size)
        mask_logits = mask_logits[..., :height, :width].float()
        aux, embedding = self._cascade(features.float(), mask_logits, size)
        if shares is not None:
            aux["stream_shares"] = shares.float().mean(1)
        logits = aux["global_logits"]
        if self.config.answer == "joint":
            logits = (logits + aux["aggregate_logits"]) / 2
        return DetectorOutput(logits, mask_logits, embedding, aux)

    def _cascade(
        self, features: Tensor, mask_logits: Tensor, size: tuple[int, int]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The whole image's answer, then its regions'; and what the global head read, (B, dim)."""
        grid = self.config.grid
        mask = mask_logits.sigmoid()
        inside = torch.ones_like(mask[:1])
        room = (0, size[1] - int(mask.shape[-1]), 0, size[0] - int(mask.shape[-2]))
        mask, inside = (F.avg_pool2d(F.pad(x, room), grid) for x in (mask, inside))  # shares of cells
        whole = (features * inside).sum((2, 3)) / inside.sum((2, 3))  # (B, dim)
        means, area = soft_regions(features, mask, inside)
        overall = self.global_head(whole).squeeze(1).float()
        local = self.local_head(means).squeeze(2).float()  # (B, 2)
        used = area >= self.config.region_min
        aggregate = noisy_or(local, used)
        return {
            "global_logits": overall,
            "local_logits": local,
            "aggregate_logits": aggregate,
            "region_area": area,
            "region_weight": (area if self.config.region_weights == "area" else torch.ones_like(area)) * used,
            "agreement": ((overall > 0) == (aggregate > 0)).float(),
        }, whole

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``backbone`` (networks that can start from pretrained weights), ``stems`` (those that cannot, and the maps'
        norms), ``fusion``, ``decoder`` (mask) and ``head`` (global and local)."""
        networks = [stream.network for stream in self._each]
        early = [stream.fusion for stream in self._each if isinstance(stream, EarlyStream)]
        parts: dict[str, list[nn.Module]] = {
            "backbone": [net for net in networks if isinstance(net, Backbone)],
            "stems": [*(net for net in networks if not isinstance(net, Backbone)), *(s.sources for s in self._each)],
            "fusion": [*early, self.fusion, self.norm],
            "decoder": [self.decoder],
            "head": [self.global_head, self.local_head],
        }
        return {part: [p for m in ms for p in m.parameters() if p.requires_grad] for part, ms in parts.items()}

    def load_backbone(self, source: str | Path) -> LoadReport:
        """Start the first RGB stream's backbone from pretrained weights: a safetensors file, or ``timm``.

        Raises:
            WeightsError: no RGB stream has a backbone, or the file does not fit.
        """
        backbone = self._pretrained()
        if backbone is None:
            raise WeightsError("no_backbone", "no RGB stream of these settings has a backbone with pretrained weights")
        report = backbone.load(source)
        self._adopt()
        return report

    @torch.no_grad()
    def evidence(self, image: Tensor) -> dict[str, Tensor]:
        """For the report: where each map but RGB is unusual, the mask, and the two regions it makes."""
        padded, (height, width) = self._padded(image), image.shape[-2:]
        maps = {}
        for source in (source for stream in self._each for source in stream.maps if not source.rgb):
            values, cells = source.map(padded), source.map.stride
            maps[source.name] = unusual(values[..., : -(-height // cells), : -(-width // cells)])
        return maps | regions(image, self(image))

    def departures(self) -> tuple[str, ...]:
        """From the plan, one sentence each; reasons are in the family's README."""
        config = self.config
        said = {
            "the answer is the mean of the global logit and the regions' (noisy-or)": config.answer == "joint",
            "both regions count the same in the local loss: by area a small edit would count for nothing": (
                config.region_weights == "equal"
            ),
            f"regions under {config.region_min:.0%} of the image are skipped": config.region_min > 0,
            "maps other than RGB are batch-normed before their networks: a block's coefficients differ in scale by "
            "orders": any(not source.rgb for stream in self._each for source in stream.maps),
            "a backbone reads DCT coefficients laid out in place, one channel at the image's size": any(
                stream.layout > 1 for stream in self._each
            ),
            "fused features are batch-normed before the heads": True,
            "the mask is decoded from the fused map and the streams' finer maps": bool(self.skips),
            f"maps are fused early ({config.fusion}) and read by one network": self.early,
        }
        return tuple(sentence for sentence, applies in said.items() if applies)
