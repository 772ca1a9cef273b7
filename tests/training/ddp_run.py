"""Run by test_ddp: ``python ddp_run.py OUT DEVICES BATCH_SIZE [STOP_AT]``; trains the plain tiny detector."""

from __future__ import annotations

import sys
from pathlib import Path

from tiny import TinyStream, tiny_recipe, tiny_trainer


def main() -> None:
    from lightning.fabric import Fabric

    out, devices, batch_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    stop_at = int(sys.argv[4]) if len(sys.argv) > 4 else None
    strategy = "ddp_find_unused_parameters_true" if devices > 1 else "auto"
    fabric = Fabric(accelerator="cpu", devices=devices, strategy=strategy)
    fabric.launch()
    recipe = tiny_recipe(losses={"bce": 1}, batch_size=batch_size, devices=devices, epochs=2, optimizer={"clip": None})
    trainer = tiny_trainer(out, recipe, TinyStream(pairs=12), fabric, plain=True)
    if stop_at is None and (out / "last.safetensors").is_file():
        trainer.resume()
    if stop_at is not None:
        whole = trainer._step

        def step(batch: object) -> object:
            values = whole(batch)  # type: ignore[arg-type]
            trainer._stop = fabric.is_global_zero and trainer.progress.step >= stop_at  # one process is told, all stop
            return values

        trainer._step = step  # type: ignore[method-assign, assignment]
    try:
        trainer.fit()
    except KeyboardInterrupt:
        print("stopped at", trainer.progress.step)


if __name__ == "__main__":
    main()
