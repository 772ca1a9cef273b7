"""The page shell and the figures."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from unmask.reports import figures
from unmask.reports.page import environment, png_uri


def picture(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


def test_png_uri_keeps_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    np.testing.assert_array_equal(picture(png_uri(pixels)), pixels)
    grey = np.array([[0.0, 0.5, 1.0], [np.nan, -1.0, 2.0]])
    assert picture(png_uri(grey)).tolist() == [[0, 128, 255], [0, 0, 255]]


@pytest.mark.parametrize("bad", [np.zeros((2, 2, 2)), np.zeros(3), np.zeros((2, 2), int), np.zeros((0, 2))])
def test_png_uri_refuses_what_is_no_image(bad):
    with pytest.raises(ValueError, match="expected"):
        png_uri(bad)


def test_text_is_escaped_and_requests_are_forbidden():
    env = environment()
    page = env.from_string('{% extends "page.html" %}{% block content %}{{ name }}{% endblock %}').render(
        name="<img src=x>"
    )
    assert "&lt;img src=x&gt;" in page
    assert "default-src 'none'" in page


def is_png(found):
    return Image.open(io.BytesIO(found.png)).format == "PNG"


def test_figures_of_usual_and_degenerate_input():
    random = np.random.default_rng(0)
    labels = np.arange(50) % 2
    scores = random.random(50)
    scores[3] = np.nan
    scorers = {"detector": scores, "blur": -random.random(50) * 30, "metadata": np.full(50, np.nan)}
    assert is_png(figures.roc_figure(scorers, labels))
    assert is_png(figures.pr_figure(scorers, labels))
    assert is_png(figures.reliability_figure(scores, labels))
    assert is_png(figures.histogram_figure(scores, labels, {"fake": 0.9, "real": None}))
    assert is_png(figures.histogram_figure(np.full(4, 7.0), np.array([0, 1, 0, 1]), {}))
    assert is_png(figures.confusion_figure(np.array(["fake", "real"] * 25), labels, "Verdicts"))
    assert figures.roc_figure(scorers, np.ones(50, int)) is None
    assert figures.reliability_figure(scores * 9, labels) is None


def test_bars_without_interval():
    nothing = {"value": None, "low": None, "high": None, "reason": "none"}
    row = {
        "name": "x" * 80,
        "n_fake": 1,
        "n_real": 1,
        "metrics": {"auc": {"value": 1.0, "low": None, "high": None, "reason": ""}},
        "baselines": {"blur": {"auc": nothing}, "metadata": {"auc": nothing}},
    }
    assert is_png(figures.bars_figure([row]))
    assert figures.bars_figure([{**row, "metrics": {"auc": nothing}}]) is None


def test_figures_are_the_same_bytes_each_time():
    labels, scores = np.arange(20) % 2, np.linspace(0, 1, 20)
    assert figures.roc_figure({"detector": scores}, labels) == figures.roc_figure({"detector": scores}, labels)
