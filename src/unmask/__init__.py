"""unmask: was this face manipulated, where, how sure, and why.

Importing the package is cheap; PyTorch and everything heavy is imported by the function that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unmask.core.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from unmask.analysis.analyzer import Analyzer
    from unmask.detectors.base import AnyDetector

__all__ = ["__version__", "create_detector", "list_detectors", "load"]


def load(name_or_file: str | Path | None = None, *, device: str = "auto") -> Analyzer:
    """Build an analyzer: the shipped default, a shipped detector by name, or a weights file.

    Args:
        name_or_file: None for the shipped pair of specialists, a shipped name, or a ``.safetensors`` file.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"`` or any torch device string.

    Raises:
        ConfigError: no weights of that name.
        WeightsError: the file is missing, or its content does not fit.
    """
    from unmask.analysis.analyzer import load_analyzer

    return load_analyzer(name_or_file, device=device, clips=True)


def create_detector(name: str, **overrides: Any) -> AnyDetector:
    """Build an untrained detector of the zoo by name; keyword arguments override its config's fields.

    Raises:
        ConfigError: unknown name or field (the message names the nearest known one).
    """
    from unmask.detectors.zoo import create_detector as create

    return create(name, **overrides)


def list_detectors() -> list[str]:
    """Names of every detector design in the zoo, sorted."""
    from unmask.detectors.zoo import list_detectors as names

    return names()
