"""AuraNet: where the photo was touched, and whether.

A spatial stream (ConvNeXt V2) and a frequency stream (SRM residuals, wavelets, HAFT) that attend to each other after
every stage; a mask of how fake each pixel is, and a label. The folder's README holds the plan and every departure.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from unmask.core.errors import WeightsError
from unmask.core.types import Batch, DetectorOutput
from unmask.detectors.auranet.config import AuraNetConfig
from unmask.detectors.auranet.encoder import AuraNetEncoder
from unmask.detectors.auranet.evidence import bars, brightened, shares
from unmask.detectors.auranet.haft import HAFT
from unmask.detectors.auranet.heads import DynamicSelection, LabelHead, mask_decoder, skips
from unmask.detectors.auranet.pretraining import COLUMNS, Pretraining, sheet
from unmask.detectors.base import IMAGENET_MEAN, IMAGENET_STD, Detector, DetectorConfig, SizeRule
from unmask.nn.backbones import LoadReport, load_matching, read_safetensors

_TIMM = {40: "atto", 48: "femto", 64: "pico", 80: "nano", 96: "tiny", 128: "base", 192: "large", 352: "huge"}
"""timm's ConvNeXt V2 by the channels of its first stage."""


def reflect_to(image: Tensor, height: int, width: int) -> Tensor:
    """(B, C, H, W) continued to the right and below by reflection, as often as it takes.

    >>> reflect_to(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 1, 8)[0, 0, 0].tolist()
    [1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0]
    """
    for dim, size in ((2, height), (3, width)):
        side = image.shape[dim]
        if side < size:
            place = torch.arange(size, device=image.device) % max(2 * side - 2, 1)
            image = image.index_select(dim, torch.minimum(place, (2 * side - 2 - place).abs()))
    return image


