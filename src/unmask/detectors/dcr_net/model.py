"""DCR-Net: a fake shows as a difference from what the real image would look like.

In training the real counterpart is there to be compared with; later a memory supplies the most similar real features
that it was shown. README.md holds the plan and every departure.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.errors import TrainingError, WeightsError
from unmask.core.types import Batch, DetectorOutput
from unmask.detectors.base import Detector, DetectorConfig, SizeRule
from unmask.detectors.dcr_net.bank import UNKNOWN
from unmask.detectors.dcr_net.config import DCRNetConfig
from unmask.detectors.dcr_net.features import Extractor, Features
from unmask.detectors.dcr_net.memory import Memory, identities
from unmask.detectors.dcr_net.views import bars, other_view
from unmask.nn.attention import CrossAttention
from unmask.nn.backbones import LoadReport
from unmask.ops.heat import above_mean, heat_overlay


class DCRNet(Detector[DCRNetConfig]):
    """Features, their difference from something real, and what attention makes of it. Label only.

    Calling it compares with the memory (*single* mode); :meth:`compare` with a given counterpart (*pair* mode);
    :meth:`update_memory` shows it real images. ``aux`` holds

    - ``anomaly_logits`` (B,): the residual head's;
    - ``distance`` (B,): from the image to what it was compared with, between unit vectors, in [0, 2];
    - ``paired`` (B,) bool: compared with its own counterpart;
    - ``nearest`` (B, top_k): distances to the nearest prototypes, nearest first; inf where there is none of others.

    >>> net = DCRNet(DCRNetConfig(backbone="mobilenetv2_gluon_e1", stages=2, hidden=16, bank=4, top_k=2)).eval()
    >>> net.update_memory(torch.rand(3, 3, 64, 64), torch.zeros(3))
    >>> out = net(torch.rand(2, 3, 64, 64))
    >>> out.logits.shape, out.aux["nearest"].shape
    (torch.Size([2]), torch.Size([2, 2]))
    """

    config_class: ClassVar[type[DetectorConfig]] = DCRNetConfig
    uses_pairs: ClassVar[bool] = True

    def __init__(self, config: DCRNetConfig) -> None:
        extractor = Extractor(config)
        super().__init__(config, mean=extractor.pretrained.mean, std=extractor.pretrained.std)
        channels, hidden = extractor.channels, config.hidden
        self.extractor = extractor
        self.memory = Memory(config, extractor.learning, channels)
        self.project = nn.Linear(channels, hidden)
        self.attention = CrossAttention(hidden, config.heads, channels)
        self.gate = nn.Linear(2 * hidden, hidden) if config.tokens == "many" else None
        self.norm = nn.LayerNorm(hidden)
        self.residual = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(hidden, 1)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(hidden + 1, 1)

    @property
    def size_rule(self) -> SizeRule:
        """Any size from 64; with ``rine`` multiples of the patch."""
        step = self.extractor.multiple
        return SizeRule(minimum=64 if step == 1 else 2 * step, multiple=step)

    def _as_compared(self, seen: Features) -> Features:
        """Features at the length at which they are compared."""
        if self.config.difference == "raw":
            return seen
        return Features(F.normalize(seen.pooled, dim=1), F.normalize(seen.grid, dim=2), seen.rows)

    def _features(self, standard: Tensor) -> Features:
        return self._as_compared(self.extractor(standard))

    def _nearest(self, pooled: Tensor, ids: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, C) features to the nearest prototypes (B, k, C) and the distances (B, k) of the unit vectors."""
        bank = self.memory.bank
        with torch.autocast(pooled.device.type, enabled=False):
            queries = F.normalize(pooled.float(), dim=1)
            found = bank.nearest(queries.detach(), self.config.top_k, ids)
            keys = bank.keys[found.slot]  # (B, k, C)
            distance = torch.linalg.vector_norm(queries[:, None] - keys, dim=2)
        return keys, distance.masked_fill(~found.found[:, None], torch.inf)

    def _judge(self, pooled: Tensor, difference: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C), their difference (B, C) and tokens of differences (B, N, C) to logit and anomaly logit."""
        if self.config.difference == "unit":  # components of unit vectors are small: bring them to about 1
            pooled, difference, tokens = (x * x.shape[-1] ** 0.5 for x in (pooled, difference, tokens))
        hidden = self.project(pooled)
        attended = self.attention(hidden[:, None], tokens)[:, 0]
        if self.gate is not None:
            attended = attended * torch.sigmoid(self.gate(torch.cat([hidden, attended], 1)))
        anomaly = self.residual(difference)  # (B, 1)
        fused = self.dropout(self.norm(hidden + attended))
        return self.classifier(torch.cat([fused, anomaly], 1)).squeeze(1).float(), anomaly.squeeze(1).float()

    def _pair(self, seen: Features, real: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, anomaly logits and distances of images against their counterparts."""
        difference = (seen.pooled - real.pooled).abs()
        tokens = difference[:, None]
        if self.config.tokens == "many":
            tokens = torch.cat([tokens, (seen.grid - real.grid).abs()], 1)
        distance = F.normalize(seen.pooled, dim=1) - F.normalize(real.pooled, dim=1)
        return (*self._judge(seen.pooled, difference, tokens), torch.linalg.vector_norm(distance, dim=1))

    def _single(self, seen: Features, keys: Tensor, distance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same against the nearest prototypes (B, k, C), nearest first."""
        differences = (seen.pooled[:, None] - keys).abs()
        tokens = differences[:, :1]
        if self.config.tokens == "many":
            tokens = torch.cat([differences, (seen.grid - keys[:, :1]).abs()], 1)
        return (*self._judge(seen.pooled, differences[:, 0], tokens), distance[:, 0])

    def forward(self, image: Tensor) -> DetectorOutput:
        """(B, 3, H, W) in [0, 1] against the memory.

        Raises:
            WeightsError: ``empty_memory``: nothing real was ever shown to it.
        """
        standard = self.normalize(image)
        self._check_memory()
        seen = self._features(standard)
        keys, nearest = self._nearest(seen.pooled)
        logits, anomaly, distance = self._single(seen, keys, nearest)
        aux = {"anomaly_logits": anomaly, "distance": distance, "nearest": nearest}
        return DetectorOutput(logits, None, seen.pooled, aux | {"paired": torch.zeros_like(logits, dtype=torch.bool)})

    def _check_memory(self) -> None:
        tracing = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if not tracing and not len(self.memory.bank):
            raise WeightsError(
                "empty_memory",
                "this detector compares with real images and has not been shown any: load trained weights, train it, "
                "or call update_memory(images, labels) with real images (labels 0)",
            )

    def compare(self, image: Tensor, counterpart: Tensor) -> DetectorOutput:
        """(B, 3, H, W) images against their real counterparts, both in [0, 1]; the memory is not asked."""
        count = len(image)
        both = self._features(self.normalize(torch.cat([image, counterpart])))
        seen = both.of(slice(count))
        logits, anomaly, distance = self._pair(seen, both.of(slice(count, None)))
        aux = {"anomaly_logits": anomaly, "distance": distance, "paired": torch.ones_like(logits, dtype=torch.bool)}
        return DetectorOutput(logits, None, seen.pooled, aux)

    @torch.no_grad()
    def update_memory(self, image: Tensor, label: Tensor, ids: Tensor | None = None) -> None:
        """Remember (B, 3, H, W) real images, encoded as :meth:`forward` would (in training mode: by the slow copy).

        Args:
            image: in [0, 1].
            label: (B,) all 0.
            ids: (B,) of who is on them.

        Raises:
            DataError: ``fake_in_memory`` when a label is not 0; nothing is remembered then.
        """
        encode = self.memory.encoder if self.training else self.extractor.learning
        seen: Features = encode(self.extractor.fixed(self.normalize(image)))
        given = torch.full((len(image),), UNKNOWN, device=image.device) if ids is None else ids
        self.memory.bank.write(seen.pooled, given, label)

    def prepare(self, images: Tensor) -> None:
        """Remember real images (B, 3, H, W), if there is nothing in the memory yet."""
        if not len(self.memory.bank):
            self.update_memory(images, torch.zeros(len(images)))

    def forward_train(self, batch: Batch) -> DetectorOutput:
        """Real images of the batch enter the memory; a share of all is compared with it, the rest with counterparts.

        Raises:
            TrainingError: an image without a name, or with neither a counterpart nor anybody else in the memory.
        """
        standard, ids, real = self.normalize(batch.image), identities(batch), batch.label < 0.5
        fixed = self.extractor.fixed(standard)
        self.memory.follow(self.extractor.learning, self.config.momentum)
        with torch.no_grad():
            self.memory.learn(self.memory.encoder(fixed[real]).pooled, ids[real], batch.label[real])
        single = self._alone(batch, ids)
        pair, alone = (~single).nonzero()[:, 0], single.nonzero()[:, 0]
        if len(pair):
            counterpart = other_view(batch.pair[pair]) if self.config.views else batch.pair[pair]
            fixed = torch.cat([fixed, self.extractor.fixed(self.normalize(counterpart))])
        both = self._as_compared(self.extractor.learning(fixed))
        seen, other = both.of(slice(len(batch))), both.of(slice(len(batch), None))
        keys, nearest = self._nearest(seen.pooled, ids)
        parts = []
        if len(pair):
            parts.append(self._pair(seen.of(pair), other))
        if len(alone):
            parts.append(self._single(seen.of(alone), keys[alone], nearest[alone]))
        order = torch.cat([pair, alone]).argsort()
        logits, anomaly, distance = (torch.cat(values)[order] for values in zip(*parts, strict=True))
        aux = {"anomaly_logits": anomaly, "distance": distance, "nearest": nearest, "paired": ~single}
        return DetectorOutput(logits, None, seen.pooled, aux)

    def _alone(self, batch: Batch, ids: Tensor) -> Tensor:
        """(B,) bool: who is compared with the memory. A random share once it is warm, and all without counterpart."""
        config, count = self.config, len(batch)
        possible = self.memory.bank.knows_others(ids)
        share = config.single_share if int(self.memory.seen) >= config.warmup else 0.0
        drawn = torch.randperm(count, device=ids.device) < round(share * count)
        single = (drawn & possible) | ~batch.pair_valid
        if bool((single & ~possible).any()):
            raise TrainingError(
                "nothing_to_compare",
                "an image has no real counterpart, and the memory holds nobody else's real photos to compare it with; "
                "train on pairs (data.photos), or put real photos of several groups into each batch (raise batch_size)",
            )
        return single

    def end_epoch(self) -> None:
        """Rebuild the memory, where ``update`` asks for it."""
        self.memory.end_epoch()

    def remembered(self) -> list[Tensor]:
        """The memory with its slow encoder."""
        return list(self.memory.state_dict().values())

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``backbone``, ``attention`` (with projection and gate) and ``head`` (classifier and residual head)."""
        between = [self.project, self.attention, *([self.gate] if self.gate is not None else [])]
        parts: dict[str, list[nn.Module]] = {
            "backbone": [self.extractor],
            "attention": between,
            "head": [self.norm, self.residual, self.classifier],
        }
        return {
            part: [p for module in modules for p in module.parameters() if p.requires_grad]
            for part, modules in parts.items()
        }

    def load_backbone(self, source: str | Path) -> LoadReport:
        """Published weights into the backbone (or the CLIP tower) and into the slow encoder; see the base class."""
        pretrained = self.extractor.pretrained
        report = pretrained.load(source)
        self.mean.copy_(torch.tensor(pretrained.mean).view_as(self.mean))
        self.std.copy_(torch.tensor(pretrained.std).view_as(self.std))
        self.memory.follow(self.extractor.learning, 0.0)
        return report

    @torch.no_grad()
    def evidence(self, image: Tensor) -> dict[str, Tensor]:
        """``difference from real``: each place against the nearest real prototype, over the photo in grey, from this
        image's mean to its maximum. ``nearest reals``: distances to the nearest prototypes as bars, nearest on top; a
        full bar is 2, opposite vectors."""
        seen = self._features(self.normalize(image))
        self._check_memory()
        keys, distance = self._nearest(seen.pooled)
        apart = torch.linalg.vector_norm(F.normalize(seen.grid, dim=2) - keys[:, :1], dim=2)  # (B, places)
        heat = above_mean(apart.unflatten(1, (1, seen.rows, -1)))
        return {"difference from real": heat_overlay(image, heat), "nearest reals": bars(distance / 2)}

    def departures(self) -> tuple[str, ...]:
        """Where these settings differ from the plan."""
        config = self.config
        said = [
            "one logit for two; the classifier also reads the anomaly logit, so that the label trains every part",
            "unfilled slots are never retrieved; an empty memory is an error that says how to fill it",
            "the ring wraps, and a batch larger than the memory leaves its newest",
            "the anomaly head gives a logit; its loss has the sigmoid",
            "no image retrieves a key of its own photo or person in training",
        ]
        if config.difference == "unit":
            said.append("image and memory are both brought to unit length before the difference, in either mode")
        if config.tokens == "many":
            said.append("attention over the differences of several prototypes and of all places, through a gate")
        if config.single_share:
            said.append(f"{config.single_share:.0%} of each batch is compared with the memory after a warm-up")
        if config.momentum:
            said.append(f"keys come from a copy that keeps {config.momentum:g} of itself per step, always in eval mode")
        if config.views:
            said.append("counterparts are seen in another view, so that a real pair is not one image twice")
        return tuple(said)
