"""From a recipe to weights with a card: everything ``unmask train`` does."""

from __future__ import annotations

import csv
import io
import logging
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from unmask.core.allocator import keep_freed_memory
from unmask.core.config import to_dict
from unmask.core.errors import DataError
from unmask.core.files import sha256_file, write_text
from unmask.core.types import Batch
from unmask.core.version import __version__
from unmask.data.faces import write_boxes
from unmask.data.loader import make_loader
from unmask.detectors.base import AnyDetector
from unmask.detectors.weights import find_weights, load_state, save_weights
from unmask.detectors.zoo import create_detector
from unmask.training.calibrate import calibrate, far_point
from unmask.training.checks import BOXES, RECIPE, WEIGHTS, check_folder, check_recipe
from unmask.training.data import build_streams, locate
from unmask.training.feed import hold
from unmask.training.loop import Trainer
from unmask.training.recipe import Recipe, recipe_yaml
from unmask.training.validation import Scored

logger = logging.getLogger(__name__)

SCORES = "validation_scores.csv"
FacesProgress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """No progress."""


def build_detector(recipe: Recipe) -> tuple[AnyDetector, dict[str, Any]]:
    """The recipe's detector, initialised from its seed, with the backbone's weights where the recipe names some.

    Returns:
        The detector, and what those weights did to it (empty without any): counts, and the tensors that stay as they
        were initialised; also logged.
    """
    torch.manual_seed(recipe.seed)
    detector = create_detector(recipe.detector.name, **recipe.detector.config)
    source = recipe.detector.backbone_weights
    start: dict[str, Any] = {}
    if source is not None:
        file = source if source == "timm" else locate(Path(source), recipe.data.root)
        report = detector.load_backbone(file)
        logger.info("weights to start from, %s: %s", source, report)
        start = {"file": source, "sha256": sha256_file(file) if isinstance(file, Path) else None}
        start |= {"loaded": len(report.loaded), "adapted": list(report.adapted)}
        start |= {"missing": list(report.missing), "unused": len(report.unused)}
    if recipe.detector.weights is not None:
        trained = find_weights(recipe.detector.weights)
        load_state(detector, trained)
        start = {"file": recipe.detector.weights, "sha256": sha256_file(trained)}
    return detector, start


