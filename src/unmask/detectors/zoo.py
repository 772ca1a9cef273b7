"""Every detector design there is: a table one can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unmask.core.config import build, to_dict, with_overrides
from unmask.core.errors import ConfigError
from unmask.core.names import did_you_mean
from unmask.core.types import ViewConfig
from unmask.detectors.attention_npr import AttentionNPR, AttentionNPRConfig
from unmask.detectors.auranet import AuraNet, AuraNetConfig
from unmask.detectors.base import AnyDetector, DetectorConfig
from unmask.detectors.baseline import Baseline, BaselineConfig
from unmask.detectors.clmf import CLMF, CLMFConfig, StreamConfig
from unmask.detectors.dcr_net import DCRNet, DCRNetConfig
from unmask.detectors.fmca_net import FMCANet, FMCANetConfig
from unmask.detectors.fused import FusedConfig, FusedDetector
from unmask.detectors.meso import Meso, MesoConfig
from unmask.detectors.residual_cnn import ResidualCNN, ResidualCNNConfig
from unmask.detectors.residual_unet import ResidualUNet, ResidualUNetConfig
from unmask.detectors.temporal import Temporal, TemporalConfig


@dataclass(frozen=True)
class ZooEntry:
    """One name of the zoo: its default settings, its class, one line about it."""

    config: DetectorConfig
    detector: type[AnyDetector]
    line: str


ZOO: dict[str, ZooEntry] = {
    "attention_npr": ZooEntry(
        AttentionNPRConfig(), AttentionNPR, "neighbouring pixel residuals at several scales, weighed per image"
    ),
    "npr": ZooEntry(
        AttentionNPRConfig(weighting="single"), AttentionNPR, "the published single-scale NPR detector (CVPR 2024)"
    ),
    "residual_cnn": ZooEntry(
        ResidualCNNConfig(), ResidualCNN, "standardised residuals at full resolution into a small network"
    ),
    "residual_unet": ZooEntry(
        ResidualUNetConfig(), ResidualUNet, "a pretrained network that also hears standardised residuals, with a mask"
    ),
    "baseline": ZooEntry(BaselineConfig(), Baseline, "any timm backbone with a U-Net mask decoder (MobileNetV2)"),
    "xception": ZooEntry(BaselineConfig(backbone="Xception", decoder="none"), Baseline, "Xception, label only"),
    "efficientnet": ZooEntry(
        BaselineConfig(backbone="EfficientNet", decoder="none"), Baseline, "EfficientNet-B0, label only"
    ),
    "mobilenet": ZooEntry(
        BaselineConfig(backbone="MobileNetV3", decoder="none"), Baseline, "MobileNetV3-Large, label only"
    ),
    "dcr_net": ZooEntry(
        DCRNetConfig(), DCRNet, "the difference from the most similar real photos it remembers (ResNet-50)"
    ),
    "dcr_net_tiny": ZooEntry(
        DCRNetConfig(
            view=ViewConfig(kind="face", size=160),
            backbone="mobilenetv2_gluon_e1",
            stages=3,
            frozen_stages=2,
            bank=1024,
            hidden=128,
            momentum=0.99,
            pool=2048,
        ),
        DCRNet,
        "the same on the first stages of MobileNetV2, for CPUs",
    ),
    "fmca_net": ZooEntry(
        FMCANetConfig(), FMCANet, "ViT tokens (DINOv2 ViT-B/14) and Haar-wavelet tokens that read each other"
    ),
    "fmca_net_tiny": ZooEntry(
        FMCANetConfig(
            view=ViewConfig(kind="face", size=128, margin=1.3),
            backbone="vit_tiny_patch16_224",
            vit_stem="mobilenetv2_gluon_e1",
            vit_width=96,
            vit_depth=4,
            frequency_channels=(32, 64, 128, 128, 64),
        ),
        FMCANet,
        "the same with a ViT of four blocks on MobileNetV2's first stages, for CPUs",
    ),
    "auranet": ZooEntry(
        AuraNetConfig(),
        AuraNet,
        "a spatial and a frequency stream that read each other, with a mask (ConvNeXt V2, HAFT)",
    ),
    "auranet_tiny": ZooEntry(
        AuraNetConfig(
            view=ViewConfig(kind="face", size=128),
            dims=(16, 32, 64, 128),
            depths=(1, 1, 2, 1),
            backbone="mobilenetv2_gluon_e1",
            context_vector_dim=32,
            dsf_dim=128,
            decoder_embed_dim=96,
            head_dim=16,
            embedding_dim=64,
        ),
        AuraNet,
        "the same with 1.7 million parameters, MobileNetV2's first stages among them, for CPUs",
    ),
    "temporal": ZooEntry(
        TemporalConfig(), Temporal, "clips: EfficientNetV2 on each frame, a stacked bidirectional LSTM over them"
    ),
    "temporal_tiny": ZooEntry(
        TemporalConfig(
            view=ViewConfig(kind="face", size=96, frames=8),
            backbone="mobilenetv2_gluon_e1",
            stages=2,
            head="graph",
            width=32,
        ),
        Temporal,
        "clips: whether the patches of a face agree from frame to frame (MobileNetV2's first stages), for CPUs",
    ),
    "clmf": ZooEntry(
        CLMFConfig(), CLMF, "a cascade on RGB, LBP and DCT: the whole image, a mask, its two regions, their agreement"
    ),
    "clmf_tiny": ZooEntry(
        CLMFConfig(
            view=ViewConfig(kind="face", size=128),
            streams=(
                StreamConfig("rgb", "mobilenetv2_gluon_e1", stages=3, frozen_stages=2),
                StreamConfig("lbp"),
                StreamConfig("dct"),
            ),
            dim=96,
            decoder_width=32,
            hidden=64,
        ),
        CLMF,
        "the same on the first stages of MobileNetV2 and small stems, for CPUs",
    ),
    "fused": ZooEntry(
        FusedConfig(), FusedDetector, "forensic maps and descriptors with small networks of their own, fused by name"
    ),
    "meso4": ZooEntry(MesoConfig(), Meso, "Meso4 (WIFS 2018), 28 thousand parameters"),
    "mesoinception4": ZooEntry(MesoConfig(variant="mesoinception4"), Meso, "MesoInception4 (WIFS 2018)"),
}


def list_detectors() -> list[str]:
    """Names of every detector design, sorted.

    >>> "baseline" in list_detectors()
    True
    """
    return sorted(ZOO)


def find_detector(name: str) -> ZooEntry:
    """The entry called ``name`` (any case, dashes as underscores).

    Raises:
        ConfigError: no such detector; the message names the nearest.
    """
    key = name.lower().replace("-", "_")
    if key in ZOO:
        return ZOO[key]
    hint = did_you_mean(key, ZOO, cutoff=0.4)
    raise ConfigError("unknown_detector", f"no detector '{name}'{hint}; there are: {', '.join(list_detectors())}")


def _dotted(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys, so that a partial group leaves the entry's other settings alone."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _dotted(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def create_detector(name: str, **overrides: Any) -> AnyDetector:
    """Build an untrained detector; keyword arguments replace fields of its config.

    Args:
        name: a name of :func:`list_detectors`.
        **overrides: fields, nested (``view={"size": 128}``) or dotted (``**{"view.size": 128}``).

    Raises:
        ConfigError: unknown name or field (the message names the nearest known one), or settings that contradict.

    >>> create_detector("npr", view={"size": 128}).config.view
    ViewConfig(kind='native', size=128, margin=1.6, wider=(), crops=5, frames=1)
    """
    entry = find_detector(name)
    config = build(type(entry.config), with_overrides(to_dict(entry.config), _dotted(overrides)))
    return entry.detector(config)


def name_of(detector: AnyDetector) -> str:
    """The zoo's name for a detector: the entry of its class with equal settings, else the class's first entry.

    Raises:
        ConfigError: its class is not in the zoo.
    """
    names = [name for name, entry in ZOO.items() if entry.detector is type(detector)]
    if not names:
        raise ConfigError("unknown_detector", f"{type(detector).__name__} is not in the zoo")
    return next((name for name in names if ZOO[name].config == detector.config), names[0])
