"""Feature pyramids: any timm network, and two layouts whose ImageNet weights are at hand, by name.

Nothing is downloaded when a backbone is built; weights come only from :meth:`Backbone.load`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.core.errors import ConfigError, WeightsError

ALIASES = {
    "xception": "legacy_xception",
    "efficientnet": "efficientnet_b0",
    "efficientnetb4": "efficientnet_b4",
    "mobilenet": "mobilenetv2_100",
    "mobilenetv2": "mobilenetv2_100",
    "mobilenetv3": "mobilenetv3_large_100",
    "mobilenetv3small": "mobilenetv3_small_100",
    "mobilenetv4": "mobilenetv4_conv_small",
    "resnet": "resnet50",
    "convnext": "convnext_tiny",
    "coatnet": "coatnet_0_rw_224",
}
"""Names people use (any case, dashes and underscores ignored) for timm's; ``Xception`` is the 2017 network."""

_MOBILENETV2 = (
    "ir_r1_k3_s1_e1_c16",
    "ir_r2_k3_s2_e6_c24",
    "ir_r3_k3_s2_e6_c32",
    "ir_r4_k3_s2_e6_c64",
    "ir_r3_k3_s1_e6_c96",
    "ir_r3_k3_s2_e6_c160",
    "ir_r1_k3_s1_e6_c320",
)


@dataclass(frozen=True)
class LoadReport:
    """What a weights file did to a network."""

    loaded: tuple[str, ...]
    """Keys taken over whole."""
    adapted: tuple[str, ...]
    """First convolutions that got the file's channels, while their further input channels stay as they were; position
    embeddings and patch filters resized."""
    missing: tuple[str, ...]
    """Keys of the network that the file lacks or has in another shape; they stay as they were."""
    unused: tuple[str, ...]
    """Keys of the file that the network has no place for (classifiers, deeper stages)."""

    def __str__(self) -> str:
        """One line of counts, with the first few tensors that stay as they were."""
        text = f"{len(self.loaded)} tensors taken over, {len(self.adapted)} adapted, {len(self.missing)} as initialised"
        if self.missing:
            text += f" ({', '.join(self.missing[:3])}{', ...' if len(self.missing) > 3 else ''})"
        return f"{text}, {len(self.unused)} of the file unused"


def resolve_backbone(name: str) -> str:
    """timm's current name for ``name``, or one of the two layouts defined here.

    Raises:
        ConfigError: nothing of that name; the message names near ones.

    >>> resolve_backbone("Xception"), resolve_backbone("MobileNet-V3"), resolve_backbone("resnet18")
    ('legacy_xception', 'mobilenetv3_large_100', 'resnet18')
    """
    from difflib import get_close_matches

    import timm

    plain = name.lower().replace("-", "").replace("_", "")
    if name in _LOCAL:
        return name
    if plain in ALIASES:
        return ALIASES[plain]
    known = timm.list_models()
    if name in known:
        return name
    near = get_close_matches(name.lower(), [*known, *_LOCAL, *ALIASES], n=3)
    hint = f"; near: {', '.join(near)}" if near else ""
    raise ConfigError("unknown_backbone", f"no backbone '{name}'{hint} (any timm name, or {', '.join(_LOCAL)})")


class _PreActResNet(nn.Module):
    """timm's ``resnetv2_50`` with a norm after the first convolution; features are normalised and activated."""

    def __init__(self, in_channels: int, levels: int) -> None:
        super().__init__()
        import timm
        from timm.layers.norm_act import BatchNormAct2d

        whole: Any = timm.create_model("resnetv2_50", num_classes=0, in_chans=in_channels)
        self.stem = nn.Sequential()
        self.stem.add_module("conv", whole.stem.conv)
        self.stem.add_module("norm", BatchNormAct2d(64))
        self.pool: nn.Module = whole.stem.pool
        self.stages: nn.Sequential = whole.stages[: levels - 1]
        self.norm = BatchNormAct2d(256 * 2 ** (levels - 2)) if levels > 1 else nn.Identity()

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        features = [x]
        x = self.pool(x)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        features[-1] = self.norm(features[-1])
        return features


def _resnetv2_stem_norm(in_channels: int, stages: int) -> tuple[nn.Module, list[int], list[int], list[str]]:
    levels = min(stages, 4) + 1
    names = ["stem", *(f"stages.{i}" for i in range(levels - 1))]
    return (
        _PreActResNet(in_channels, levels),
        [64, 256, 512, 1024, 2048][:levels],
        [2, 4, 8, 16, 32][:levels],
        names,
    )