class AuraNet(Detector[AuraNetConfig]):
    """Dual-stream mask and label.

    Takes any image of at least 32 x 32: it is continued by reflection to a multiple of 32 and at least 128 pixels a
    side, and the mask is cropped back. ``aux["fusion_weights"]`` holds the streams' shares (B, 2), spatial first.

    >>> small = AuraNetConfig(dims=(8, 16), depths=(1, 1), num_haft_levels=(2, 1), attention=("deformable", "global"))
    >>> out = AuraNet(small).eval()(torch.rand(2, 3, 40, 100))
    >>> out.logits.shape, out.mask_logits.shape
    (torch.Size([2]), torch.Size([2, 1, 40, 100]))
    """

    config_class: ClassVar[type[DetectorConfig]] = AuraNetConfig

    def __init__(self, config: AuraNetConfig) -> None:
        super().__init__(config, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        self.encoder = AuraNetEncoder(config)
        self._adopt()
        if config.pretraining:
            self.pretrain = Pretraining(config)
            return
        self.select = DynamicSelection(config)
        self.label_head = LabelHead(config)
        self.mask_head = mask_decoder(config, config.dsf_dim)

    def _adopt(self) -> None:
        """Standardise images as the pretrained network, if there is one, expects."""
        if self.encoder.pretrained is not None:
            network = self.encoder.pretrained.network
            self.mean.copy_(torch.tensor(network.mean).view_as(self.mean))
            self.std.copy_(torch.tensor(network.std).view_as(self.std))

    @property
    def localizes(self) -> bool:
        """Always."""
        return True

    @property
    def size_rule(self) -> SizeRule:
        """Any size from 32."""
        return SizeRule(minimum=32)

    def encode(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """(B, 3, H, W) in [0, 1], any size, to the spatial and the frequency maps of the padded image, finest first."""
        size = self.config.padded(int(image.shape[-2]), int(image.shape[-1]))
        standard = self.normalize(image)
        return self.encoder(reflect_to(standard, *size), reflect_to(image, *size))  # type: ignore[no-any-return]

    def forward(self, image: Tensor) -> DetectorOutput:
        """(B, 3, H, W) in [0, 1] to logits, mask logits (B, 1, H, W) and embeddings (B, embedding_dim)."""
        height, width = image.shape[-2:]
        spatial, frequency = self.encode(image)
        if self.config.pretraining:
            return self.pretrain(spatial, frequency, (int(height), int(width)))  # type: ignore[no-any-return]
        fused, weights = self.select([maps[-1] for maps in (spatial, frequency) if maps])
        logits, embedding = self.label_head(fused.mean((2, 3)))
        mask_logits = self.mask_head(fused, skips(spatial, frequency))[..., :height, :width].float()
        return DetectorOutput(logits, mask_logits, embedding, {"fusion_weights": weights.float()})

    def forward_train(self, batch: Batch) -> DetectorOutput:
        """In pre-training patches of the image are hidden; see :class:`Pretraining`."""
        return self.pretrain.masked(self.encode, batch.image) if self.config.pretraining else self(batch.image)

    def forward_validate(self, batch: Batch) -> DetectorOutput:
        """In pre-training with what its losses read, and the same patches hidden each time."""
        return self.pretrain.validated(self.encode, batch.image) if self.config.pretraining else self(batch.image)

    def training_pictures(self, batch: Batch) -> Tensor | None:
        """Up to eight images: the original, in pre-training what is shown and restored, true and predicted mask."""
        if self.config.pretraining:
            return self.pretrain.pictures(self.encode, batch.image, batch.mask)
        image, mask = batch.image[:COLUMNS], batch.mask[:COLUMNS]
        return sheet([image, mask, self(image).mask_logits.sigmoid()])

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """``backbone`` (the pretrained network), ``encoder`` (both streams), ``fusion`` (their attention), ``decoder``
        (mask, image), ``head`` (label).

        Always all five, so that one recipe serves every setting; what a setting does not have is empty.
        """
        between = [self.encoder.fusion] if self.config.frequency_stream else []
        started = [] if self.encoder.pretrained is None else [self.encoder.pretrained.network]
        apart = {id(p) for module in (*between, *started) for p in module.parameters()}
        decoders: list[nn.Module]
        heads: list[nn.Module]
        if self.config.pretraining:
            decoders, heads = [self.pretrain.image_decoder, self.pretrain.mask_decoder], [self.pretrain.project]
        else:
            decoders, heads = [self.mask_head], [self.select, self.label_head]
        groups = {
            "backbone": [p for module in started for p in module.parameters()],
            "encoder": [p for p in self.encoder.parameters() if id(p) not in apart],
            "fusion": [p for module in between for p in module.parameters()],
            "decoder": [p for module in decoders for p in module.parameters()],
            "head": [p for module in heads for p in module.parameters()],
        }
        return {part: [p for p in parameters if p.requires_grad] for part, parameters in groups.items()}

    def load_backbone(self, source: str | Path) -> LoadReport:
        """Start the encoder from a pre-training run of this design; else the config's ``backbone`` from its published
        weights, or without one the spatial stream from ConvNeXt V2 (FCMAE).

        Args:
            source: a safetensors file, of this design or in timm's naming (what has another shape stays as it was), or
                the word ``timm`` to download timm's: the backbone's, or ConvNeXt V2 with the same channels.

        Raises:
            WeightsError: the file cannot be read, is neither, or less than half of the part found its weights.
        """
        own = str(source) != "timm" and any(key.startswith("encoder.") for key in read_safetensors(source)[0])
        if self.encoder.pretrained is not None and not own:
            report = self.encoder.pretrained.network.load(source)
            self._adopt()
            return report
        if str(source) == "timm":
            import timm

            first = self.config.dims[0]
            if first not in _TIMM:
                raise WeightsError("no_backbone", f"timm has no ConvNeXt V2 that starts with {first} channels")
            name = f"convnextv2_{_TIMM[first]}.fcmae"
            state: Mapping[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
        else:
            state, _ = read_safetensors(source)
        if own:
            part: nn.Module = nn.ModuleDict({"encoder": self.encoder})
        else:
            part = nn.ModuleDict({"stages": self.encoder.stages})
            # timm writes some sizes with 1 x 1 convolutions where others have linear layers.
            state = {k: v.flatten(1) if ".mlp." in k and v.shape[2:] == (1, 1) else v for k, v in state.items()}
        report = load_matching(part, state)
        expected = sum(1 for key in part.state_dict() if not key.endswith("num_batches_tracked"))
        if 2 * len(report.loaded) < expected:
            raise WeightsError(
                "wrong_weights",
                f"{source} fits only {len(report.loaded)} of {expected} tensors of AuraNet; expected its weights or "
                f"ConvNeXt V2 of {self.config.dims} channels; first missing: {', '.join(report.missing[:3])}",
            )
        return report

    @torch.no_grad()
    def evidence(self, image: Tensor) -> dict[str, Tensor]:
        """What the frequency stream reads and does, for the report; empty without that stream.

        ``SRM residuals``: mean magnitude of the ten. ``wavelet details``: level 1 and 2, both stronger = brighter.
        ``radial gains``: per stage (left to right) what HAFT multiplies magnitude (top) and phase (bottom) by, from DC
        to the finest frequency, 0 to 2, mean over patches and channels; half height changes nothing. ``spatial |
        frequency``: the streams' shares in the fused map.
        """
        if not self.config.frequency_stream:
            return {}
        profiles: list[Tensor] = []

        def note(haft: HAFT, seen: tuple[Tensor]) -> None:
            profiles.extend(gains.mean((1, 2, 3)) for gains in haft.profiles(seen[0]))

        hooks = [haft.register_forward_pre_hook(note) for haft in self.encoder.haft if isinstance(haft, HAFT)]
        try:
            output = self(image)
        finally:
            for hook in hooks:
                hook.remove()
        height, width = image.shape[-2:]
        size = self.config.padded(int(height), int(width))
        maps = {}
        for name, values in self.encoder.msaf.evidence(reflect_to(image, *size)).items():
            cells = size[0] // values.shape[-2]
            maps[name] = brightened(values[..., : -(-height // cells), : -(-width // cells)])
        if profiles:
            maps["radial gains"] = bars(torch.stack(profiles, 1).view(len(image), -1, 2, profiles[0].shape[-1]) / 2)
        if output.aux:
            maps["spatial | frequency"] = shares(output.aux["fusion_weights"])
        return maps

    def departures(self) -> tuple[str, ...]:
        """From the plan, one sentence each; reasons and measurements are in the family's README."""
        config = self.config
        haft = config.frequency_stream and config.haft
        said = {
            "one logit s * (cos_fake - cos_real) from a cosine classifier, as AM-Softmax needs, for two linear logits; "
            "pooled features are standardised before it": config.head == "cosine",
            "a x2 decoder that reads the earlier stages ends at the image's size, for 8 x 8 values": (
                config.decoder == "pyramid"
            ),
            "32 x 32 values per cell of the last map, for one": config.decoder == "fcmae",
            f"maps of {config.backbone} are added to the spatial stream's: a network that starts from published "
            "weights": config.backbone is not None,
            "no frequency stream": not config.frequency_stream,
            "wavelets are periodised (Haar, then coif1 on its approximation), so that sizes halve exactly": (
                config.frequency_stream
            ),
            "SRM kernels are scaled to unit L1 norm: their gains run from 8 to 256": (
                config.frequency_stream and config.srm_unit_l1
            ),
            "HAFT is left out": config.frequency_stream and not config.haft,
            "radial profiles are resampled to a patch's radii, so that every bin is used at every patch size": (
                haft and config.haft_binning == "resampled"
            ),
            "one HAFT filter per patch, from the mean of its channels, for one per channel": (
                haft and config.haft_context == "mean"
            ),
            "HAFT multiplies magnitude and phase by 1 + tanh, starts as the identity, and leaves the phase of bins "
            "that are their own conjugates alone, so that a real map stays real": haft,
            "HAFT's context heads read log-magnitude, and phase as cosine and sine": haft,
            "deformable attention: nine points of its own per query and a bias on their offsets, for a bias per pair": (
                config.frequency_stream and "deformable" in config.attention
            ),
            f"images are continued by reflection to multiples of {config.multiple}, at least {config.smallest}, and "
            "masks cropped back": True,
        }
        return tuple(sentence for sentence, applies in said.items() if applies)
