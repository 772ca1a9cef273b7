"""Does a detector of clips see what no single frame shows? And what do both of its heads cost?

    python benchmarks/flicker.py make runs/flicker                 videos with a planted flicker, from real photos
    python benchmarks/flicker.py run runs/flicker --out runs/fl    clip features, frames alone, both heads
    python benchmarks/flicker.py heads runs/flicker --epochs 40    on one fixed backbone, in seconds
    python benchmarks/flicker.py cost                              seconds per clip of both heads

``make`` takes the people of runs/manifests/pd_train.csv (benchmarks/ground.py, needs UNMASK_DATA) and the boxes of
``--boxes``; without either it makes synthetic stills. People are split; the single-frame detector has the same backbone
and data, twice the steps and the learning rate of the clip detectors.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch

from unmask.core.seeds import rng
from unmask.core.types import Face, UInt8Image, ViewConfig
from unmask.data.clips import group_videos
from unmask.data.faces import read_boxes, write_boxes
from unmask.data.flicker import FlickerConfig, smooth_still, write_flicker
from unmask.data.intake import decode
from unmask.data.manifest import Row, data_hash, read_manifest, write_manifest
from unmask.data.views import views
from unmask.detectors.weights import load_weights
from unmask.detectors.zoo import create_detector
from unmask.evaluation.videos import score_videos
from unmask.features.base import Subject
from unmask.features.clips import PatchGraph
from unmask.metrics.image import auc, split_scores
from unmask.metrics.video import video_scores
from unmask.training.recipe import make_recipe
from unmask.training.run import SCORES, code_version, machine, train


def stills(args: argparse.Namespace) -> tuple[list[tuple[str, UInt8Image]], str]:
    """Names and square pictures: faces of photos, one per person, or synthetic."""
    if not args.photos.is_file() or not args.boxes.is_file():
        return [(f"still-{i}", smooth_still(128, rng(args.seed, i, "still"))) for i in range(args.people)], "synthetic"
    boxes: dict[str, list[Face]] = {os.path.realpath(path): faces for path, faces in read_boxes(args.boxes).items()}
    found: dict[str, UInt8Image] = {}
    for row in read_manifest(args.photos):
        faces = boxes.get(os.path.realpath(row.path), [])
        if faces and row.group not in found and len(found) < args.people:
            square = views(decode(Path(row.path)).pixels, faces, ViewConfig(kind="face", size=128, margin=1.6))[0]
            found[row.group] = square.pixels
    return [(f"person-{i}", pixels) for i, pixels in enumerate(found.values())], "photos"


def make(args: argparse.Namespace) -> None:
    pictures, kind = stills(args)
    config = FlickerConfig(frames=args.frames, size=args.size, brightness=args.level, texture=args.level)
    order = rng(args.seed, "split").permutation(len(pictures))
    held = len(pictures) // 3
    rows: list[Row] = []
    faces: dict[str, list[Face]] = {}
    for split, chosen in (("val", order[:held]), ("train", order[held:])):
        part, found = write_flicker(args.folder, [pictures[i] for i in chosen], config, args.seed, split)
        rows, faces = rows + part, faces | found
    write_manifest(args.folder / "manifest.csv", rows, overwrite=True)
    write_boxes(args.folder / "boxes.csv", {os.path.relpath(p, args.folder): f for p, f in faces.items()})
    print(
        f"{len(pictures)} people ({kind}), {len(group_videos(rows))} videos, {len(rows)} frames, {data_hash(rows)[:12]}"
    )


def features(folder: Path) -> dict[str, float]:
    """AUC of a probe on the clip features, fitted on the people to train on, and of each feature by itself."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, feature = list(read_manifest(folder / "manifest.csv")), PatchGraph()
    videos = group_videos(rows)
    subjects = []
    for video in videos:
        frames = tuple(decode(Path(row.path)).pixels for row in video)
        subjects.append(Subject(frames[len(frames) // 2], None, frames=frames))
    start = time.process_time()
    values = np.stack([found.values for found in feature.measure(subjects) if found.values is not None])
    cost = 1000 * (time.process_time() - start) / len(videos)
    label = np.array([video[0].label for video in videos])
    held = np.array([video[0].split == "val" for video in videos])
    probe = make_pipeline(StandardScaler(), LogisticRegression()).fit(values[~held], label[~held])
    scores = probe.decision_function(values[held])
    single = {n: auc(split_scores(v, label[held])).value for n, v in zip(feature.columns, values[held].T, strict=True)}
    best = {n: round(v, 3) for n, v in sorted(single.items(), key=lambda item: -abs(item[1] - 0.5))[:5]}
    return {"probe": auc(split_scores(scores, label[held])).value, "ms_per_clip": cost, "best": best}  # type: ignore[dict-item]


def recipe(folder: Path, detector: dict[str, object], epochs: float, seed: int, **data: object) -> object:
    return make_recipe(
        {
            "detector": detector,
            "data": {
                "manifest": str(folder / "manifest.csv"),
                "boxes": str(folder / "boxes.csv"),
                "post": {"untouched": 1.0},
                **data,
            },
            "optimizer": {"lr": 3e-3},
            "batch_size": 16,
            "ema_decay": 0.95,
            "epochs": epochs,
            "workers": 0,
            "threads": 1,
            "seed": seed,
            "validation": {"every": max(1.0, epochs / 4), "samples": 200},
        }
    )


def run(args: argparse.Namespace) -> None:
    rows = list(read_manifest(args.folder / "manifest.csv"))
    side = decode(Path(rows[0].path)).pixels.shape[0]
    clip = {"size": side, "frames": args.clip_frames}
    still = {"name": "baseline", "config": {"stages": 2, "decoder": "none", "view": {"size": side, "kind": "frame"}}}
    graph, lstm = ({"name": "temporal_tiny", "config": {"head": head, "view": clip}} for head in ("graph", "lstm"))
    found: dict[str, object] = {"data": data_hash(rows)[:12], "seed": args.seed, "epochs": args.epochs}
    found |= {"code": code_version(), "machine": machine(torch.device("cpu")), "features": features(args.folder)}
    print(json.dumps(found["features"]), flush=True)
    frames_per_clip = len(group_videos(rows)[0])
    for name, detector, epochs in (
        ("clips, graph", graph, args.epochs),
        ("frames alone", still, args.epochs * 2 / frames_per_clip * args.frame_share),
        ("clips, lstm", lstm, args.epochs),
    ):
        out = args.out / name.replace(", ", "-").replace(" ", "-")
        start = time.process_time()
        weights = train(recipe(args.folder, detector, epochs, args.seed, clips=2), out)  # type: ignore[arg-type]
        spent = time.process_time() - start
        model, _ = load_weights(weights)
        if model.input_kind == "clip":
            held = [row for row in rows if row.split == "val"]
            videos = score_videos(model, held, read_boxes(args.folder / "boxes.csv"), clips=2)
        else:
            table = np.genfromtxt(out / SCORES, delimiter=",", names=True, dtype=None, encoding="utf-8")
            keys = [(str(r["manipulation"]), str(Path(str(r["path"])).parent)) for r in table]
            print(
                f"  single frames: AUC {auc(split_scores(table['logit'], table['label'])).value:.3f}, n = {len(table)}"
            )
            videos = video_scores(table["logit"], table["label"], keys)
        value = auc(split_scores(videos.scores, videos.labels)).value
        found[name] = {"video_auc": value, "videos": len(videos.scores), "train_cpu_s": round(spent)}
        print(
            f"{name}: AUC {value:.3f} over {len(videos.scores)} videos of held-out people, {spent:.0f} s CPU",
            flush=True,
        )
    print(json.dumps(found))


def heads(args: argparse.Namespace) -> None:
    """All heads and a head on single frames, on the same fixed backbone, whose maps are computed once."""
    torch.set_num_threads(1)
    begun = time.process_time()
    rows = list(read_manifest(args.folder / "manifest.csv"))
    videos = group_videos(rows)
    clips = np.stack([np.stack([decode(Path(row.path)).pixels for row in video]) for video in videos])
    side, count = clips.shape[2], clips.shape[1]
    label = torch.tensor([float(video[0].label) for video in videos])
    held = torch.tensor([video[0].split == "val" for video in videos])
    torch.manual_seed(args.seed)
    view = {"size": side, "frames": count}
    designs = {
        "graph": {"head": "graph"},
        "lstm": {"head": "lstm"},
        "lstm, pooled frames": {"head": "lstm", "reads": "frames"},
    }
    models = {name: create_detector("temporal_tiny", view=view, **design) for name, design in designs.items()}
    if args.backbone is not None:
        for model in models.values():
            model.load_backbone(args.backbone)
    seen = models["graph"].eval()
    with torch.no_grad():
        parts = torch.from_numpy(clips).permute(0, 1, 4, 2, 3).split(10)
        maps = torch.cat([seen.frame_features(part.float() / 255) for part in parts])  # (V, T, C, h, w)
    print(f"{len(videos)} videos, maps {tuple(maps.shape[1:])}, {time.process_time() - begun:.0f} s CPU", flush=True)

    def pooled(frames: torch.Tensor) -> torch.Tensor:  # (V, T, C, h, w) to (V T, 3 C)
        flat = frames.flatten(0, 1).flatten(2)
        return torch.cat([flat.mean(2), flat.amax(2), flat.std(2)], 1)

    alone = torch.nn.Sequential(
        torch.nn.LayerNorm(3 * maps.shape[2]), torch.nn.Linear(3 * maps.shape[2], 64), torch.nn.GELU(),
        torch.nn.Dropout(0.3), torch.nn.Linear(64, 1),
    )  # fmt: skip
    found: dict[str, object] = {"data": data_hash(rows)[:12], "seed": args.seed, "code": code_version()}
    found |= {"machine": machine(torch.device("cpu")), "backbone": str(args.backbone and args.backbone.name)}

    def score(name: str, module: torch.nn.Module, which: torch.Tensor) -> torch.Tensor:
        """(V, T) logits of frames, or (V, 1) of clips."""
        if name == "frames alone":
            return module(pooled(which)).view(len(which), -1)
        model = models[name]
        return model.classifier(model.dropout(model.head(which)))

    for name, module in (("frames alone", alone), *models.items()):
        torch.manual_seed(args.seed)  # of batches and dropout
        start = time.process_time()
        parameters = [*module.parameters()] if name == "frames alone" else module.parameter_groups()["head"]
        optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.01)
        train_on = torch.where(~held)[0]
        steps = int(args.epochs * -(-len(train_on) // 16))
        plan = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        module.train()
        for _ in range(steps):
            chosen = train_on[torch.randint(len(train_on), (16,))]
            logits = score(name, module, maps[chosen])
            target = label[chosen, None].expand_as(logits)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            plan.step()
        module.eval()
        with torch.inference_mode():
            logits, fitted = score(name, module, maps[held]), score(name, module, maps[train_on]).mean(1)
        truth = label[held].numpy()
        by_video = auc(split_scores(logits.mean(1).numpy(), truth)).value
        line = {"video_auc": by_video, "videos": int(held.sum()), "cpu_s": round(time.process_time() - start)}
        line["trained_on_auc"] = auc(split_scores(fitted.numpy(), label[train_on].numpy())).value
        if name == "frames alone":
            line["frame_auc"] = auc(split_scores(logits.flatten().numpy(), truth.repeat(count))).value
        found[name] = line
        print(name, line, flush=True)
    print(json.dumps(found))


def cost(args: argparse.Namespace) -> None:
    """Processor seconds per clip in eval mode, batch of two, median of rounds; both heads in turn."""
    torch.set_num_threads(1)
    for name in ("temporal_tiny", "temporal"):
        models = {head: create_detector(name, head=head).eval() for head in ("lstm", "graph")}
        spent: dict[str, list[float]] = {head: [] for head in (*models, "backbone")}
        example = torch.rand(2, *next(iter(models.values())).input_shape())
        for _ in range(args.rounds):
            for head, model in models.items():
                with torch.inference_mode():
                    start = time.process_time()
                    maps = model.frame_features(example)
                    middle = time.process_time()
                    model.head(maps)
                    spent["backbone"].append(middle - start)
                    spent[head].append(time.process_time() - middle)
        text = ", ".join(f"{part} {1000 * float(np.median(times)) / 2:.1f} ms" for part, times in spent.items())
        heads = {head: sum(p.numel() for p in model.head.parameters()) for head, model in models.items()}
        print(f"{name} {tuple(example.shape[1:])}: per clip {text}; parameters of the heads {heads}")
    print(f"{platform.machine()}, one thread, torch {torch.__version__}, commit {code_version().get('commit', '')[:7]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "run", "heads", "cost"))
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/flicker"))
    parser.add_argument("--photos", type=Path, default=Path("runs/manifests/pd_train.csv"))
    parser.add_argument("--boxes", type=Path, default=Path("runs/boxes.csv"))
    parser.add_argument("--people", type=int, default=150)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--clip-frames", type=int, default=6)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--level", type=float, default=5.0, help="brightness and texture of the flicker, of 255")
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--frame-share", type=float, default=2.0, help="frames that the single-frame detector sees, "
                        "over the clips that the others see")  # fmt: skip
    parser.add_argument("--backbone", type=Path, help="weights of the fixed backbone (heads)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/flicker_trained"))
    args = parser.parse_args()
    {"make": make, "run": run, "heads": heads, "cost": cost}[args.what](args)


if __name__ == "__main__":
    main()
