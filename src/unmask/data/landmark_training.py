"""Train the landmark network that ships: one command, about a quarter of an hour on one core.

    python -m unmask.data.landmark_training MANIFEST.csv --boxes boxes.csv --teacher facemesh.safetensors

The manifest's real photos of split ``train`` are learnt from (the shipped file: public-domain and CC0 ones); those of
``val`` are measured on the way and choose nothing. Stopped, it goes on from its last hundred steps.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from unmask.core.errors import DataError, TrainingError
from unmask.core.files import atomic_path, sha256_file, write_text
from unmask.core.seeds import rng
from unmask.data.faces import align, read_boxes
from unmask.data.intake import decode
from unmask.data.landmark_examples import Examples, Varied, collect, eye_distance, find_mirror, vary, weather
from unmask.data.landmark_teacher import Teacher, load_teacher
from unmask.data.manifest import Row, data_hash, read_manifest
from unmask.nn.landmarks import ASSET, COUNT, OUTER_EYES, REGIONS, LandmarkNetwork

log = logging.getLogger(__name__)
SAVE_EVERY = 100


def examples_of(rows: Sequence[Row], boxes: Path, teacher: Teacher, cache: Path, seed: int) -> Examples:
    """The rows' faces with the teacher's points, from ``cache`` where they were collected before."""
    path = cache / f"{data_hash(rows)[:16]}.npz"
    if not path.is_file():
        known = read_boxes(boxes)
        faces = {row.path: known[row.path] for row in rows}
        mirror = mirror_of(rows, boxes, teacher, cache)
        found = collect(faces, teacher, mirror, rng(seed, "landmarks", "empty"))
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **found._asdict())
    with np.load(path) as held:
        return Examples(*(held[name] for name in Examples._fields))


def mirror_of(rows: Sequence[Row], boxes: Path, teacher: Teacher, cache: Path) -> npt.NDArray[np.int64]:
    """The mirror order of the mesh, from the largest faces of some 60 photos spread over the rows.

    Raises:
        DataError: the answer is no pairing (some point's partner has another partner).
    """
    path = cache / "mirror.npy"
    if not path.is_file():
        known = read_boxes(boxes)
        good = [row.path for row in rows if known[row.path] and known[row.path][0].points]
        chosen = good[:: max(1, len(good) // 60)]
        squares = [align(decode(p).pixels, known[p][0].points or (), 192, 0.76)[0] for p in chosen]
        order = find_mirror(teacher, squares)
        if not (order[order] == np.arange(len(order))).all():
            raise DataError(
                "no_mirror", "the teacher's answers give no mirror order: some point's partner has another partner"
            )
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, order)
    loaded: npt.NDArray[np.int64] = np.load(path)
    return loaded


def start_shape(network: LandmarkNetwork, points: Tensor) -> None:
    """Set the last layer to the mean and the principal components (scaled to unit coefficients) of (N, 468, 2)."""
    flat = points.flatten(1)
    mean = flat.mean(0)
    _, sizes, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    count = network.shape.in_features
    with torch.no_grad():
        network.shape.bias.copy_(mean)
        network.shape.weight.copy_((directions[:count] * (sizes[:count] / len(flat) ** 0.5)[:, None]).T)
        network.coefficients.weight.mul_(0.5)


def point_weights() -> Tensor:
    """(468,) 2 for eyes, brows, mouth and outline, 1 elsewhere; mean 1."""
    weights = torch.ones(COUNT)
    for name, points in REGIONS.items():
        if name != "nose":
            weights[list(points)] = 2
    return weights / weights.mean()


def loss_of(points: Tensor, logits: Tensor, truth: Varied, weights: Tensor) -> Tensor:
    """Smooth absolute error in distances of the outer eye corners, where there is a face; cross-entropy of the flag."""
    here = truth.face > 0
    goal = truth.points[here]
    unit = (goal[:, OUTER_EYES[0]] - goal[:, OUTER_EYES[1]]).norm(dim=-1)[:, None, None]
    error = F.smooth_l1_loss(points[here] / unit, goal / unit, beta=0.02, reduction="none")
    return (error.sum(-1) * weights).mean() + 0.03 * F.binary_cross_entropy_with_logits(logits, truth.face)


def batch_of(examples: Examples, mirror: Tensor, random: np.random.Generator, size: int) -> Varied:
    """Faces, an eighth of squares without one, and a sixteenth of faces far off."""
    empty, lost = size // 8, size // 16
    which = random.choice(len(examples.squares), size - empty, replace=len(examples.squares) < size)
    varied = vary(examples.squares[which], torch.from_numpy(examples.points[which][..., :2]), mirror, random, lost)
    blank = torch.from_numpy(examples.empty[random.choice(len(examples.empty), empty)]).permute(0, 3, 1, 2) / 255
    image = weather(torch.cat([varied.image, blank]), random)
    points = torch.cat([varied.points, torch.zeros(empty, *varied.points.shape[1:])])
    return Varied(image, points, torch.cat([varied.face, torch.zeros(empty)]))


def error_of(network: LandmarkNetwork, examples: Examples) -> float:
    """Mean distance to the teacher on squares as the finder cuts them, in distances of the outer eye corners."""
    network.eval()
    errors = []
    with torch.inference_mode():
        for start in range(0, len(examples.squares), 32):
            squares = examples.squares[start : start + 32]
            truth = torch.from_numpy(examples.points[start : start + 32, :, :2])
            view = vary(squares, truth, network.mirror, np.random.default_rng(0), plain=True)
            apart = (network(view.image)[0] - view.points).norm(dim=-1).mean(1).numpy()
            errors.append(apart / eye_distance(view.points.numpy()))
    return float(np.concatenate(errors).mean())


class _Run:
    """Network, its running average, optimiser and the step they are at; kept in one file."""

    def __init__(self, network: LandmarkNetwork, steps: int) -> None:
        self.network, self.steps, self.step = network, steps, 0
        running = torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)  # type: ignore[no-untyped-call]
        self.average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=running, use_buffers=True)
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, 3e-3, total_steps=steps, pct_start=0.15)

    @property
    def parts(self) -> tuple[Any, ...]:
        return self.network, self.average, self.optimiser, self.schedule

    @property
    def result(self) -> LandmarkNetwork:
        return cast(LandmarkNetwork, self.average.module)

    def save(self, path: Path) -> None:
        parts = [part.state_dict() for part in self.parts]
        with atomic_path(path) as temporary:
            torch.save({"steps": self.steps, "step": self.step, "parts": parts}, temporary)

    def load(self, path: Path) -> None:
        held = torch.load(path, weights_only=True)
        if held["steps"] != self.steps:
            raise TrainingError(
                "other_run", f"{path} is a run of {held['steps']} steps, not {self.steps}; remove it or ask for those"
            )
        self.step = held["step"]
        for part, state in zip(self.parts, held["parts"], strict=True):
            part.load_state_dict(state)


def train(
    examples: Examples, check: Examples, mirror: Tensor, state: Path, *, seed: int, steps: int, size: int
) -> tuple[LandmarkNetwork, list[dict[str, float]]]:
    """Train, or go on from ``state``; the averaged network and what was measured on the way."""
    torch.manual_seed(seed)
    network = LandmarkNetwork()
    network.mirror.copy_(mirror)
    first = [batch_of(examples, mirror, rng(seed, "landmarks", "shape", i), size) for i in range(16)]
    start_shape(network, torch.cat([b.points[b.face > 0] for b in first]))
    run = _Run(network.to(memory_format=torch.channels_last), steps)
    if state.is_file():
        run.load(state)
        log.info("goes on at step %d", run.step)
    weights, journal, began = point_weights(), [], time.process_time()
    while run.step < steps:
        batch = batch_of(examples, mirror, rng(seed, "landmarks", run.step), size)
        network.train()
        points, logits = network(batch.image.contiguous(memory_format=torch.channels_last))
        loss = loss_of(points, logits, batch, weights)
        run.optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        run.optimiser.step()
        run.schedule.step()
        run.average.update_parameters(network)
        run.step += 1
        if run.step % SAVE_EVERY == 0 or run.step == steps:
            run.save(state)
            error = error_of(run.result, check)
            log.info("step %d: loss %.4f, val error %.4f", run.step, loss.item(), error)
            journal.append({"step": run.step, "loss": loss.item(), "val_error": error})
    log.info("%.0f processor seconds", time.process_time() - began)
    return run.result, journal


def main(arguments: Sequence[str] | None = None) -> None:
    """Collect, train, write weights (half precision) and card."""
    parser = argparse.ArgumentParser(prog="python -m unmask.data.landmark_training", description=__doc__)
    parser.add_argument("manifest", type=Path, help="labelled photos with splits; real ones are used")
    parser.add_argument("--boxes", type=Path, required=True, help="their faces with five points (see read_boxes)")
    parser.add_argument("--teacher", type=Path, required=True, help="the face mesh's safetensors file")
    parser.add_argument("--work", type=Path, default=Path("runs/landmarks"), help="cache and state of the run")
    parser.add_argument("--out", type=Path, default=ASSET, help="weights file; the card is written beside it")
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    manifest, teacher = read_manifest(options.manifest), load_teacher(options.teacher)
    parts = {split: [row for row in manifest if row.split == split and row.label == 0] for split in ("train", "val")}
    mirror = torch.from_numpy(mirror_of(parts["train"], options.boxes, teacher, options.work))
    found = {s: examples_of(rows, options.boxes, teacher, options.work, options.seed) for s, rows in parts.items()}
    for split, examples in found.items():
        log.info("%s: %d faces, %d empty squares", split, len(examples.squares), len(examples.empty))
    network, journal = train(
        found["train"], found["val"], mirror, options.work / "state.pt",
        seed=options.seed, steps=options.steps, size=options.batch,
    )  # fmt: skip
    tensors = {
        name: (value.half() if value.is_floating_point() else value.short()).contiguous()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    with atomic_path(options.out) as temporary:
        save_file(tensors, temporary)
    card = {
        "format": 1,
        "what": "468 points of the MediaPipe face mesh (no irises) and a face flag, from a 96-pixel square",
        "parameters": sum(p.numel() for p in network.parameters()),
        "weights_sha256": sha256_file(options.out),
        "teacher_sha256": sha256_file(options.teacher),
        "data": {
            "sha256": data_hash(parts["train"]),
            "photos": len(parts["train"]),
            "faces": len(found["train"].squares),
            "sources": sorted({row.source for row in parts["train"]}),
        },
        "seed": options.seed,
        "steps": options.steps,
        "batch": options.batch,
        "seconds_of_last_part": round(time.monotonic() - began),
        "journal": journal[-1:],
        "command": f"python -m unmask.data.landmark_training {options.manifest.name} --boxes {options.boxes.name} "
        f"--teacher {options.teacher.name} --steps {options.steps} --batch {options.batch} --seed {options.seed}",
        "torch": torch.__version__,
    }
    write_text(options.out.with_suffix(".json"), json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main()
