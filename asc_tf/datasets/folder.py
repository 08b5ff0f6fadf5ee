"""Adapter for one folder per label; a regular expression finds the recordings."""

import re
from pathlib import Path
from typing import Any

from asc_tf.config import Dataset, suggest
from asc_tf.core.errors import UsageError
from asc_tf.core.folders import list_audio
from asc_tf.datasets.corpus import Corpus
from asc_tf.manifest import Clip

GROUPS = ("identifier", "city", "device")
LAYOUT = "one folder per label with clips below it (WAV, FLAC, Ogg, MP3, AIFF ...)"


def read_folder(dataset: Dataset, directory: Path) -> Corpus:
    """Read clips below one folder per label.

    `dataset.identifier_pattern` is searched in a clip's path below the corpus folder:
    the group named `identifier`, or else the first group without a name, is the
    identifier; groups named `city` and `device` may be there too. Without a pattern
    each clip is a recording of its own.

    Raises:
        UsageError: If the pattern is not a regular expression, has no group or an
            unknown one, or finds no identifier in a clip's path.
    """
    pattern = _compile_pattern(dataset.identifier_pattern)
    clips = []
    for home in sorted(path for path in directory.iterdir() if path.is_dir()):
        if home.name.startswith("."):
            continue
        for path in list_audio(home):
            name = path.relative_to(directory).as_posix()
            clips.append(
                Clip(name, home.name, split="train", **_parse_name(name, pattern))
            )
    labels = tuple(sorted({clip.label for clip in clips}))
    return Corpus(tuple(clips), labels, LAYOUT)


def _compile_pattern(text: str) -> re.Pattern | None:
    if not text:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(
            f"dataset.identifier_pattern = {text!r}: not a regular expression: {error}"
        ) from error
    for name in pattern.groupindex:
        if name not in GROUPS:
            raise UsageError(
                f"dataset.identifier_pattern = {text!r}: unknown group {name}"
                f"{suggest(name, GROUPS)} (known: {', '.join(GROUPS)})"
            )
    if "identifier" not in pattern.groupindex and not _list_unnamed(pattern):
        raise UsageError(
            f"dataset.identifier_pattern = {text!r}: has no group for the recording; "
            "put the part that names it in parentheses"
        )
    return pattern


def _list_unnamed(pattern: re.Pattern) -> list[int]:
    """List the numbers of the groups that have no name."""
    named = pattern.groupindex.values()
    return [number for number in range(1, pattern.groups + 1) if number not in named]


def _parse_name(path: str, pattern: re.Pattern | None) -> dict[str, Any]:
    """Find the identifier, city and device of a clip in its path."""
    if pattern is None:
        return {"identifier": path}
    match = pattern.search(path)
    if not match:
        raise UsageError(
            f"dataset.identifier_pattern = {pattern.pattern!r}: does not match {path}"
        )
    named = {name: text or "" for name, text in match.groupdict().items()}
    is_named = "identifier" in named
    identifier = match["identifier" if is_named else _list_unnamed(pattern)[0]]
    if not identifier:
        raise UsageError(
            f"dataset.identifier_pattern = {pattern.pattern!r}: finds no identifier in "
            f"{path}"
        )
    return {**named, "identifier": identifier}
