"""The configuration: frozen dataclasses, read from TOML and from flags.

`Config` has one section per stage of the data flow. A field's metadata holds its help
text and its limits, so that the TOML reader, the absl flags and `--help` all speak
from one place. A value is checked when its section is made, wherever it came from.
"""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asc_tf.config.audio import Audio
from asc_tf.config.augment import Augment
from asc_tf.config.checks import check
from asc_tf.config.dataset import Dataset
from asc_tf.config.evaluate import Evaluate
from asc_tf.config.export import Export
from asc_tf.config.frontend import Frontend
from asc_tf.config.model import Model
from asc_tf.config.model_families import FAMILIES, Family
from asc_tf.config.options import Section, Value, parse_text, section_name
from asc_tf.config.tensorboard import TensorBoard
from asc_tf.config.train import Train
from asc_tf.core.errors import UsageError
from asc_tf.core.paths import expand_home
from asc_tf.core.suggestions import find_nearest, format_suggestions, suggest

__all__ = [
    "FAMILIES",
    "FIELDS",
    "Audio",
    "Augment",
    "Config",
    "Dataset",
    "Evaluate",
    "Export",
    "Family",
    "Frontend",
    "Model",
    "TensorBoard",
    "Train",
    "find",
    "find_base",
    "find_nearest",
    "flatten",
    "format_suggestions",
    "parse_text",
    "read",
    "read_tables",
    "section_keys",
    "shipped",
    "shipped_studies",
    "suggest",
]

SECTIONS: tuple[type[Section], ...] = (
    Dataset,
    Audio,
    Frontend,
    Augment,
    Model,
    Train,
    TensorBoard,
    Evaluate,
    Export,
)


FIELDS: dict[str, dataclasses.Field] = {
    f"{section_name(section)}.{item.name}": item
    for section in SECTIONS
    for item in dataclasses.fields(section)  # type: ignore[arg-type]
}
"""Every key, like `frontend.n_mels`, in the order of the data flow."""


def section_keys(*sections: str) -> tuple[str, ...]:
    """List the keys of some sections, in the order of the data flow."""
    return tuple(key for key in FIELDS if key.partition(".")[0] in sections)


TITLES = {
    section_name(section): (section.__doc__ or "").partition(".")[0]
    for section in SECTIONS
}
"""The title of each section."""


@dataclass(frozen=True)
class Config:
    """The whole configuration of a run."""

    dataset: Dataset = field(default_factory=Dataset)
    audio: Audio = field(default_factory=Audio)
    frontend: Frontend = field(default_factory=Frontend)
    augment: Augment = field(default_factory=Augment)
    model: Model = field(default_factory=Model)
    train: Train = field(default_factory=Train)
    tensorboard: TensorBoard = field(default_factory=TensorBoard)
    evaluate: Evaluate = field(default_factory=Evaluate)
    export: Export = field(default_factory=Export)

    def __post_init__(self) -> None:
        check(self)

    def replace(self, changes: Mapping[str, Any]) -> "Config":
        """Return a configuration with `changes`, keyed like `frontend.n_mels`.

        Raises:
            UsageError: If a key is unknown or a value is refused.
        """
        sections: dict[str, dict[str, Any]] = {}
        for key, value in changes.items():
            if key not in FIELDS:
                raise UsageError(f"{key}: unknown key{suggest(key, FIELDS)}")
            section, name = key.split(".")
            sections.setdefault(section, {})[name] = value
        return dataclasses.replace(
            self,
            **{
                section: dataclasses.replace(getattr(self, section), **values)
                for section, values in sections.items()
            },
        )

    def flat(self) -> dict[str, Value]:
        """All values, keyed like `frontend.n_mels`."""
        return {
            key: getattr(getattr(self, key.split(".")[0]), key.split(".")[1])
            for key in FIELDS
        }

    def to_toml(self) -> str:
        """Write the configuration as TOML text that `read` reads back equal."""
        import tomli_w

        return tomli_w.dumps(dataclasses.asdict(self))


