"""The face networks: packed search against the plain loop, bounded memory, odd sizes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data
import torch

from unmask.core.errors import WeightsError
from unmask.core.types import UInt8Image
from unmask.nn import mtcnn, packing
from unmask.nn.mtcnn import MTCNN, Faces

ASTRONAUT: UInt8Image = skimage.data.astronaut()


@pytest.fixture(scope="module")
def network() -> MTCNN:
    torch.set_num_threads(1)
    return MTCNN()


def same(a: Faces, b: Faces, pixels: float = 0.01) -> bool:
    return len(a.boxes) == len(b.boxes) and all(
        torch.allclose(x, y, atol=pixels, rtol=0) for x, y in ((a.boxes, b.boxes), (a.points, b.points))
    )


def test_the_published_face(network: MTCNN) -> None:
    """The wheel's own implementation gives this one box on this photo; its resampling differs slightly."""
    (faces,) = network([ASTRONAUT])
    assert len(faces.boxes) == 1 and faces.scores[0] > 0.99
    np.testing.assert_allclose(faces.boxes[0], [181.1, 62.2, 267.7, 172.1], atol=4)
    left, right, nose, mouth_left, mouth_right = faces.points[0].tolist()
    assert left[0] < nose[0] < right[0] and mouth_left[0] < mouth_right[0]
    assert left[1] < nose[1] < mouth_left[1]


def test_a_batch_of_any_sizes_equals_one_by_one(network: MTCNN) -> None:
    photos = [
        ASTRONAUT,
        cv2.resize(ASTRONAUT, (300, 200)).astype(np.uint8),
        ASTRONAUT[:7, :9],
        np.ascontiguousarray(ASTRONAUT[:, 60:420]),
        np.zeros((1, 1, 3), np.uint8),
        cv2.resize(ASTRONAUT, (901, 733)).astype(np.uint8),
        np.full((10, 2000, 3), 128, np.uint8),
    ]
    together = network(photos)
    assert [len(f.boxes) for f in together] == [1, 1, 0, 1, 0, 1, 0]
    for photo, faces in zip(photos, together, strict=True):
        assert same(network([photo])[0], faces)


