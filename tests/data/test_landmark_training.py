"""How landmarks are learnt: targets follow every variation, runs go on where they stopped."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from unmask.core.errors import TrainingError, WeightsError
from unmask.core.seeds import rng
from unmask.core.types import UInt8Image
from unmask.data.faces import FaceFinder
from unmask.data.intake import decode
from unmask.data.landmark_examples import KEPT, LOOK_ZOOM, PIVOT, Examples, eye_distance, teacher_points, vary, weather
from unmask.data.landmark_teacher import Teacher, load_teacher
from unmask.data.landmark_training import batch_of, train
from unmask.data.landmarks import LandmarkFinder
from unmask.nn.landmarks import SIZE, mirror_order

GROUND = Path(os.environ.get("UNMASK_DATA", "no such folder"))
TEACHER = GROUND / "facemodels" / "mediapipe_facemesh468_blazeface_landmark.safetensors"
ORDER = torch.from_numpy(mirror_order().copy())


def spots(count: int) -> tuple[UInt8Image, torch.Tensor]:
    """Squares with one coloured blob at point 33 (red) and one at 263 (blue), which a mirror swaps."""
    random = np.random.default_rng(0)
    squares = np.zeros((count, KEPT, KEPT, 3), np.uint8)
    points = torch.full((count, 468, 2), 0.5)
    for i in range(count):
        for point, channel, x in ((33, 0, 0.4), (263, 2, 0.6)):
            place = np.array([x, 0.55]) + random.uniform(-0.05, 0.05, 2)
            points[i, point] = torch.from_numpy(place).float()
            colour = [255 if c == channel else 0 for c in range(3)]
            centre = tuple(int(v) for v in np.round((place * KEPT - 0.5) * 16))
            cv2.circle(squares[i], centre, 5 * 16, colour, -1, cv2.LINE_AA, 4)
    return squares, points


def centroid(channel: torch.Tensor) -> np.ndarray:
    axis = (torch.arange(SIZE) + 0.5) / SIZE
    return np.array([(channel * axis).sum() / channel.sum(), (channel * axis[:, None]).sum() / channel.sum()])


def test_points_follow_turns_scales_shears_and_mirrors() -> None:
    squares, points = spots(24)
    varied = vary(squares, points, ORDER, np.random.default_rng(1))
    assert varied.image.shape == (24, 3, SIZE, SIZE) and varied.face.all()
    mirrored = 0
    for image, place in zip(varied.image, varied.points.numpy(), strict=True):
        red, blue = centroid(image[0]), centroid(image[2])
        swapped = bool(np.linalg.norm(place[33] - blue) < np.linalg.norm(place[33] - red))
        mirrored += swapped
        there = (blue, red) if swapped else (red, blue)
        np.testing.assert_allclose([place[33], place[263]], there, atol=0.6 / SIZE)
    assert 6 <= mirrored <= 18


def test_plain_cuts_as_the_finder_does() -> None:
    squares, points = spots(2)
    plain = vary(squares, points, ORDER, np.random.default_rng(1), plain=True)
    wanted = (points.numpy() - PIVOT) * 1.6 + (0.5, 0.5 + 0.1 * LOOK_ZOOM)
    np.testing.assert_allclose(plain.points, wanted, atol=1e-6)
    np.testing.assert_allclose(centroid(plain.image[0, 0]), wanted[0, 33], atol=0.3 / SIZE)


def test_lost_faces_do_not_count_and_batches_repeat() -> None:
    squares, points = spots(4)
    dense = torch.cat([points, torch.zeros(4, 468, 1)], 2).numpy()
    empty = np.zeros((3, SIZE, SIZE, 3), np.uint8)
    examples = Examples(squares, dense, empty, np.array(["a"] * 4))
    one, two = (batch_of(examples, ORDER, rng(0, "x"), 16) for _ in range(2))
    assert one.face.tolist() == [1.0] * 13 + [0.0] * 3  # one in sixteen far off, an eighth empty
    assert torch.equal(one.image, two.image) and torch.equal(one.points, two.points)


def test_weather_stays_in_range_and_changes_pixels_only() -> None:
    image = torch.rand(12, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    out = weather(image.clone(), np.random.default_rng(0))
    assert out.shape == image.shape and out.min() >= 0 and out.max() <= 1 and not torch.equal(out, image)


def test_a_stopped_run_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unmask.data.landmark_training.SAVE_EVERY", 2)
    squares, points = spots(8)
    random = np.random.default_rng(0)
    dense = torch.cat([points, torch.zeros(8, 468, 1)], 2).numpy() + random.normal(0, 0.01, (8, 468, 3)).astype("f4")
    examples = Examples(squares, dense, np.zeros((2, SIZE, SIZE, 3), np.uint8), np.array(["a"] * 8))

    def run(state: Path, steps: int = 4) -> dict[str, torch.Tensor]:
        return train(examples, examples, ORDER, state, seed=0, steps=steps, size=16)[0].state_dict()

    whole = run(tmp_path / "whole.pt")
    seen = 0

    def stop(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("unmask.data.landmark_training.nn.utils.clip_grad_norm_", lambda *a: (stop(), clip(*a)))
    clip = torch.nn.utils.clip_grad.clip_grad_norm_
    seen = -1  # stops in the third step
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part.pt")
    monkeypatch.undo()
    again = run(tmp_path / "part.pt")
    assert all(torch.allclose(whole[name], again[name], atol=1e-6) for name in whole)
    with pytest.raises(TrainingError, match="4 steps, not 6"):
        run(tmp_path / "part.pt", 6)


def test_the_teachers_network_and_files_that_do_not_hold_it(tmp_path: Path) -> None:
    points, logits = Teacher().eval()(torch.rand(1, 3, 192, 192))
    assert points.shape == (1, 468, 3) and logits.shape == (1,)
    with pytest.raises(WeightsError, match="does not hold the face mesh network"):
        load_teacher(tmp_path / "absent.safetensors")


@pytest.mark.skipif(not TEACHER.is_file(), reason="set UNMASK_DATA to a folder with facemodels/ and data/")
def test_near_the_teacher_on_people_it_never_saw() -> None:
    teacher, finder, search = load_teacher(TEACHER), LandmarkFinder(), FaceFinder()
    errors = []
    for path in sorted((GROUND / "data/fixtures_pd_cc0/real").glob("*.jpg"))[::3]:
        photo = decode(path).pixels
        face = search.find([photo])[0][0]
        assert face.points is not None
        truth, _, _ = teacher_points(teacher, photo, face.points, mirror_order())
        (found,) = finder.find(photo, [face])
        assert found is not None
        errors.append(np.linalg.norm(found.points - truth[:, :2], axis=1).mean() / eye_distance(truth))
    assert len(errors) >= 6 and np.mean(errors) < 0.05
