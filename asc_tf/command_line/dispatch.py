"""Dispatch of a command line: find the command, run it, turn errors into exit codes."""

import importlib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from asc_tf import config
from asc_tf.command_line.arguments import assign_word, parse
from asc_tf.command_line.command import Command
from asc_tf.command_line.help_text import HELP, find_topic, format_help
from asc_tf.core.errors import UsageError, UserError, install_hint
from asc_tf.core.tensorflow_start import prepare_tensorflow
from asc_tf.core.version import __version__


def dispatch(
    program: str,
    usage: str,
    modules: Mapping[str, str],
    argv: Sequence[str] | None = None,
) -> int:
    """Hand over to the command that the first argument names.

    Args:
        program: The program's name, for messages.
        usage: Text that `--help` prints.
        modules: Module of each command, by name; it has a `COMMAND`, and only the one
            that is wanted is imported.
        argv: Arguments after the program's name; None: those of this process.

    Returns:
        The exit code.
    """
    name, *rest = list(sys.argv[1:] if argv is None else argv) or [""]
    if name in (*HELP, "--helpfull", "help"):
        if not rest or rest[0] not in modules:
            return say(usage.strip())
        name, rest = rest[0], ["--help", *rest[1:]]
    if name == "--version":
        return say(__version__)
    if name in modules:
        module = modules[name]
        return _report_errors(
            f"{program} {name}",
            lambda: _execute(importlib.import_module(module).COMMAND, rest),
        )
    if not name:
        print(f"{program}: a command is missing\n\n{usage.strip()}", file=sys.stderr)
        return UsageError.exit_code
    problem = f"{name}: unknown command{config.suggest(name, modules)}"
    if name.startswith("-"):
        problem = f"{name}: the command goes before its flags"
    print(f"{program}: {problem} ({program} --help lists them)", file=sys.stderr)
    return UsageError.exit_code


def run_command(command: Command, arguments: Sequence[str]) -> int:
    """Parse the flags, run the command, and turn what went wrong into an exit code.

    Args:
        command: The command.
        arguments: Arguments after the command's name.

    Returns:
        The exit code.
    """
    return _report_errors(command.full_name, lambda: _execute(command, arguments))


def _execute(command: Command, arguments: Sequence[str]) -> int:
    if (topic := find_topic(arguments)) is not None:
        return say(format_help(command, topic))
    values = command.flag_values()
    parse(values, arguments)
    if not command.takes_words:
        assign_word(values, command.word_flags)
    code = command.run(values)
    sys.stdout.flush()
    return code


def _report_errors(name: str, execute: Callable[[], int]) -> int:
    """Import and run a command whose full name is `name`; return the exit code."""
    prepare_tensorflow()
    for stream in (sys.stdout, sys.stderr):
        # A file's name may hold bytes that no encoding takes.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return execute()
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return _drop_output()
    except ModuleNotFoundError as error:
        hint = install_hint("train") + " (Python 3.11 to 3.13)"
        if name.startswith("asc-edge"):
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
    """Print to a reader that may have left, like `head`, and return the exit code."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        return _drop_output()
    return 0


def _drop_output() -> int:
    """Discard what Python flushes at exit, because the reader has left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
