"""Study from flags: a study file or a configuration, and the flags that change it."""

import dataclasses

from absl import flags

from asc_tf.command_line.arguments import define_workdir
from asc_tf.command_line.flag_values import read_changes
from asc_tf.commands.config_from_flags import base_config, make_config_absolute
from asc_tf.config import Config, read_tables, shipped_studies
from asc_tf.core.errors import UsageError
from asc_tf.studies.study_file import Study, find_study, read_study


def define_study_flags(values: flags.FlagValues, command: str) -> None:
    """Define `--config`, `--workdir` and `--jobs`."""
    names = ", ".join(
        name
        for name, path in shipped_studies().items()
        if read_tables(path).get("study") == command
    )
    flags.DEFINE_string(
        "config",
        None,
        f"a configuration, or a study file for asc-tf {command} (shipped: {names})",
        flag_values=values,
    )
    define_workdir(values, "the folder of the study, a new one or one to resume")
    flags.DEFINE_integer(
        "jobs",
        1,
        "runs at a time, each in a process of its own, as far as memory is free",
        lower_bound=1,
        flag_values=values,
    )


def resolve_study(values: flags.FlagValues, command: str) -> Study:
    """Read the study that --config and the flags ask for, folders absolute.

    Raises:
        UsageError: If the file or a value is refused, naming the point.
    """
    path = find_study(values.config) if values.config else None
    study = (
        read_study(path, command) if path else Study({"": base_config(values.config)})
    )
    changes = read_changes(values)
    points: dict[str, Config] = {}
    for name, config in study.points.items():
        try:
            points[name] = make_config_absolute(config.replace(changes))
        except UsageError as error:
            place = f"points.{name}: " if name else ""
            raise UsageError(f"{place}{error}") from error
    return dataclasses.replace(study, points=points)
