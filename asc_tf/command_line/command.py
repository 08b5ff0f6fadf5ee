"""What every command shares: flags, help, quiet start and exit codes.

Exit codes: 0 all well, 1 something failed (each failure named on stderr), 2 wrong
usage. A command's `run` gets the parsed flags and returns its exit code.
"""

import dataclasses
import importlib.util
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from asc_tf import config
from asc_tf.command_line.arguments import (
    absolute,
    assign_word,
    define_configuration,
    parse,
)
from asc_tf.command_line.help_text import HELP, HelpText, requested_topic
from asc_tf.config.run_search import find_run, runs_below, suggest_run
from asc_tf.core.errors import UsageError, UserError, install_hint
from asc_tf.core.quiet import quiet_tensorflow
from asc_tf.core.version import __version__

__all__ = ["Command", "absolute", "changed", "dispatch", "run_command"]


@dataclasses.dataclass(frozen=True)
class Command:
    """One command: its name, its flags and the function that does the work.

    Attributes:
        name: The command's name.
        usage: What it does, with examples: the beginning of its help.
        run: Does the work and returns the exit code.
        define_flags: Defines the flags that are no keys of the configuration.
        sections: Sections of the configuration whose keys are flags.
        keys: More keys that are flags.
        common: The keys needed most, which `--help` shows; none: all of them.
        word_flags: The flags that a word without a flag may stand for (see
            `arguments.assign_word`).
        takes_words: Whether `run` reads such words itself, in `values.positional`.
        program: The program that it is a command of.
        begins_with: The shipped configuration that it starts from; empty: the defaults;
            None: that of the run or the model that it is given.
    """

    name: str
    usage: str
    run: Callable[[flags.FlagValues], int]
    define_flags: Callable[[flags.FlagValues], None]
    sections: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    common: tuple[str, ...] = ()
    word_flags: tuple[str, ...] = ()
    takes_words: bool = False
    program: str = "asc-tf"
    begins_with: str | None = ""

    @property
    def full_name(self) -> str:
        """Program and name, as they are typed."""
        return f"{self.program} {self.name}"

    def configuration_keys(self) -> list[str]:
        """The configuration keys that are flags of this command."""
        return [
            key
            for key in config.FIELDS
            if key.split(".")[0] in self.sections or key in self.keys
        ]

    def flag_values(self) -> flags.FlagValues:
        """All flags of the command, not parsed."""
        values = flags.FlagValues()
        self.define_flags(values)
        define_configuration(values, self.configuration_keys())
        return values

    def help_text(self, topic: str = "") -> str:
        """The help on a topic; see `HelpText.text`."""
        start = config.Config()
        if self.begins_with:
            start = config.read(config.find(self.begins_with))
        return HelpText(
            name=self.full_name,
            usage=self.usage,
            values=self.flag_values(),
            keys=self.configuration_keys(),
            common=self.common,
            defaults=None if self.begins_with is None else start.flat(),
        ).text(topic)


def dispatch(
    program: str,
    usage: str,
    find: Mapping[str, Callable[[], Command]],
    argv: Sequence[str] | None = None,
) -> int:
    """Hand over to the command that the first argument names.

    Args:
        program: The program's name, for messages.
        usage: What `--help` prints.
        find: The commands by name, each imported only when it is wanted.
        argv: Arguments after the program's name; None: those of this process.

    Returns:
        The exit code.
    """
    name, *rest = list(sys.argv[1:] if argv is None else argv) or [""]
    if name in (*HELP, "--helpfull", "help"):
        if rest and rest[0] in find:
            return run_command(find[rest[0]](), ["--help", *rest[1:]])
        return say(usage.strip())
    if name == "--version":
        return say(__version__)
    if name in find:
        return run_command(find[name](), rest)
    if not name:
        print(f"{program}: a command is missing\n\n{usage.strip()}", file=sys.stderr)
        return UsageError.exit_code
    problem = f"{name}: unknown command{config.suggestion(name, find)}"
    if name.startswith("-"):
        problem = f"{name}: the command goes before its flags"
    print(f"{program}: {problem} ({program} --help lists them)", file=sys.stderr)
    return UsageError.exit_code


def run_command(command: Command, argv: Sequence[str] | None = None) -> int:
    """Parse the flags, run the command, and turn what went wrong into an exit code.

    Args:
        command: The command.
        argv: Arguments after the command's name; None: those of this process.

    Returns:
        The exit code.
    """
    quiet_tensorflow()
    for stream in (sys.stdout, sys.stderr):
        # A file's name may hold bytes that no encoding takes.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = command.full_name
    try:
        if (topic := requested_topic(arguments)) is not None:
            return say(command.help_text(topic))
        values = command.flag_values()
        parse(values, arguments)
        if not command.takes_words:
            assign_word(values, command.word_flags)
        code = command.run(values)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return _reader_left()
    except ModuleNotFoundError as error:
        hint = install_hint("train") + " (Python 3.11 to 3.13)"
        if command.program == "asc-edge":
            hint = install_hint("edge")
        package = (error.name or str(error)).partition(".")[0]
        print(
            f"{name}: needs the package {package}, which is not installed: {hint}",
            file=sys.stderr,
        )
        return 1
    except OSError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1


def say(text: str) -> int:
    """Print to a reader that may have left, like `head`; returns the exit code."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        return _reader_left()
    return 0


def _reader_left() -> int:
    # Nothing more can be said, not even at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def changed(values: flags.FlagValues, keys: Sequence[str]) -> dict[str, Any]:
    """The configuration keys that were given as flags, with their values."""
    return {key: values[key].value for key in keys if values[key].value is not None}


def required(values: flags.FlagValues, name: str) -> str:
    """The value of a flag that must be given.

    Raises:
        UsageError: If it was not, saying what it is.
    """
    value = values[name].value
    if not value:
        raise UsageError(f"--{name} is missing ({values[name].help})")
    return str(value)


def path(values: flags.FlagValues, name: str) -> Path:
    """The path that a flag names; shells leave a `~` behind `=` as it is."""
    return Path(os.path.expanduser(required(values, name)))


def need(package: str) -> None:
    """Stop before any work when a package that it needs is not installed.

    Raises:
        ModuleNotFoundError: If it is not.
    """
    if package not in sys.modules and importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(f"no module {package}", name=package)


def new_path(values: flags.FlagValues, name: str) -> Path:
    """The path of an output that a flag names.

    Raises:
        UsageError: If it lies below a file or where nothing may be written, or a flag
            is missing.
    """
    target = path(values, name)
    parents = [each for each in target.absolute().parents if os.path.exists(each)]
    for parent in parents:
        if not parent.is_dir():
            raise UsageError(f"--{name}={target}: {parent} is a file, not a folder")
    place = target if os.path.exists(target) else parents[0]
    if not os.access(place, os.W_OK):
        raise UsageError(f"--{name}={target}: {place} may not be written to")
    return target


def existing_run(values: flags.FlagValues, name: str = "workdir") -> Path:
    """The run folder that a flag names, itself or by its `model.keras`.

    Raises:
        UsageError: If there is no run, naming those near it.
    """
    if not values[name].value:
        near = config.did_you_mean(f"--{name}={run}" for run in runs_below(Path()))
        raise UsageError(f"--{name} is missing ({values[name].help}){near}")
    folder = path(values, name)
    if run := find_run(folder):
        return run
    problem = "no run here (no config.toml)"
    if not folder.exists():
        problem = "no such folder"
    elif not folder.is_dir():
        problem = "a file, not a run folder"
    raise UsageError(f"--{name}={folder}: {problem}{suggest_run(folder)}")
