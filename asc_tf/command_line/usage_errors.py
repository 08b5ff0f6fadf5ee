"""Messages on wrong command lines: what was given, and what may be meant."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags

from asc_tf import config
from asc_tf.core.errors import UsageError
from asc_tf.core.suggestions import ALIASES

_DASHES = "\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}"


def refuse_slips(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    """Refuse arguments that would be taken for something else than is meant.

    Raises:
        UsageError: Naming the argument, and how it is written.
    """
    if "--" in arguments:
        arguments = arguments[: [*arguments].index("--")]
    for before, word, after in _with_neighbours(arguments):
        if _is_valued(values, word) and (not after or _is_flag(values, after)):
            followed = f" (it is followed by {after})" if after else ""
            raise UsageError(
                f"{word}: a value is missing{followed}; write {word}=VALUE"
            )
        if word == "=" or (word.startswith("=") and _is_valued(values, before)):
            raise UsageError(f"{before} {word}: write --flag=value without blanks")
        if _is_switch(values, before) and word.lower() in ("true", "false"):
            raise UsageError(f"{before} {word}: write {before}={word}")
        if word[:1] in _DASHES and word and not Path(word).exists():
            plain = word.lstrip(_DASHES + "-")
            raise UsageError(
                f"{word}: begins with a dash that is no hyphen; write --{plain}"
            )
        name = word.partition("=")[0]
        is_value = _is_valued(values, before) or Path(word).exists()
        if "=" in word and name in values and not is_value:
            raise UsageError(f"{word}: an argument without --; write --{word}")


def _with_neighbours(words: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    around = ["", *words, ""]
    return zip(around, around[1:], around[2:], strict=False)


def _flag_name(word: str) -> str:
    """Name of a flag, without dashes and value; empty for a word without dashes."""
    return word.lstrip("-").partition("=")[0] if word.startswith("-") else ""


def _is_flag(values: flags.FlagValues, word: str) -> bool:
    """Check whether an argument is one of the flags, with or without a value."""
    name = _flag_name(word)
    return word.startswith("--") and (
        name in values or name.removeprefix("no") in values
    )


def _is_switch(values: flags.FlagValues, word: str) -> bool:
    """Check whether an argument is a flag for true or false, without a value."""
    name = _flag_name(word)
    return "=" not in word and name in values and values[name].boolean


def _is_valued(values: flags.FlagValues, word: str) -> bool:
    """Check whether an argument is a flag that needs a value and has no `=`."""
    name = _flag_name(word)
    return "=" not in word and name in values and not values[name].boolean


def describe_unknown_flag(values: flags.FlagValues, name: str, argument: str) -> str:
    """Write the message on a flag that the command does not have.

    Args:
        values: The flags that it has.
        name: The name that was given.
        argument: The argument as it was given, with its dashes and its value.
    """
    value = argument.partition("=")[2]
    given = argument.partition("=")[0]
    if given.startswith("-") and not given.startswith("--") and Path(argument).exists():
        return f"{argument}: unknown flag; for the file of this name write ./{argument}"
    if name in config.FIELDS:
        problem = "a key of the configuration that is no flag of this command"
    else:
        problem = "unknown flag"
    names = [each for each in values if each != "positional"]
    if name in config.TITLES and name not in ALIASES:
        return f"{given}: a section, not a flag; --help={name} lists its flags"
    if near := _find_by_initial(name, names) or config.find_nearest(name, names):
        return (
            f"{given}: {problem}{config.format_suggestions(_write_flags(near, value))}"
        )
    return f"{given}: {problem}; --help lists the flags"


def _find_by_initial(name: str, names: Sequence[str]) -> list[str]:
    """Find the command's own flags that begin with a single letter."""
    if len(name) != 1:
        return []
    return [each for each in names if each.startswith(name) and "." not in each]


def _write_flags(names: Sequence[str], value: str) -> list[str]:
    """Write flags with the value given, if one of them takes it."""
    if fitting := [name for name in names if value and _takes(name, value)]:
        return [f"--{name}={value}" for name in fitting]
    return [f"--{name}" for name in names]


def _takes(name: str, value: str) -> bool:
    """Check whether a flag takes a value, as far as its declaration says."""
    if name not in config.FIELDS:
        return True
    try:
        config.parse_text(name, config.FIELDS[name], value)
    except UsageError:
        return False
    return True


def describe_illegal_value(
    values: flags.FlagValues, error: flags.IllegalFlagValueError
) -> str:
    """Write the message on a value that a flag refuses."""
    cause = error.__context__
    if isinstance(cause, UsageError):
        # The field's own check names key, value and limits.
        return f"--{cause}"
    match = re.match(r"flag --([^=]+)=(.*?): ", str(error), re.DOTALL)
    if not match:
        return str(error)
    name, value = match.groups()
    parser = values[name].parser
    if isinstance(parser, flags.EnumParser):
        known = parser.enum_values
        near = config.suggest(value, known)
        return f"--{name}={value}: must be one of {', '.join(known)}{near}"
    if isinstance(parser, flags.BooleanParser):
        return f"--{name}={value}: must be true or false"
    if isinstance(parser, flags.IntegerParser | flags.FloatParser):
        low, high = parser.lower_bound, parser.upper_bound
        limits = "" if low is None else f" of at least {low}"
        limits += "" if high is None else f" and at most {high}"
        whole = "whole " if isinstance(parser, flags.IntegerParser) else ""
        return f"--{name}={value}: must be a {whole}number{limits}"
    return str(error)
