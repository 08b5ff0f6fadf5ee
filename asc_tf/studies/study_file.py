"""Study files: several configurations, a grid or random values, in one TOML file.

A study file is a configuration file with more keys: `study` (the command that runs it),
`base`, `seeds` and `folds`, and the tables `points`, `grid` and `random`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asc_tf import config as configuration
from asc_tf.config import Config
from asc_tf.core.errors import UsageError
from asc_tf.core.paths import expand_home
from asc_tf.studies.search_space import check_key, parse_distribution, parse_values

COMMANDS: dict[str, tuple[str, ...]] = {
    "crossval": ("seeds", "folds", "points"),
    "sweep": ("grid", "random", "trials"),
}
"""Keys of a study file besides `study`, `base` and the sections, by command."""


@dataclass(frozen=True)
class Study:
    """Configurations that a study trains, and how it varies them.

    Attributes:
        points: Configuration of each point by name; a crossval or sweep of one
            configuration has the single name "".
        seeds: Number of seeds; None if the file does not say.
        folds: Folds; None for all of them.
        grid: Values by key.
        random: Values or distributions by key.
        trials: Number of points to draw; None if the file does not say.
    """

    points: dict[str, Config]
    seeds: int | None = None
    folds: tuple[int, ...] | None = None
    grid: dict[str, Any] = field(default_factory=dict)
    random: dict[str, Any] = field(default_factory=dict)
    trials: int | None = None


def find_study(name: str) -> Path | None:
    """Find a study file: a file with the key `study`, or a shipped study by its name.

    Returns:
        The file; None if the name is not that of a study.

    Raises:
        UsageError: If the file cannot be read.
    """
    path = expand_home(name)
    if path.is_file():
        return path if "study" in configuration.read_tables(path) else None
    return configuration.shipped_studies().get(name.removeprefix("studies/"))


def read_study(path: Path, command: str) -> Study:
    """Read a study file for the command that is to run it.

    Raises:
        UsageError: Naming the file, the key, the value received and what is allowed.
    """
    tables = configuration.read_tables(path)
    named = tables.pop("study", None)
    if not isinstance(named, str) or named not in COMMANDS:
        raise UsageError(f"{path}: study = {named!r}: must be crossval or sweep")
    if named != command:
        raise UsageError(
            f"{path}: a study for asc-tf {named}, not for asc-tf {command}"
        )
    own = {key: tables.pop(key) for key in COMMANDS[command] if key in tables}
    for other, keys in COMMANDS.items():
        for key in keys:
            if key in tables:
                raise UsageError(
                    f"{path}: {key}: only in a study for asc-tf {other}, and this one "
                    f"is for asc-tf {command}"
                )
    if command == "sweep" and bool(own.get("grid")) == bool(own.get("random")):
        raise UsageError(
            f"{path}: needs a table [grid] or a table [random], one of them"
        )
    if own.get("trials") is not None and "random" not in own:
        raise UsageError(f"{path}: trials: needs a table [random]")
    return Study(
        points=_read_points(tables, own.pop("points", None), path),
        seeds=_read_count(own, "seeds", path),
        folds=_read_folds(own.get("folds"), path),
        grid=_read_space(own.get("grid", {}), path, parse_values),
        random=_read_space(own.get("random", {}), path, parse_distribution),
        trials=_read_count(own, "trials", path),
    )


def _read_points(
    tables: Mapping[str, Any], points: Any, path: Path
) -> dict[str, Config]:
    """Read the configuration of each point: base, the study's keys, its own keys."""
    if points is None:
        return {"": _read_point(tables, path)}
    if not isinstance(points, dict) or not points:
        raise UsageError(f"{path}: points: must be tables like [points.mixup]")
    configs = {}
    for name, own in points.items():
        place = f"{path}: points.{name}"
        if not isinstance(own, dict):
            raise UsageError(f"{place} = {own!r}: must be a table")
        if not name.replace("-", "").replace("_", "").isalnum():
            raise UsageError(f"{place}: a name has letters, digits, - and _ only")
        if name in ("report", "compare") or name.startswith(("fold", "seed")):
            raise UsageError(f"{place}: this name is that of a folder of a study")
        merged = {**tables, "base": own.get("base", tables.get("base"))}
        for section, table in own.items():
            there = merged.get(section, {})
            if section == "base" or not isinstance(there, dict):
                # A section that is no table is refused below.
                continue
            is_table = isinstance(table, dict)
            merged[section] = {**there, **table} if is_table else table
        try:
            configs[name] = _read_point(merged, path)
        except UsageError as error:
            raise UsageError(f"points.{name}: {error}") from error
    return configs


def _read_point(tables: Mapping[str, Any], path: Path) -> Config:
    sections = dict(tables)
    base = sections.pop("base", None)
    config = Config()
    if base is not None:
        config = configuration.read(configuration.find_base(base, path))
    changes = configuration.flatten(sections, path)
    try:
        return config.replace(changes)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _read_count(tables: Mapping[str, Any], key: str, path: Path) -> int | None:
    value = tables.get(key)
    if value is None or (type(value) is int and value > 0):
        return value
    raise UsageError(f"{path}: {key} = {value!r}: must be a whole number above 0")


def _read_folds(folds: Any, path: Path) -> tuple[int, ...] | None:
    if folds is None:
        return None
    if not isinstance(folds, list) or not folds or {type(f) for f in folds} != {int}:
        raise UsageError(f"{path}: folds = {folds!r}: must be a list of whole numbers")
    return tuple(folds)


def _read_space(
    tables: Any, path: Path, parse: Callable[[str, Any], Any]
) -> dict[str, Any]:
    """Read the table of a grid, or of random values."""
    if not isinstance(tables, dict):
        raise UsageError(f"{path}: grid, random: must be tables like [grid.train]")
    space = {}
    for key, given in configuration.flatten(tables, path).items():
        check_key(str(path), key)
        try:
            space[key] = parse(key, given)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
    return space
