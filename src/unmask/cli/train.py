"""Train a detector from a recipe: a YAML file that names only what differs from the defaults.

example:
  unmask train configs/baseline_quick.yaml --data.photos my/photos --out runs/quick
        about two minutes: forges the real photos of a folder on the fly, trains, calibrates
  unmask detect new.jpg --detector runs/quick/weights.safetensors

any setting can be changed on the command line with its dotted name:
  unmask train recipe.yaml --optimizer.lr 1e-4 --losses '{bce: 1, rank: 0.5}' --precision bf16
stopped (Ctrl-C, power cut)? the same command with --resume goes on, bit for bit as if nothing had happened:
  unmask train recipe.yaml --out runs/a --resume
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import logging
import shlex
import sys
import textwrap
from pathlib import Path
from typing import Any

OWN = ("--out", "--resume", "--dry-run")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; settings of the recipe are listed in the help from their docstrings."""
    parser.usage = "unmask train RECIPE.yaml [--out DIR] [--resume] [--dry-run] [--SETTING VALUE ...]"
    parser.add_argument("recipe", type=Path, metavar="RECIPE.yaml", help="the recipe (see configs/)")
    _own(parser)
    parser.add_argument("settings", nargs=argparse.REMAINDER, help="--SETTING VALUE pairs, e.g. --epochs 5")
    if {"-h", "--help"} & set(sys.argv[1:]):
        parser.epilog = settings_help()


def _own(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, help="folder for weights, logs, checkpoints (default: runs/RECIPE)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the resolved recipe and one batch's shapes; train nothing"
    )


def settings_help() -> str:
    """Every setting of a recipe with its default and its docstring."""
    from unmask.training import recipe as module

    def lines(cls: type, prefix: str) -> list[str]:
        result: list[str] = []
        docs = _field_docs(cls)
        for field in dataclasses.fields(cls):
            default: Any = field.default
            if default is dataclasses.MISSING and callable(field.default_factory):
                default = field.default_factory()
            if dataclasses.is_dataclass(default):
                if field.name != "post":
                    result += lines(type(default), f"{prefix}{field.name}.")
                    continue
                default = "..."
            result.append(f"  --{prefix}{field.name} ({default})")
            result += textwrap.wrap(docs.get(field.name, ""), 100, initial_indent=" " * 8, subsequent_indent=" " * 8)
        return result

    return "settings (default):\n" + "\n".join(lines(module.Recipe, ""))


def _field_docs(cls: type) -> dict[str, str]:
    """The string under each field of a dataclass."""
    import ast

    tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(tree, ast.ClassDef)
    docs = {}
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(after, ast.Expr)):
            continue
        if isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            docs[node.target.id] = " ".join(after.value.value.replace("`", "").split())
    return docs


def run(args: argparse.Namespace) -> int:
    """Train; returns the exit code."""
    from unmask.cli.progress import progress_bar
    from unmask.training.recipe import parse_overrides, read_recipe, recipe_yaml

    own = argparse.ArgumentParser(prog="unmask train", add_help=False)
    _own(own)
    given, words = own.parse_known_args(args.settings, namespace=argparse.Namespace(**vars(args)))
    recipe = read_recipe(args.recipe, parse_overrides(words))
    logging.getLogger("unmask.training").setLevel(logging.INFO)
    from unmask.training.calibrate import missing_verdicts
    from unmask.training.run import preview, train

    with progress_bar("faces") as progress:
        if given.dry_run:
            detector, batch = preview(recipe, progress)
            print(recipe_yaml(recipe))
            print(f"detector: {type(detector).__name__}, {sum(p.numel() for p in detector.parameters()):,} parameters")
            for field in dataclasses.fields(batch):
                value = getattr(batch, field.name)
                shape = tuple(value.shape) if hasattr(value, "shape") else f"{len(value)} names"
                print(f"batch.{field.name}: {shape}")
            return 0
        out = given.out or Path("runs") / args.recipe.stem
        command = shlex.join(["unmask", "train", *sys.argv[2:]])
        weights = train(recipe, out, resume=given.resume, command=command, progress=progress)
    print(weights)
    gap = missing_verdicts(json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))["thresholds"])
    if gap:
        print(f"unmask train: {gap}", file=sys.stderr)
    return 0
