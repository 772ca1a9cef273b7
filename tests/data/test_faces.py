"""Alignment against scikit-image, boxes files there and back, the finder's order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import skimage.transform
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.core.errors import DataError
from unmask.core.types import Face
from unmask.data.faces import COLUMNS, FaceFinder, align, read_boxes, similarity, square_around, write_boxes

ASTRONAUT = skimage.data.astronaut()
coordinate = st.floats(-500, 500, width=32)


@settings(deadline=None)
@given(st.lists(st.tuples(coordinate, coordinate), min_size=5, max_size=5), st.integers(0, 1000))
def test_similarity_against_scikit_image(points: list[tuple[float, float]], seed: int) -> None:
    source = np.array(points)
    target = np.random.default_rng(seed).uniform(0, 112, (5, 2))
    if np.ptp(source, 0).max() < 1:
        return
    reference = skimage.transform.SimilarityTransform.from_estimate(source, target)
    ours = similarity(source, target)
    error = np.square(np.c_[source, np.ones(5)] @ ours.T - target).sum()
    assert error <= np.square(reference(source) - target).sum() * (1 + 1e-6) + 1e-6


def test_similarity_recovers_a_known_map() -> None:
    truth = skimage.transform.SimilarityTransform(scale=0.3, rotation=0.7, translation=(4, -9))
    points = np.random.default_rng(0).uniform(0, 300, (5, 2))
    np.testing.assert_allclose(similarity(points, truth(points)), truth.params[:2], atol=1e-9)
    with pytest.raises(DataError, match="one spot"):
        similarity([(1, 1)] * 5, points)


@pytest.mark.parametrize("angle", [0, 30, 180])
@pytest.mark.parametrize("size", [64, 256, 300])
def test_aligned_faces_are_upright_whatever_the_pose(angle: float, size: int) -> None:
    points = np.array([(203.8, 101.0), (246.6, 103.7), (224.4, 128.5), (201.8, 139.1), (244.9, 141.2)])
    upright, _ = align(ASTRONAUT, points, size)
    rotation = skimage.transform.SimilarityTransform(rotation=np.deg2rad(angle))
    shift = skimage.transform.SimilarityTransform(translation=(256, 256))
    turn = skimage.transform.SimilarityTransform(matrix=shift.params @ rotation.params @ np.linalg.inv(shift.params))
    points_turned = turn(points - 0.5) + 0.5  # scikit-image counts from pixel centres
    turned = skimage.transform.warp(ASTRONAUT, turn.inverse, order=1, preserve_range=True).astype(np.uint8)
    again, matrix = align(turned, points_turned, size)
    middle = slice(size // 4, 3 * size // 4)
    assert np.abs(upright[middle, middle].astype(float) - again[middle, middle]).mean() < 6
    eyes = np.c_[points_turned[:2], np.ones(2)] @ matrix.T / size
    assert abs(eyes[0, 1] - eyes[1, 1]) < 0.03 and eyes[0, 0] < 0.5 < eyes[1, 0]


def test_align_puts_a_marked_pixel_where_the_matrix_says() -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    image[150, 200] = 255
    points = np.array([(180, 140), (220, 140), (200, 165), (184, 185), (216, 185)], float)
    for size in (128, 512):
        aligned, matrix = align(image, points, size)
        expected = matrix @ (200.5, 150.5, 1)
        weight = aligned[..., 0].astype(float)
        rows, columns = np.indices(weight.shape) + 0.5
        seen = (columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()
        np.testing.assert_allclose(seen, expected, atol=0.35)


def test_align_in_a_photo_wider_than_opencv_warps() -> None:
    wide = np.zeros((200, 40_000, 3), np.uint8)
    wide[:, 39_500:] = ASTRONAUT[:200, :500]
    points = np.array([(203.8, 101.0), (246.6, 103.7), (224.4, 128.5), (201.8, 139.1), (244.9, 141.2)])
    expected, _ = align(ASTRONAUT[:200, :500], points, 96, zoom=1)
    np.testing.assert_array_equal(align(wide, points + np.array([39_500, 0]), 96, zoom=1)[0], expected)


def test_finder_lists_the_largest_first() -> None:
    scene = np.zeros((260, 700, 3), np.uint8)
    scene[:200, :200] = ASTRONAUT[20:220, 130:330]
    scene[:100, 300:400] = ASTRONAUT[20:220:2, 130:330:2]
    scene[:250, 420:670] = np.kron(ASTRONAUT[20:145, 160:285], np.ones((2, 2, 1), np.uint8))
    faces = FaceFinder().find([scene])[0]
    widths = [f.box[2] - f.box[0] for f in faces]
    assert len(faces) >= 2 and widths == sorted(widths, reverse=True)
    assert all(f.points is not None and len(f.points) == 5 for f in faces)


def test_square_around_is_whole_and_centred() -> None:
    x1, y1, x2, y2 = square_around(Face((10.2, 20.7, 31.9, 60.1)), 1.6)
    assert x2 - x1 == y2 - y1 == round(1.6 * 39.4)
    assert abs((x1 + x2) / 2 - 21.05) <= 0.5 and abs((y1 + y2) / 2 - 40.4) <= 0.5


BOXES = {
    "a/ü, name.jpg": [Face((1.25, 2, 30, 40.5), 0.75, tuple((i + 0.5, i) for i in range(5))), Face((0, 0, 5, 5))],
    "none.png": [],
}


@pytest.mark.parametrize("name", ["boxes.csv", "boxes.parquet"])
def test_boxes_there_and_back(tmp_path: Path, name: str) -> None:
    write_boxes(tmp_path / name, BOXES)
    assert read_boxes(tmp_path / name) == BOXES
    found = {"x": FaceFinder().find([ASTRONAUT])[0]}
    write_boxes(tmp_path / name, found)
    (face,), (again,) = found["x"], read_boxes(tmp_path / name)["x"]
    assert np.float32(again.box).tolist() == np.float32(face.box).tolist()


def test_a_file_of_another_tool(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("\ufeffpath,x1,y1,x2,y2\nphoto.jpg,1,2,3,4\n", encoding="utf-8")
    assert read_boxes(path) == {"photo.jpg": [Face((1, 2, 3, 4))]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,x1,y1,x2\na,1,2,3\n", "no column y2"),
        ("path,x1,y1,x2,y2\na,1,2,3,4\nb,1,two,3,4\n", "row 2"),
        ("path,x1,y1,x2,y2\na,3,2,1,4\n", "x1 < x2"),
        ("path,x1,y1,x2,y2\na,1,2,,4\n", "row 1"),
        ("path,x1,y1,x2,y2\na,1,2,nan,4\n", "row 1"),
        ("path,x1,y1,x2,y2\na,1,2\n", "row 1"),
    ],
)
def test_bad_boxes_name_the_row(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=says):
        read_boxes(path)


def test_files_that_are_no_boxes(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        read_boxes(tmp_path / "missing.csv")
    for name in ("junk.csv", "junk.parquet"):
        (tmp_path / name).write_bytes(bytes(range(256)) * 3)
        with pytest.raises(DataError):
            read_boxes(tmp_path / name)
    with pytest.raises(DataError, match=r"\.csv or \.parquet"):
        write_boxes(tmp_path / "boxes.txt", BOXES)
    assert not (tmp_path / "boxes.txt").exists()
    assert COLUMNS[:6] == ("path", "x1", "y1", "x2", "y2", "score") and len(COLUMNS) == 16
