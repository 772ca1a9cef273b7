"""The training loop: knows detectors, streams and recipes by their declared properties, never by name.

Lightning Fabric gives devices, mixed precision and distributed data parallel; the loop itself is plain, because its
promise is exactness: what happens at step ``n`` depends on the seed, ``n`` and the state in the checkpoint alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.core.config import to_dict
from unmask.core.errors import ConfigError, TrainingError
from unmask.core.seeds import rng
from unmask.core.types import Batch
from unmask.data.loader import BatchLoader, SampleStream, make_loader
from unmask.detectors.base import AnyDetector
from unmask.losses import Criterion
from unmask.training.checkpoint import (
    load_checkpoint,
    pack_module,
    pack_optimizer,
    save_checkpoint,
    unpack_module,
    unpack_optimizer,
)
from unmask.training.feed import Endless
from unmask.training.journal import Journal
from unmask.training.optim import build_optimizer
from unmask.training.pictures import write_picture
from unmask.training.recipe import Recipe, make_recipe
from unmask.training.schedule import lr_factor
from unmask.training.validation import Autocast, Scored, score

LAST = "last.safetensors"


class _Objective(nn.Module):
    """Detector and criterion as one module, so that a distributed wrapper sees the whole step; takes the batch's
    fields one by one (wrappers look into tuples, not into frozen dataclasses).

    Mixed precision is a plain autocast around the detector: Fabric's own would also round images and labels."""

    def __init__(self, detector: AnyDetector, criterion: Criterion, autocast: Autocast) -> None:
        super().__init__()
        self.detector = detector
        self.criterion = criterion
        self.autocast = autocast

    def forward(self, *fields: Any) -> tuple[Tensor, dict[str, Tensor]]:
        batch = Batch(*fields)
        with self.autocast():
            output = self.detector.forward_train(batch)
        total, parts = self.criterion(output, batch)
        return total, parts


@dataclasses.dataclass
class Progress:
    """Where a run stands; everything but tensors that a checkpoint carries."""

    step: int = 0
    """Optimiser steps tried (skipped ones included) = batches consumed."""
    samples: int = 0
    skipped_steps: int = 0
    skipped_in_a_row: int = 0
    unreadable: int = 0
    """Positions whose sample could not be read."""
    seconds: float = 0.0
    best: float | None = None
    best_step: int | None = None
    best_file: str = ""
    worse: int = 0
    """Validations since the best one."""
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    """Metrics of every validation."""


