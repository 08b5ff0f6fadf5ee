"""asc-tf datasets: list, describe, download and verify the corpora."""

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from asc_tf import datasets
from asc_tf.audio.verification import Findings, verify
from asc_tf.command_line.arguments import make_absolute
from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_changes, read_required
from asc_tf.config import Config, Dataset, section_keys, suggest
from asc_tf.core.errors import UsageError
from asc_tf.core.packages import require_package
from asc_tf.core.suggestions import suggest_path
from asc_tf.core.text_table import align_columns
from asc_tf.datasets import description
from asc_tf.datasets.catalog import CATALOG
from asc_tf.datasets.download.corpus import download_corpus
from asc_tf.manifest import format_counts

USAGE = """
List the corpora, show one, fetch it, or check that it is whole.

  asc-tf datasets [list]
  asc-tf datasets info NAME [--dataset.dir=D]
  asc-tf datasets download NAME --dataset.dir=D
  asc-tf datasets verify NAME --dataset.dir=D [--quick] [--json]
"""

MAX_NAMED = 20
"""Files of each kind that `verify` names at most."""


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_boolean(
        "quick", False, "verify: look for files, do not decode them", flag_values=values
    )
    flags.DEFINE_boolean(
        "json", False, "verify: one JSON object on stdout", flag_values=values
    )


def _run(values: flags.FlagValues) -> int:
    action, *rest = values.positional or ["list"]
    actions = ("list", *ACTIONS)
    if action not in actions:
        near = suggest(action, actions)
        if action in CATALOG:
            near = f"; did you mean info {action}?"
        known = ", ".join(actions)
        raise UsageError(f"{action}: unknown action{near} (known: {known})")
    for name in ("quick", "json"):
        if values[name].value and action != "verify":
            raise UsageError(f"--{name} is a flag of verify, not of {action}")
    if action == "list":
        if rest:
            raise UsageError(f"unexpected argument {' '.join(rest)} after list")
        print(description.format_listing())
        return 0
    name = _find_name(action, rest, values)
    config = Config().replace(read_changes(values) | {"dataset.name": name})
    return ACTIONS[action](config, values)


def _find_name(action: str, rest: Sequence[str], values: flags.FlagValues) -> str:
    """Find the corpus that NAME or --dataset.name names."""
    given = values["dataset.name"].value
    names = list(dict.fromkeys([*rest, *([given] if given else [])]))
    if len(names) != 1:
        problem = (
            f"one corpus only, not {' and '.join(names)}" if names else "no corpus"
        )
        raise UsageError(f"{action}: {problem}; give one of {', '.join(CATALOG)}")
    if names[0] not in CATALOG:
        raise UsageError(
            f"{names[0]}: unknown corpus{suggest(names[0], CATALOG)} (known: "
            f"{', '.join(CATALOG)})"
        )
    return names[0]


def _find_folder(dataset: Dataset) -> Path:
    """Find the folder of a corpus, which must be there.

    Raises:
        UsageError: If it is not, or if reading it would first write the scenes.
    """
    if not dataset.dir:
        raise UsageError(f"--dataset.dir is missing: the folder of {dataset.name}")
    folder = Path(make_absolute(dataset.dir))
    if not folder.is_dir():
        raise UsageError(
            f"--dataset.dir={dataset.dir}: no such folder{suggest_path(folder)}"
        )
    if dataset.name == "synthetic" and not (folder / "meta.csv").is_file():
        note = CATALOG[dataset.name].note
        raise UsageError(f"--dataset.dir={dataset.dir}: no scenes in it; {note}")
    return folder


def _info(config: Config, values: flags.FlagValues) -> int:
    dataset, manifest = config.dataset, None
    if dataset.dir:
        _find_folder(dataset)
        manifest = datasets.load(dataset)
    others = shlex.join(
        f"--{key}={value}"
        for key, value in read_changes(values).items()
        if key not in ("dataset.name", "dataset.dir")
    )
    print(description.format_info(CATALOG[dataset.name], dataset.dir or "D", others))
    if manifest:
        print(f"\n{description.format_splits(manifest)}")
    return 0


def _download(config: Config, values: flags.FlagValues) -> int:
    entry = CATALOG[config.dataset.name]
    folder = Path(make_absolute(read_required(values, "dataset.dir")))
    manifest = download_corpus(entry, folder)
    print(f"{folder}: complete: {format_counts(manifest)}")
    print(f"\nNext: {description.format_train_command(entry, str(folder))}")
    return 0


def _verify(config: Config, values: flags.FlagValues) -> int:
    name = config.dataset.name
    folder = _find_folder(config.dataset)
    if not values.quick:
        require_package("tensorflow")
    manifest = datasets.load(config.dataset)
    findings = verify(manifest, folder, config.audio.max_seconds, quick=values.quick)
    if values.json:
        record = {"corpus": name, "dir": str(folder), **findings.to_json()}
        print(json.dumps(record), flush=True)
    else:
        print(f"{name} in {folder}\n\n{_format_findings(findings)}")
    return int(not findings.is_complete)


def _format_findings(findings: Findings) -> str:
    """Write the numbers by split, then the first files of each kind."""
    rows = [["split", "files", "missing", "unreadable"]]
    for split, row in findings.count_by_split().items():
        unreadable = "-" if findings.quick else str(row["unreadable"])
        rows.append([split, str(row["files"]), str(row["missing"]), unreadable])
    extra = f"{len(findings.extra)} audio files that this protocol does not use"
    lines = [align_columns(rows, right=(1, 2, 3)), "", extra]
    named = {
        "missing": findings.missing,
        "unreadable": [f"{path}: {why}" for path, why in findings.unreadable.items()],
        "not used": findings.extra,
    }
    for kind, names in named.items():
        lines += [f"{kind}: {name}" for name in names[:MAX_NAMED]]
        if len(names) > MAX_NAMED:
            lines.append(f"{kind}: and {len(names) - MAX_NAMED} more (--json has all)")
    return "\n".join(lines)


ACTIONS: dict[str, Callable[[Config, flags.FlagValues], int]] = {
    "info": _info,
    "download": _download,
    "verify": _verify,
}

COMMAND = Command(
    name="datasets",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    takes_words=True,
    common=(
        *("dataset.name", "dataset.dir", "dataset.protocol", "dataset.fold"),
        *("dataset.validation_share", "dataset.max_missing"),
    ),
    keys=(*section_keys("dataset"), "audio.max_seconds"),
)
