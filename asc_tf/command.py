"""What every command shares: flags, help, quiet start and exit codes.

Exit codes: 0 all well, 1 something failed (each failure named on stderr), 2 wrong
usage. A command's `main` gets the parsed flags and returns its exit code.
"""

import dataclasses
import importlib.util
import io
import os
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from asc_tf import config
from asc_tf.errors import UsageError, UserError
from asc_tf.quiet import quiet_tensorflow
from asc_tf.version import __version__

HELP = ("--help", "-h", "-help", "--helpfull")


@dataclasses.dataclass(frozen=True)
class Command:
    """One command: its name, its flags and the function that does the work.

    `begins_with` names the shipped configuration that it starts from, if not the
    defaults.
    """

    name: str
    usage: str
    main: Callable[[flags.FlagValues], int]
    define: Callable[[flags.FlagValues], None]
    sections: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    program: str = "asc-tf"
    begins_with: str = ""

    def configuration_keys(self) -> list[str]:
        """The configuration keys that are flags of this command."""
        return [
            key
            for key in config.FIELDS
            if key.split(".")[0] in self.sections or key in self.keys
        ]


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
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else ""
    if name in HELP or name == "help":
        return say(usage.strip())
    if name == "--version":
        return say(__version__)
    if name not in find:
        near = config.suggestion(name, find)
        problem = f"{name}: unknown command{near}" if name else "a command is missing"
        print(f"{program}: {problem}\n\n{usage.strip()}", file=sys.stderr)
        return UsageError.exit_code
    return run(find[name](), arguments[1:])


def run(command: Command, argv: Sequence[str] | None = None) -> int:
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
    values = flags.FlagValues()
    define_configuration(values, command.configuration_keys())
    command.define(values)
    if any(word in HELP for word in arguments):
        return say(help_text(command, values))
    name = f"{command.program} {command.name}"
    try:
        parse(values, arguments)
        code = command.main(values)
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
        extra = "[train]' (Python 3.11 to 3.13)"
        if command.program == "asc-edge":
            extra = "[edge]'"
        package = (error.name or str(error)).partition(".")[0]
        print(f"{name}: needs {package}: pip install 'asc-tf{extra}", file=sys.stderr)
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


def parse(values: flags.FlagValues, arguments: Sequence[str]) -> None:
    """Parse arguments into `values`; what is left over is in `values.positional`."""
    try:
        rest = values(["asc-tf", *arguments])
    except flags.UnrecognizedFlagError as error:
        near = config.suggestion(error.flagname, list(values))
        raise UsageError(f"--{error.flagname}: unknown flag{near}") from error
    except flags.IllegalFlagValueError as error:
        # The field's own check says it better.
        cause = error.__context__
        better = isinstance(cause, UsageError)
        raise UsageError(f"--{cause}" if better else str(error)) from error
    except flags.Error as error:
        raise UsageError(str(error)) from error
    # Only now, so that it is no flag that can be given.
    flags.DEFINE_list("positional", rest[1:], "", flag_values=values)


def define_configuration(values: flags.FlagValues, keys: Sequence[str]) -> None:
    """Make a flag of each configuration key; a flag not given stays None."""
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


class _FieldParser(flags.ArgumentParser):
    """Turns a flag's text into a value of the field, with the field's own check."""

    def __init__(self, key: str, item: dataclasses.Field) -> None:
        self._key, self._item = key, item

    def parse(self, argument: Any) -> Any:
        if not isinstance(argument, str):
            return argument
        default = self._item.default
        if isinstance(default, tuple):
            member = config.item_type(self._item)
            words = [word.strip() for word in argument.split(",")]
            if not argument and not default:
                words = []
            return config.coerce(
                self._key, self._item, [_scalar(member, word) for word in words]
            )
        return config.coerce(self._key, self._item, _scalar(type(default), argument))

    def flag_type(self) -> str:
        return type(self._item.default).__name__


class _SwitchParser(flags.BooleanParser):
    """Turns what follows a switch's `=` into true or false."""

    def __init__(self, key: str, item: dataclasses.Field) -> None:
        self._key, self._item = key, item

    def parse(self, argument: Any) -> Any:
        try:
            return super().parse(argument)
        except (TypeError, ValueError):
            return config.coerce(self._key, self._item, argument)


def _scalar(kind: type, word: str) -> Any:
    """The word as `kind`, or as it is, for the field's check to refuse."""
    try:
        return kind(word)
    except ValueError:
        return word


def changed(values: flags.FlagValues, keys: Sequence[str]) -> dict[str, Any]:
    """The configuration keys that were given as flags, with their values."""
    return {key: values[key].value for key in keys if values[key].value is not None}


def absolute(folder: str) -> str:
    """A folder as it can be found from elsewhere, `~` expanded."""
    return os.path.realpath(os.path.expanduser(folder))


def required(values: flags.FlagValues, name: str) -> str:
    """The value of a flag that must be given.

    Raises:
        UsageError: If it was not.
    """
    value = values[name].value
    if not value:
        raise UsageError(f"--{name} is missing")
    return value


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


def existing_folder(values: flags.FlagValues, name: str) -> Path:
    """The folder that a flag names, which must be there."""
    folder = path(values, name)
    if not folder.is_dir():
        raise UsageError(f"--{name}={folder}: no such folder")
    return folder


def no_positional(values: flags.FlagValues) -> None:
    """Refuse words that are no flags.

    Raises:
        UsageError: Naming them.
    """
    if values.positional:
        raise UsageError(
            f"unexpected argument {' '.join(values.positional)} (write --flag=value)"
        )


def help_text(command: Command, values: flags.FlagValues) -> str:
    """Usage, then every flag with its default and its help."""
    configuration = command.configuration_keys()
    lines = [command.usage.strip(), "", "Flags:"]
    for name in values:
        if name not in configuration:
            flag = values[name]
            usual = flag.default
            usual = ",".join(usual) if isinstance(usual, list) else usual
            shown = "" if usual in (None, False, "") else f" [{usual}]"
            lines += _entry(f"--{name}{shown}", flag.help)
    if configuration:
        lines += ["", "Configuration (the same keys as in a TOML file):"]
    start = config.Config()
    if command.begins_with:
        start = config.read(config.find(command.begins_with))
    for key in configuration:
        default: Any = start.flat()[key]
        if isinstance(default, tuple):
            default = ",".join(str(item) for item in default)
        choices = config.FIELDS[key].metadata["choices"]
        text = config.FIELDS[key].metadata["help"]
        text += f" ({' | '.join(choices)})" if choices else ""
        lines += _entry(f"--{key} [{default}]", text)
    return "\n".join(lines)


def _entry(head: str, text: str) -> list[str]:
    return [
        f"  {head}",
        *textwrap.wrap(text, 80, initial_indent=" " * 6, subsequent_indent=" " * 6),
    ]
