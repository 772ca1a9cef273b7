"""Milliseconds per forgery and per training pair, and the picture of docs/forgeries.md.

    OMP_NUM_THREADS=1 python benchmarks/forgeries.py [--repeat 200]
    OMP_NUM_THREADS=1 python benchmarks/forgeries.py --picture docs/img/forgeries.png
    OMP_NUM_THREADS=1 python benchmarks/forgeries.py --shortcuts PHOTOS_DIR

CPU time of one thread, on a 320 x 320 crop of scikit-image's portrait of Eileen Collins (public domain).
``--shortcuts`` asks whether statistics of the whole view (sharpness, brightness, contrast, bytes) tell forged from
real among training pairs of a folder of photos: AUC 0.5 means that they do not.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw
from skimage.data import astronaut
from sklearn.metrics import roc_auc_score

from unmask.core.files import sha256_file
from unmask.core.types import Face, ViewConfig
from unmask.data.faces import FaceFinder
from unmask.data.forged import ForgedStream
from unmask.data.forgeries import EDITS, FORGERIES, forge
from unmask.data.intake import decode
from unmask.data.manifest import Row, data_hash

FACE = Face((181, 62, 268, 172), 1.0, ((205, 105), (247, 103), (228, 130), (210, 150), (245, 148)))
LEFT, TOP, SIDE = 65, 0, 320


def crop() -> tuple[np.ndarray, Face]:
    x1, y1, x2, y2 = FACE.box
    points = tuple((x - LEFT, y - TOP) for x, y in FACE.points or ())
    image = np.ascontiguousarray(astronaut()[TOP : TOP + SIDE, LEFT : LEFT + SIDE])
    return image, Face((x1 - LEFT, y1 - TOP, x2 - LEFT, y2 - TOP), 1.0, points)


def timing(repeat: int) -> None:
    image, face = crop()
    means = {}
    for name in FORGERIES:
        spent = []
        for seed in range(-3, repeat):
            start = time.process_time()
            forge(name, image, face, np.random.default_rng(seed + 3))
            if seed >= 0:
                spent.append(1000 * (time.process_time() - start))
        means[name] = float(np.mean(spent))
        print(f"{name:<18} mean {means[name]:6.2f} ms   95 % below {np.quantile(spent, 0.95):6.2f} ms")
    print(f"{'all edits, evenly':<18} mean {np.mean([means[n] for n in EDITS]):6.2f} ms")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "photo.png")
        Image.fromarray(astronaut()).save(path)
        for size in (224, 256, 320):
            stream = ForgedStream([Row(path, 0)], ViewConfig(size=size), {path: [FACE]}, repeat=repeat)
            stream.sample(1, 0)
            start = time.process_time()
            for pair in range(repeat):
                stream.sample(0, 2 * pair)
            print(f"training pair at {size}: {1000 * (time.process_time() - start) / repeat:.1f} ms, crop to tensors")


def statistics(image: torch.Tensor) -> list[float]:
    """Sharpness (standard deviation of the Laplacian), brightness, contrast, PNG and JPEG bytes."""
    pixels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    sizes = [len(cv2.imencode(kind, pixels)[1]) for kind in (".png", ".jpg")]
    return [float(cv2.Laplacian(grey, cv2.CV_32F).std()), float(grey.mean()), float(grey.std()), *sizes]


def shortcuts(folder: Path, photos: int = 80, pairs: int = 8) -> None:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    chosen = [paths[i] for i in np.random.default_rng(0).permutation(len(paths))[:photos]]
    finder = FaceFinder()
    faces = {str(p): finder.find([decode(p).pixels])[0] for p in chosen}
    rows = [Row(path, 0) for path, found in faces.items() if found]
    digest = data_hash([Row(r.path, 0, sha256=sha256_file(r.path)) for r in rows])
    print(f"{len(rows)} photos with a face, data hash {digest[:12]}, seed 0")
    for kind in ("face", "frame", "native"):
        view = ViewConfig(kind=kind)  # type: ignore[arg-type]
        stream = ForgedStream(rows, view, faces, repeat=pairs)
        samples = [stream.sample(0, p) for p in range(len(stream))]
        values = np.array([statistics(s.image) for s in samples if s is not None])
        labels = [s.label for s in samples if s is not None]
        aucs = [roc_auc_score(labels, column) for column in values.T]
        names = ("sharpness", "brightness", "contrast", "PNG bytes", "JPEG bytes")
        text = ", ".join(f"{n} {a:.3f}" for n, a in zip(names, aucs, strict=True))
        print(f"{kind:<7} {len(labels) // 2} pairs: AUC of {text}")


def picture(path: Path, side: int = 128, seed: int = 34) -> None:
    """One column per forgery: real counterpart, forged, mask."""
    image, face = crop()
    half = -(-len(FORGERIES) // 2)
    sheet = Image.new("RGB", (half * side, 2 * (3 * side + 16)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, name in enumerate(FORGERIES):
        forged = forge(name, image, face, np.random.default_rng(seed + index))
        x, y = index % half * side, index // half * (3 * side + 16)
        draw.text((x + 3, y + 2), name, fill="black")
        mask = np.repeat((255 * forged.mask).astype(np.uint8)[..., None], 3, 2)
        for row, tile in enumerate((forged.real, forged.image, mask)):
            small = cv2.resize(tile[20:220, 60:260], (side, side), interpolation=cv2.INTER_AREA)
            sheet.paste(Image.fromarray(small), (x, y + 16 + row * side))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
    print(f"{path}: {sheet.size[0]} x {sheet.size[1]}, {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=200)
    parser.add_argument("--shortcuts", type=Path, metavar="DIR", help="photos to make training pairs of")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write the picture instead of timing")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    if arguments.picture:
        picture(arguments.picture)
        raise SystemExit
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, commit {commit}")
    if arguments.shortcuts:
        shortcuts(arguments.shortcuts)
    else:
        timing(arguments.repeat)