def preview(recipe: Recipe, progress: FacesProgress = _silent) -> tuple[AnyDetector, Batch]:
    """The detector and a first batch, from as few photos as fill one; trains and writes nothing."""
    detector, _ = build_detector(recipe)
    check_recipe(recipe, detector)
    streams = build_streams(
        recipe, detector.config.view, detector.answers, most=max(4, recipe.batch_size), progress=progress
    )
    return detector, next(make_loader(streams.train, recipe.batch_size, epoch=0))


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    command: str = "",
    progress: FacesProgress = _silent,
) -> Path:
    """Train, select on validation, calibrate, and write ``weights.safetensors`` with its card.

    Args:
        recipe: see :class:`Recipe`.
        out: folder for weights, checkpoints and logs; unless ``resume``, new or empty but for what a start left that
            came to nothing. Nothing is written before all that can be checked without training was.
        resume: go on from the last checkpoint in ``out`` (from the start, if there is none yet).
        command: noted in the card.
        progress: told how many photos were searched for faces.

    Returns:
        The weights file: the best validated (averaged) weights.

    Raises:
        TrainingError: ``out`` holds another run, or the numbers were not finite for too long.
        ConfigError, DataError, WeightsError: something the recipe asks for cannot be had.
        KeyboardInterrupt: stopped; a checkpoint was written and ``resume`` goes on from it.
    """
    from lightning.fabric import Fabric

    out = Path(out)
    first = os.environ.get("LOCAL_RANK", "0") == "0"  # the others come while the first one is at work
    started = check_folder(out, recipe, resume=resume or not first)
    keep_freed_memory()
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    detector, start = build_detector(recipe)
    check_recipe(recipe, detector)
    fabric = Fabric(
        accelerator=recipe.device,
        devices=recipe.devices,
        strategy="ddp_find_unused_parameters_true" if recipe.devices > 1 else "auto",
    )
    fabric.launch()
    with fabric.rank_zero_first():  # the first process finds faces and writes them down, the others read them
        streams = build_streams(
            recipe, detector.config.view, detector.answers, kept_boxes=out / BOXES, progress=progress
        )
        if fabric.is_global_zero:
            out.mkdir(parents=True, exist_ok=True)
            if not started:
                write_text(out / RECIPE, recipe_yaml(recipe))
            if streams.found:
                write_boxes(out / BOXES, streams.found)
    workers = recipe.workers if recipe.workers > 1 else 0
    held = []
    if fabric.is_global_zero:
        held = hold(streams.validation, recipe.validation.samples, recipe.batch_size, workers)
    trainer = Trainer(recipe, detector, streams.train, held, out, fabric)
    if started:
        trainer.resume()
    trainer.fit()
    trainer.load_best()
    if fabric.is_global_zero:
        most = min(len(streams.validation), recipe.validation.calibration_samples)
        held = hold(streams.validation, most, recipe.batch_size, workers)
        scored = trainer.score(held)
        write_scores(out / SCORES, scored, held)
        thresholds = calibration_meta(scored, recipe.seed)
        averaged = trainer.averaged.cpu().to(memory_format=torch.contiguous_format)
        done = trainer.progress
        best = next((row for row in done.history if row["step"] == done.best_step), {})
        meta = thresholds | {
            "detector": recipe.detector.name.lower().replace("-", "_"),
            "metrics": {"validation": best},
            "data": streams.about,
            "code": code_version(),
            "command": command,
            "seed": recipe.seed,
            "notes": {
                "recipe": to_dict(recipe),
                "start": start,
                "steps": done.step,
                "samples": done.samples,
                "seconds": round(done.seconds, 1),
                "skipped_steps": done.skipped_steps,
                "unreadable": done.unreadable,
                "machine": machine(fabric.device),
            },
        }
        save_weights(out / WEIGHTS, averaged, meta, half=recipe.half)
    fabric.barrier()
    return out / WEIGHTS


def write_scores(path: Path, scored: Scored, held: list[Batch]) -> None:
    """The raw logit of every held-out image: path, label, logit, group, source, manipulation. Files of several runs
    that held out different people can be joined and given to :func:`calibrate`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label", "logit", "group", "source", "manipulation"))
    paths, sources = ([name for b in held for name in getattr(b, field)] for field in ("path", "source"))
    columns = (scored.labels.astype(int).tolist(), scored.logits.tolist(), scored.groups, sources)
    writer.writerows(zip(paths, *columns, scored.manipulations, strict=True))
    write_text(path, text.getvalue())


def calibration_meta(scored: Scored, seed: int) -> dict[str, Any]:
    """Scale, offset and thresholds on held-out images; a reason where they cannot be had."""
    mask, _ = scored.mask_threshold()
    try:
        meta = calibrate(scored.logits, scored.labels, scored.groups, seed=seed).to_meta(mask)
    except DataError as error:
        doubt = f"not calibrated: {error.message}"
        meta = {"thresholds": {"fake": None, "real": None, "mask": mask, "doubt": doubt}}
    if scored.nearest is not None:
        point = far_point(scored.nearest, scored.labels)
        meta["thresholds"] |= {"distance": point["threshold"], "distance_point": point}
    return meta


def code_version() -> dict[str, str]:
    """Version of the package, its commit when it runs from a checkout, and of torch."""
    versions = {"unmask": __version__, "torch": str(torch.__version__), "python": platform.python_version()}
    folder = Path(__file__).parent
    try:
        for name, words in (("commit", ("rev-parse", "HEAD")), ("changes", ("status", "--porcelain", "-uno", "."))):
            found = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
            if found.returncode == 0:
                versions[name] = found.stdout.strip() if name == "commit" else str(len(found.stdout.splitlines()))
    except (OSError, subprocess.TimeoutExpired):
        pass
    return versions


def machine(device: torch.device) -> str:
    """One line about the hardware."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return f"{device.type}: {where}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
