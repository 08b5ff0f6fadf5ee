"""Progress bars of work on many files."""

from collections.abc import Callable, Iterable
from typing import Any

Progress = Callable[[Iterable[Any], int], Iterable[Any]]
"""Wrapper of an iterable of finished items, which is also told their number."""


def show_nothing(items: Iterable[Any], total: int) -> Iterable[Any]:
    """Return the items as they are."""
    del total
    return items


def make_bar(name: str, unit: str) -> Progress:
    """Make a progress bar on stderr, which is shown on a terminal only.

    Args:
        name: Name of the work.
        unit: Plural of an item.
    """
    from tqdm import tqdm

    def show(items: Iterable[Any], total: int) -> Iterable[Any]:
        bar: Iterable[Any] = tqdm(
            items, name, total, unit=f" {unit}", leave=False, disable=None
        )
        return bar

    return show
