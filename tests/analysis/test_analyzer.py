from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import unmask
from unmask.analysis import analyzer as module
from unmask.analysis.analyzer import Analyzer, load_analyzer
from unmask.core.errors import ConfigError, UnmaskError, WeightsError
from unmask.core.types import Face

BOX = Face((90.0, 63.0, 176.0, 173.0))


@pytest.fixture(scope="module")
def pair(tiny_weights: Path) -> Analyzer:
    return load_analyzer(tiny_weights / "pair.json", device="cpu")


@pytest.fixture(scope="module")
def edited(tiny_weights: Path) -> Analyzer:
    return unmask.load(tiny_weights / "edited.safetensors", device="cpu")


def test_path_bytes_and_pixels_get_the_same_answer(pair: Analyzer, portrait: Path, portrait_pixels: np.ndarray) -> None:
    by_path, by_bytes, by_pixels = pair(portrait), pair(portrait.read_bytes()), pair(portrait_pixels)
    assert by_path.status == "ok" and len(by_path.faces) == 1
    assert by_path.score == by_bytes.score == by_pixels.score
    assert (by_path.path, by_bytes.path, by_pixels.path) == (str(portrait), None, None)
    assert by_path.sha256 == by_bytes.sha256 == hashlib.sha256(portrait.read_bytes()).hexdigest()
    assert by_pixels.sha256 is None


def test_the_json_line_holds_exactly_the_documented_keys(pair: Analyzer, portrait: Path) -> None:
    told = json.loads(pair(portrait).to_json())
    assert list(told) == [
        "path", "sha256", "status", "verdict", "kind", "score", "scores", "thresholds", "faces", "detector",
        "weights_sha256", "reasons", "error", "standing", "stability",
    ]  # fmt: skip
    assert list(told["scores"]) == ["edited", "generated"]
    assert list(told["thresholds"]) == ["fake", "real"]
    assert list(told["faces"][0]) == ["box", "score", "verdict", "mask_area", "mask"]
    assert len(told["faces"][0]["box"]) == 4 and 0 <= told["faces"][0]["mask_area"] <= 1
    assert told["thresholds"] == {"fake": 0.9, "real": 0.2}
    assert told["detector"] == "pair" and told["error"] is None


def test_the_hash_of_a_pair_can_be_checked_by_hand(pair: Analyzer, tiny_weights: Path) -> None:
    names = ("edited.safetensors", "generated.safetensors", "pair.json")
    lines = "".join(f"{hashlib.sha256((tiny_weights / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    assert pair.bench.weights_sha256 == hashlib.sha256(lines.encode()).hexdigest()


def test_an_open_question_is_not_asked(tiny_weights: Path, tmp_path: Path, portrait: Path) -> None:
    for file in tiny_weights.iterdir():
        shutil.copy(file, tmp_path)
    card = json.loads((tmp_path / "pair.json").read_text())
    (tmp_path / "pair.json").write_text(json.dumps(card | {"open": ["generated"]}))
    verdict = load_analyzer(tmp_path / "pair.json")(portrait)
    assert verdict.scores.generated is None and verdict.scores.edited is not None
    assert any(reason.startswith("open_question: was the image generated") for reason in verdict.reasons)


def test_every_source_gets_its_verdict_in_order_whatever_happens(
    edited: Analyzer, portrait: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    sources = [portrait, tmp_path / "absent.jpg", portrait.read_bytes(), text, tmp_path, b"", str(portrait)]
    verdicts = list(edited.stream(sources))
    told = [verdict.error.code if verdict.error else verdict.status for verdict in verdicts]
    assert told == ["ok", "not_found", "ok", "not_an_image", "not_a_file", "empty", "ok"]
    assert verdicts[0].score == verdicts[2].score == verdicts[6].score
    assert verdicts[3].sha256 == hashlib.sha256(b"no image").hexdigest()
    assert all(v.verdict is None and v.score is None and not v.faces for v in verdicts if v.error)


def test_an_image_that_breaks_the_detector_spoils_only_itself(
    edited: Analyzer, portrait: Path, portrait_pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = module.score_images

    def fragile(detector, images, faces, batch_size=16):  # type: ignore[no-untyped-def]
        if any(image.shape[0] == 100 for image in images):
            raise RuntimeError("broken\ninside")
        return score(detector, images, faces, batch_size)

    monkeypatch.setattr(module, "score_images", fragile)
    verdicts = list(edited.stream([portrait, portrait_pixels[:100].copy(), portrait]))
    assert [verdict.status for verdict in verdicts] == ["ok", "error", "ok"]
    assert verdicts[1].error is not None and verdicts[1].error.code == "internal"
    assert "broken inside" in verdicts[1].error.message


def test_sources_are_read_a_chunk_at_a_time(edited: Analyzer, portrait: Path) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield portrait

    stream = edited.stream(endless(), boxes={str(portrait): [BOX]})
    next(stream)
    assert taken == module.CHUNK_IMAGES


def test_given_boxes_replace_the_search(edited: Analyzer, portrait: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(portrait.parent)
    boxes = {portrait.name: [BOX]}  # relative, as a boxes file may hold it
    verdict = next(edited.stream([portrait], boxes))
    assert [face.box for face in verdict.faces] == [BOX.box]
    assert next(edited.stream([portrait], {str(portrait): []})).status == "no_face"


def test_analysis_is_deterministic(pair: Analyzer, portrait: Path) -> None:
    assert pair(portrait).to_json() == pair(portrait).to_json()


def test_one_call_raises_a_typed_error(edited: Analyzer, tmp_path: Path) -> None:
    with pytest.raises(UnmaskError) as caught:
        edited(tmp_path / "absent.jpg")
    assert caught.value.code == "not_found"
    for bad in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(UnmaskError, match="uint8 pixels"):
            edited(bad)  # type: ignore[arg-type]


def test_wrong_names_and_devices_are_typed_errors(tiny_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shipped name"):
        load_analyzer("no-such-weights")
    with pytest.raises(WeightsError) as caught:
        load_analyzer(tmp_path / "default.json")
    assert caught.value.code == "no_default"
    with pytest.raises(ConfigError) as bad:
        load_analyzer(tiny_weights / "edited.safetensors", device="warp9")
    assert bad.value.code == "bad_device"


def test_members_must_answer_one_question_each(tiny_weights: Path, tmp_path: Path) -> None:
    for file in tiny_weights.iterdir():
        shutil.copy(file, tmp_path)
    for members in ([], ["edited", "edited"]):
        (tmp_path / "pair.json").write_text(json.dumps({"members": members}))
        with pytest.raises(WeightsError, match="one question each"):
            load_analyzer(tmp_path / "pair.json")
