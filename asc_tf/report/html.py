"""Pieces of HTML that the pages share: tables, figures, numbers, the page itself."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from asc_tf.report.style import CSS

NO_VALUE = "&ndash;"


def document(title: str, body: str, footer: str) -> str:
    """A whole page: one file, no script, nothing from elsewhere."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{CSS}</style>
</head>
<body>
<main>
{body}
<footer class="muted">{footer}</footer>
</main>
</body>
</html>
"""


def section(title: str, content: str, note: str = "") -> str:
    """A heading, a muted note and ready-made content."""
    note = f'<p class="muted">{note}</p>\n' if note else ""
    return f"<section>\n<h2>{title}</h2>\n{note}{content}\n</section>"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], style: str = "") -> str:
    """A table of ready-made cells; a column of numbers has a right-aligned head.

    On a narrow page the style 'stacked' puts the first cell of a row above the others,
    and 'classes' hides the precision.
    """
    head = "".join(
        f'<th scope="col"{" class=n" if "class=" in cell else ""}>{escape(name)}</th>'
        for name, cell in zip(heads, rows[0], strict=True)
    )
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table class="{style}">\n'
        f"<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def breakable(value: Any) -> str:
    """Escaped text that may break after an underscore or a slash."""
    return escape(str(value)).replace("_", "_<wbr>").replace("/", "/<wbr>")


def name_cell(value: Any) -> str:
    """The head of a row."""
    return f'<th scope="row">{breakable(value)}</th>'


def text_cell(value: Any) -> str:
    """A cell of escaped text."""
    return f"<td>{breakable(value)}</td>"


def number_cell(value: Any) -> str:
    """A right-aligned cell of a ready-made number."""
    return f'<td class="n">{value}</td>'


def bar_cell(value: float | None) -> str:
    """A share as per cent, with a bar behind it."""
    if value is None:
        return number_cell(percent(None))
    return f'<td class="n bar" style="--share: {value:.3f}">{percent(value)}</td>'


def figure(
    name: str, alt: str, light: Mapping[str, bytes], dark: Mapping[str, bytes]
) -> str:
    """A PNG for light and one for dark pages."""
    width, height = (size // 2 for size in _png_size(light[name]))
    return (
        '<figure class="wide"><picture>'
        '<source media="screen and (prefers-color-scheme: dark)" '
        f'srcset="{_data_uri(dark[name])}">'
        f'<img width="{width}" height="{height}" style="--width: {width}px" '
        f'alt="{escape(alt)}" src="{_data_uri(light[name])}"></picture></figure>'
    )


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _png_size(png: bytes) -> tuple[int, int]:
    # The header chunk has a fixed place in every PNG file.
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])


def facts(values: Mapping[str, Any]) -> str:
    """One line of names and values; those without a value are left out."""
    facts = []
    for key, value in values.items():
        if value is None or value == "":
            continue
        name = escape(key.replace("_", " "))
        text = f"<b>{escape(_plain(key, value))}</b>"
        # 'n_segments' reads as '120 segments'.
        facts.append(f"{text} {name[2:]}" if key[:2] == "n_" else f"{name} {text}")
    return " · ".join(facts)


def _plain(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        share = key.endswith("accuracy")
        return f"{percent(value)} %" if share else decimals(value)
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return str(value)


def percent(value: float | None) -> str:
    """A share as per cent with one decimal, without the sign."""
    return NO_VALUE if value is None else f"{100 * value:.1f}"


def decimals(value: float | None) -> str:
    """A number with three decimals."""
    return NO_VALUE if value is None else f"{value:.3f}"
