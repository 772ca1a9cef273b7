import numpy as np
import pytest

from unmask.core.errors import DataError
from unmask.metrics.image import auc, split_scores
from unmask.metrics.video import video_scores


def test_folder_name_alone_does_not_merge_methods():
    """Four manipulations of one video share the folder name; keyed by it alone they would become one video."""
    random = np.random.default_rng(0)
    rows = []
    for video in range(30):
        for method in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"):
            skill = random.normal(1, 1)
            rows += [(skill + random.normal(), 1, (method, f"{video:03d}")) for _ in range(4)]
        offset = random.normal()
        rows += [(offset + random.normal(), 0, ("original", f"{video:03d}")) for _ in range(4)]
    scores, labels, keys = zip(*rows, strict=True)
    videos = video_scores(scores, labels, keys)
    assert len(videos.scores) == 150
    assert videos.labels.sum() == 120
    with pytest.raises(DataError, match="real and fake frames"):
        video_scores(scores, labels, [key[1:] for key in keys])
    merged = video_scores(
        scores, labels, [("fake" if label else "real", key[1]) for label, key in zip(labels, keys, strict=True)]
    )
    assert auc(split_scores(merged.scores, merged.labels)).value > auc(split_scores(videos.scores, videos.labels)).value


def test_mean_of_frames_in_any_order():
    found = video_scores([0.0, 1.0, 0.5], [1, 0, 1], [("a",), ("b",), ("a",)])
    assert found.keys == (("a",), ("b",))
    assert found.scores.tolist() == [0.25, 1.0]
    assert found.labels.tolist() == [1, 0]
