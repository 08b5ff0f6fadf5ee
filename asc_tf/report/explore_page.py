"""explore.html: what a model is trained on, with pictures and players."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asc_tf.core.errors import UsageError
from asc_tf.report import html

MARK = '<meta name="generator" content="asc_tf explore">'
"""A page that may be replaced has this mark among its first bytes."""

HEAD_BYTES = 4096

SIZE = "{the size of this page}"
"""Placeholder of the size, which is known when all else is rendered."""


@dataclass(frozen=True)
class Card:
    """A clip, or what augmentation makes of it.

    Attributes:
        title: Line above the picture.
        note: Muted line below the title.
        picture: `clip_figures.Picture`: two PNG files of one size.
        alt: Description of the picture for those who do not see it.
        sound: WAV file to play; empty where there is nothing to hear.
        targets: Labels with their shares, where these are to be shown.
    """

    title: str
    note: str
    picture: Any
    alt: str
    sound: bytes = b""
    targets: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Examples:
    """Examples of one label."""

    label: str
    note: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Augmentation:
    """Segments as they are, and what an augmentation makes of them.

    The settings are typical ones where the configuration has none.
    """

    title: str
    note: str
    settings: Mapping[str, Any]
    is_typical: bool
    originals: tuple[Card, ...]
    augmented: tuple[Card, ...]


@dataclass(frozen=True)
class Exploration:
    """Content of explore.html; all its texts are escaped there.

    Attributes:
        title: Title of the page.
        facts: Names and values for the line below the title.
        counts: Charts, of `asc_tf.explore.counts.Counts`.
        examples_note: Text above the examples.
        examples: Examples of each label.
        augmentations: Examples of augmentation.
        left_out: Files that could not be used, each with the reason.
        is_leaky: Whether the protocol is leaky.
        notes: More to know of the corpus.
    """

    title: str
    facts: Mapping[str, Any]
    counts: tuple[Any, ...]
    examples_note: str
    examples: tuple[Examples, ...]
    augmentations: tuple[Augmentation, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    is_leaky: bool = False
    notes: tuple[str, ...] = ()


def check_output(path: Path) -> None:
    """Refuse a place that the page cannot be written to, before any work.

    Raises:
        UsageError: If the folder does not exist, or there is something else already.
    """
    if path.is_dir():
        raise UsageError(f"--output={path}: a folder; give the name of a file")
    if not path.parent.is_dir():
        raise UsageError(
            f"--output={path}: there is no folder {path.parent}; make it first"
        )
    if not path.is_file():
        return
    with path.open("rb") as stream:
        if MARK.encode() not in stream.read(HEAD_BYTES):
            raise UsageError(
                f"--output={path}: a file that asc-tf explore did not write; it is "
                "not replaced: give another name, or delete it"
            )


def render(content: Exploration) -> str:
    """Render the page, which has its own size in its head."""
    page = html.render(
        "explore.html", page="explore", title=content.title, content=content, size=SIZE
    )
    return page.replace(SIZE, format_bytes(len(page.encode())), 1)


def format_bytes(size: int) -> str:
    """Format a number of bytes as MB with one decimal, or as kB."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
