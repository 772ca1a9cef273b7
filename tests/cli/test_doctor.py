from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest

from unmask.cli import doctor
from unmask.cli.main import main


def test_every_core_dependency_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    names = {check["name"] for check in told["checks"] if check["topic"] == "packages"}
    assert {"torch", "pillow", "mtcnn", "unmask"} <= names
    assert {check["topic"] for check in told["checks"]} == {"system", "packages", "extras", "weights", "formats"}


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in ("pillow", "onnx") else version(name))
    core = {check.name: check for check in doctor.packages()}
    assert core["pillow"].state == "missing" and "pip install" in core["pillow"].advice
    extra = {check.name: check for check in doctor.extras()}
    assert extra["export"].state == "optional"
    assert "onnx" in extra["export"].found and ".[export]" in extra["export"].advice


def test_another_version_than_the_tested_one_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "tested", lambda: {"numpy": "0.0.1"})
    numpy = next(check for check in doctor.packages() if check.name == "numpy")
    assert numpy.state == "note" and "0.0.1" in numpy.advice


def test_a_missing_part_makes_the_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "weights", lambda: iter([doctor.Check("weights", "default", "ok", "here")]))
    assert main(["doctor"]) == 0
    monkeypatch.setattr(doctor, "weights", lambda: iter([doctor.Check("weights", "default", "missing", "gone")]))
    assert main(["doctor"]) == 1
    assert "something is missing" in capsys.readouterr().out


def test_the_landmarks_are_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def check() -> doctor.Check:
        return next(found for found in doctor.weights() if found.name == "landmarks")

    assert check().state == "ok" and "no irises" in check().found
    card = tmp_path / "landmarks.json"
    card.write_text('{"weights_sha256": "0"}')
    monkeypatch.setattr("unmask.nn.landmarks.ASSET", card.with_suffix(".safetensors"))
    assert check().state == "broken"


def test_the_tested_set_names_every_dependency_with_an_exact_version_and_no_address() -> None:
    known = doctor.tested()
    wanted = {name.lower() for names in doctor.requirements().values() for name in names}
    assert {name.replace("_", "-") for name in wanted} <= {name.replace("_", "-") for name in known}
    text = (Path(__file__).resolve().parents[2] / "constraints.txt").read_text()
    assert "://" not in text and "@" not in text and "-e " not in text


def test_extras_are_those_of_the_package() -> None:
    declared = set(metadata.metadata("unmask").get_all("Provides-Extra") or [])
    assert set(doctor.EXTRAS) == declared
