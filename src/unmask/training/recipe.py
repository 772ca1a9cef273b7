"""A recipe: everything that determines a trained detector, typed; YAML holds what differs from the defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from unmask.core.config import build, to_dict, with_overrides
from unmask.core.errors import ConfigError
from unmask.core.names import did_you_mean
from unmask.data.degradations import PostConfig
from unmask.data.masks import MaskPolicy


@dataclass(frozen=True)
class DetectorSpec:
    """Which design is trained, and from what it starts."""

    name: str = "baseline"
    """A name of `unmask list detectors`."""
    config: dict[str, Any] = field(default_factory=dict)
    """Fields of the design's config that differ from its defaults, e.g. `{view: {size: 224}}`."""
    backbone_weights: str | None = None
    """A safetensors file to start the backbone from (relative to `data.root` or $UNMASK_DATA); `timm` downloads timm's
    own; null = random."""
    weights: str | None = None
    """Trained weights of the same design to go on from, instead: a file or a shipped name."""

    def __post_init__(self) -> None:
        if self.weights is not None and self.backbone_weights is not None:
            raise ConfigError("bad_config", "set detector.weights or detector.backbone_weights, not both")


@dataclass(frozen=True)
class DataConfig:
    """What is trained on. Exactly one of `photos` and `manifest` is set."""

    photos: Path | None = None
    """Real photos, forged on the fly into aligned pairs: a folder, or a manifest of which the reals are taken."""
    manifest: Path | None = None
    """Labelled images on disk, see `unmask data index`."""
    balance: Literal["class", "pair", "m_per_class"] = "class"
    """How batches of a manifest are made up: real and fake by turns; each fake beside its own real counterpart; or runs
    of `per_class` images of the reals or of one manipulation, for losses on embeddings. `manifest` only."""
    per_class: int = 4
    """Length of these runs of `m_per_class`."""
    root: Path | None = None
    """Where relative paths of the recipe start; null = $UNMASK_DATA, else the current folder."""
    boxes: Path | None = None
    """Face boxes (CSV or Parquet); null = faces are found once at the start."""
    forgeries: dict[str, float] = field(default_factory=dict)
    """How often each forgery is drawn, by name of `unmask list forgeries`; empty = evenly all that the
    detector is there for (edits, whole re-syntheses, or both)."""
    post: PostConfig = field(default_factory=PostConfig)
    """What happens to both classes alike after the forgery."""
    size: int | None = None
    """Train on squares of this side cut at the detector's own scale (validation keeps its full view); null = its view.
    Smaller squares are cheaper, and a design that averages over places does not mind."""
    flip: bool = True
    """Mirror half of the samples."""
    rotate: float = 0.0
    """Turn samples by up to this many degrees either way."""
    repeat: int = 1
    """Pairs per photo and epoch (`photos` only, like all below but the last)."""
    jitter: float = 0.15
    """How much crops vary in size and place."""
    matched: float = 0.5
    """Probability that a whole photo, real side included, is first changed the way forgeries change a part."""
    recompressed: float = 0.3
    """Probability of a JPEG of its own before the forgery."""
    original: float = 0.5
    """Probability of forging at the photo's own resolution and resizing to the view after, as edits are made. For a
    `native` view: of shrinking the photo before, up to twice, with a random kernel."""
    zoom: float = 1.0
    """Whole views of `size` up to this many times larger; a square of `size` that shows some of the forgery is cut from
    each. One network learns several scales for the price of the smallest."""
    early: float = 0.0
    """Probability of `post` before that resizing instead of after it."""
    mask_policy: MaskPolicy = "ignore"
    """The true mask of wholly generated images (forged as a whole; in a manifest also any fake without a mask file): 1
    everywhere (`ones`), 1 in the boxes of their faces (`face`), or not known (`ignore`), which leaves them out of the
    losses on masks and regions."""
    clips: int = 4
    """Clips per video, evenly spaced, for a detector of clips (whose `view.frames` says how long they are)."""
    split: str = "train"
    """Split of the manifest that is trained on."""


