"""What benchmarks/evidence.py compares: studies, their options, and the settings that make each."""

from __future__ import annotations

from typing import Any, NamedTuple

IMAGENET = "backbones/mobilenetv2_gluon_e1.in1k_features.safetensors"
TRAINED_KINDS = {"self_blend": 3.0, "splice": 1.5, "copy_move": 1.5, "inpaint": 2.0}
LEFT_OUT = ("upsample", "warp", "retouch", "resynthesis_part")


class Option(NamedTuple):
    """One row of a study: settings of the recipe that differ from the study's."""

    changes: dict[str, Any] = {}  # noqa: RUF012
    recipe: str | None = None
    """Another recipe than the study's."""
    pretrained: bool = False
    """AuraNet's encoder is pre-trained on ``--pretrain-samples`` images first."""
    longer: bool = False
    """Sees that many images more instead."""


class Study(NamedTuple):
    """Options that are compared; the first is the reference."""

    recipe: str
    options: dict[str, Option]
    common: dict[str, Any] = {}  # noqa: RUF012
    """Settings of every option, before its own."""
    screen: bool = True
    """One seed for each, the others for the finalists; False: all seeds for all."""
    localizes: bool = False


def parts(**changes: Any) -> Option:
    """An option that differs in fields of the detector's config."""
    return Option({f"detector.config.{name}": value for name, value in changes.items()})


STAGES = 4
AURANET = {
    "detector.name": "auranet_tiny",
    "detector.backbone_weights": IMAGENET,
    "optimizer.groups": {"backbone": 0.5},
}
AURANET_LOSSES = {"mask_l1_ssim": 1.0, "mask_bce": 1.0, "am_softmax": 1.0}
FMCA = {"detector.config.view.margin": 1.6}
DCR = {"detector.config.view.size": 128, "detector.config.warmup": 256}
MASKS = {"mask_bce": 2.0, "mask_dice": 1.0}
CLMF = {"detector.config.view.margin": 1.6, "losses.cascade_mask": 1.0, "losses.mask_dice": 0.0}  # as it was compared
RGB = {"map": "rgb", "backbone": "mobilenetv2_gluon_e1", "stages": 3, "frozen_stages": 2}
FUSIONS = ("concat", "weighted_sum", "mlp", "gating", "film", "pooling", "hierarchical", "reliability")
EARLY = ("concat_channels", "concat_space", "merge")
TERMS = ("cascade_mask", "cascade_local", "cascade_consistency", "mask_smooth", "mask_sparse")


def stream(maps: dict[str, Any]) -> Option:
    """CLMF on one stream; only RGB starts from ImageNet weights."""
    start = {} if maps["map"] == "rgb" else {"detector.backbone_weights": None}
    return Option(parts(streams=[maps]).changes | start)


def without(term: str) -> Option:
    """CLMF trained without one of its losses."""
    return Option({f"losses.{term}": 0.0})


STUDIES = {
    "auranet": Study(
        "auranet_finetune.yaml",
        {
            "reference": Option(),
            "pretrained": Option(pretrained=True),
            "longer": Option(longer=True),
            "no frequency stream": parts(frequency_stream=False),
            "HAFT identity": parts(haft=False),
            "attention all global": parts(attention=["global"] * STAGES),
            "attention all deformable": parts(attention=["deformable"] * STAGES),
            "decoder fcmae": parts(decoder="fcmae"),
            "decoder coarse": parts(decoder="coarse"),
            "literal network": parts(
                srm_unit_l1=False, haft_binning="floor", haft_split="half", decoder="coarse", head="linear"
            ),
            "literal losses": Option({"losses": {"mask_l1_ssim": 1.0, "am_softmax": 1.0}}),
            "pair loss": Option({"losses": AURANET_LOSSES | {"rank": 0.5}}),
            "no pretrained network": Option({"detector.config.backbone": None, "detector.backbone_weights": None}),
        },
        AURANET,
        localizes=True,
    ),
    "families": Study(
        "baseline_quick.yaml",
        {
            "baseline": Option(
                {"detector.name": "baseline", "detector.config.view.size": 128, "detector.backbone_weights": IMAGENET}
                | {"losses": {"bce": 1.0, "rank": 0.5} | MASKS}
            ),
            "baseline, random start": Option(
                {"detector.name": "baseline", "detector.config.view.size": 128, "detector.backbone_weights": None}
                | {"losses": {"bce": 1.0, "rank": 0.5} | MASKS}
            ),
            "fmca_net_tiny": Option(FMCA, "fmca_net_tiny.yaml"),
            "fmca_net_tiny, random start": Option(
                FMCA | {"detector.config.vit_stem": None, "detector.backbone_weights": None}, "fmca_net_tiny.yaml"
            ),
            "dcr_net_tiny": Option(DCR, "dcr_net_tiny.yaml"),
            "clmf_tiny": Option(CLMF, "clmf_tiny.yaml"),
            "auranet_tiny": Option(AURANET, "auranet_finetune.yaml"),
        },
        screen=False,
    ),
    "fmca": Study(
        "fmca_net_tiny.yaml",
        {
            "reference": Option(),
            "without FTMA": parts(ftma=False),
            "without SFCM": parts(sfcm=False),
            "without GSFC": parts(gsfc=False),
            "without frequency branch": parts(frequency=False),
            "FTMA weights averaged over tokens": parts(ftma_pool="mean"),
        },
        FMCA,
    ),
    "dcr": Study(
        "dcr_net_tiny.yaml",
        {
            "reference": Option(),
            "pairs only": parts(single_share=0.0),
            "one token": parts(tokens="one"),
            "literal": parts(momentum=0.0, single_share=0.0, views=False, difference="raw", tokens="one"),
        },
        DCR,
    ),
    "rules": Study(
        "dcr_net_tiny.yaml",
        {"queue": parts(update="queue"), "rebuild": parts(update="rebuild"), "kmeans": parts(update="kmeans")},
        DCR | {"detector.config.bank": 256},  # smaller than an epoch's real photos, else two rules are one
        screen=False,
    ),
    "clmf": Study(
        "clmf_tiny.yaml",
        {
            "reference": Option(),
            **{f"stream {name} alone": stream({"map": name}) for name in ("lbp", "dct")},
            "stream rgb alone": stream(RGB),
            **{f"fusion {name}": parts(fusion=name) for name in FUSIONS},
            **{f"early fusion {name}": parts(fusion=name) for name in EARLY},
            **{f"without {term}": without(term) for term in TERMS},
            "bce for cascade_label": Option({"losses.cascade_label": 0.0, "losses.bce": 1.0}),
            "mask_dice for cascade_mask": Option({"losses.cascade_mask": 0.0, "losses.mask_dice": 1.0}),
            "answer global": parts(answer="global"),
            "literal": Option(
                parts(answer="global", region_weights="area").changes
                | {"losses.cascade_label": 0.0, "losses.bce": 1.0, "losses.cascade_mask": 0.0, "losses.mask_dice": 1.0}
            ),
        },
        CLMF,
        localizes=True,
    ),
}
