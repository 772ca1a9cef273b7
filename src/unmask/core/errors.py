"""Every error a user can meet: a stable code, what was expected, what came, what to do."""

from __future__ import annotations


class UnmaskError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        code: stable machine-readable word, e.g. ``"truncated"``; part of the JSON output.
        message: one sentence for a person: what was expected, what came, what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[UnmaskError], tuple[str, str]]:
        """Survive the trip between worker processes."""
        return type(self), (self.code, self.message)


class IntakeError(UnmaskError):
    """A file could not be turned into pixels. Codes are listed in ``unmask.data.intake``."""


class ConfigError(UnmaskError):
    """A configuration has an unknown key, a wrong type or values that contradict each other."""


class SizeError(UnmaskError):
    """An image has a size the detector does not take."""


class DataError(UnmaskError):
    """A manifest, mask, split or folder is not what it should be."""


class WeightsError(UnmaskError):
    """A weights file or name is unknown, damaged, or does not fit the detector."""


class MissingExtraError(UnmaskError):
    """An optional dependency is not installed; the message says which extra brings it."""


class TrainingError(UnmaskError):
    """A training run cannot go on: numbers that are not finite, a checkpoint of another recipe, an occupied folder."""
