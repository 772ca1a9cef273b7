"""Which reals a row of fakes is held against."""

import numpy as np

from unmask.evaluation.predictions import build
from unmask.evaluation.tables import subsets, verdict_counts


def rows(*records):
    names = ("path", "label", "source", "manipulation", "pair")
    return build([{"score": 0.5, **dict(zip(names, r, strict=False))} for r in records])


def found(predictions):
    return {s.name: (s.against, list(predictions["path"][s.which])) for s in subsets(predictions)}


def test_own_counterparts_first():
    p = rows(("a", 0, "s"), ("b", 0, "s"), ("fa", 1, "s", "swap", "a"), ("fb", 1, "s", "warp", "b"))
    assert found(p)["swap"] == ("own counterparts", ["a", "fa"])
    p = rows(("a", 0), ("b", 0), ("fa", 1, "", "swap", "a"), ("fx", 1, "", "swap", "gone"))
    assert found(p)["swap"] == ("own counterparts (of 1 of 2)", ["a", "fa", "fx"])


def test_then_the_same_source_then_all():
    p = rows(("a", 0, "s"), ("b", 0, "t"), ("fa", 1, "s", "swap"), ("g", 1, "gan", "gan"), ("h", 1, "s", "warp"))
    assert found(p)["swap"] == ("reals of the same source", ["a", "fa"])
    assert found(p)["gan"] == ("all reals", ["a", "b", "g"])
    assert found(p)["s"] == ("reals of the same source", ["a", "fa", "h"])
    assert found(p)["t"] == ("", ["b"])  # only reals: no AUC, but a false-alarm rate


def test_a_row_that_repeats_the_first_is_left_out():
    p = rows(("a", 0, "s"), ("fa", 1, "s", "swap"))
    assert list(found(p)) == ["all images"]


def test_images_without_a_score_are_uncertain_and_lower_the_coverage():
    p = build(
        [
            {"path": "a", "label": 1, "score": 0.9, "verdict": "fake"},
            {"path": "b", "label": 1, "score": None, "verdict": "uncertain"},
            {"path": "c", "label": 0, "score": 0.1, "verdict": "real"},
            {"path": "d", "label": 0, "score": 0.95, "verdict": "fake"},
        ]
    )
    counts = verdict_counts(p)
    assert counts["coverage"]["rate"] == 0.75
    assert counts["error"]["rate"] == 1 / 3
    assert counts["fake"]["uncertain"]["count"] == 1
    assert counts["real"]["fake"]["high"] > 0.9  # one of two: the limits say how little that is
    assert np.isnan(p["score"][1])
