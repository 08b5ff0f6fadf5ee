"""Flags to configuration values: the file, then the flags, then absolute folders."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from asc_tf import config as configuration
from asc_tf.command_line import command
from asc_tf.config import Config
from asc_tf.config.run_search import suggest_run
from asc_tf.core.errors import UsageError
from asc_tf.datasets import table
from asc_tf.manifest import SPLITS
from asc_tf.workdir import PLACES, Workdir


def base_config(name: str | None, workdir: Workdir | None = None) -> Config:
    """Read the configuration that flags change.

    Args:
        name: A TOML file or the name of a shipped configuration; None: that of the run
            in `workdir` where there is one, else the defaults.
        workdir: The run folder, for a command that trains.

    Raises:
        UsageError: If the configuration is missing or refused.
    """
    if name:
        try:
            path = configuration.find(name)
        except UsageError as error:
            raise UsageError(f"{error}{suggest_run(Path(name))}") from error
        return configuration.read(path)
    if workdir and workdir.config_file.is_file():
        return workdir.config()
    return Config()


def resolve(
    values: flags.FlagValues, keys: Sequence[str], workdir: Workdir | None = None
) -> Config:
    """The configuration that --config and the flags ask for, with absolute folders.

    Args:
        values: The flags.
        keys: The configuration keys that are flags.
        workdir: The run folder, whose configuration stands in for a missing --config.
    """
    config = base_config(values.config, workdir)
    config = config.replace(command.changed(values, keys))
    folders = {place: config.flat()[place] for place in PLACES}
    if not config.dataset.dir and config.dataset.name == "synthetic":
        folders["dataset.dir"] = str(table.choose_default_folder(config.dataset))
    if config.model.weights_file:
        folders["model.weights"] = config.model.weights_file
    return config.replace(
        {key: command.absolute(str(path)) for key, path in folders.items() if path}
    )


def parse_splits(flag: str, names: Sequence[str]) -> tuple[str, ...]:
    """The splits that a flag names, in the order of a manifest.

    Raises:
        UsageError: If one is unknown, or there is none.
    """
    names = [name.strip() for name in names]
    for name in names:
        if name not in SPLITS:
            near = configuration.suggestion(name, SPLITS)
            raise UsageError(
                f"--{flag}: {name!r} must be one of {', '.join(SPLITS)}{near}"
            )
    if not names:
        raise UsageError(f"--{flag} is empty: give some of {', '.join(SPLITS)}")
    return tuple(split for split in SPLITS if split in names)
