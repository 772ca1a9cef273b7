"""Our face search against YuNet and against the plain loop over the same networks: speed, recall, boxes.

    UNMASK_DATA=/data OMP_NUM_THREADS=1 python benchmarks/faces.py [--photos 48] [--sheet disputed.png]

``$UNMASK_DATA`` holds ``data`` (the real photos of ffhq_real, us_gov_cc0, us_congress_pd, fixtures_pd_cc0) and
``facemodels/yunet_n_dynamic.onnx``.

Speed is CPU time of one thread, so that a busy machine changes it little; decoding is left out on all sides.

YuNet finds faces of about 10 to 300 pixels, so its reference run is on photos reduced to a longer side of 640; its run
on unreduced photos is listed too. Wanted: its boxes with score >= 0.8 whose longer side is at least 40 pixels of the
photo. Found: one of our boxes overlaps by IoU >= 0.5. False boxes, the same rule both ways: a box of one (ours as
shipped, YuNet's with score >= 0.8) that no box of the other, taken leniently (ours from 0.5, YuNet's from 0.5 in
either run), overlaps by IoU >= 0.3. They are candidates: ``--sheet`` draws them for a person to judge. Photos are
halved by the hash of their path; thresholds were chosen on half A only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import onnxruntime
import torch
from torch.nn.functional import interpolate
from torchvision.ops import box_iou, nms

from unmask.core.types import UInt8Image
from unmask.data.intake import decode
from unmask.nn.mtcnn import MTCNN

SHIPPED = MTCNN().thresholds[3]
SETS = ("ffhq_real", "us_gov_cc0", "us_congress_pd", "fixtures_pd_cc0/real")


class Found(NamedTuple):
    """Boxes (N, 4) and scores (N,) of one photo."""

    boxes: np.ndarray
    scores: np.ndarray


class YuNet:
    """The published ONNX file through onnxruntime (OpenCV's own importer does not take its free sizes)."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]

    def __call__(self, photo: UInt8Image, longer_side: int | None) -> Found:
        """Boxes with score >= 0.5, in pixels of the photo."""
        scale = min(1.0, (longer_side or 1 << 30) / max(photo.shape[:2]))
        if scale < 1:
            photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        h, w = photo.shape[:2]
        x = np.zeros((1, 3, -(-h // 32) * 32, -(-w // 32) * 32), np.float32)
        x[0, :, :h, :w] = photo[..., ::-1].transpose(2, 0, 1)
        out = dict(zip(self.names, self.session.run(None, {"input": x}), strict=True))
        boxes, scores = [], []
        for stride in (8, 16, 32):
            score = np.sqrt((out[f"cls_{stride}"] * out[f"obj_{stride}"]).reshape(-1).clip(0))
            box = out[f"bbox_{stride}"].reshape(-1, 4)
            grid = np.stack(np.divmod(np.arange(len(score)), x.shape[3] // stride)[::-1], 1)
            good = score >= 0.5
            centre, size = (grid + box[:, :2])[good] * stride, np.exp(box[good, 2:]) * stride
            boxes.append(np.concatenate([centre - size / 2, centre + size / 2], 1))
            scores.append(score[good])
        merged = np.concatenate(boxes), np.concatenate(scores)
        keep = nms(*(torch.from_numpy(v).float() for v in merged), 0.3).numpy()
        return Found(merged[0][keep] / scale, merged[1][keep])


def plain_loop(network: MTCNN, photo: UInt8Image) -> Found:
    """The usual MTCNN: one photo, one pyramid level and one crop at a time, over the same three networks."""
    image = (torch.from_numpy(photo).permute(2, 0, 1)[None].float() - 127.5) / 128
    h, w = photo.shape[:2]
    scale, boxes, scores = 12 / network.min_size, [], []
    while min(h, w) * scale >= 12:
        level = interpolate(image, (round(h * scale), round(w * scale)), mode="area")
        offsets, score = network.pnet(level)
        row, column = (score[0] >= network.thresholds[0]).nonzero(as_tuple=True)
        corner = torch.stack([column, row], 1) * 2.0
        box = (torch.cat([corner, corner + 12], 1) + 12 * offsets[0, :, row, column].T) / scale
        keep = nms(box, score[0, row, column], 0.5)
        boxes.append(box[keep])
        scores.append(score[0, row, column][keep])
        scale *= network.factor
    box, score = torch.cat(boxes), torch.cat(scores)
    box = box[nms(box, score, 0.7)]
    for net, size, least in ((network.rnet, 24, network.thresholds[1]), (network.onet, 48, 0.7)):
        kept, score_of = [], []
        for one in box:
            centre, half = (one[:2] + one[2:]) / 2, (one[2:] - one[:2]).max() / 2
            x1, y1, x2, y2 = (int(v) for v in torch.cat([centre - half, centre + half]).round())
            cut = image[..., max(y1, 0) : max(y2, 1), max(x1, 0) : max(x2, 1)]
            if 0 in cut.shape:
                continue
            offset, *_, score = net(interpolate(cut, (size, size), mode="area"))
            if score[0] >= least:
                kept.append(torch.tensor([x1, y1, x2, y2]) + offset[0] * (x2 - x1))
                score_of.append(score[0])
        if not kept:
            return Found(np.zeros((0, 4)), np.zeros(0))
        box, score = torch.stack(kept), torch.stack(score_of)
        keep = nms(box, score, 0.5 if size == 48 else 0.7)
        box, score = box[keep], score[keep]
    return Found(box.numpy(), score.numpy())


def speed(photos: list[UInt8Image], yunet: YuNet) -> None:
    network = MTCNN()
    contestants: dict[str, Callable[[], object]] = {
        "ours, 16 photos at once": lambda: [network(photos[i : i + 16]) for i in range(0, len(photos), 16)],
        "ours, one at a time": lambda: [network([p]) for p in photos],
        "the plain loop": lambda: [plain_loop(network, p) for p in photos],
        "YuNet at 640": lambda: [yunet(p, 640) for p in photos],
        "YuNet, not reduced": lambda: [yunet(p, None) for p in photos],
    }
    best = dict.fromkeys(contestants, float("inf"))
    with torch.inference_mode():
        for _ in range(3):  # interleaved, so that a slow minute hits all of them
            for name, run in contestants.items():
                start = time.process_time()
                run()
                best[name] = min(best[name], time.process_time() - start)
    pixels = sum(p.shape[0] * p.shape[1] for p in photos) / len(photos) / 1e6
    print(f"\n{len(photos)} photos of {pixels:.2f} megapixels on average, best of 3, CPU time of one thread")
    print(f"{'':<26}{'photos/s':>9}  ours is")
    ours = best["ours, 16 photos at once"]
    for name, seconds in best.items():
        print(f"{name:<26}{len(photos) / seconds:9.1f}  {seconds / ours:.2f} x as fast")


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return box_iou(*(torch.from_numpy(np.asarray(v, float).reshape(-1, 4)) for v in (a, b))).numpy()


class Tally(NamedTuple):
    """What one comparison counted."""

    wanted: int
    found: int
    ious: list[float]
    ours_only: list[tuple[str, np.ndarray]]
    theirs_only: list[tuple[str, np.ndarray]]


def compare(names: Sequence[str], ours: dict[str, Found], yunet: dict[str, Found], lenient: dict[str, Found]) -> Tally:
    """The rules of the module's docstring."""
    wanted, found, ious, ours_only, theirs_only = 0, 0, [], [], []
    for name in names:
        mine = ours[name].boxes[ours[name].scores >= SHIPPED]
        sure = yunet[name].boxes[yunet[name].scores >= 0.8]
        best = overlap(sure, mine).max(1, initial=0)
        want = (sure[:, 2:] - sure[:, :2]).max(1) >= 40
        wanted += int(want.sum())
        found += int((want & (best >= 0.5)).sum())
        ious += best[want & (best >= 0.5)].tolist()
        ours_only += [(name, b) for b in mine[overlap(mine, lenient[name].boxes).max(1, initial=0) < 0.3]]
        theirs_only += [(name, b) for b in sure[overlap(sure, ours[name].boxes).max(1, initial=0) < 0.3]]
    return Tally(wanted, found, ious, ours_only, theirs_only)


def sheet(path: Path, root: Path, disputed: list[tuple[str, np.ndarray, tuple[int, int, int]]]) -> None:
    """Each disputed box (green: only ours, red: only YuNet's) with as much again around it."""
    tiles = []
    for name, box, colour in disputed:
        photo = decode(root / name).pixels.copy()
        x1, y1, x2, y2 = box.round().astype(int)
        cv2.rectangle(photo, (x1, y1), (x2, y2), colour, max(1, (x2 - x1) // 40))
        side = 2 * max(x2 - x1, y2 - y1)
        top, left = max(0, (y1 + y2 - side) // 2), max(0, (x1 + x2 - side) // 2)
        tile = cv2.resize(photo[top : top + side, left : left + side], (200, 200), interpolation=cv2.INTER_AREA)
        cv2.putText(tile, name.rsplit("/", 1)[-1][-28:], (2, 196), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (255, 255, 0))
        tiles.append(tile)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 8)
    rows = [np.hstack(tiles[i : i + 8]) for i in range(0, len(tiles), 8)]
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])


def quality(root: Path, names: list[str], yunet: YuNet, picture: Path | None) -> None:
    network = MTCNN(thresholds=(*MTCNN().thresholds[:3], 0.5))
    ours: dict[str, Found] = {}
    runs: dict[str, dict[str, Found]] = {"YuNet at 640": {}, "YuNet, not reduced": {}}
    lenient: dict[str, Found] = {}
    for i in range(0, len(names), 16):
        photos = [decode(root / name).pixels for name in names[i : i + 16]]
        for name, photo, faces in zip(names[i : i + 16], photos, network(photos), strict=True):
            ours[name] = Found(faces.boxes.numpy(), faces.scores.numpy())
            both = [run.setdefault(name, yunet(photo, s)) for run, s in zip(runs.values(), (640, None), strict=True)]
            lenient[name] = Found(*(np.concatenate(v) for v in zip(*both, strict=True)))
        print(f"\r{len(ours)}/{len(names)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    disputed = []
    row = "{:<20}{:<6}{:>7}{:>8}{:>8}{:>9}{:>12}{:>16}{:>18}"
    print(
        "\n"
        + row.format(
            "reference", "half", "photos", "wanted", "found", "recall", "median IoU", "only ours", "only YuNet's"
        )
    )
    for label, run in runs.items():
        for half in "AB":
            some = [n for n in names if "AB"[hashlib.sha256(n.encode()).digest()[0] % 2] == half]
            t = compare(some, ours, run, lenient)
            numbers = (len(some), t.wanted, t.found, f"{t.found / t.wanted:.2%}", f"{np.median(t.ious):.3f}")
            print(row.format(label, half, *numbers, len(t.ours_only), len(t.theirs_only)))
            disputed += [(n, b, (0, 255, 0)) for n, b in t.ours_only if label == "YuNet at 640"]
            disputed += [(n, b, (255, 0, 0)) for n, b in t.theirs_only]
    if picture and disputed:
        sheet(picture, root, disputed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=48, help="photos of the speed test")
    parser.add_argument("--sheet", type=Path, help="write a picture of the disputed boxes")
    args = parser.parse_args()
    if "UNMASK_DATA" not in os.environ:
        sys.exit("set UNMASK_DATA to the folder that holds data/ and facemodels/")
    ground = Path(os.environ["UNMASK_DATA"])
    root = ground / "data"
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"
    )
    print(f"commit {commit}; command: {' '.join(sys.argv)}")
    suffixes = {".jpg", ".png", ".webp"}
    files = [p for s in SETS for p in sorted((root / s).rglob("*")) if p.suffix.lower() in suffixes]
    names = [str(p.relative_to(root)) for p in files]
    digest = hashlib.sha256("".join(hashlib.sha256(p.read_bytes()).hexdigest() for p in files).encode()).hexdigest()
    print(f"{len(names)} photos, sha256 of their sha256s in order: {digest[:16]}")
    yunet = YuNet(ground / "facemodels" / "yunet_n_dynamic.onnx")
    speed([decode(root / n).pixels for n in names[:: max(1, len(names) // args.photos)]], yunet)
    quality(root, names, yunet, args.sheet)


if __name__ == "__main__":
    main()
