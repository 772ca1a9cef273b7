"""What can be known to be wrong before a run has searched a photo, written a file or taken a step."""

from __future__ import annotations

import copy
from contextlib import suppress
from pathlib import Path

import torch

from unmask.core.errors import ConfigError, TrainingError, UnmaskError
from unmask.core.types import Batch, Sample, collate
from unmask.detectors.base import AnyDetector
from unmask.losses import Criterion
from unmask.training.checkpoint import load_checkpoint
from unmask.training.data import forgery_weights
from unmask.training.journal import summary_writer
from unmask.training.loop import LAST, check_same
from unmask.training.optim import build_optimizer
from unmask.training.recipe import Recipe, make_recipe, read_recipe, recipe_yaml

RECIPE = "recipe.yaml"
WEIGHTS = "weights.safetensors"
BOXES = "boxes.parquet"


def check_recipe(recipe: Recipe, detector: AnyDetector) -> None:
    """Refuse names, weights and losses that this detector cannot be trained with.

    A copy of the detector is shown one small batch of noise: only its output tells whether the losses find in it what
    they read. Detector and random state stay as they are.

    Raises:
        ConfigError, DataError, MissingExtraError: what is wrong, and what there is instead.
    """
    criterion = Criterion(recipe.losses, label_smoothing=recipe.label_smoothing, focal_fake=recipe.focal_fake)
    trial = copy.deepcopy(detector).train()
    build_optimizer(trial, recipe.optimizer)
    if recipe.tensorboard:
        summary_writer()
    monitors = ["loss", "auc", "ap", "pair_order"]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        batch = _noise(detector)
        output = trial.forward_train(batch)
        with suppress(TrainingError):  # about the classes in a batch, and this one is none of the run's
            criterion(output, batch)
    monitors += ["pixel_f1"] if output.mask_logits is not None else []
    monitors += ["video_auc"] if batch.is_clip else []
    if recipe.data.photos is not None:
        monitors += [f"auc/{name}" for name in forgery_weights(recipe, detector.answers)[1]]
    monitor = recipe.validation.monitor
    if monitor not in monitors and (recipe.data.photos is not None or not monitor.startswith("auc/")):
        raise ConfigError("unknown_key", f"validation.monitor: no metric '{monitor}'; there are: {', '.join(monitors)}")


def _noise(detector: AnyDetector) -> Batch:
    """Two pairs of noise of the shape the detector takes, with all that a sample can carry."""
    shape = detector.input_shape()
    mask = torch.zeros(*shape[:-3], 1, *shape[-2:])
    mask[..., : shape[-2] // 2, :] = 1
    samples = []
    for name in ("a", "b"):
        real = torch.rand(shape)
        samples += [Sample(real, 0, torch.zeros_like(mask), real, path=name)]
        samples += [Sample(torch.rand(shape), 1, mask, real, path=name, manipulation="noise")]
    return collate(samples)


def check_folder(out: Path, recipe: Recipe, *, resume: bool) -> bool:
    """Whether ``out`` holds a checkpoint to go on from; if not, whether a run may start there.

    A start that came to nothing leaves a resolved recipe and boxes of faces: nothing to lose, so the next run takes
    the folder over. A recipe written by hand and finished weights are never overwritten.

    Raises:
        TrainingError: ``occupied``, or a checkpoint of another recipe.
        WeightsError: the checkpoint is damaged.
    """
    if out.exists() and not out.is_dir():
        raise TrainingError("occupied", f"{out} is a file; give another --out")
    left = {path.name for path in out.iterdir()} if out.is_dir() else set()
    started = (out / LAST).is_file()
    if started and resume:
        check_same(make_recipe(load_checkpoint(out / LAST)[1]["recipe"]), recipe)
        return True
    ours = RECIPE in left and _is_resolved(out / RECIPE)
    if not started and (WEIGHTS in left or (RECIPE in left and not ours)):
        name = WEIGHTS if WEIGHTS in left else RECIPE
        raise TrainingError(
            "occupied",
            f"{out} holds no checkpoint ({LAST}) to go on from, and a new run would overwrite its {name}; "
            "give another --out",
        )
    if left and not (resume or (ours and left <= {RECIPE, BOXES})):
        raise TrainingError(
            "occupied", f"{out} is not empty; give --resume to go on with the run in it, or another --out"
        )
    return False


def _is_resolved(path: Path) -> bool:
    """True for a recipe as a run writes it; one written by hand is hardly ever the same to the letter."""
    try:
        return path.read_text(encoding="utf-8") == recipe_yaml(read_recipe(path))
    except (UnmaskError, OSError, UnicodeDecodeError):
        return False