@dataclass(frozen=True)
class ValidationConfig:
    """What the model is selected and calibrated on; never test data."""

    manifest: Path | None = None
    """Other labelled images than `data.manifest` to validate on; null = the same manifest."""
    split: Literal["val", "train"] = "val"
    """Split of the manifest; `train` only makes sense with a manifest of its own."""
    share: float = 0.15
    """Share of the people held out when the photos have no split."""
    forgeries: dict[str, float] = field(default_factory=dict)
    """Kinds of forgeries to validate on, left-out ones included; empty = those of `data.forgeries`."""
    samples: int = 400
    """At most this many images are scored at each validation (they are kept in memory)."""
    calibration_samples: int = 1200
    """At most this many images are scored once at the end, for thresholds; more need more held-out photos to mean
    more."""
    every: float = 1.0
    """Epochs between validations."""
    monitor: str = "auc"
    """What selects the best model: `auc`, `ap`, `pair_order`, `pixel_f1`, of clips `video_auc`, `auc/KIND` (higher is
    better), or `loss`."""
    patience: int | None = None
    """Stop after this many validations without a better one; null = never."""


@dataclass(frozen=True)
class OptimizerConfig:
    """How parameters move."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 3e-4
    """Peak learning rate."""
    groups: dict[str, float] = field(default_factory=dict)
    """Factor on `lr` by part of the detector (see `unmask model NAME`), e.g. `{backbone: 0.1}`; 0 freezes the part."""
    weight_decay: float = 0.01
    """On weights with two or more dimensions; biases and norms have none."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam's."""
    momentum: float = 0.9
    """SGD's (Nesterov)."""
    clip: float | None = 5.0
    """Largest norm of all gradients together; null = no limit."""


@dataclass(frozen=True)
class ScheduleConfig:
    """The factor on the learning rate over the run."""

    name: Literal["cosine", "step", "onecycle", "constant"] = "cosine"
    warmup: float = 0.05
    """Share of the run with a linear rise (for `onecycle`: a cosine rise)."""
    final: float = 0.01
    """Factor at the end of `cosine` and `onecycle`."""
    step_epochs: int = 10
    """Epochs between the drops of `step`."""
    gamma: float = 0.9
    """Factor of each drop of `step`."""


@dataclass(frozen=True)
class Recipe:
    """A training run. The defaults are the truth; a YAML file names only what differs."""

    detector: DetectorSpec = field(default_factory=DetectorSpec)
    data: DataConfig = field(default_factory=DataConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    losses: dict[str, float] = field(default_factory=lambda: {"bce": 1.0})
    """Weight of each term: bce, focal, rank, unsharp_bias, am_softmax, mask_bce, mask_dice, mask_l1_ssim,
    boundary_bce, supcon, reconstruction, anomaly, contrastive, info_nce, cascade_mask, cascade_local,
    cascade_label, cascade_consistency, mask_smooth, mask_sparse."""
    label_smoothing: float = 0.0
    """Of `bce`, in [0, 1)."""
    focal_fake: float = 0.5
    """Weight of the fakes in `focal`; the reals weigh 1 minus it."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    epochs: float = 20.0
    """Passes over the training photos (both classes of a forged pair count as samples)."""
    max_samples: int | None = None
    """Stop after this many images, if that is sooner."""
    max_minutes: float | None = None
    """Stop after this much training time, if that is sooner; the schedule then follows the clock, and such a run
    cannot be repeated bit for bit."""
    batch_size: int = 32
    """Images per step and process."""
    ema_decay: float | None = 0.999
    """Averaging of the weights over steps; after n steps the decay is at most (1 + n) / (10 + n); null = off. The
    average is validated and kept."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 = automatic mixed precision: about twice as fast on CPUs with AMX and on recent GPUs."""
    channels_last: bool = True
    workers: int = 1
    """Processes that make samples beside the training process; 0 = none. Never changes the result."""
    threads: int | None = None
    """Threads of the training process; null = torch's default."""
    seed: int = 0
    nan_patience: int = 20
    """Steps in a row whose loss or gradient is not finite (they are skipped and counted) before the run stops."""
    checkpoint_every: int = 200
    """Steps between checkpoints; one is also written at each validation and when stopped by Ctrl-C."""
    log_every: int = 10
    """Steps between rows of log.csv."""
    half: bool = False
    """Write the final weights as float16: half the bytes, scores equal to about three digits."""
    tensorboard: bool = False
    """Also write TensorBoard events (extra `tensorboard`)."""
    device: str = "auto"
    """auto, cpu, cuda, mps."""
    devices: int = 1
    """Processes (and devices) that share each step, by distributed data parallel."""

    def __post_init__(self) -> None:
        positive = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "checkpoint_every": self.checkpoint_every,
            "log_every": self.log_every,
            "nan_patience": self.nan_patience,
            "devices": self.devices,
            "data.per_class": self.data.per_class,
            "data.clips": self.data.clips,
            "optimizer.lr": self.optimizer.lr,
            "validation.every": self.validation.every,
            "validation.samples": self.validation.samples,
            "validation.calibration_samples": self.validation.calibration_samples,
        }
        for name, value in positive.items():
            if not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        for name, share in {"schedule.warmup": self.schedule.warmup, "validation.share": self.validation.share}.items():
            if not 0 <= share < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {share}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in (0, 1) or be null, got {self.ema_decay}")


