"""The catalogue's rows of pixel features: what they look at, and what they say where they do not apply."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unmask.core.types import Face
from unmask.features.base import PixelFeature, Subject
from unmask.features.catalogue import FEATURES, find_features
from unmask.nn.descriptors import create_descriptor

ROWS = ("noise", "hog", "lbp", "glcm", "colour", "fft", "dct", "npr")


def test_the_catalogue_has_every_row() -> None:
    for name in ("rgb", *ROWS):
        feature = FEATURES[name]
        assert feature.name == name and feature.line and feature.paper and not feature.needs
        assert ("map" in feature.kinds) == (feature.map_name is not None)
        if feature.map_name is not None:
            assert feature.create_map()(torch.rand(1, 3, 64, 64)).ndim == 4
    with pytest.raises(ValueError, match="no map"):
        FEATURES["glcm"].create_map()


@pytest.mark.parametrize("name", ROWS)
def test_measured_in_a_batch_with_reasons_for_the_rest(name: str, portrait_pixels: np.ndarray) -> None:
    (feature,) = find_features([name])
    face = Face((60, 40, 180, 190))
    subjects = [
        Subject(portrait_pixels, face),
        Subject(portrait_pixels[:20]),
        Subject(np.full((256, 256, 3), 90, np.uint8)),
        Subject(portrait_pixels[:, ::-1].copy(), face),
    ]
    found = feature.measure(subjects)
    status = [each.status for each in found]
    flat = "not_applicable" if name in ("noise", "colour", "npr") else "ok"
    assert status == ["ok", "too_small", flat, "ok"]
    for each in found:
        assert (each.values is None) == (each.status != "ok")
        if each.values is not None:
            assert each.values.shape == (len(feature.columns),) and np.isfinite(each.values).all()
    alone = feature.measure(subjects[:1])[0].values
    assert alone is not None and found[0].values is not None
    np.testing.assert_allclose(alone, found[0].values, rtol=1e-5, atol=1e-6)


def test_the_view_is_what_the_descriptor_sees(portrait_pixels: np.ndarray) -> None:
    (feature,) = find_features(["npr"])
    assert isinstance(feature, PixelFeature) and feature.view.kind == "native"
    (found,) = feature.measure([Subject(portrait_pixels)])
    pixels = torch.from_numpy(portrait_pixels.copy()).permute(2, 0, 1)[None].float() / 255
    np.testing.assert_allclose(found.values, create_descriptor("npr")(pixels)[0], rtol=1e-5)


def test_raw_pixels_are_only_a_map(portrait_pixels: np.ndarray) -> None:
    (feature,) = find_features(["rgb"])
    assert feature.columns == ()
    assert [found.status for found in feature.measure([Subject(portrait_pixels)] * 2)] == ["not_applicable"] * 2


def test_a_feature_without_descriptor_says_what_it_lacks() -> None:
    class Empty(PixelFeature):
        name = "empty"

    with pytest.raises(NotImplementedError, match="'empty'"):
        _ = Empty().columns
