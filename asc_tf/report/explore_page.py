"""explore.html: what training hears, on one page with pictures and players."""

import base64
import io
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.core.errors import UsageError
from asc_tf.report.explore_axes import signed
from asc_tf.report.explore_counts import Counts, stacked_bars
from asc_tf.report.explore_figures import DYNAMIC_RANGE, colour_key
from asc_tf.report.explore_style import CSS
from asc_tf.report.html import (
    breakable,
    document,
    facts,
    name_cell,
    section,
    table,
    text_cell,
)

MARK = '<meta name="generator" content="asc_tf explore">'
"""By this a page is known that may be replaced."""

HEAD_BYTES = 4096
"""The mark is among so many bytes from the beginning."""

OPEN_LABELS, UNFOLDED = 12, 3
"""A page of more labels than the first number unfolds only the second."""

LEAKY = (
    "<strong>LEAKY protocol.</strong> Recordings or places of this split are also in "
    "the training data."
)
SIZE = "{the size of this page}"


@dataclass(frozen=True)
class Card:
    """One clip, or what was made of it.

    Attributes:
        title: A line above the drawing.
        note: A muted line below the title.
        drawing: An SVG element, ready made.
        sound: A WAV file to play; empty where there is nothing to hear.
        targets: Labels and their shares, where these are to be shown.
    """

    title: str
    note: str
    drawing: str
    sound: bytes = b""
    targets: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Examples:
    """The cards of one label, and what is to be said of them."""

    label: str
    note: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Panel:
    """Cards on augmentation.

    Attributes:
        title: The section's.
        note: What is shown.
        settings: Keys of the configuration and their values.
        is_typical: The configuration has none; these are settings that are often used.
        cards: The cards.
        told: How many of the cards come before note and settings, which are one too.
    """

    title: str
    note: str
    settings: Mapping[str, Any]
    is_typical: bool
    cards: tuple[Card, ...]
    told: int


@dataclass(frozen=True)
class Exploration:
    """All that is on the page; its strings are escaped there."""

    title: str
    facts: Mapping[str, Any]
    counts: tuple[Counts, ...]
    examples_note: str
    examples: tuple[Examples, ...]
    panels: tuple[Panel, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    is_leaky: bool = False
    notes: tuple[str, ...] = field(default_factory=tuple)


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


def render(found: Exploration) -> str:
    """The page: one file, no script, nothing from elsewhere."""
    body = "\n".join(
        [
            _header(found),
            _counts(found.counts),
            _examples(found),
            *(_panel(panel) for panel in found.panels),
            _left_out(found.left_out),
        ]
    )
    footer = "Made by asc-tf explore; the test part was not opened."
    page = document(found.title, body, footer)
    # First of all, so that a long title does not push the mark away.
    page = page.replace("<meta charset", f"{MARK}\n<meta charset", 1)
    page = page.replace("</style>", f"{CSS}</style>", 1)
    # A name that is no UTF-8 holds characters that cannot be encoded.
    page = page.encode(errors="backslashreplace").decode()
    return page.replace(SIZE, megabytes(len(page.encode())), 1)


def megabytes(size: int) -> str:
    """A number of bytes as MB with one decimal, or as kB."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def wav_file(waveform: np.ndarray, sample_rate: int) -> bytes:
    """A waveform as a WAV file of 16-bit samples.

    Args:
        waveform: float32 `[samples]` or `[samples, channels]`; what is beyond full
            scale is clipped.
        sample_rate: Hz.
    """
    scaled = np.round(np.asarray(waveform, np.float64) * 2**15)
    samples = np.clip(scaled, -(2**15), 2**15 - 1).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as stream:
        stream.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        stream.setsampwidth(2)
        stream.setframerate(sample_rate)
        stream.writeframes(samples.tobytes())
    return buffer.getvalue()


def _header(found: Exploration) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in found.notes)
    return (
        f"<header>\n<h1>{breakable(found.title)}</h1>\n"
        f'<p class="muted">{facts(found.facts)} · this page <b>{SIZE}</b></p>\n'
        + (f'<p class="banner" role="alert">{LEAKY}</p>\n' if found.is_leaky else "")
        + (f'<ul class="muted">{notes}</ul>\n' if notes else "")
        + "</header>"
    )


def _counts(counts: Sequence[Counts]) -> str:
    parts = [
        section(escape(item.title), stacked_bars(item), escape(item.note))
        for item in counts
    ]
    # Four stand two by two.
    columns = {1: 1, 3: 3}.get(len(parts), 2)
    return f'<div class="counted of-{columns}">\n{"".join(parts)}\n</div>'


def _examples(found: Exploration) -> str:
    many = len(found.examples) > OPEN_LABELS
    links = " ".join(
        f'<a href="#label-{place}">{breakable(item.label)}</a>'
        for place, item in enumerate(found.examples)
    )
    parts = []
    for place, item in enumerate(found.examples):
        shown = "" if many and place >= UNFOLDED else " open"
        note = f' <span class="muted">{escape(item.note)}</span>'
        parts.append(
            f'<details class="label" id="label-{place}"{shown}>\n'
            f"<summary><b>{breakable(item.label)}</b>{note}</summary>\n"
            f"{_grid([_card(card) for card in item.cards])}</details>"
        )
    note = (
        f"{escape(found.examples_note)} {colour_key(signed(-DYNAMIC_RANGE), '0 dB')}."
    )
    if many:
        note += (
            f" All but the first {UNFOLDED} labels are folded: click one to unfold it."
        )
    contents = f'<nav class="labels">{links}</nav>\n' if len(parts) > 4 else ""
    return section("Examples of each label", contents + "\n".join(parts), note)


def _panel(panel: Panel) -> str:
    banner = (
        '<p class="banner typical"><strong>Typical settings.</strong> The '
        "configuration switches none of this on; it would look like this.</p>\n"
        if panel.is_typical
        else ""
    )
    settings = "".join(
        f"<dt>{breakable(key)}</dt><dd>{breakable(_plain(value))}</dd>"
        for key, value in panel.settings.items()
    )
    told = (
        f'<div class="card told"><p>{escape(panel.note)}</p><dl>{settings}</dl></div>'
    )
    cards = [_card(card) for card in panel.cards]
    cards.insert(panel.told, told)
    return section(panel.title, banner + _grid(cards))


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _grid(cards: Sequence[str]) -> str:
    return f'<div class="cards">\n{"".join(cards)}\n</div>'


def _card(card: Card) -> str:
    shares = "".join(
        f'<tr>{name_cell(label)}<td class="n bar" style="--share: {share:.3f}">'
        f"{share:.3f}</td></tr>"
        for label, share in card.targets
    )
    targets = (
        f'<table class="targets"><tbody>{shares}</tbody></table>' if shares else ""
    )
    sound = base64.b64encode(card.sound).decode()
    player = (
        f'<audio controls preload="none" aria-label="{escape(card.title)}" '
        f'src="data:audio/wav;base64,{sound}"></audio>'
        if sound
        else ""
    )
    note = f'<span class="muted">{breakable(card.note)}</span>' if card.note else ""
    return (
        f'<figure class="card"><figcaption><b>{breakable(card.title)}</b>{note}'
        f"</figcaption>\n{card.drawing}\n{targets}{player}</figure>\n"
    )


def _left_out(rows: Sequence[tuple[str, str]]) -> str:
    if not rows:
        return ""
    cells = [[name_cell(file), text_cell(reason)] for file, reason in rows]
    note = (
        "These training clips were drawn as examples and could not be used; another "
        "was taken where there was one."
    )
    return section("Clips left out", table(["file", "reason"], cells, "stacked"), note)
