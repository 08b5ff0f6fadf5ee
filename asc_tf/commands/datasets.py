"""asc-tf datasets: the corpora there are, how to get them, whether they are whole."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from asc_tf import datasets
from asc_tf.audio.verification import Findings, verify
from asc_tf.command_line import command
from asc_tf.config import Config, Dataset, suggestion
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.text_table import align_columns
from asc_tf.datasets import description as text
from asc_tf.datasets.archives import ARCHIVES, SOUNDATA, find_archives
from asc_tf.datasets.catalog import CATALOG, Entry
from asc_tf.datasets.download import Plan, check_free, install, name_staging_folder
from asc_tf.datasets.download.progress import show_progress
from asc_tf.manifest import Manifest, count_by_split

USAGE = """
List the corpora, show one, fetch it, or check that it is whole.

  asc-tf datasets [list]
  asc-tf datasets info NAME [--dataset.dir=D]
  asc-tf datasets download NAME --dataset.dir=D
  asc-tf datasets verify NAME --dataset.dir=D [--quick] [--json]
"""


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_boolean(
        "quick", False, "verify: look for files, do not decode them", flag_values=values
    )
    flags.DEFINE_boolean(
        "json", False, "verify: one JSON object on stdout", flag_values=values
    )


def _run(values: flags.FlagValues) -> int:
    action, *rest = values.positional or ["list"]
    if action not in ACTIONS:
        near = suggestion(action, ACTIONS)
        if action in CATALOG:
            near = f"; did you mean info {action}?"
        known = ", ".join(ACTIONS)
        raise UsageError(f"{action}: unknown action{near} (known: {known})")
    for name in ("quick", "json"):
        if values[name].value and action != "verify":
            raise UsageError(f"--{name} is a flag of verify, not of {action}")
    if action == "list":
        if rest:
            raise UsageError(f"unexpected argument {' '.join(rest)} after list")
        print(text.format_listing())
        return 0
    entry = _entry(action, rest, values)
    changes = command.changed(values, COMMAND.configuration_keys())
    config = Config().replace(changes | {"dataset.name": entry.name})
    return ACTIONS[action](entry, config, values)


def _entry(action: str, rest: Sequence[str], values: flags.FlagValues) -> Entry:
    """The corpus that NAME or --dataset.name names."""
    given = values["dataset.name"].value
    names = list(dict.fromkeys([*rest, *([given] if given else [])]))
    if len(names) != 1:
        problem = (
            f"one corpus only, not {' and '.join(names)}" if names else "no corpus"
        )
        raise UsageError(f"{action}: {problem}; give one of {', '.join(CATALOG)}")
    if names[0] not in CATALOG:
        raise UsageError(
            f"{names[0]}: unknown corpus{suggestion(names[0], CATALOG)} (known: "
            f"{', '.join(CATALOG)})"
        )
    return CATALOG[names[0]]


def _info(entry: Entry, config: Config, values: flags.FlagValues) -> int:
    given = values["dataset.dir"].value
    manifest = None
    if given:
        _existing(entry, config.dataset)
        manifest = datasets.load(config.dataset)
    print(text.format_info(entry, given or "D", _given_flags(values)))
    if manifest:
        print(f"\n{text.format_splits(manifest)}")
    return 0


def _given_flags(values: flags.FlagValues) -> str:
    """The configuration flags given, but for the corpus and its folder."""
    named = ("dataset.name", "dataset.dir")
    keys = [key for key in COMMAND.configuration_keys() if key not in named]
    changes = command.changed(values, keys)
    return " ".join(f"--{key}={value}" for key, value in changes.items())


def _existing(entry: Entry, dataset: Dataset) -> Path:
    """The folder of a corpus, which must be there.

    Raises:
        UsageError: If it is not, or if reading it would first write the scenes.
    """
    if not dataset.dir:
        raise UsageError(f"--dataset.dir is missing: the folder of {entry.name}")
    folder = Path(command.absolute(dataset.dir))
    if not folder.is_dir():
        raise UsageError(f"--dataset.dir={dataset.dir}: no such folder")
    if entry.name == "synthetic" and not (folder / "meta.csv").is_file():
        raise UsageError(f"--dataset.dir={dataset.dir}: no scenes in it; {entry.note}")
    return folder


def _download(entry: Entry, config: Config, values: flags.FlagValues) -> int:
    if entry.name not in ARCHIVES and entry.name not in SOUNDATA:
        raise UsageError(f"{entry.name} cannot be downloaded: {entry.note}")
    folder = Path(command.absolute(command.required(values, "dataset.dir")))
    if folder.is_dir() and any(folder.iterdir()):
        _say_complete(entry, folder)
        return 0
    check_free(folder)
    plan = Plan(
        find_archives(entry.name),
        entry.unpacked_bytes,
        entry.download_bytes,
        entry.strip,
    )
    print(
        f"{entry.name}: {text.format_download_size(entry)}. An interrupted download "
        "continues when the command is given again.",
        file=sys.stderr,
    )
    with show_progress() as progress:
        install(
            plan,
            folder,
            entry.name,
            check=lambda unpacked: _check_whole(entry, unpacked),
            report=progress.report,
            say=progress.say,
        )
    _say_complete(entry, folder)
    return 0


def _say_complete(entry: Entry, folder: Path) -> None:
    """Say that a corpus is there, and what to do next.

    Raises:
        UsageError: If something else is.
    """
    try:
        manifest = _check_whole(entry, folder)
    except UserError as error:
        raise UsageError(
            f"--dataset.dir={folder} is not empty, and holds no complete {entry.name} "
            f"({error}); name a new folder"
        ) from error
    # What a process that was killed at the very end has left.
    shutil.rmtree(name_staging_folder(folder, entry.name), ignore_errors=True)
    print(f"{folder}: complete: {count_by_split(manifest)}")
    print(f"\nNext: {text.format_train_command(entry, str(folder))}")


def _check_whole(entry: Entry, folder: Path) -> Manifest:
    """Read a corpus, all files of which must be there.

    Raises:
        UserError: If they are not.
    """
    manifest = datasets.load(Dataset(name=entry.name, dir=str(folder)))
    paths = {clip.path for clip in manifest.clips}
    missing = sorted(path for path in paths if not (folder / path).is_file())
    if missing:
        raise UserError(
            f"{len(missing)} of {len(paths)} files are missing, among them {missing[0]}"
        )
    unchecked = any(not each.checksum for each in ARCHIVES.get(entry.name, ()))
    if unchecked and len(paths) != entry.clips:
        raise UserError(f"{len(paths)} clips, expected {entry.clips}")
    return manifest


def _verify(entry: Entry, config: Config, values: flags.FlagValues) -> int:
    folder = _existing(entry, config.dataset)
    if not values.quick:
        command.need("tensorflow")
    manifest = datasets.load(config.dataset)
    found = verify(manifest, folder, config.audio.max_seconds, quick=values.quick)
    if values.json:
        record = {"corpus": entry.name, "dir": str(folder), **found.to_json()}
        print(json.dumps(record), flush=True)
    else:
        print(findings(entry, folder, found))
    return int(not found.is_complete)


ACTIONS: dict[str, Callable[[Entry, Config, flags.FlagValues], int]] = {
    "list": lambda entry, config, values: 0,
    "info": _info,
    "download": _download,
    "verify": _verify,
}

COMMAND = command.Command(
    name="datasets",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    takes_words=True,
    common=(
        *("dataset.name", "dataset.dir", "dataset.protocol", "dataset.fold"),
        *("dataset.validation_share", "dataset.max_missing"),
    ),
    sections=("dataset",),
    keys=("audio.max_seconds",),
)


SHOWN = 20
"""Files that are named at most."""


def findings(entry: Entry, folder: Path, found: Findings) -> str:
    """Numbers by split, then the first files of each kind."""
    rows = [["split", "files", "missing", "unreadable"]]
    for split, row in found.count_by_split().items():
        unreadable = "-" if found.quick else str(row["unreadable"])
        rows.append([split, str(row["files"]), str(row["missing"]), unreadable])
    lines = [f"{entry.name} in {folder}", "", align_columns(rows, right=(1, 2, 3)), ""]
    lines.append(f"{len(found.extra)} audio files that this protocol does not use")
    named = {
        "missing": found.missing,
        "unreadable": [f"{path}: {why}" for path, why in found.unreadable.items()],
        "not used": found.extra,
    }
    for what, names in named.items():
        lines += [f"{what}: {name}" for name in names[:SHOWN]]
        if len(names) > SHOWN:
            lines.append(f"{what}: and {len(names) - SHOWN} more (--json has all)")
    return "\n".join(lines)