def read(path: Path) -> Config:
    """Read a configuration from a TOML file.

    Missing keys come from the configuration that its `base` names, then from the
    defaults. A base is a shipped configuration, or a file, relative to this one.

    Raises:
        UsageError: Naming the file, the key, the value received and what is allowed.
    """
    changes: dict[str, Any] = {}
    files, base = [path], path
    while True:
        tables = read_tables(base)
        name = tables.pop("base", None)
        # A file overrides its base.
        changes = flatten(tables, base) | changes
        if name is None:
            break
        base = find_base(name, files[-1])
        if base.resolve() in [file.resolve() for file in files]:
            raise UsageError(f"{files[-1]}: base = {name!r}: is based on this file")
        files.append(base)
    try:
        return Config().replace(changes)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def read_tables(path: Path) -> dict[str, Any]:
    """Read the tables of a TOML file.

    Raises:
        UsageError: If the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error


def flatten(tables: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Flatten the tables of a file to keys like `frontend.n_mels`.

    Raises:
        UsageError: If a table is no section, or the file is a study.
    """
    changes: dict[str, Any] = {}
    if "study" in tables:
        raise UsageError(
            f"{path}: a study of several runs, not a configuration; "
            f"asc-tf {tables['study']} --config={path} runs it"
        )
    known = tuple(section_name(section) for section in SECTIONS)
    for section, table in tables.items():
        if section not in known:
            raise UsageError(
                f"{path}: {section}: unknown section{suggest(section, known)}"
            )
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {section} = {table!r}: must be a table")
        changes |= {f"{section}.{key}": value for key, value in table.items()}
    return changes


def find_base(name: Any, path: Path) -> Path:
    """Find the file that a configuration names as its `base`.

    Raises:
        UsageError: If there is none, or `name` is not a text.
    """
    if not isinstance(name, str) or not name:
        raise UsageError(f"{path}: base = {name!r}: must be a file or a shipped name")
    beside = path.parent / name
    if beside.is_file():
        return beside
    try:
        return _find_shipped(name)
    except UsageError as error:
        raise UsageError(f"{path}: base = {name!r}: {error}") from error


def find(name: str) -> Path:
    """Find a configuration: a file, a shipped one by its name, or that of a run folder.

    Raises:
        UsageError: If there is none, naming those there are.
    """
    path, known = expand_home(name), shipped()
    in_run = path / "config.toml"
    if path.is_file():
        return path
    if name not in known and in_run.is_file():
        return in_run
    if name not in known and path.is_dir():
        raise UsageError(
            f"--config={name}: not a run folder (no config.toml in it); "
            f"write --dataset.dir={name} if it holds clips, --workdir={name} if it "
            "is to hold a new run"
        )
    try:
        return _find_shipped(name)
    except UsageError as error:
        raise UsageError(f"--config={name}: {error}") from error


def shipped() -> dict[str, Path]:
    """The shipped configurations by name."""
    return {path.stem: path for path in sorted(_shipped_folder().glob("*.toml"))}


def shipped_studies() -> dict[str, Path]:
    """The shipped studies by name; each describes several runs."""
    folder = _shipped_folder() / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def _shipped_folder() -> Path:
    here = Path(__file__).resolve().parent.parent
    # Inside the package when installed; beside it in a clone.
    installed, cloned = here / "configs", here.parent / "configs"
    return installed if installed.is_dir() else cloned


def _find_shipped(name: str) -> Path:
    known = shipped()
    if name in known:
        return known[name]
    if (study := shipped_studies().get(name.removeprefix("studies/"))) is not None:
        command = read_tables(study).get("study")
        raise UsageError(
            f"a study of several runs, not a configuration; asc-tf {command} "
            f"--config={name} runs it"
        )
    # Suggest `demo` for `configs/demo.toml`.
    raise UsageError(
        "no such file, and no shipped configuration of that name"
        f"{suggest(Path(name).stem, known)} (shipped: {', '.join(known)})"
    )