def _from_info(net: nn.Module, prefix: str) -> tuple[nn.Module, list[int], list[int], list[str]]:
    info: Any = net.feature_info
    names = [prefix + d["module"] for d in info.get_dicts()]
    return net, list(info.channels()), list(info.reduction()), names


def mobilenetv2_e1(in_channels: int) -> nn.Module:
    """MobileNetV2 in the layout of ``mobilenetv2_gluon_e1``, without a classifier."""
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.efficientnet import EfficientNet

    blocks: Any = decode_arch_def([[row] for row in _MOBILENETV2])  # type: ignore[no-untyped-call]
    return EfficientNet(
        blocks,
        num_classes=0,
        num_features=1280,
        in_chans=in_channels,
        stem_size=32,
        norm_layer=nn.BatchNorm2d,
        act_layer=partial(nn.ReLU6, inplace=True),
    )


def _mobilenetv2_e1(in_channels: int, stages: int) -> tuple[nn.Module, list[int], list[int], list[str]]:
    from timm.models._features import FeatureGetterNet

    net = mobilenetv2_e1(in_channels)
    getter = FeatureGetterNet(net, out_indices=tuple(range(min(stages, 4) + 1)), return_dict=False)
    return _from_info(getter, "model.")


def _fixed_size(name: str) -> bool:
    """True for a network of timm's that is built for one size of image (its attention knows places by number)."""
    import timm

    config: Any = None if name in _LOCAL else timm.get_pretrained_cfg(name)
    return bool(config is not None and config.fixed_input_size)


def _timm(
    name: str, image_size: int | None, in_channels: int, stages: int
) -> tuple[nn.Module, list[int], list[int], list[str]]:
    import timm

    kept_size: Any = {} if image_size is None else {"img_size": image_size}
    try:
        probe = timm.create_model(name, features_only=True, feature_cls="getter", in_chans=in_channels, **kept_size)
        info: Any = probe.feature_info
        kept = tuple(i for i, r in enumerate(info.reduction()) if r <= 2 ** (stages + 1))
        if len(kept) < len(info.reduction()):
            probe = timm.create_model(
                name, features_only=True, feature_cls="getter", in_chans=in_channels, out_indices=kept, **kept_size
            )
    except (RuntimeError, AttributeError, TypeError, AssertionError) as error:
        raise ConfigError("bad_backbone", f"timm cannot give feature maps of '{name}': {error}") from error
    return _from_info(probe, "model.")


_LOCAL = {"mobilenetv2_gluon_e1": _mobilenetv2_e1, "resnetv2_50_stem_norm": _resnetv2_stem_norm}


