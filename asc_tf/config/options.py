"""Declaration, checks and conversion of the fields of the configuration."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from asc_tf.core.errors import UsageError
from asc_tf.core.suggestions import suggest

MAX_SEED = 2**31 - 1
"""NumPy and Keras take no seed of more than 32 bits."""

Value = bool | int | float | str | tuple[int, ...] | tuple[str, ...]


def option(
    default: Value,
    help_text: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    items: type | None = None,
    only_with: Mapping[str, Value] | None = None,
) -> Any:
    """Declare a configuration field with its help text and its limits.

    Args:
        default: Value of a field that is not given; its type is the field's type.
        help_text: One sentence, with the unit.
        minimum: Smallest number allowed, for each item of a list.
        maximum: Largest number allowed.
        choices: The only strings allowed, for each item of a list.
        items: Type of the items of a list that may be empty, and is by default.
        only_with: Fields of the same section without which this one has no effect,
            each with the value (or a tuple of the values) that it needs; True: any
            value but 0, "" and false. A list needs one of the values in it.
    """
    metadata = {
        "help": help_text,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "items": items,
        "only_with": only_with or {},
    }
    return field(default=default, metadata=metadata)


class Section:
    """Base of the sections: checks every value against its field's declaration."""

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            key = f"{section_name(type(self))}.{item.name}"
            value = coerce(key, item, getattr(self, item.name))
            object.__setattr__(self, item.name, value)

    def find_unused(self) -> list[str]:
        """Name the fields that are set and have no effect, a sentence each."""
        section, sentences = section_name(type(self)), []
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            if getattr(self, item.name) == item.default:
                continue
            for other, needed in item.metadata["only_with"].items():
                value = getattr(self, other)
                if not _is_met(needed, value):
                    shown = ", ".join(value) if isinstance(value, tuple) else value
                    cause = f"with {section}.{other} = {shown}; it needs"
                    cause = "without" if needed is True else cause
                    need = describe_need(f"{section}.{other}", needed)
                    key = f"{section}.{item.name}"
                    sentences.append(f"{key} has no effect {cause} {need}")
                    break
        return sentences


def _is_met(needed: Any, value: Any) -> bool:
    if needed is True:
        return bool(value)
    if isinstance(value, tuple):
        return not set(value).isdisjoint(needed)
    return value in needed if isinstance(needed, tuple) else value == needed


def describe_need(key: str, needed: Value) -> str:
    """Write the values that a field needs of another: `kind = log_mel or mfcc`."""
    if needed is True:
        return key
    *others, last = map(str, needed if isinstance(needed, tuple) else (needed,))
    return f"{key} = {', '.join(others)}{' or ' if others else ''}{last}"


def section_name(section: type) -> str:
    """The key of a section in TOML and in flags, `frontend` for `Frontend`."""
    return section.__name__.lower()


def coerce(key: str, item: dataclasses.Field, value: Any) -> Value:
    """Check one value against its field and return it in the field's type.

    Raises:
        UsageError: Naming the key, the value received and what is allowed.
    """
    default: Any = item.default
    kind = type(default)
    if kind is tuple:
        fewest = "" if item.metadata["items"] else " of at least one item"
        if not isinstance(value, list | tuple) or (fewest and not value):
            raise UsageError(f"{key} = {value!r}: must be a list{fewest}")
        member = item_type(item)
        values = tuple(_coerce_scalar(key, item, member, each) for each in value)
        return tuple(dict.fromkeys(values)) if item.metadata["choices"] else values
    return _coerce_scalar(key, item, kind, value)


def item_type(item: dataclasses.Field) -> type:
    """Type of the items of a field that is a list."""
    default: Any = item.default
    return item.metadata["items"] or type(default[0])


def parse_text(key: str, item: dataclasses.Field, text: str) -> Value:
    """Convert a flag's text to a value of its field.

    Items of a list are separated by commas.

    Raises:
        UsageError: Naming the key, the value received and what is allowed.
    """
    default: Any = item.default
    if not isinstance(default, tuple):
        return coerce(key, item, _parse_scalar(type(default), text))
    words = [word.strip() for word in text.split(",")]
    if not text and not default:
        words = []
    return coerce(key, item, [_parse_scalar(item_type(item), word) for word in words])


def _parse_scalar(kind: type, word: str) -> Any:
    """Convert a word where it can be; `coerce` refuses what stays a text."""
    if kind is bool:
        return {"true": True, "false": False}.get(word.lower(), word)
    try:
        return kind(word)
    except ValueError:
        return word


def _coerce_scalar(key: str, item: dataclasses.Field, kind: type, value: Any) -> Any:
    if kind is float and type(value) is int and abs(value) < _LARGEST:
        value = float(value)
    if type(value) is not kind or not _is_storable(value):
        raise UsageError(f"{key} = {value!r}: must be {_NAMES[kind]}")
    limits = item.metadata
    if limits["choices"] and value not in limits["choices"]:
        raise UsageError(
            f"{key} = {value!r}: must be one of {', '.join(limits['choices'])}"
            f"{suggest(str(value), limits['choices'])}"
        )
    low, high = limits["minimum"], limits["maximum"]
    if low is not None and value < low:
        raise UsageError(f"{key} = {value!r}: must be at least {low}")
    if high is not None and value > high:
        raise UsageError(f"{key} = {value!r}: must be at most {high}")
    return value


_LARGEST = 1e300
_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "Unicode text",
}


def _is_storable(value: Any) -> bool:
    """Check whether a scalar can be computed with, and be stored in TOML."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        # File names may hold bytes that are not Unicode, which TOML cannot hold.
        return "\0" not in value and value == value.encode(errors="replace").decode()
    return True


def format_value(value: Any, separator: str = ",") -> str:
    """Format a value of the configuration as flags write it, or with a separator."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return separator.join(format_value(each) for each in value)
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return str(value)
