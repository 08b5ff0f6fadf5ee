"""Advice for a corpus that is elsewhere, or another one, than the settings say."""

import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from asc_tf.config import Dataset
from asc_tf.core.errors import UserError
from asc_tf.core.folders import is_audio, list_files
from asc_tf.core.paths import expand_home
from asc_tf.datasets.corpus import Corpus

Adapters = dict[str, Callable[[Dataset, Path], Corpus]]

TABLES = (".csv", ".tsv")
MAX_FOLDERS = 20
"""Most subfolders that are searched."""


def suggest_name(directory: Path, adapters: Adapters) -> str:
    """Suggest a `dataset.name` for a folder without scenes; empty if none fits."""
    if not directory.is_dir() or (directory / "settings.json").is_file():
        return ""
    corpora = [name for name in adapters if name not in ("synthetic", "folder", "csv")]
    if fitting := [name for name in corpora if _is_corpus(name, directory, adapters)]:
        flags = " or ".join(f"--dataset.name={name}" for name in fitting)
        return f"this looks like {' or '.join(fitting)}: add {flags}"
    if _is_corpus("folder", directory, adapters):
        return "this looks like one folder per label: add --dataset.name=folder"
    if inner := _find_inner("folder", directory, adapters):
        return (
            f"its folder {inner.name} looks like one folder per label: add "
            f"--dataset.name=folder --dataset.dir={inner}"
        )
    if tables := _find_tables(directory):
        return (
            f"there is a table in it: add --dataset.name=csv --dataset.csv_file="
            f"{tables[0].name}"
        )
    return explain_flat_folder(directory)


def suggest_inner_folder(dataset: Dataset, directory: Path, adapters: Adapters) -> str:
    """Suggest the subfolder that holds the corpus; empty if none does."""
    inner = _find_inner(dataset.name, directory, adapters)
    if not inner:
        return ""
    return f"its subfolder {inner.name} contains this corpus: use --dataset.dir={inner}"


def explain_flat_folder(directory: Path) -> str:
    """Say what to do with clips outside of any label's folder; empty without any."""
    clips = [path for path in directory.iterdir() if is_audio(path)]
    if not clips:
        return ""
    others = [
        path.name
        for path in _find_folders(directory.parent)
        if path != directory and _has_clips(path)
    ]
    above = ""
    if others:
        above = (
            f", or, if {directory.name} is itself the folder of a label, as "
            f"{others[0]} beside it may be, use --dataset.dir={directory.parent}"
        )
    return (
        f"{len(clips)} clips are directly in it, {clips[0].name} for one: move those "
        "of each label into a folder with its name, or write a table of files and "
        f"labels and use --dataset.name=csv --dataset.csv_file=TABLE{above}"
    )


def explain_missing_table(directory: Path, name: str) -> str:
    """Say where a table was looked for, and where a table of its name is."""
    given = expand_home(name)
    places = [Path.cwd() / given, directory.parent / given, directory / given.name]
    places += [directory.parent / given.name]
    other = next((place for place in places if place.is_file()), None)
    message = f"looked for {directory / given}"
    if not given.is_absolute():
        message += ", as it is relative to dataset.dir"
    if other:
        return f"{message}; there is one here: --dataset.csv_file={other.absolute()}"
    return f"{message}{list_tables(directory)}"


def list_tables(directory: Path) -> str:
    """Say which tables a folder holds; empty without any."""
    tables = _find_tables(directory)
    if not tables:
        return ""
    return f"; {directory} holds {', '.join(path.name for path in tables[:5])}"


def explain_missing_file(directory: Path, path: str, table: str = "") -> str:
    """Say where a clip was looked for, and where a file of its name is.

    Args:
        directory: Folder of the corpus.
        path: Path of the clip, relative to the folder.
        table: Value of `dataset.csv_file`, if the corpus is the user's own table.
    """
    given = directory / expand_home(table)
    other = _find_file(directory, path, given)
    message = f"looked for {directory / path}"
    if not other:
        return message
    message += f"; the file is {other}"
    if not other.as_posix().endswith(f"/{path}"):
        return f"{message}: correct the paths in the table" if table else message
    base = other.as_posix().removesuffix(f"/{path}")
    also = f" --dataset.csv_file={given.absolute()}" if table else ""
    return f"{message}: use --dataset.dir={base}{also}"


def _find_file(directory: Path, path: str, table: Path) -> Path | None:
    """Find a file by its path below another folder, or by its name."""
    above = [table.parent, Path.cwd(), *list(directory.absolute().parents)[:3]]
    for place in (*above, *_find_folders(directory)):
        if (place / path).is_file():
            return (place / path).absolute()
    name = _fold(Path(path).name)
    try:
        return next((p for p in list_files(directory) if _fold(p.name) == name), None)
    except UserError:
        return None


def _fold(name: str) -> str:
    """Write a name in one case, and its accents in one of the two ways of Unicode."""
    return unicodedata.normalize("NFC", name).casefold()


def _is_corpus(name: str, directory: Path, adapters: Adapters) -> bool:
    """Check whether a folder is a corpus of that name, by names and tables alone."""
    try:
        corpus = adapters[name](Dataset(name=name, dir=str(directory)), directory)
    except (UserError, OSError):
        return False
    return len(corpus.labels) > 1


def _find_inner(name: str, directory: Path, adapters: Adapters) -> Path | None:
    folders = _find_folders(directory)
    return next((f for f in folders if _is_corpus(name, f, adapters)), None)


def _find_folders(directory: Path) -> list[Path]:
    try:
        folders = sorted(path for path in directory.iterdir() if path.is_dir())
    except OSError:
        return []
    return [path for path in folders if not path.name.startswith(".")][:MAX_FOLDERS]


def _has_clips(directory: Path) -> bool:
    try:
        return any(is_audio(path) for path in directory.iterdir())
    except OSError:
        return False


def _find_tables(directory: Path) -> list[Path]:
    files: Iterable[Path] = directory.iterdir() if directory.is_dir() else ()
    return sorted(path for path in files if path.suffix.lower() in TABLES)
