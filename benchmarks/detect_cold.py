"""How long `unmask detect` on one photo takes from a cold start, and how much of it is not `import torch`.

    python benchmarks/detect_cold.py [--runs 5] [--detector FILE]

Every run is a fresh process. The target: less than 3 s beyond importing torch. Without shipped weights and without
`--detector`, untrained ones of the default designs are used; the time does not depend on training.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

PROCESS = """
import sys, time
start = time.perf_counter(), time.process_time()
import torch
ready = time.perf_counter(), time.process_time()
import contextlib, io, json
from unmask.cli.main import main
with contextlib.redirect_stdout(io.StringIO()) as out:
    code = main(sys.argv[1:])
done = time.perf_counter(), time.process_time()
print(json.dumps({"code": code, "torch": [ready[0] - start[0], ready[1] - start[1]],
                  "rest": [done[0] - ready[0], done[1] - ready[1]]}))
"""


def untrained(folder: Path) -> Path:
    from unmask.detectors.weights import save_weights
    from unmask.detectors.zoo import create_detector

    for question, design in (("edited", "baseline"), ("generated", "npr")):
        detector = create_detector(design, answers=question).eval()
        save_weights(folder / f"{question}.safetensors", detector)
    card = folder / "untrained.json"
    card.write_text(json.dumps({"members": ["edited", "generated"]}), encoding="utf-8")
    return card


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--detector")
    args = parser.parse_args()
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        sys.exit("scikit-image is not installed; its portrait is what is measured")
    photo = Path(spec.origin).parent / "data" / "astronaut.png"
    with tempfile.TemporaryDirectory() as folder:
        detector = args.detector
        if detector is None:
            assets = Path(__file__).resolve().parents[1] / "src" / "unmask" / "assets" / "default.json"
            detector = str(assets if assets.is_file() else untrained(Path(folder)))
        words = ["detect", str(photo), "--json", "--device", "cpu", "--detector", detector]
        runs = []
        for _ in range(args.runs + 1):  # the first fills the disk cache and is not counted
            done = subprocess.run(
                [sys.executable, "-c", PROCESS, *words], capture_output=True, text=True, check=True, cwd=folder
            )
            runs.append(json.loads(done.stdout))
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    busy = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, {busy}; commit {commit}; detector {Path(detector).name}")
    print(f"command: unmask {' '.join(words[:3])}; medians of {args.runs} fresh processes, all exit code 0: ", end="")
    print(all(run["code"] == 0 for run in runs))
    for part, text in (("torch", "import torch"), ("rest", "everything else")):
        wall, cpu = (statistics.median(run[part][i] for run in runs[1:]) for i in (0, 1))
        print(f"{text:16} {wall:6.2f} s wall {cpu:6.2f} s CPU")


if __name__ == "__main__":
    main()
