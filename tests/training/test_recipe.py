"""Recipes: differences over typed defaults, refusals with the nearest key."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from unmask.core.config import to_dict
from unmask.core.errors import ConfigError
from unmask.losses import TERMS
from unmask.training.recipe import Recipe, make_recipe, parse_overrides, read_recipe
from unmask.training.run import recipe_yaml

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_committed_recipes_resolve(path: Path) -> None:
    from unmask.detectors.zoo import create_detector

    recipe = read_recipe(path)
    detector = create_detector(recipe.detector.name, **recipe.detector.config)
    assert set(recipe.losses) <= set(TERMS)
    assert set(recipe.optimizer.groups) <= set(detector.parameter_groups())
    assert detector.localizes or not any(name.startswith("mask") for name in recipe.losses)


def test_resolved_recipe_reads_back(tmp_path: Path) -> None:
    recipe = make_recipe({"detector": {"name": "npr", "config": {"view": {"size": 64}}}, "losses": {"focal": 2}})
    (tmp_path / "r.yaml").write_text(recipe_yaml(recipe))
    assert read_recipe(tmp_path / "r.yaml") == recipe
    assert make_recipe(to_dict(Recipe())) == Recipe() == make_recipe({})


@pytest.mark.parametrize(
    ("values", "code", "says"),
    [
        ({"epoch": 3}, "unknown_key", "did you mean 'epochs'"),
        ({"optimizer": {"lrr": 1}}, "unknown_key", "optimizer.lrr"),
        ({"optimizer": {"name": "adamv"}}, "bad_config", "adamw"),
        ({"optimizer": {"lr": "fast"}}, "bad_config", "optimizer.lr"),
        ({"optimizer": {"lr": 0}}, "bad_config", "above 0"),
        ({"epochs": -1}, "bad_config", "epochs"),
        ({"ema_decay": 1.0}, "bad_config", "ema_decay"),
        ({"validation": {"split": "test"}}, "select_on_test", "evaluate"),
        ({"validation": {"split": "vall"}}, "bad_config", "'val'"),
        ({"data": {"post": {"jpeg": 2}}}, "bad_config", "probability"),
    ],
)
def test_refusals(values: dict[str, object], code: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        make_recipe(values)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "code"), [("a: [", "bad_recipe"), ("- 1", "bad_recipe"), ("\xff", "bad_recipe"), (None, "no_recipe")]
)
def test_unreadable_files(tmp_path: Path, text: str | None, code: str) -> None:
    path = tmp_path / "r.yaml"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        read_recipe(path)
    assert caught.value.code == code


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"optimizer": {"lr": 0.1, "name": "sgd"}, "epochs": 2}))
    words = ["--optimizer.lr", "1e-4", "--data.post.jpeg=0.5", "--validation.patience", "null", "--batch-size", "4"]
    recipe = read_recipe(tmp_path / "r.yaml", parse_overrides(words))
    assert (recipe.optimizer.lr, recipe.optimizer.name, recipe.epochs) == (1e-4, "sgd", 2.0)
    assert recipe.data.post.jpeg == 0.5 and recipe.validation.patience is None and recipe.batch_size == 4


@pytest.mark.parametrize("words", [["--epochs"], ["epochs", "3"], ["--epoch", "3"], ["--"]])
def test_bad_overrides(words: list[str]) -> None:
    with pytest.raises(ConfigError):
        parse_overrides(words)


def test_recipes_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().epochs = 3  # type: ignore[misc]
