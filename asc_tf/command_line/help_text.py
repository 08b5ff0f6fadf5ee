"""The help of a command: its few most needed flags, one section of them, or all."""

import itertools
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from absl import flags

from asc_tf import config
from asc_tf.core.errors import UsageError

WIDTH = 80
COLUMN = 30
"""Where the explanations of the flags begin."""

HELP = ("--help", "-help", "-h")
FULL = ("--helpfull", "-helpfull")
ALL = "all"

_KINDS = {int: "N", float: "X", str: "TEXT", tuple: "A,B"}
_PLACES = {
    "config": "NAME",
    "csv": "FILE",
    "csv_file": "FILE",
    "features": "FOLDER",
    "init_from": "FOLDER",
    "model": "MODEL",
    "output": "PATH",
    "workdir": "FOLDER",
}


def requested_topic(arguments: Sequence[str]) -> str | None:
    """What is asked of `--help`: a section, a flag, `all`, or nothing in particular.

    Returns:
        None where no help is asked for.
    """
    if "--" in arguments:
        arguments = arguments[: [*arguments].index("--")]
    for word, after in itertools.pairwise([*arguments, ""]):
        name, _, topic = word.partition("=")
        if name in FULL:
            return ALL
        if name in HELP:
            known = (ALL, "full", *config.TITLES, *config.FIELDS)
            topic = topic or (after if after in known else "")
            return ALL if topic == "full" else topic.lstrip("-")
    return None


@dataclass(frozen=True)
class HelpText:
    """What the help of a command is made of.

    Attributes:
        name: Program and command, like `asc-tf train`.
        usage: What it does, and examples.
        values: All its flags.
        keys: Those of them that are keys of the configuration.
        common: The keys that are shown where no section is asked for; none: all.
        defaults: The configuration that the command starts from, by key; None where it
            is that of a run or a model.
    """

    name: str
    usage: str
    values: flags.FlagValues
    keys: Sequence[str]
    common: Sequence[str]
    defaults: Mapping[str, Any] | None

    def text(self, topic: str = "") -> str:
        """The help on a topic, in 80 columns.

        Args:
            topic: A section, a flag, `all`, or empty for the flags needed most.

        Raises:
            UsageError: If there is no such topic, naming those there are.
        """
        if not topic:
            return "\n".join([*self._beginning(), *self._most_needed()])
        if topic == ALL:
            return "\n".join([*self._beginning(), *self._sections(self.keys)])
        if topic in self._counts():
            mine = [key for key in self.keys if _section(key) == topic]
            return "\n".join(self._sections(mine)).strip()
        if topic in self.values:
            return "\n".join(self._entry(topic))
        known = [*self._counts(), ALL]
        near = config.suggestion(topic, [*known, *self.values])
        raise UsageError(
            f"--help={topic}: unknown section{near} (sections: {', '.join(known)})"
        )

    def _beginning(self) -> Iterator[str]:
        """The usage, and the flags that are no keys of the configuration."""
        for paragraph in self.usage.strip().split("\n\n"):
            # Examples are indented and stay as they are.
            is_text = not paragraph.startswith(" ")
            yield from _wrapped(paragraph) if is_text else [paragraph]
            yield ""
        yield "Flags:"
        for name in self.values:
            if name not in self.keys:
                yield from self._entry(name)
        yield from _entry("--help", "show this help")

    def _most_needed(self) -> Iterator[str]:
        shown = self.common or self.keys
        yield from self._sections(shown, with_limits=not self.common)
        if len(shown) < len(self.keys):
            counts = ", ".join(f"{name} ({n})" for name, n in self._counts().items())
            yield ""
            yield from _wrapped(
                "These are the settings needed most. --help=SECTION shows all of a "
                f"section: {counts}. --helpfull shows all {len(self.keys)}."
            )

    def _sections(self, keys: Sequence[str], with_limits: bool = True) -> Iterator[str]:
        if keys and len(keys) == len(self.keys):
            source = "the same keys as in a TOML file"
            if self.defaults is None:
                source = "what is not given is as it was in training"
            yield from ("", f"Configuration ({source}):")
        for section, title in config.TITLES.items():
            mine = [key for key in keys if _section(key) == section]
            if mine:
                yield from ("", f"[{section}] {title}")
            for key in mine:
                yield from self._entry(key, with_limits)

    def _counts(self) -> dict[str, int]:
        """How many flags of each section the command has."""
        names = [_section(key) for key in self.keys]
        return {each: names.count(each) for each in config.TITLES if each in names}

    def _entry(self, name: str, with_limits: bool = True) -> list[str]:
        if name in self.keys:
            default = self.defaults[name] if self.defaults else ""
            head, text, notes = _described_key(name, default, with_limits)
        else:
            head, text, notes = _described_flag(self.values[name])
        return _entry(head, f"{text} ({'; '.join(notes)})" if notes else text)


def _section(key: str) -> str:
    return key.partition(".")[0]


def _described_key(
    key: str, default: Any, with_limits: bool
) -> tuple[str, str, list[str]]:
    """A configuration key's flag, its explanation, and notes on its values."""
    item = config.FIELDS[key]
    limits, notes = item.metadata, []
    kind: type = type(item.default)
    name = key.rpartition(".")[2]
    value = "FOLDER" if name.endswith("dir") else _PLACES.get(name, _KINDS.get(kind))
    head = f"--{key}={value}"
    if kind is bool:
        head, default = f"--[no]{key}", str(default).lower()
    elif kind is tuple:
        default = ",".join(map(str, default))
    if limits["choices"]:
        number = "some" if kind is tuple else "one"
        notes.append(f"{number} of {', '.join(limits['choices'])}")
        head = head.replace("=TEXT", "=NAME")
    if default != "":
        notes.append(f"default: {default}")
    low, high = limits["minimum"], limits["maximum"]
    if with_limits and low is not None:
        notes.append(f"at least {low}" if high is None else f"{low} to {high}")
    return head, limits["help"], notes


def _described_flag(flag: flags.Flag) -> tuple[str, str, list[str]]:
    """A flag of the command's own, its explanation, and notes on its values."""
    text, default = flag.help, flag.default
    if flag.boolean:
        return f"--{flag.name}", text, []
    notes = []
    value = _PLACES.get(flag.name, "TEXT")
    if isinstance(flag.parser, flags.EnumParser):
        # absl writes the choices before the explanation.
        text = text.partition(">: ")[2]
        value = "NAME"
        notes.append(f"one of {', '.join(flag.parser.enum_values)}")
    elif isinstance(flag.parser, flags.IntegerParser | flags.FloatParser):
        value = "N"
    elif isinstance(default, list) or isinstance(flag.parser, flags.ListParser):
        value = "A,B"
        default = ",".join(default or ())
    if default not in (None, ""):
        notes.append(f"default: {default}")
    return f"--{flag.name}={value}", text, notes


def _entry(head: str, text: str) -> list[str]:
    """A flag and its explanation beside it, or below where it is long."""
    lines = _wrapped(text, WIDTH - COLUMN)
    beside = f"  {head}".ljust(COLUMN)
    if len(head) + 4 > COLUMN:
        lines = ["", *lines]
    first, *rest = lines
    return [f"{beside}{first}".rstrip(), *(" " * COLUMN + line for line in rest)]


def _wrapped(text: str, width: int = WIDTH) -> list[str]:
    # A default stays on the line of its name.
    text = text.replace("default: ", "default:\N{NO-BREAK SPACE}")
    lines = textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