class Pretrained(nn.Module):
    """A network of timm's (or of the same layout) that can start from published weights.

    Attributes:
        name: timm's.
        net: the network.
        mean, std: what its published weights expect, three numbers each.
    """

    name: str
    net: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def _fitted(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The file's tensors, changed where that is known to be harmless."""
        return state

    def load(self, source: str | Path) -> LoadReport:
        """Take over pretrained weights where names and shapes agree.

        Args:
            source: a ``.safetensors`` file in timm's naming, or the word ``timm`` to download timm's own weights.

        Returns:
            What was loaded, adapted, missing and unused. ``mean`` and ``std`` follow the file's metadata.

        Raises:
            WeightsError: the file cannot be read, or less than half of the network found its weights.
        """
        if str(source) == "timm":
            import timm

            state: Mapping[str, Tensor] = timm.create_model(self.name, pretrained=True).state_dict()
        else:
            state, metadata = read_safetensors(source)
            if "mean" in metadata and metadata["mean"].startswith("["):
                self.mean, self.std = tuple(json.loads(metadata["mean"])), tuple(json.loads(metadata["std"]))
        fitted = self._fitted(state)
        report = load_matching(self.net, fitted)
        changed = {key for key in report.loaded if key in state and state[key].shape != fitted[key].shape}
        if changed:
            kept = tuple(key for key in report.loaded if key not in changed)
            report = replace(report, loaded=kept, adapted=(*report.adapted, *sorted(changed)))
        expected = sum(1 for key in self.net.state_dict() if not key.endswith("num_batches_tracked"))
        if 2 * (len(report.loaded) + len(report.adapted)) < expected:
            raise WeightsError(
                "wrong_weights",
                f"{source} fits only {len(report.loaded)} of {expected} tensors of {self.name}; first missing: "
                + ", ".join(report.missing[:3]),
            )
        return report


class Backbone(Pretrained):
    """An image to feature maps, finest first.

    Args:
        name: a timm name, an alias such as ``Xception``, or ``mobilenetv2_gluon_e1`` / ``resnetv2_50_stem_norm``.
        stages: deepest stage kept; stage n has stride ``2 ** (n + 1)``, the stem counts as stage 0. What lies
            deeper is not built.
        in_channels: channels of the input; RGB comes first.
        frozen_stages: how many of the first stages (stem included) stay fixed, their batch-norms in eval mode.
        image_size: side of the square images, for networks that are built for one size; null = their own. Others
            do not need it. What their published weights know of places is left out at another size.

    Attributes:
        channels: channels of each map.
        strides: stride of each map.
        image_size: the side of the only images it takes; None where any size will do.
        mean, std: what the network's ImageNet weights expect, three numbers each.

    >>> import torch
    >>> net = Backbone("mobilenetv2_gluon_e1", stages=2)
    >>> [tuple(f.shape) for f in net(torch.zeros(1, 3, 64, 64))]
    [(1, 16, 32, 32), (1, 24, 16, 16), (1, 32, 8, 8)]
    """

    def __init__(
        self,
        name: str,
        *,
        stages: int = 4,
        in_channels: int = 3,
        frozen_stages: int = 0,
        image_size: int | None = None,
    ) -> None:
        super().__init__()
        self.name = resolve_backbone(name)
        fixed = _fixed_size(self.name)
        build = _LOCAL.get(self.name) or partial(_timm, self.name, image_size if fixed else None)
        self.net, channels, strides, ends = build(in_channels, stages)
        self.channels, self.strides = tuple(channels), tuple(strides)
        config: Any = getattr(self.net, "pretrained_cfg", None) or {}
        self.image_size = (image_size or int(config.get("input_size", (3, 224, 224))[-1])) if fixed else None
        self.mean = tuple(config.get("mean", (0.485, 0.456, 0.406)))
        self.std = tuple(config.get("std", (0.229, 0.224, 0.225)))
        if self.name == "resnetv2_50_stem_norm":
            self.mean, self.std = (0.45222, 0.42571, 0.37757), (0.28551, 0.27888, 0.28231)
        if not 0 <= frozen_stages <= len(channels):
            raise ConfigError(
                "bad_config", f"frozen_stages must be between 0 and {len(channels)} for {name}, got {frozen_stages}"
            )
        self._frozen = _until(self.net, ends[frozen_stages - 1]) if frozen_stages else []
        for module in self._frozen:
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> Backbone:
        """Set training mode, frozen parts excepted."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) to one map per stage: (B, channels[i], H / strides[i], W / strides[i])."""
        return list(self.net(x))


def _until(net: nn.Module, last: str) -> list[nn.Module]:
    """Every module that lies wholly in the part of ``net`` defined up to the end of the module named ``last``."""
    modules, inside = [], False
    for name, module in net.named_modules():
        within = name == last or name.startswith(last + ".")
        if inside and not within:
            break
        inside = inside or within
        if name and not last.startswith(name + "."):
            modules.append(module)
    return modules


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        WeightsError: no such file, or not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except FileNotFoundError:
        raise WeightsError("not_found", f"no weights file {path}") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError("corrupt", f"{path} is not a readable safetensors file: {error}") from error


def load_matching(net: nn.Module, state: Mapping[str, Tensor]) -> LoadReport:
    """Copy every tensor whose name and shape agree; widen a first convolution that has extra input channels.

    A leading ``model.`` or ``net.`` of the network's own wrappers is ignored on both sides.
    """

    def plain(key: str) -> str:
        return key.removeprefix("module.").removeprefix("model.")

    ours = {plain(k): v for k, v in net.state_dict().items()}
    theirs = {plain(k): v for k, v in state.items()}
    loaded, adapted, missing = [], [], []
    with torch.no_grad():
        for key, target in ours.items():
            value = theirs.get(key)
            if value is not None and value.shape == target.shape:
                target.copy_(value)
                loaded.append(key)
            elif (
                value is not None
                and value.ndim == 4 == target.ndim
                and value.shape[1] == 3 < target.shape[1]
                and (value.shape[0], *value.shape[2:]) == (target.shape[0], *target.shape[2:])
            ):
                target[:, :3].copy_(value)
                adapted.append(key)
            elif not key.endswith("num_batches_tracked"):
                missing.append(key)
    used = {*loaded, *adapted}
    return LoadReport(tuple(loaded), tuple(adapted), tuple(missing), tuple(key for key in theirs if key not in used))
