"""Download a corpus of the catalog, and check that a folder holds all of it."""

import contextlib
import shutil
import sys
from pathlib import Path

from asc_tf import datasets
from asc_tf.config import Dataset
from asc_tf.core.errors import UsageError, UserError
from asc_tf.datasets.archives import ARCHIVES, SOUNDATA, find_archives
from asc_tf.datasets.catalog import Entry
from asc_tf.datasets.description import format_download_size
from asc_tf.datasets.download import Plan, check_free, install, name_staging_folder
from asc_tf.datasets.download.progress import Progress
from asc_tf.manifest import Manifest


def download_corpus(entry: Entry, folder: Path) -> Manifest:
    """Fetch and unpack a corpus; progress goes to stderr.

    A complete corpus that is in the folder is left as it is.

    Returns:
        The manifest of the corpus, all files of which are there.

    Raises:
        UsageError: If the corpus cannot be downloaded, or the folder holds something
            else.
        UserError: If the download fails, or what it gives is not complete.
    """
    if entry.name not in ARCHIVES and entry.name not in SOUNDATA:
        raise UsageError(f"{entry.name} cannot be downloaded: {entry.note}")
    if not folder.is_dir() or not any(folder.iterdir()):
        _install(entry, folder)
    try:
        manifest = check_complete(entry, folder)
    except UserError as error:
        raise UsageError(
            f"--dataset.dir={folder} is not empty, and holds no complete {entry.name} "
            f"({error}); name a new folder"
        ) from error
    # A process that was killed at the very end leaves this folder behind.
    shutil.rmtree(name_staging_folder(folder, entry.name), ignore_errors=True)
    return manifest


def _install(entry: Entry, folder: Path) -> None:
    check_free(folder)
    archives = find_archives(entry.name)
    plan = Plan(archives, entry.unpacked_bytes, entry.download_bytes, entry.strip)
    print(
        f"{entry.name}: {format_download_size(entry)}. An interrupted download "
        "continues when the command is given again.",
        file=sys.stderr,
    )
    with contextlib.closing(Progress()) as progress:
        install(
            plan,
            folder,
            entry.name,
            check=lambda unpacked: check_complete(entry, unpacked),
            report=progress.report,
            say=progress.say,
        )


def check_complete(entry: Entry, folder: Path) -> Manifest:
    """Read a corpus, all files of which must be there.

    Raises:
        UserError: If a file is missing.
    """
    manifest = datasets.load(Dataset(name=entry.name, dir=str(folder)))
    paths = {clip.path for clip in manifest.clips}
    missing = sorted(path for path in paths if not (folder / path).is_file())
    if missing:
        raise UserError(
            f"{len(missing)} of {len(paths)} files are missing, among them {missing[0]}"
        )
    has_checksums = all(each.checksum for each in ARCHIVES.get(entry.name, ()))
    if not has_checksums and len(paths) != entry.clips:
        raise UserError(f"{len(paths)} clips, expected {entry.clips}")
    return manifest
