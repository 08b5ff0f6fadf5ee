"""Arguments of a command: configuration keys as flags, and words without a flag."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from absl import flags

from asc_tf import config
from asc_tf.command_line import usage_errors
from asc_tf.config.run_search import find_run
from asc_tf.core.errors import UsageError
from asc_tf.core.paths import expand_home


def define_configuration(values: flags.FlagValues, keys: Sequence[str]) -> None:
    """Define a flag for each configuration key; a flag that is not given stays None."""
    for key in keys:
        item = config.FIELDS[key]
        if isinstance(item.default, bool):
            flags.DEFINE_boolean(key, None, item.metadata["help"], flag_values=values)
            values[key].parser = _SwitchParser(key, item)
            continue
        flags.DEFINE(
            _FieldParser(key, item),
            key,
            None,
            item.metadata["help"],
            flag_values=values,
            serializer=flags.ArgumentSerializer(),
        )


def define_config_file(values: flags.FlagValues) -> None:
    """Define `--config`, the configuration that the flags change."""
    flags.DEFINE_string(
        "config",
        None,
        "the configuration: a TOML file, a run folder, or one of "
        f"{', '.join(config.shipped())}",
        flag_values=values,
    )


def define_workdir(
    values: flags.FlagValues, help_text: str = "the run folder", default: str = ""
) -> None:
    """Define `--workdir`, the folder of a run."""
    flags.DEFINE_string("workdir", default or None, help_text, flag_values=values)


class _FieldParser(flags.ArgumentParser):
    """Converts a flag's text to a value of its field, with the field's own check."""

    def __init__(self, key: str, item: dataclasses.Field) -> None:
        self._key, self._item = key, item

    def parse(self, argument: Any) -> Any:
        if not isinstance(argument, str):
            return argument
        return config.parse_text(self._key, self._item, argument)

    def flag_type(self) -> str:
        return type(self._item.default).__name__


class _SwitchParser(flags.BooleanParser):
    """Converts the text behind a switch's `=` to true or false."""

    def __init__(self, key: str, item: dataclasses.Field) -> None:
        self._key, self._item = key, item

    def parse(self, argument: Any) -> Any:
        try:
            return super().parse(argument)
        except (TypeError, ValueError):
            return config.parse_text(self._key, self._item, str(argument))


def parse(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    """Parse arguments into `values`; words without a flag are in `values.positional`.

    Raises:
        UsageError: Naming the argument that is wrong, and what may be meant.
    """
    usage_errors.refuse_slips(values, arguments)
    try:
        # The lines of a --flagfile, so that they are checked like the command line.
        arguments = values.read_flags_from_files(list(arguments), force_gnu=False)
    except (flags.Error, OSError, ValueError) as error:
        raise UsageError(str(error)) from error
    usage_errors.refuse_slips(values, arguments)
    try:
        rest = values(["asc-tf", *arguments])
    except flags.UnrecognizedFlagError as error:
        raise UsageError(
            usage_errors.describe_unknown_flag(values, error.flagname, error.flagvalue)
        ) from error
    except flags.IllegalFlagValueError as error:
        raise UsageError(usage_errors.describe_illegal_value(values, error)) from error
    except (flags.Error, ValueError) as error:
        raise UsageError(str(error)) from error
    # Defined only now, so that --positional cannot be given.
    flags.DEFINE_list("positional", rest[1:], "", flag_values=values)


def assign_word(values: flags.FlagValues, names: Sequence[str]) -> None:
    """Give the word without a flag to the flag that it stands for.

    Args:
        values: The parsed flags.
        names: The flags that one word may stand for: none, `workdir`, `config`, or both
            of these; then a run folder is the `workdir`, and all else the `config`.

    Raises:
        UsageError: If there are too many words, or one contradicts a flag.
    """
    if not values.positional:
        return
    word, *more = values.positional
    if more or not names:
        shown = " ".join(more if names else values.positional)
        raise UsageError(f"unexpected argument {shown} (write --flag=value)")
    flag = values[_choose_flag(word, names, values)]
    if flag.name == "workdir":
        # The model.keras of a run stands for the run folder.
        path = expand_home(word)
        run = find_run(path)
        word = str(run) if run and run != path else word
    if flag.present and make_absolute(flag.value) != make_absolute(word):
        again = ""
        if "config" in names and flag.name == "workdir":
            again = f"; to begin a new run with its configuration, --config={word}"
        raise UsageError(
            f"{word} and --{flag.name}={flag.value} are both given and differ: give "
            f"one of them{again}"
        )
    flag.parse(word)
    values.positional = []


def _choose_flag(word: str, names: Sequence[str], values: flags.FlagValues) -> str:
    """Choose the flag that a word stands for."""
    if len(names) == 1:
        return names[0]
    is_shipped = word in config.shipped()
    is_run = find_run(expand_home(word)) is not None
    if not is_run or (is_shipped and values["workdir"].value):
        return "config"
    if is_shipped:
        raise UsageError(
            f"{word}: a run folder here, and a shipped configuration: give "
            f"--workdir={word} or --config={word}"
        )
    return "workdir"


def make_absolute(folder: str) -> str:
    """Make the path of a folder absolute, `~` expanded and links followed."""
    return os.path.realpath(os.path.expanduser(folder))
