"""Run by test_dcr_training: ``python dcr_ddp_run.py OUT UPDATE``; two processes write the memory each ends with."""

from __future__ import annotations

import sys
from pathlib import Path

from tiny_dcr import Stream, dcr_recipe, dcr_trainer

from unmask.training.checkpoint import pack_module, save_checkpoint


def main() -> None:
    from lightning.fabric import Fabric

    out, update = Path(sys.argv[1]), sys.argv[2]
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_find_unused_parameters_true")
    fabric.launch()
    recipe = dcr_recipe(batch_size=4, devices=2, epochs=2)
    trainer = dcr_trainer(out, recipe, Stream(pairs=12), fabric, update=update, bank=16 if update == "queue" else 6)
    trainer.fit()
    tensors = {key.removeprefix("m."): value for key, value in pack_module("m", trainer.detector.memory).items()}  # type: ignore[arg-type]
    save_checkpoint(out / f"rank{fabric.global_rank}.safetensors", tensors, {})


if __name__ == "__main__":
    main()