class Trainer:
    """Trains one detector on one stream.

    Args:
        recipe: settings; its data part is not read here.
        detector: fresh or pretrained, on the CPU.
        stream: training samples.
        held: validation batches in memory; never test data.
        out: folder for checkpoints and logs; must exist.
        fabric: a launched Lightning ``Fabric``.
    """

    def __init__(
        self,
        recipe: Recipe,
        detector: AnyDetector,
        stream: SampleStream,
        held: Sequence[Batch],
        out: Path,
        fabric: Any,
    ) -> None:
        from timm.utils.model_ema import ModelEmaV3

        self.recipe, self.stream, self.held, self.out, self.fabric = recipe, stream, held, out, fabric
        self.criterion = Criterion(recipe.losses, label_smoothing=recipe.label_smoothing, focal_fake=recipe.focal_fake)
        if not detector.localizes and any(name.startswith("mask") for name in self.criterion.weights):
            raise ConfigError("no_mask_output", "the recipe has mask losses, but this detector does not localize")
        if recipe.channels_last:
            detector.to(memory_format=torch.channels_last)
        self.detector = detector.to(fabric.device).train()
        self.optimizer = build_optimizer(detector, recipe.optimizer)
        self.ema = None if recipe.ema_decay is None else ModelEmaV3(detector)
        self.autocast = partial(torch.autocast, fabric.device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
        self.objective = fabric.setup_module(_Objective(detector, self.criterion, self.autocast))
        self.progress = Progress()
        self.parameters = [p for p in detector.parameters() if p.requires_grad]
        self.remembered = detector.remembered()
        own = {tensor.data_ptr() for tensor in self.remembered}
        self.statistics = [b for b in detector.buffers() if b.is_floating_point() and b.data_ptr() not in own]
        self.statistics += self.remembered
        self.backup = [b.clone() for b in self.statistics]
        self._stop = False

        per_step = recipe.batch_size * fabric.world_size
        samples = recipe.epochs * len(stream)
        samples = min(samples, recipe.max_samples) if recipe.max_samples else samples
        self.steps = max(1, math.ceil(samples / per_step))
        self.per_epoch = len(stream) / per_step
        self.validate_every = max(1, round(recipe.validation.every * self.per_epoch))

    @property
    def averaged(self) -> AnyDetector:
        """The weights that are validated and kept: the moving average, where there is one."""
        detector: AnyDetector = self.detector if self.ema is None else self.ema.module
        return detector

    # One step ---------------------------------------------------------------------------------------------------

    def _set_rates(self) -> None:
        p = self.progress
        done = p.step / self.steps
        if self.recipe.max_minutes is not None:
            done = max(done, p.seconds / 60 / self.recipe.max_minutes)
        factor = lr_factor(self.recipe.schedule, done, p.step / self.per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor

    def _step(self, batch: Batch) -> dict[str, float] | None:
        """One optimiser step; None when it was skipped because loss or gradient was not finite."""
        p = self.progress
        torch.manual_seed(int(rng(self.recipe.seed, p.step, self.fabric.global_rank, "step").integers(2**62)))
        self._set_rates()
        if self.statistics:
            torch._foreach_copy_(self.backup, self.statistics)
        batch = batch.to(self.fabric.device)
        if self.recipe.channels_last:
            batch = batch.channels_last()
        total, parts = self.objective(*(getattr(batch, f.name) for f in dataclasses.fields(batch)))
        self.fabric.backward(total)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.recipe.optimizer.clip or math.inf)
        finite = math.isfinite(float(norm)) and math.isfinite(float(total.detach()))
        p.step += 1
        p.samples += len(batch) * self.fabric.world_size
        if self._latest(float(not finite)) > 0:
            self.optimizer.zero_grad(set_to_none=True)
            if self.statistics:
                torch._foreach_copy_(self.statistics, self.backup)
            p.skipped_steps += 1
            p.skipped_in_a_row += 1
            if p.skipped_in_a_row >= self.recipe.nan_patience:
                raise TrainingError(
                    "not_finite",
                    f"loss or gradient was not finite in {p.skipped_in_a_row} steps in a row (step {p.step}); lower "
                    "optimizer.lr, set precision to fp32, or look at the data",
                )
            return None
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        p.skipped_in_a_row = 0
        if self.ema is not None:
            done = p.step - p.skipped_steps - 1  # updates so far
            self.ema.decay = min(self.recipe.ema_decay or 0.0, (1 + done) / (10 + done))
            self.ema.update(self.detector)
            self._copy_remembered()
        values = {"loss": float(total.detach()), "grad_norm": float(norm)}
        return values | {f"loss/{name}": float(value) for name, value in parts.items()}

    def _copy_remembered(self) -> None:
        """A memory is not averaged: the moving average has the one that training has."""
        if self.ema is not None and self.remembered:
            torch._foreach_copy_(self.averaged.remembered(), self.remembered)

    # The run ----------------------------------------------------------------------------------------------------

    def fit(self) -> Progress:
        """Train to the end, to early stopping, or until asked to stop; the last state is then on disk.

        Raises:
            KeyboardInterrupt: stopped by Ctrl-C or SIGTERM, after a checkpoint was written.
            TrainingError: the numbers were not finite for too long.
        """
        p, recipe = self.progress, self.recipe
        journal = Journal(
            self.out,
            self.steps,
            resume_at=p.step or None,
            tensorboard=recipe.tensorboard,
            active=self.fabric.is_global_zero,
        )
        positions = self.steps * recipe.batch_size * self.fabric.world_size
        loader = make_loader(
            Endless(self.stream, positions),
            recipe.batch_size,
            epoch=0,
            start_batch=p.step,
            workers=recipe.workers,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
            pairs=self.detector.uses_pairs,
            pin=self.fabric.device.type == "cuda",
        )
        unreadable = p.unreadable
        try:
            with self._signals():
                self._run(loader, journal, unreadable)
        finally:
            loader.close()
            journal.close()
        if self._stop:
            raise KeyboardInterrupt
        return p

    def _run(self, loader: BatchLoader, journal: Journal, unreadable: int) -> None:
        p, recipe = self.progress, self.recipe
        begun, before, since, seen = time.monotonic(), p.seconds, time.monotonic(), p.samples
        rate, text = 0.0, ""
        while p.step < self.steps and not self._finished():
            epoch = int(p.step / self.per_epoch)
            try:
                batch = next(loader)
            except StopIteration:
                p.step = self.steps
                break
            p.step = loader.next_batch - 1  # a batch without any readable sample was passed over
            values = self._step(batch)
            if int(p.step / self.per_epoch) > epoch:
                self.detector.end_epoch()
                self._copy_remembered()
            p.unreadable = unreadable + loader.skipped
            p.seconds = self._latest(before + time.monotonic() - begun)
            if values is not None and p.step % recipe.log_every == 0:
                now = time.monotonic()
                rate, since, seen = (p.samples - seen) / max(now - since, 1e-9), now, p.samples
                row = {"step": p.step, "epoch": p.step / self.per_epoch, "samples": p.samples, "seconds": p.seconds}
                row |= {"lr": max(g["lr"] for g in self.optimizer.param_groups), "images_per_s": rate, **values}
                journal.step(row | {"skipped_steps": p.skipped_steps, "unreadable": p.unreadable})
                text = f"loss {values['loss']:.4f} · {rate:.0f} images/s · ETA {self._eta(begun, before)}"
            journal.advance(p.step, text)
            self._stop = self._latest(float(self._stop)) > 0
            if p.step % self.validate_every == 0 or p.step >= self.steps or self._out_of_time():
                self._validate(journal)
                since, seen = time.monotonic(), p.samples
                p.seconds = self._latest(before + since - begun)
                self.save()
            elif self._stop or p.step % recipe.checkpoint_every == 0:
                self.save()

    def _eta(self, begun: float, before: float) -> str:
        p = self.progress
        left = (p.seconds / max(p.step, 1)) * (self.steps - p.step)
        if self.recipe.max_minutes is not None:
            left = min(left, max(0.0, self.recipe.max_minutes * 60 - p.seconds))
        return f"{int(left // 3600)}:{int(left // 60 % 60):02d}:{int(left % 60):02d}"

    def _latest(self, value: float) -> float:
        """The largest of all processes' values: what follows from it happens in all of them."""
        if self.fabric.world_size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.fabric.device)
        return float(self.fabric.all_reduce(shared, reduce_op="max"))

    def _out_of_time(self) -> bool:
        return self.recipe.max_minutes is not None and self.progress.seconds >= self.recipe.max_minutes * 60

    def _finished(self) -> bool:
        patience = self.recipe.validation.patience
        return self._stop or self._out_of_time() or (patience is not None and self.progress.worse >= patience)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM ends the run after the step at hand; a second Ctrl-C at once."""

        def stop(number: int, frame: Any) -> None:
            self._stop = True
            signal.signal(signal.SIGINT, signal.default_int_handler)

        try:
            old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: whoever runs us there handles signals
            yield
            return
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    # Validation and state ---------------------------------------------------------------------------------------

    def _validate(self, journal: Journal) -> None:
        p, config = self.progress, self.recipe.validation
        metrics: dict[str, float] = {}
        if self.fabric.is_global_zero:
            metrics = self.score(self.held).metrics()
            write_picture(self.averaged, self.held[0], self.fabric.device, self.autocast, self.out, p.step)
        metrics = self.fabric.broadcast(metrics)
        if config.monitor not in metrics:
            raise ConfigError(
                "unknown_key", f"validation.monitor: no metric '{config.monitor}'; there are: {', '.join(metrics)}"
            )
        value = metrics[config.monitor] * (-1 if config.monitor == "loss" else 1)
        if math.isnan(value) and config.monitor != "loss":
            raise ConfigError(
                "no_metric",
                f"validation.monitor: '{config.monitor}' cannot be computed on the validation images "
                "(one class only, or no mask is known); choose another",
            )
        better = math.isfinite(value) and (p.best is None or value > p.best)
        p.worse = 0 if better else p.worse + 1
        if better:
            p.best, p.best_step, p.best_file = value, p.step, f"best-{p.step}.safetensors"
            if self.fabric.is_global_zero:
                save_checkpoint(self.out / p.best_file, pack_module("best", self.averaged), {"step": p.step} | metrics)
        row = {"step": p.step, "epoch": p.step / self.per_epoch, "seconds": p.seconds, **metrics}
        p.history.append(row)
        shown = ", ".join(f"{k} {v:.4f}" for k, v in metrics.items() if "/" not in k)
        journal.validation(row, f"step {p.step}: {shown}{' (best)' if better else ''}")

    def score(self, batches: Sequence[Batch]) -> Scored:
        """Score batches with the averaged weights; see :func:`unmask.training.validation.score`."""
        return score(self.averaged, batches, self.criterion, self.fabric.device, self.autocast)

    def save(self) -> None:
        """Write the checkpoint and remove best models it no longer names."""
        if not self.fabric.is_global_zero:
            return
        tensors = pack_module("model", self.detector)
        if self.ema is not None:
            tensors |= pack_module("ema", self.ema.module)
        optimizer, rest = pack_optimizer(self.optimizer)
        state = {"progress": dataclasses.asdict(self.progress), "optimizer": rest, "recipe": to_dict(self.recipe)}
        save_checkpoint(self.out / LAST, tensors | optimizer, state)
        for old in self.out.glob("best-*.safetensors"):
            if old.name != self.progress.best_file:
                old.unlink(missing_ok=True)

    def resume(self) -> None:
        """Go on from the checkpoint in ``out``.

        Raises:
            WeightsError: there is none, or it is damaged.
            TrainingError: it was made by a recipe that would train another model.
        """
        tensors, state = load_checkpoint(self.out / LAST)
        check_same(make_recipe(state["recipe"]), self.recipe)
        unpack_module("model", self.detector, tensors)
        if self.ema is not None:
            unpack_module("ema", self.ema.module, tensors)
        unpack_optimizer(self.optimizer, tensors, state["optimizer"])
        self.progress = Progress(**state["progress"])

    def load_best(self) -> None:
        """Put the best validated weights into :attr:`averaged`."""
        if self.progress.best_file:
            tensors, _ = load_checkpoint(self.out / self.progress.best_file)
            unpack_module("best", self.averaged, tensors)


_FREE = ("workers", "threads", "log_every", "checkpoint_every", "tensorboard", "max_minutes", "device")


def check_same(was: Recipe, now: Recipe) -> None:
    """Raise :class:`TrainingError` when a resumed recipe differs in anything that shapes the model."""
    names = [field.name for field in dataclasses.fields(Recipe) if field.name not in _FREE]
    changed = [name for name in names if getattr(was, name) != getattr(now, name)]
    if changed:
        raise TrainingError(
            "other_recipe",
            f"the checkpoint was made with other settings of {', '.join(changed)}; resume with the same recipe, or "
            "train into another folder (--out)",
        )
