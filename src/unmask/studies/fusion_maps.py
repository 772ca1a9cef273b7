"""Fusions of maps: small convolutional detectors, all trained alike at a small size, scored on unseen families."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.core.errors import ConfigError, DataError
from unmask.core.types import Face, ViewConfig
from unmask.data.faces import FaceFinder
from unmask.data.intake import decode
from unmask.data.manifest import Row
from unmask.data.parallel import Progress, in_threads
from unmask.data.views import views
from unmask.detectors.fused import FusedConfig, FusedDetector
from unmask.features.catalogue import FEATURES
from unmask.nn.maps import MAPS, create_map
from unmask.studies.probe import Floats


@dataclass(frozen=True)
class MapSettings:
    """How every fusion of maps is trained; fixed before any of them was compared."""

    size: int = 96
    """Side of the face view in pixels."""
    width: int = 8
    dim: int = 32
    epochs: int = 6
    batch: int = 32
    lr: float = 3e-3
    weight_decay: float = 0.05

    def config(self, maps: Sequence[str], fusion: str) -> FusedConfig:
        """The detector to train."""
        view = ViewConfig(kind="face", size=self.size)
        return FusedConfig(view=view, maps=tuple(maps), fusion=fusion, width=self.width, dim=self.dim)


def check_maps(names: Sequence[str]) -> tuple[str, ...]:
    """Names of maps, each once.

    Raises:
        ConfigError: ``not_a_map`` for a feature that gives only a vector, ``unknown_map`` for anything else.
    """
    for name in names:
        if name not in MAPS and name in FEATURES:
            raise ConfigError(
                "not_a_map",
                f"'{name}' gives a vector and no map, so it cannot be in an early fusion; fuse it at feature level "
                f"(--features). Maps: {', '.join(MAPS)}",
            )
        create_map(name)
    return tuple(dict.fromkeys(names))


def face_views(
    rows: Sequence[Row],
    size: int,
    boxes: Mapping[str, Sequence[Face]] | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """The square around the largest face of each image (the whole frame where there is none), (N, 3, size, size) uint8.

    Args:
        rows: of the images.
        size: in pixels.
        boxes: faces by path; images that are not listed are searched.
        progress: told the images done.

    Raises:
        DataError: ``no_images``: a file is not there.
        IntakeError: a file is no image.
    """
    absent = [row.path for row in rows if not Path(row.path).is_file()]
    if absent:
        raise DataError(
            "no_images", f"maps need the images of the table; {len(absent)} are not there, {absent[0]} first"
        )
    known = boxes or {}
    finder = FaceFinder() if any(row.path not in known for row in rows) else None
    config = ViewConfig(kind="face", size=size)

    def cut(row: Row) -> Tensor:
        image = decode(Path(row.path)).pixels
        faces = list(known[row.path]) if row.path in known else finder.find([image])[0] if finder else []
        largest = sorted(faces, key=lambda f: (f.box[2] - f.box[0]) * (f.box[3] - f.box[1]))[-1:]
        return torch.from_numpy(views(image, largest, config)[0].pixels.copy()).permute(2, 0, 1)

    return torch.stack(list(in_threads(cut, rows, progress=progress)))


def _float(images: Tensor) -> Tensor:
    return images.float() / 255


def train_maps(
    images: Tensor, labels: npt.NDArray[np.bool_], config: FusedConfig, seed: int, settings: MapSettings
) -> FusedDetector:
    """Train on (n, 3, S, S) uint8 images, every second one mirrored by chance, both classes weighing alike."""
    torch.manual_seed(seed)
    detector = FusedDetector(config)
    truth = torch.from_numpy(labels.astype(np.float32))
    share = float(truth.mean())
    weight = torch.where(truth > 0.5, 0.5 / share, 0.5 / (1 - share))
    steps = settings.epochs * max(1, len(truth) // settings.batch)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=steps)
    detector.train()
    for _ in range(settings.epochs):
        order = torch.randperm(len(truth))
        whole = max(1, len(truth) // settings.batch) * settings.batch
        for rows in torch.split(order[:whole], settings.batch):
            batch = _float(images[rows])
            batch = torch.where(torch.rand(len(rows), 1, 1, 1) < 0.5, batch, batch.flip(-1))
            loss = F.binary_cross_entropy_with_logits(detector(batch).logits, truth[rows], weight[rows])
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return detector.eval()


class MapScores(NamedTuple):
    """A fusion of maps, out of fold."""

    logits: Floats
    cost_ms: float
    """Processor milliseconds per image, one at a time: maps and network."""
    parameters: int


def maps_out_of_fold(
    images: Tensor,
    labels: npt.NDArray[np.bool_],
    fold: npt.NDArray[np.intp],
    config: FusedConfig,
    seed: int,
    settings: MapSettings,
    tick: Callable[[], None] = lambda: None,
) -> MapScores:
    """Each fold scored by a detector trained on the other folds."""
    logits = np.full(len(labels), np.nan)
    detector = FusedDetector(config)
    for number in range(int(fold.max()) + 1):
        held = fold == number
        detector = train_maps(images[torch.from_numpy(~held)], labels[~held], config, seed, settings)
        with torch.inference_mode():
            parts = torch.split(images[torch.from_numpy(held)], 64)
            logits[held] = torch.cat([detector(_float(part)).logits for part in parts]).double().numpy()
        tick()
    took = []
    with torch.inference_mode():
        for i in range(min(10, len(images))):
            start = time.process_time()
            detector(_float(images[i : i + 1]))
            took.append(time.process_time() - start)
    return MapScores(logits, 1000 * float(np.median(took)), sum(p.numel() for p in detector.parameters()))
