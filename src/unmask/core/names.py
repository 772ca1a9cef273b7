"""What a message adds when a name is not known: the one that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The nearest of the known names as the end of a phrase, or nothing where none is near.

    Args:
        name: what was asked for.
        known: what there is.
        cutoff: least likeness, in [0, 1].

    >>> f"no map 'nois'{did_you_mean('nois', ['rgb', 'noise'])}"
    "no map 'nois' (did you mean 'noise'?)"
    >>> did_you_mean("nois", ["rgb"])
    ''
    """
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f" (did you mean '{near[0]}'?)" if near else ""
