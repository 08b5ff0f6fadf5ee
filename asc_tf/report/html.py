"""Jinja2 templates of the pages, and how they show numbers, names and pictures.

Labels and file names are text of strangers: autoescape is on for every template.
"""

import base64
import functools
import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asc_tf.core.files import write_atomically, write_text
from asc_tf.report.canvas import DARK, LIGHT

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

NO_VALUE = "\N{EN DASH}"

CONTENTS = "<!-- contents -->"
"""Placeholder of the links to the sections of a page."""


def render(template: str, **values: Any) -> str:
    """Render a template of this package as a page: one file, nothing from elsewhere.

    The browser runs the one script that sorts and filters tables, and no other: the
    page's content security policy names its hash.
    """
    from markupsafe import Markup

    script = read_script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    values |= {"script": Markup(script), "script_hash": f"sha256-{digest}"}
    page = _environment().get_template(template).render(values)
    page = page.replace(CONTENTS, _list_contents(page), 1)
    # A file name that is not UTF-8 has characters that cannot be encoded.
    return page.encode(errors="backslashreplace").decode()


def write_page(
    path: Path,
    template: str,
    figures: Mapping[str, Callable[..., bytes]],
    **values: Any,
) -> Path:
    """Write a page, and its figures in light colours as PNG files beside it.

    Args:
        path: File of the page.
        template: File name in the folder `templates`; it gets the figures as `light`
            and `dark`, PNG files by file name.
        figures: Functions that draw a figure for a `theme`, by file name.
        values: Other variables of the template.

    Returns:
        The path.
    """
    light, dark = (
        {name: draw(theme=theme) for name, draw in figures.items()}
        for theme in (LIGHT, DARK)
    )
    page = render(template, light=light, dark=dark, **values)
    for name, picture in light.items():
        with write_atomically(path.with_name(name)) as temporary:
            temporary.write_bytes(picture)
    write_text(path, page)
    return path


@functools.cache
def read_script() -> str:
    """Read the script of the pages."""
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, "script.js")[0]


def _list_contents(page: str) -> str:
    """List links to the sections of a page; all text in it is escaped already."""
    links = re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', page)
    return "".join(f'<a href="#{anchor}">{title}</a>\n' for anchor, title in links)


@functools.cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("asc_tf.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "base64": lambda content: base64.b64encode(content).decode(),
        "breakable": allow_breaks,
        "css_size": css_size,
        "decimals": format_decimals,
        "facts": list_facts,
        "percent": format_percent,
        "seconds": format_seconds,
        "slug": make_slug,
    }
    return environment


def allow_breaks(value: Any) -> "Markup":
    """Escape a text, and let its line break after an underscore or a slash."""
    from markupsafe import Markup, escape

    text = escape(str(value))
    return text.replace("_", Markup("_<wbr>")).replace("/", Markup("/<wbr>"))


def make_slug(title: str) -> str:
    """Make the id of a heading from its text."""
    return "-".join(re.findall(r"\w+", str(title).lower())) or "section"


def css_size(png: bytes) -> tuple[int, int]:
    """Return width and height of a PNG of two pixels per pixel of the page."""
    from PIL import Image

    width, height = Image.open(io.BytesIO(png)).size
    return width // 2, height // 2


def list_facts(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield texts before, of and after each value; without empty ones and tables.

    The key `n_segments` reads as "120 segments", `pooling` as "pooling mean".
    """
    for key, value in values.items():
        if value is None or value == "" or _is_table(value):
            continue
        name, text = key.replace("_", " "), _format_value(key, value)
        yield ("", text, name[2:]) if key.startswith("n_") else (name, text, "")


def _is_table(value: Any) -> bool:
    """Whether a value holds scores or rows, and so is no fact in a line of text."""
    if isinstance(value, Mapping):
        return not all(isinstance(item, str | int) for item in value.values())
    if isinstance(value, list | tuple):
        return not value or any(isinstance(item, Mapping) for item in value)
    return False


def _format_value(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if key.endswith("accuracy"):
            return f"{format_percent(value)} %"
        return format_decimals(value)
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return str(value)


def format_percent(value: float | None) -> str:
    """Format a share as per cent with one decimal, without the sign."""
    return NO_VALUE if value is None else f"{100 * value:.1f}"


def format_seconds(value: float) -> str:
    """Format a duration in s with three digits, and from 100 s on as a whole number."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def format_decimals(value: float | None) -> str:
    """Format a number with three decimals."""
    return NO_VALUE if value is None else f"{value:.3f}"
