"""Nothing is chosen on test data: not a checkpoint, not a threshold, not an option."""

from __future__ import annotations

from collections.abc import Iterable

from unmask.core.errors import ConfigError

SELECTABLE = ("train", "val")


def check_selectable(splits: Iterable[str], what: str, *, reported: str | None = None) -> None:
    """Refuse to choose ``what`` on rows of these splits.

    Args:
        splits: the split of every row that the choice would see; an empty text means "not known".
        what: for the message, e.g. ``"thresholds"``.
        reported: the split whose numbers are reported afterwards; choosing on it would flatter them.

    Raises:
        ConfigError: ``select_on_test``, when a row is neither of ``train`` nor ``val``, or of the reported split.

    >>> check_selectable(["val", "val"], "thresholds", reported="test")
    >>> check_selectable(["val", "test"], "a checkpoint")
    Traceback (most recent call last):
    unmask.core.errors.ConfigError: a checkpoint cannot be chosen on split 'test'; choose on train or val, then ...
    """
    found = set(splits)
    for split in sorted(found):
        if split not in SELECTABLE:
            name = f"split '{split}'" if split else "rows without a split"
            raise ConfigError(
                "select_on_test",
                f"{what} cannot be chosen on {name}; choose on {' or '.join(SELECTABLE)}, then measure on test once",
            )
    if reported is not None and reported in found:
        raise ConfigError(
            "select_on_test",
            f"{what} cannot be chosen on split '{reported}' and reported on it: the numbers would flatter the choice",
        )
