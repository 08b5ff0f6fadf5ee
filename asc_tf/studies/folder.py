"""Folder of a study: study.json with what it trains, and its lock."""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from asc_tf.config import FIELDS, Config
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import lock_file
from asc_tf.workdir import PLACES, Workdir

FILE = "study.json"

RUN_KEYS = ("dataset.fold", "train.seed", "audio.cache_dir")
"""Settings that differ between the runs of a crossval."""

Settings = dict[str, Any]


def lock_study(root: Path, command: str) -> AbstractContextManager[None]:
    """Lock the folder of a study; released when the process ends.

    Raises:
        UserError: If another process works there.
    """
    return lock_file(
        root / ".lock",
        f"--workdir={root}: another asc-tf {command} runs here; wait for it, or name a "
        "new folder",
    )


def select_settings(config: Config, without: tuple[str, ...]) -> Settings:
    """Select the settings that must not change in a study, as JSON has them."""
    left_out = {*PLACES, *without}
    values = {key: v for key, v in config.flat().items() if key not in left_out}
    selected: Settings = json.loads(json.dumps(values))
    return selected


def read_study_folder(root: Path) -> dict[str, Any] | None:
    """Read study.json of a folder; None if it is not that of a study.

    Raises:
        UserError: If the file is damaged.
    """
    path = root / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not isinstance(content["points"], dict):
            raise ValueError("it has no points")
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({error}); restore it") from error
    return content


def check_folder(root: Path, command: str) -> dict[str, Any] | None:
    """Refuse a folder that holds something else than a study of this command.

    Returns:
        Content of study.json; None for a new folder.

    Raises:
        UsageError: Saying what the folder holds.
    """
    if root.exists() and not root.is_dir():
        raise UsageError(f"--workdir={root}: a file, not a folder")
    content = read_study_folder(root)
    if content is None:
        if Workdir(root).config_file.is_file():
            raise UsageError(
                f"--workdir={root}: holds a run of asc-tf train; name a new folder"
            )
        if root.is_dir() and any(p.name[:1] != "." for p in root.iterdir()):
            raise UsageError(
                f"--workdir={root}: not empty and not a study; name a new folder"
            )
        return None
    if content.get("command") != command:
        raise UsageError(
            f"--workdir={root}: holds a study of asc-tf {content.get('command')}; name "
            "a new folder"
        )
    return content


def check_same_settings(root: Path, name: str, there: Settings, here: Settings) -> None:
    """Refuse another configuration in the folder of a study, or of its point `name`.

    Raises:
        UsageError: Naming values that differ.
    """
    # A study of an earlier version lacks the keys that are new since.
    there = {**select_settings(Config(), tuple({*FIELDS} - {*here})), **there}
    differing = [
        f"{key} is {there.get(key)!r} in the study and {here.get(key)!r} in this "
        "command"
        for key in sorted({*there, *here})
        if there.get(key) != here.get(key)
    ]
    if differing:
        point = f" in {name}" if name else ""
        raise UsageError(
            f"--workdir={root}: holds a study of another configuration{point} ("
            f"{'; '.join(differing[:4])}); name a new folder, or use those values"
        )
