"""Run folders: recognized, and searched near a path that is none."""

import difflib
from collections.abc import Iterator
from pathlib import Path

from asc_tf.config import format_suggestions

MAX_DEPTH = 3
MAX_FOLDERS = 500
"""Folders that are searched for runs, so that a message never takes long."""


def is_run(path: Path) -> bool:
    """Check whether a path is a run folder."""
    return (path / "config.toml").is_file()


def find_run(path: Path) -> Path | None:
    """Find the run folder that a path means: itself, or that of its `model.keras`."""
    if is_run(path):
        return path
    if path.name == "model.keras" and path.is_file() and is_run(path.parent):
        return path.parent
    return None


def list_runs(folder: Path) -> list[Path]:
    """List the run folders in a folder, the nearest first."""
    return [path for path in _walk_folders(folder) if is_run(path)]


def suggest_run(path: Path) -> str:
    """Write `; did you mean ...?` for runs in a folder, around it, or named alike."""
    if below := list_runs(path):
        return format_suggestions(map(str, below))
    if around := [each for each in path.parents if is_run(each)]:
        return format_suggestions([str(around[0])])
    if path.exists():
        return ""
    place = next((each for each in path.parents if each.is_dir()), Path())
    runs = {str(each): each.name for each in list_runs(place)}
    alike = difflib.get_close_matches(path.name, runs.values(), n=3)
    return format_suggestions(name for name, end in runs.items() if end in alike)


def _walk_folders(folder: Path) -> Iterator[Path]:
    """Walk folders by depth, except hidden ones and those inside a run."""
    level = [folder]
    looked_at = 0
    for _ in range(MAX_DEPTH):
        below: list[Path] = []
        for parent in level:
            for path in _list_folders(parent):
                looked_at += 1
                if looked_at > MAX_FOLDERS:
                    return
                yield path
                if not is_run(path):
                    below.append(path)
        level = below


def _list_folders(folder: Path) -> list[Path]:
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if not path.name.startswith(".") and path.is_dir()
        )
    except OSError:
        return []
