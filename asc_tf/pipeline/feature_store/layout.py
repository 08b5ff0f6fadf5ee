"""The files of a features folder; without TensorFlow.

- features.json says what the folder holds. Written last: with it the folder is whole.
- partial.json says the same, as far as it has come, while the folder is being written.
- manifest.csv has every clip with its split, those left out with the reason.
- train-00000.npz and so on are shards: whole clips of a split, in the manifest's order.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asc_tf.config import FIELDS, Config
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import hash_path, lock_file, write_text
from asc_tf.manifest import Manifest, read_clips
from asc_tf.pipeline.feature_store.contents import SECTIONS, SHARD_NAME, Contents, Shard

PLACES = ("dataset.dir", "dataset.csv_file", "dataset.features", "audio.cache_dir")

WITHOUT_EFFECT = frozenset(
    (
        *(*PLACES, "dataset.max_missing", "audio.cache", "audio.cache_dtype"),
        *("frontend.placement", "frontend.standardize"),
        *("frontend.image_frames", "frontend.image_bands"),
    )
)
"""Keys that may differ between writing features and using them; what comes after
`FrontendLayer.extract` is among them."""

AGAIN = "run the same asc-tf features command again, which writes it anew"


@dataclass(frozen=True)
class FeaturesFolder:
    """A features folder; the properties are its contract."""

    path: Path

    @property
    def features_file(self) -> Path:
        """What the folder holds, once it is whole."""
        return self.path / "features.json"

    @property
    def partial_file(self) -> Path:
        """What it holds until then."""
        return self.path / "partial.json"

    @property
    def manifest_file(self) -> Path:
        """Every clip with its split."""
        return self.path / "manifest.csv"

    def contents(self) -> Contents | None:
        """What has been written so far; None in a new or empty folder.

        Raises:
            UsageError: If there is something else in the folder.
            UserError: If what it says of itself cannot be read.
        """
        for file in (self.features_file, self.partial_file):
            if file.is_file():
                return _read(file)
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path}: a file, not a folder")
        if self.path.is_dir() and any(
            not item.name.startswith(".") for item in self.path.iterdir()
        ):
            raise UsageError(
                f"{self.path}: not empty and not a features folder; name a new folder"
            )
        return None

    def manifest(self, contents: Contents) -> Manifest:
        """The table of the folder.

        Raises:
            UserError: If it is not the one that the features were made from.
        """
        clips = read_clips(self.manifest_file)
        if hash_path(self.manifest_file) != contents.manifest_sha256:
            raise UserError(f"{self.manifest_file}: has changed; {AGAIN}")
        return Manifest(clips, contents.labels, contents.protocol)

    def is_sound(self, shard: Shard) -> bool:
        """Whether the file of a shard is there and has its checksum."""
        file = self.path / shard.file
        try:
            return (
                file.stat().st_size == shard.bytes and hash_path(file) == shard.sha256
            )
        except OSError:
            return False

    def write_partial(self, contents: Contents) -> None:
        """Note how far the writing has come; the folder is not whole from here on."""
        _write(self.partial_file, contents)
        self.features_file.unlink(missing_ok=True)

    def finish(self, contents: Contents) -> None:
        """Make the folder whole: remove what belongs to no split, say what there is."""
        listed = {shard.file for shards in contents.splits.values() for shard in shards}
        for item in self.path.iterdir():
            name = re.sub(r"^\.(.+)\.partial(\.\w+)$", r"\1\2", item.name)
            if SHARD_NAME.fullmatch(name) and item.name not in listed:
                item.unlink()
        _write(
            self.features_file,
            dataclasses.replace(contents, finished=tuple(contents.splits)),
        )
        self.partial_file.unlink(missing_ok=True)

    def lock(self) -> AbstractContextManager[None]:
        """Lock the folder against a second writer; released when the process ends.

        Raises:
            UserError: If another process is writing here.
        """
        return lock_file(
            self.path / ".lock",
            f"{self.path}: another process is writing features here; wait for it, or "
            "name a new folder",
        )


def sections(config: Config) -> dict[str, dict[str, Any]]:
    """The sections that features depend on, as JSON gives them back.

    Where the audio lay is left out: the folder may be handed on without it.
    """
    found = {name: dataclasses.asdict(getattr(config, name)) for name in SECTIONS}
    for place in PLACES:
        section, name = place.split(".")
        found[section][name] = ""
    return json.loads(json.dumps(found))


def differing(stored: Mapping[str, Mapping[str, Any]], config: Config) -> list[str]:
    """What a configuration says otherwise than that of stored features.

    Args:
        stored: The sections that were written; a key that they lack has its default.
        config: The configuration.

    Returns:
        A phrase for each key, like `frontend.n_mels is 64 there and 32 here`.
    """
    here = _flat(sections(config))
    there = {
        key: item.default for key, item in FIELDS.items() if key.startswith(_PREFIXES)
    } | _flat(stored)
    return [
        f"{key} is {value!r} there and {here.get(key)!r} here"
        for key, value in there.items()
        if key not in WITHOUT_EFFECT and value != here.get(key)
    ]


_PREFIXES = tuple(f"{name}." for name in SECTIONS)


def _flat(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        f"{name}.{key}": value
        for name, table in tables.items()
        for key, value in table.items()
    }


def _read(file: Path) -> Contents:
    try:
        return Contents.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{file}: says nothing that this version reads ({error!r}); write the "
            "features into a new folder with asc-tf features"
        ) from error


def _write(file: Path, contents: Contents) -> None:
    write_text(file, json.dumps(contents.to_json(), indent=1) + "\n")
