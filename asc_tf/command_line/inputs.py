"""Audio files that a command is given, by name or by the folder that they are in."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asc_tf.core.errors import UsageError
from asc_tf.core.folders import walk_files


@dataclass(frozen=True)
class InputFile:
    """File to classify.

    Attributes:
        path: Path as it was given, or the given folder with the path below it.
        name: Path below the given folder; of a file that was given, its own name.
    """

    path: str
    name: Path


@dataclass
class Inputs:
    """Files to classify, and what was left out.

    Attributes:
        files: Files in the order of the words; those of a folder are sorted.
        notes: Sentences on files that were left out, one for each folder.
        errors: Folders below the given ones that cannot be read, each with the reason.
    """

    files: list[InputFile]
    notes: list[str]
    errors: list[str]


def list_inputs(words: Sequence[str], suffixes: Sequence[str]) -> Inputs:
    """List the files that a command is given.

    A file that is named is taken whatever its name. In a folder and in the folders
    below it, files with one of the suffixes are taken; hidden files and folders are
    not. Links to folders are followed, but no folder is read twice, so that links in a
    circle end.

    Args:
        words: Paths of files and folders.
        suffixes: Suffixes of audio files, in lower case.

    Raises:
        UsageError: If a folder has no audio file.
    """
    inputs = Inputs([], [], [])
    for word in words:
        if os.path.isdir(word):
            _add_folder(inputs, word, suffixes)
        else:
            name = os.path.basename(word.rstrip("/"))
            if name in ("", ".", ".."):
                name = "recording"
            inputs.files.append(InputFile(word, Path(name)))
    return inputs


def _add_folder(inputs: Inputs, folder: str, suffixes: Sequence[str]) -> None:
    n_hidden = n_others = 0
    found = []
    n_errors = len(inputs.errors)

    def note(error: OSError) -> None:
        inputs.errors.append(f"{error.filename}: cannot be read: {error.strerror}")

    for path in walk_files(folder, note):
        if os.path.basename(path).startswith("."):
            n_hidden += 1
        elif Path(path).suffix.lower() in suffixes:
            name = Path(os.path.relpath(path, folder))
            found.append(InputFile(path, name))
        else:
            n_others += 1
    counts = ((n_hidden, "hidden"), (n_others, "other"))
    skipped = " and ".join(f"{count} {kind}" for count, kind in counts if count)
    skipped = f"skipped {skipped} file{'s' * (n_hidden + n_others > 1)}"
    if not found and len(inputs.errors) == n_errors:
        known = ", ".join(suffixes)
        also = f" ({skipped})" if n_hidden + n_others else ""
        raise UsageError(f"{folder}: no audio files{also}; their names end in {known}")
    inputs.files.extend(sorted(found, key=lambda file: file.name.parts))
    if n_hidden + n_others:
        taken = f"{len(found)} audio file{'s' * (len(found) != 1)}"
        inputs.notes.append(f"{folder}: {taken}; {skipped}")
