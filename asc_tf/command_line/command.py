"""Description of a command: its name, its flags, its help and its work.

Exit codes: 0 all well, 1 something failed (each failure named on stderr), 2 wrong
usage. A command's `run` gets the parsed flags and returns its exit code.
"""

import dataclasses
from collections.abc import Callable

from absl import flags

from asc_tf.command_line.arguments import define_configuration


@dataclasses.dataclass(frozen=True)
class Command:
    """One command: its name, its flags and the function that does the work.

    Attributes:
        name: The command's name.
        usage: Description with examples, the beginning of its help.
        run: Function that does the work and returns the exit code.
        define_flags: Function that defines the flags that are no configuration keys.
        keys: Configuration keys that are flags.
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

    def flag_values(self) -> flags.FlagValues:
        """Define all flags of the command, without parsing."""
        values = flags.FlagValues()
        self.define_flags(values)
        define_configuration(values, self.keys)
        return values
