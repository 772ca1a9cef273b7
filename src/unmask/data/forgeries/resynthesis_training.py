"""Train the re-synthesis networks that ship: one command, about a minute per network on one core.

    python -m unmask.data.forgeries.resynthesis_training PHOTOS... --out resynthesis.safetensors

``PHOTOS`` are folders of real photographs (the shipped file: public-domain and CC0 ones); files whose name is also
found under ``--exclude`` are left out (the test fixtures).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from unmask.core.files import atomic_path, sha256_file, write_text
from unmask.core.seeds import rng
from unmask.core.types import UInt8Image
from unmask.data.forgeries.resynthesis import ASSET, NETWORKS, NetworkConfig, ResynthesisNetwork

log = logging.getLogger(__name__)
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def photo_files(folders: Sequence[Path], exclude: Path | None = None) -> list[Path]:
    """Image files below ``folders``, sorted, without those whose file stem occurs below ``exclude``."""
    banned = {p.stem for p in exclude.rglob("*")} if exclude else set()
    return sorted(p for f in folders for p in f.rglob("*") if p.suffix.lower() in SUFFIXES and p.stem not in banned)


def read_photos(files: Sequence[Path], crop: int) -> list[UInt8Image]:
    """Photos as RGB; those of 2 x 2 crops and more also at half size, so that sharp content is plenty."""
    photos = []
    for file in files:
        with Image.open(file) as opened:
            image = opened.convert("RGBA") if opened.mode == "P" else opened
            image = image.convert("RGB")
        if min(image.size) >= crop:
            photos.append(np.asarray(image))
        if min(image.size) >= 4 * crop:
            photos.append(np.asarray(image.reduce(2)))
    return photos


def texture_energy(image: Tensor) -> Tensor:
    """Local energy of the horizontal, vertical and diagonal second difference: (B, 3, H, W) -> (B, 9, H/8, W/8)."""
    taps = torch.tensor(
        [[[0, 0, 0], [1, -2, 1], [0, 0, 0]], [[0, 1, 0], [0, -2, 0], [0, 1, 0]], [[1, -1, 0], [-1, 1, 0], [0, 0, 0]]],
        dtype=image.dtype,
    )
    filtered = F.conv2d(image, taps[:, None].repeat(3, 1, 1, 1), groups=3)
    return F.avg_pool2d(filtered.abs(), 8)


def discriminator() -> nn.Sequential:
    """A small patch discriminator (receptive field 22 pixels)."""
    return nn.Sequential(
        nn.Conv2d(3, 24, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(24, 32, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(32, 1, 4),
    )


def train_network(
    config: NetworkConfig,
    photos: Sequence[UInt8Image],
    random: np.random.Generator,
    steps: int,
    crop: int = 64,
    batch: int = 12,
) -> ResynthesisNetwork:
    """Train one network on random crops; its loss is pixels + texture energy + (some) a patch discriminator."""
    torch.manual_seed(int(random.integers(1 << 31)))
    network = ResynthesisNetwork(config)
    critic = discriminator()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    critic_optimiser = torch.optim.Adam(critic.parameters(), lr=5e-4, betas=(0.5, 0.99))
    network.to(memory_format=torch.channels_last)
    for step in range(steps):
        crops = []
        for index in random.integers(len(photos), size=batch):
            photo = photos[index]
            y, x = (int(random.integers(side - crop + 1)) for side in photo.shape[:2])
            crops.append(photo[y : y + crop, x : x + crop])
        real = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1
        fake = network(real)
        loss = (fake - real).abs().mean() if config.power == 1 else 4 * (fake - real).square().mean()
        if config.texture:
            loss = loss + config.texture * (texture_energy(fake) - texture_energy(real)).abs().mean()
        if config.adversarial and step > steps // 3:
            loss = loss + config.adversarial * F.softplus(-critic(fake)).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if config.adversarial and step > steps // 4:
            critic_loss = F.softplus(critic(fake.detach())).mean() + F.softplus(-critic(real)).mean()
            critic_optimiser.zero_grad()
            torch.autograd.backward(critic_loss)
            critic_optimiser.step()
    error = float((fake.detach().clamp(-1, 1) - real).square().mean())
    log.info("PSNR on the last batch %.1f dB", 10 * np.log10(4 / error))
    return network


def main(arguments: Sequence[str] | None = None) -> None:
    """Train every network of ``NETWORKS`` and write weights and card."""
    parser = argparse.ArgumentParser(prog="python -m unmask.data.forgeries.resynthesis_training", description=__doc__)
    parser.add_argument("photos", nargs="+", type=Path, help="folders of real photographs")
    parser.add_argument("--exclude", type=Path, help="leave out photos whose file name occurs below this folder")
    parser.add_argument("--out", type=Path, default=ASSET, help="weights file; the card is written beside it")
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    files = photo_files(options.photos, options.exclude)
    photos = read_photos(files, 64)
    tensors: dict[str, Tensor] = {}
    start = time.monotonic()
    for name, config in NETWORKS.items():
        network = train_network(config, photos, rng(options.seed, "resynthesis", name), options.steps)
        tensors |= {f"{name}.{key}": value.half().contiguous() for key, value in network.state_dict().items()}
        log.info("%s: %d parameters", name, sum(p.numel() for p in network.parameters()))
    with atomic_path(options.out) as temporary:
        save_file(tensors, temporary)
    data = hashlib.sha256("".join(sorted(sha256_file(f) for f in files)).encode()).hexdigest()
    card = {
        "format": 1,
        "what": "re-synthesis networks: real photo in, the same photo made by upsampling layers out",
        "networks": list(NETWORKS),
        "weights_sha256": sha256_file(options.out),
        "data": {
            "photos": len(files),
            "sha256_of_sorted_file_hashes": data,
            "folders": [f.name for f in options.photos],
        },
        "seed": options.seed,
        "steps": options.steps,
        "seconds": round(time.monotonic() - start),
        "command": "python -m unmask.data.forgeries.resynthesis_training us_gov_cc0 us_congress_pd "
        f"--exclude fixtures_pd_cc0 --steps {options.steps} --seed {options.seed}",
        "torch": torch.__version__,
    }
    write_text(options.out.with_suffix(".json"), json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main()
