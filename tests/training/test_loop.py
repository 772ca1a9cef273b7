"""What a run promises: exact resume, guards, selection, logs."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TinyDetector, TinyStream, tiny_recipe, tiny_trainer

from unmask.core.errors import ConfigError, TrainingError
from unmask.data.loader import make_loader
from unmask.training.checkpoint import load_checkpoint
from unmask.training.loop import LAST, Trainer


def stopped_after(trainer: Trainer, steps: int) -> None:
    """Run until ``steps`` steps are done, as a Ctrl-C at that moment would."""
    whole = trainer._step

    def step(batch: Any) -> Any:
        values = whole(batch)
        trainer._stop = trainer.progress.step >= steps
        return values

    trainer._step = step  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()


def assert_same_run(one: Path, other: Path) -> None:
    """Every tensor bit for bit, every number of the state but the seconds."""
    (a, state_a), (b, state_b) = load_checkpoint(one / LAST), load_checkpoint(other / LAST)
    assert a.keys() == b.keys()
    assert {k.split(".")[0] for k in a} == {"model", "ema", "optimizer"}
    for name, value in a.items():
        assert value.dtype == b[name].dtype and torch.equal(value, b[name]), name

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if k not in ("seconds", "workers")}
        return [timeless(v) for v in value] if isinstance(value, list) else value

    assert timeless(state_a) == timeless(state_b)
    assert state_a["optimizer"]["groups"], "learning rates are part of the state"


@pytest.mark.parametrize(
    ("workers", "changes", "stops"),
    [
        (0, {}, (1, 2, 5)),  # an epoch is 3.3 steps: all stops lie inside one
        (2, {}, (4,)),
        (0, {"precision": "bf16", "optimizer": {"name": "sgd", "lr": 0.01}, "schedule": {"name": "step"}}, (5,)),
        (0, {"optimizer": {"name": "adam", "lr": 0.01}, "schedule": {"name": "onecycle"}}, (2,)),
    ],
)
def test_resumed_equals_uninterrupted_bit_for_bit(
    tmp_path: Path, workers: int, changes: dict[str, Any], stops: tuple[int, ...]
) -> None:
    stream = TinyStream(broken=(4, 5), nan=(9,))
    whole = tiny_trainer(tmp_path / "whole", tiny_recipe(**changes), stream)
    whole.fit()
    parts = tiny_recipe(**changes, workers=workers)
    for stop in stops:
        trainer = tiny_trainer(tmp_path / "parts", parts, stream)
        if stop != stops[0]:
            trainer.resume()
        stopped_after(trainer, stop)
        assert trainer.progress.step == stop
    trainer = tiny_trainer(tmp_path / "parts", parts, stream)
    trainer.resume()
    trainer.fit()
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    best = whole.progress.best_file
    one, other = (load_checkpoint(tmp_path / name / best)[0] for name in ("whole", "parts"))
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    logs = [list(csv.DictReader((tmp_path / n / "log.csv").open())) for n in ("whole", "parts")]
    times = ("seconds", "images_per_s")
    assert [{k: v for k, v in r.items() if k not in times} for r in logs[0]] == [
        {k: v for k, v in r.items() if k not in times} for r in logs[1]
    ]


def test_workers_and_validation_do_not_change_the_training(tmp_path: Path) -> None:
    runs = {"a": tiny_recipe(), "b": tiny_recipe(workers=1, validation={"every": 0.5})}
    for name, recipe in runs.items():
        tiny_trainer(tmp_path / name, recipe).fit()
    (a, _), (b, _) = (load_checkpoint(tmp_path / name / LAST) for name in runs)
    assert all(torch.equal(value, b[key]) for key, value in a.items())


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    for seed in (0, 1):
        tiny_trainer(tmp_path / str(seed), tiny_recipe(seed=seed, epochs=1)).fit()
    (a, _), (b, _) = (load_checkpoint(tmp_path / str(seed) / LAST) for seed in (0, 1))
    assert not torch.equal(a["model.head.weight"], b["model.head.weight"])


def test_it_learns_the_square(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, tiny_recipe(epochs=40, workers=0))
    trainer.fit()
    last = trainer.progress.history[-1]
    assert last["auc"] > 0.9 and last["pair_order"] > 0.9 and last["pixel_f1"] > 0.8
    assert trainer.progress.best is not None and trainer.progress.best > 0.9


def test_unreadable_samples_are_counted_and_leave_the_rest_alone(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, tiny_recipe(), TinyStream(broken=(4, 5)))
    progress = trainer.fit()
    assert progress.unreadable == 6 and progress.samples == 60 - 6


def test_a_step_that_is_not_finite_changes_nothing(tmp_path: Path) -> None:
    stream = TinyStream(nan=tuple(range(6)))  # the whole first batch of each epoch's start
    trainer = tiny_trainer(tmp_path, tiny_recipe(epochs=0.3), stream)
    before = {key: value.clone() for key, value in trainer.detector.state_dict().items()}
    assert trainer._step(next(make_loader(stream, 6, epoch=0))) is None
    assert trainer.progress.skipped_steps == 1
    for key, value in trainer.detector.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, before[key]), key


def test_nan_guard_gives_up_after_k_in_a_row(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, tiny_recipe(nan_patience=2), TinyStream(nan=tuple(range(20))))
    with pytest.raises(TrainingError, match="2 steps in a row") as caught:
        trainer.fit()
    assert caught.value.code == "not_finite"


def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    recipe = tiny_recipe(epochs=200, optimizer={"lr": 1e-9}, validation={"patience": 2})
    trainer = tiny_trainer(tmp_path, recipe)
    progress = trainer.fit()
    assert len(progress.history) < 30 and progress.worse == 2
    assert [f.name for f in tmp_path.glob("best-*")] == [progress.best_file]
    kept, state = load_checkpoint(tmp_path / progress.best_file)
    trainer.load_best()
    assert all(torch.equal(kept[f"best.{k}"], v) for k, v in trainer.averaged.state_dict().items())
    assert state["auc"] == max(row["auc"] for row in progress.history)


def test_loss_as_monitor_is_minimised(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, tiny_recipe(validation={"monitor": "loss"}))
    progress = trainer.fit()
    lowest = min(progress.history, key=lambda row: row["loss"])
    assert progress.best_step == lowest["step"]


def test_unknown_monitor_names_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pair_order"):
        tiny_trainer(tmp_path, tiny_recipe(validation={"monitor": "auroc"})).fit()


def test_groups_have_their_rates_and_frozen_ones_stay(tmp_path: Path) -> None:
    recipe = tiny_recipe(optimizer={"lr": 0.01, "groups": {"body": 0, "mask": 0.1}}, schedule={"name": "constant"})
    trainer = tiny_trainer(tmp_path, recipe)
    before = {key: value.clone() for key, value in trainer.detector.named_parameters()}
    trainer.fit()
    for key, value in trainer.detector.named_parameters():
        assert torch.equal(value, before[key]) == key.startswith("body"), key
    rates = {(g["part"], round(g["lr"], 6)) for g in trainer.optimizer.param_groups}
    assert rates == {("mask", 0.001), ("head", 0.01)}
    assert all(
        (g["weight_decay"] == 0) == all(p.ndim <= 1 for p in g["params"]) for g in trainer.optimizer.param_groups
    )


def test_limits(tmp_path: Path) -> None:
    assert tiny_trainer(tmp_path / "a", tiny_recipe(max_samples=13)).fit().step == 3
    progress = tiny_trainer(tmp_path / "b", tiny_recipe(epochs=10_000, max_minutes=0.01)).fit()
    assert 0.6 <= progress.seconds < 5
    assert progress.history, "a run that ran out of time is validated too"


def test_ema_warms_up_as_one_plus_n_over_ten_plus_n(tmp_path: Path) -> None:
    """Against the plain recurrence, on a run of a few steps."""
    trainer = tiny_trainer(tmp_path, tiny_recipe(epochs=1, ema_decay=0.5))
    tracked = [trainer.detector.head.weight.detach().clone()]  # type: ignore[union-attr]
    whole = trainer._step

    def step(batch: Any) -> Any:
        values = whole(batch)
        tracked.append(trainer.detector.head.weight.detach().clone())  # type: ignore[union-attr]
        return values

    trainer._step = step  # type: ignore[method-assign]
    trainer.fit()
    average = tracked[0]
    for n, weight in enumerate(tracked[1:]):
        decay = min(0.5, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * weight
    torch.testing.assert_close(trainer.averaged.head.weight.detach(), average)  # type: ignore[union-attr]


def test_resume_refuses_another_recipe_but_not_another_machine(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, tiny_recipe(epochs=1)).fit()
    with pytest.raises(TrainingError, match="batch_size"):
        tiny_trainer(tmp_path, tiny_recipe(epochs=1, batch_size=4)).resume()
    tiny_trainer(tmp_path, tiny_recipe(epochs=1, workers=2, threads=1, log_every=1)).resume()


def test_mask_losses_need_a_detector_that_localizes(tmp_path: Path) -> None:
    class Blind(TinyDetector):
        localizes = False  # type: ignore[assignment]

    from lightning.fabric import Fabric

    with pytest.raises(ConfigError, match="does not localize"):
        Trainer(tiny_recipe(), Blind(), TinyStream(), [], tmp_path, Fabric(accelerator="cpu", devices=1))


def test_unknown_part_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'head'"):
        tiny_trainer(tmp_path, tiny_recipe(optimizer={"groups": {"heads": 1.0}}))


def test_logs_are_numbers(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path, tiny_recipe(tensorboard=True))
    trainer.fit()
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [int(r["step"]) for r in rows] == [2, 4, 6, 8, 10]
    assert all(math.isfinite(float(v)) for r in rows for v in r.values())
    checks = list(csv.DictReader((tmp_path / "validation.csv").open()))
    assert [int(r["step"]) for r in checks] == [3, 6, 9, 10]
    assert list((tmp_path / "tensorboard").iterdir())


def test_pickle_is_nowhere(tmp_path: Path) -> None:
    tiny_trainer(tmp_path, tiny_recipe(epochs=1)).fit()
    assert {p.suffix for p in tmp_path.iterdir()} == {".safetensors", ".csv"}
    assert dataclasses.asdict(tiny_recipe())["tensorboard"] is False