def test_chunks_change_nothing(network: MTCNN, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = np.tile(cv2.resize(ASTRONAUT[20:220, 130:330], (100, 100)).astype(np.uint8), (4, 6, 1))
    (whole,) = network([crowd])
    assert len(whole.boxes) == 24
    monkeypatch.setattr(mtcnn, "CANVAS_PIXELS", 1)
    monkeypatch.setattr(mtcnn, "CROPS", 8)
    monkeypatch.setattr(mtcnn, "GROUP_PIXELS", 1)
    assert same(whole, network([crowd, crowd])[1])


def test_the_packed_search_equals_a_level_by_level_loop(network: MTCNN) -> None:
    """Proposals: one level at a time, windows by hand, against the packed canvas."""
    copies, scale = [], 12 / network.min_size
    level = ASTRONAUT
    while min(ASTRONAUT.shape[:2]) * scale >= 12:
        level = packing.shrink(level, scale * 512 / level.shape[1])
        copies.append(level)
        scale *= network.factor
    pack = packing.pack_copies(copies, [ASTRONAUT], [0] * len(copies), mtcnn.MARGIN, mtcnn.FILL)
    found = [network._propose_rows(pack, top, bottom) for top, bottom in packing.stretches(pack, 1 << 14)]
    boxes, scores, copy = (torch.cat(parts) for parts in zip(*found, strict=True))
    for i, picture in enumerate(copies):
        around = cv2.copyMakeBorder(picture, *[mtcnn.MARGIN] * 4, cv2.BORDER_CONSTANT, value=[mtcnn.FILL] * 3)
        offsets, score = network.pnet((torch.from_numpy(around).permute(2, 0, 1)[None].float() - 127.5) / 128)
        row, column = (score[0] >= network.thresholds[0]).nonzero(as_tuple=True)
        corner = torch.stack([column, row], 1) * 2 - mtcnn.MARGIN
        expected = torch.cat([corner, corner + 12], 1) + 12 * offsets[0, :, row, column].T
        expected = expected * 512 / torch.tensor(picture.shape[1::-1] * 2)
        ours = boxes[copy == i]
        assert len(ours) == len(expected)
        assert torch.allclose(ours.sort(0).values.float(), expected.sort(0).values, atol=0.02)
        assert torch.allclose(scores[copy == i].sort().values, score[0][row, column].sort().values, atol=1e-5)


def test_faces_scale_with_the_photo_and_min_size_is_kept() -> None:
    large = cv2.resize(ASTRONAUT, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    (small_face,), (large_face,) = MTCNN()([ASTRONAUT]), MTCNN(max_side=1024)([large])
    np.testing.assert_allclose(large_face.boxes / 3, small_face.boxes, atol=5)
    assert len(MTCNN(min_size=200)([ASTRONAUT])[0].boxes) == 0


def test_a_face_cut_by_the_frame_is_found(network: MTCNN) -> None:
    (faces,) = network([np.ascontiguousarray(ASTRONAUT[:, 210:])])
    assert len(faces.boxes) == 1


def test_crops_average_and_are_grey_outside(network: MTCNN) -> None:
    """Crops against OpenCV's area average of the same square."""
    rows, columns = np.indices((512, 512))
    photo = np.stack([rows / 2, columns / 2, (rows + columns) / 4], 2).astype(np.uint8)
    pack = packing.pack_copies(packing.halvings(photo), [photo], [0] * len(packing.halvings(photo)))
    crop = packing.Cropper(pack, network._pixels(pack.canvas, torch.contiguous_format), (mtcnn.FILL - 127.5) / 128)
    boxes = torch.tensor([[100.0, 60, 292, 252], [-48, -48, 48, 48]])
    inside, corner = crop(boxes, torch.zeros(2, dtype=torch.long), 48)
    expected = cv2.resize(photo[60:252, 100:292], (48, 48), interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(inside.permute(1, 2, 0).numpy() * 128 + 127.5 - expected).max() < 1.5
    assert (corner[:, :24] == (mtcnn.FILL - 127.5) / 128).all() and corner[:, 24:, 24:].std() > 0


def test_wrong_input_is_said() -> None:
    with pytest.raises(ValueError, match="uint8"):
        MTCNN()([np.zeros((4, 4, 3), np.float32)])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="min_size"):
        MTCNN(min_size=5)


def test_missing_weights_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    mtcnn._arrays.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="mtcnn"):
        MTCNN()


def test_further_looks_refuse_chance_resemblances(network: MTCNN) -> None:
    """The score is the mean over looks: a face keeps it, a flat patch has none."""
    photo = [ASTRONAUT]
    pack = packing.pack_copies(packing.halvings(ASTRONAUT), photo, [0] * len(packing.halvings(ASTRONAUT)))
    crop = packing.Cropper(pack, network._pixels(pack.canvas, torch.contiguous_format), (mtcnn.FILL - 127.5) / 128)
    boxes = torch.tensor([[181.0, 62, 268, 172], [10, 400, 100, 500]])
    face, other = network._look_again(crop, boxes, torch.zeros(2, dtype=torch.long))
    assert face > 0.95 and other < 0.05


@pytest.mark.slow
def test_24_megapixels_in_bounded_memory() -> None:
    import psutil

    photo = cv2.resize(ASTRONAUT, (6000, 4000), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    network = MTCNN()
    network([ASTRONAUT])
    before = psutil.Process().memory_info().rss
    peak = before
    for faces in network([photo] * 3):
        peak = max(peak, psutil.Process().memory_info().rss)
        assert len(faces.boxes) == 1
    assert peak - before < 700e6