def read_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a YAML recipe and lay dotted overrides over it.

    Raises:
        ConfigError: no such file, not YAML, an unknown key (the nearest is named), a wrong value, or a request to
            select on test data.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError("no_recipe", f"cannot read the recipe {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError("bad_recipe", f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, Mapping):
        raise ConfigError("bad_recipe", f"{path}: a recipe is a mapping of settings, got {type(values).__name__}")
    return make_recipe(with_overrides(values, overrides or {}))


def make_recipe(values: Mapping[str, Any]) -> Recipe:
    """Build a recipe from nested plain values; the same errors as :func:`read_recipe`.

    >>> make_recipe({"optimizer": {"lr": "1e-4"}, "epochs": 3}).optimizer.lr
    0.0001
    >>> make_recipe({"validation": {"split": "test"}})
    Traceback (most recent call last):
    unmask.core.errors.ConfigError: a model is selected on validation data only: validation.split must be 'val'...
    """
    validation = values.get("validation") or {}
    if isinstance(validation, Mapping) and validation.get("split") == "test":
        raise ConfigError(
            "select_on_test",
            "a model is selected on validation data only: validation.split must be 'val', got 'test'; "
            "measure the finished model on test data with `unmask evaluate`",
        )
    return build(Recipe, values)


def recipe_yaml(recipe: Recipe) -> str:
    """The whole resolved recipe as YAML that :func:`read_recipe` reads back."""
    import yaml

    return yaml.safe_dump(to_dict(recipe), sort_keys=False, allow_unicode=True, width=100)


def parse_overrides(words: list[str]) -> dict[str, Any]:
    """``--key value`` pairs (or ``--key=value``) with dotted keys; values are read as YAML.

    >>> parse_overrides(["--optimizer.lr", "1e-4", "--workers=0", "--losses", "{bce: 1, rank: 0.5}"])
    {'optimizer.lr': '1e-4', 'workers': 0, 'losses': {'bce': 1, 'rank': 0.5}}
    """
    import yaml

    result: dict[str, Any] = {}
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if not word.startswith("--") or len(word) == 2:
            raise ConfigError("bad_override", f"expected '--key value', got '{word}'")
        key, equals, text = word[2:].partition("=")
        if not equals:
            if not queue:
                raise ConfigError("bad_override", f"'{word}' needs a value")
            text = queue.pop(0)
        key = key.replace("-", "_")
        known = [f.name for f in dataclasses.fields(Recipe)]
        if key.split(".")[0] not in known:
            hint = did_you_mean("--" + key.split(".")[0], [f"--{name}" for name in known])
            raise ConfigError("unknown_key", f"unknown setting '--{key}'{hint}; see unmask train --help")
        try:
            result[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            result[key] = text
    return result
