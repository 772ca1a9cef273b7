"""The table of designs and how settings are replaced."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import unmask
from unmask.core.errors import ConfigError
from unmask.detectors.zoo import ZOO, create_detector, list_detectors, name_of


def test_names_are_sorted_and_reachable_from_the_package() -> None:
    assert unmask.list_detectors() == list_detectors() == sorted(ZOO)
    assert type(unmask.create_detector("meso4")).__name__ == "Meso"
    assert all(entry.line and "\n" not in entry.line for entry in ZOO.values())


def test_nearest_name_is_suggested() -> None:
    with pytest.raises(ConfigError, match="did you mean 'attention_npr'"):
        create_detector("atention_npr")
    assert create_detector("Attention-NPR").config == ZOO["attention_npr"].config


def test_nested_and_dotted_settings_leave_the_others_alone() -> None:
    nested = create_detector("meso4", view={"margin": 2.0}).config
    dotted = create_detector("meso4", **{"view.margin": 2.0}).config
    assert nested == dotted and nested.view.size == 256 and nested.view.kind == "face"


def test_every_entry_names_itself() -> None:
    for name in ("attention_npr", "npr", "meso4", "mesoinception4"):
        assert name_of(create_detector(name)) == name


@pytest.mark.parametrize("name", ZOO)
def test_every_family_has_a_readme_that_names_its_folder(name: str) -> None:
    folder = Path(inspect.getfile(ZOO[name].detector)).parent
    assert (folder / "README.md").read_text(encoding="utf-8").startswith(f"# {folder.name}: ")
