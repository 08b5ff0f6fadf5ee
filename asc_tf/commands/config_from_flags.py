"""Configuration from flags: that of the file, then the flags, then absolute folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from asc_tf import config as configuration
from asc_tf.command_line.arguments import make_absolute
from asc_tf.command_line.flag_values import read_changes
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


def resolve(values: flags.FlagValues, workdir: Workdir | None = None) -> Config:
    """Read the configuration of `base_config` and the flags, folders absolute."""
    base = base_config(values.config, workdir)
    return make_config_absolute(base.replace(read_changes(values)))


def make_config_absolute(config: Config) -> Config:
    """Make the folders of a configuration absolute; choose that of synthetic scenes."""
    flat = config.flat()
    places = {place: flat[place] for place in PLACES}
    if not config.dataset.dir and config.dataset.name == "synthetic":
        places["dataset.dir"] = str(table.choose_default_folder(config.dataset))
    places = make_places_absolute(places)
    if config.model.weights_file:
        places["model.weights"] = make_absolute(config.model.weights_file)
    return config.replace(places)


def make_places_absolute(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Make the folders absolute that some keys name, and leave the rest as it is."""
    return {
        key: make_absolute(value) if key in PLACES and value else value
        for key, value in changes.items()
    }


def parse_splits(flag: str, names: Sequence[str]) -> tuple[str, ...]:
    """Parse the splits that a flag names, in the order of a manifest.

    Raises:
        UsageError: If one is unknown, or there is none.
    """
    names = [name.strip() for name in names]
    for name in names:
        if name not in SPLITS:
            near = configuration.suggest(name, SPLITS)
            raise UsageError(
                f"--{flag}: {name!r} must be one of {', '.join(SPLITS)}{near}"
            )
    if not names:
        raise UsageError(f"--{flag} is empty: give some of {', '.join(SPLITS)}")
    return tuple(split for split in SPLITS if split in names)
