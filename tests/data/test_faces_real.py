"""The face search on real photos, held against YuNet by the rules of benchmarks/faces.py."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from unmask.data.intake import decode
from unmask.nn.mtcnn import MTCNN

GROUND = Path(os.environ.get("UNMASK_DATA", "no such folder"))
YUNET = GROUND / "facemodels" / "yunet_n_dynamic.onnx"
pytestmark = pytest.mark.skipif(not YUNET.is_file(), reason="set UNMASK_DATA to a folder with facemodels/ and data/")


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    pytest.importorskip("onnxruntime")
    path = Path(__file__).parents[2] / "benchmarks" / "faces.py"
    spec = importlib.util.spec_from_file_location("faces_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recall(benchmark: ModuleType, files: list[Path]) -> tuple[int, float, float]:
    """Faces YuNet is sure of (score >= 0.8, 40 pixels or more), the share of them found, and the median IoU."""
    yunet, network = benchmark.YuNet(YUNET), MTCNN()
    found, theirs = {}, {}
    for i in range(0, len(files), 16):
        photos = [decode(f).pixels for f in files[i : i + 16]]
        for file, photo, faces in zip(files[i : i + 16], photos, network(photos), strict=True):
            found[str(file)] = benchmark.Found(faces.boxes.numpy(), faces.scores.numpy())
            theirs[str(file)] = yunet(photo, 640)
    tally = benchmark.compare(list(found), found, theirs, theirs)
    return tally.wanted, tally.found / tally.wanted, float(np.median(tally.ious))


def test_every_face_of_the_fixtures(benchmark: ModuleType) -> None:
    wanted, share, iou = recall(benchmark, sorted((GROUND / "data/fixtures_pd_cc0/real").glob("*.jpg")))
    assert wanted >= 20 and share == 1 and iou >= 0.7


@pytest.mark.slow
def test_all_real_photos(benchmark: ModuleType) -> None:
    files = [f for s in benchmark.SETS for f in sorted((GROUND / "data" / s).rglob("*")) if f.suffix != ".md"]
    files = [f for f in files if f.suffix.lower() in {".jpg", ".png", ".webp"}]
    wanted, share, iou = recall(benchmark, files)
    assert wanted > 900 and share >= 0.98 and iou >= 0.7
