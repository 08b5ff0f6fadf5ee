"""Run folder: its file names, and the check that it belongs to this run."""

import dataclasses
import json
import zipfile
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf import config as configuration
from asc_tf.config import Audio, Config, Train
from asc_tf.core.environment import describe_environment
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import hash_bytes, hash_path, lock_file, write_text
from asc_tf.core.folders import list_audio
from asc_tf.core.paths import expand_home
from asc_tf.manifest import Clip, Manifest, read_clips

FOLDERS = ("augment.noise_dir", "augment.impulse_dir")
"""Folders of sounds, whose files every epoch depends on."""

SOURCES = ("dataset.features", *FOLDERS, "model.init_from")
"""Folders that may move after a run has begun, but not appear or disappear."""

PLACES = ("dataset.dir", "audio.cache_dir", *SOURCES)
"""Folders and files that may move after a run has begun: no result depends on them."""

CHANGEABLE = (
    *("train.epochs", "train.steps", "train.patience"),
    *configuration.section_keys("tensorboard"),
)
"""Settings of the length of a training and of its pictures, which may change after it
has begun."""


@dataclass(frozen=True)
class Workdir:
    """Run folder; the properties name its files."""

    path: Path

    @property
    def calibration_file(self) -> Path:
        """Temperature and threshold that evaluation fitted to the validation split."""
        return self.report / "calibration.json"

    @property
    def config_file(self) -> Path:
        """Resolved configuration."""
        return self.path / "config.toml"

    @property
    def labels_file(self) -> Path:
        """Class order, one label a line."""
        return self.path / "labels.txt"

    @property
    def manifest_file(self) -> Path:
        """Table of every clip with its split."""
        return self.path / "manifest.csv"

    @property
    def environment_file(self) -> Path:
        """Versions, machine, seeds, and checksums of the initial weights."""
        return self.path / "environment.json"

    @property
    def protocol_file(self) -> Path:
        """Description of the split of the corpus."""
        return self.path / "protocol.json"

    @property
    def history_file(self) -> Path:
        """History of the training, one row per epoch."""
        return self.path / "history.csv"

    @property
    def model_file(self) -> Path:
        """Model of the best or the last epoch (`train.keep`), waveform in."""
        return self.path / "model.keras"

    @property
    def checkpoint_file(self) -> Path:
        """Checkpoint from which a killed run resumes."""
        return self.path / "checkpoints" / "latest.npz"

    @property
    def frozen_file(self) -> Path:
        """Frozen weights that belong to the checkpoint, written once."""
        return self.checkpoint_file.with_name("frozen.npz")

    @property
    def best_file(self) -> Path:
        """Trainable weights of the best model, until they are in `model_file` too."""
        return self.checkpoint_file.with_name("best.npz")

    @property
    def energy_file(self) -> Path:
        """Energy and CO2 of the training, if `train.energy` asks for them."""
        return self.path / "energy.json"

    def energy(self) -> dict[str, Any]:
        """Read the energy of the training; empty if it was not measured."""
        try:
            measured = json.loads(self.energy_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return measured if isinstance(measured, dict) else {}

    @property
    def report(self) -> Path:
        """Report of `asc-tf evaluate`."""
        return self.path / "report"

    @property
    def log_file(self) -> Path:
        """Output of a run that `asc-tf crossval` or `sweep` started."""
        return self.path / "log.txt"

    def audio_cache(self, audio: Audio) -> Path:
        """Folder of decoded clips; by default, runs in one folder share it."""
        default = self.path.absolute().parent / "audio_cache"
        return Path(audio.cache_dir) if audio.cache_dir else default

    @property
    def embedding_cache(self) -> Path:
        """Folder of embeddings, which runs in one folder share."""
        return self.path.absolute().parent / "embedding_cache"

    def config(self) -> Config:
        """Read the configuration of the run.

        Raises:
            UsageError: If the folder holds no run.
        """
        if not self.config_file.is_file():
            raise UsageError(f"--workdir={self.path}: no run here (no config.toml)")
        return configuration.read(self.config_file)

    def labels(self) -> tuple[str, ...]:
        """Read the class order."""
        try:
            return tuple(self.labels_file.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{self.labels_file}: cannot be read: {error}") from error

    def manifest(self) -> Manifest:
        """Read the manifest of the run, as far as it has been scanned."""
        try:
            protocol = json.loads(self.protocol_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{self.protocol_file}: cannot be read: {error}") from error
        return Manifest(read_clips(self.manifest_file), self.labels(), protocol)

    def require_model(self) -> Path:
        """Give the path of the model file.

        Raises:
            UsageError: If the run has no model yet.
        """
        if not self.model_file.is_file():
            raise UsageError(
                f"--workdir={self.path}: no model.keras; run asc-tf train first"
            )
        return self.model_file

    def epochs_done(self) -> int:
        """Count the epochs in the checkpoint; 0 if it is missing or damaged."""
        try:
            with np.load(self.checkpoint_file, allow_pickle=False) as saved:
                return len(json.loads(str(saved["history"])))
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
            return 0

    def check_config(self, config: Config) -> None:
        """Refuse to train in the folder of a run with another configuration.

        The settings in `CHANGEABLE` may differ: a run can be trained longer.

        Raises:
            UsageError: Naming the values that differ, or if the run already has more
                epochs than the configuration asks for.
        """
        if not self.config_file.is_file():
            if self.path.is_dir() and any(
                not item.name.startswith(".") and item != self.log_file
                for item in self.path.iterdir()
            ):
                raise UsageError(
                    f"--workdir={self.path}: not empty and not a run folder; name a "
                    "new folder"
                )
            if self.path.exists() and not self.path.is_dir():
                raise UsageError(f"--workdir={self.path}: a file, not a folder")
            return
        before = self.config()
        there, here = _select_comparable(before), _select_comparable(config)
        differing = [
            f"{key} is {there[key]!r} in the run and {here[key]!r} in this command"
            for key in here
            if there[key] != here[key] and key not in CHANGEABLE
        ]
        if differing:
            raise UsageError(
                f"--workdir={self.path}: contains a run with another configuration ("
                f"{'; '.join(differing[:4])}); name a new folder, or use those values"
            )
        self._check_length(config.train, before.train)
        known = self._read_environment().get("origins", {})
        values = before.flat()
        for key, checksum in _hash_origins(config).items():
            # Initial weights are not needed any more: their file may have changed.
            is_needed = key in FOLDERS or config.flat()[key] != values[key]
            if is_needed and known.get(key, checksum) != checksum:
                raise UsageError(
                    f"{key} = {config.flat()[key]}: not the files that the run in "
                    f"--workdir={self.path} began with; name a new folder for the run, "
                    "or give those files"
                )

    def _check_length(self, asked: Train, before: Train) -> None:
        """Refuse to make a training shorter, or to measure its length otherwise."""
        if bool(asked.steps) != bool(before.steps):
            name = "train.steps" if before.steps else "train.epochs"
            raise UsageError(
                f"--workdir={self.path}: the length of this run is {name}; set a "
                "larger value of it to train longer"
            )
        if asked.steps < before.steps:
            raise UsageError(
                f"train.steps = {asked.steps}: the run in --workdir={self.path} was "
                f"started with {before.steps}; set a larger value to train longer, or "
                "name a new folder for a shorter run"
            )
        done = self.epochs_done()
        if not asked.steps and asked.epochs < done:
            raise UsageError(
                f"train.epochs = {asked.epochs}: the run in --workdir={self.path} has "
                f"{done} epochs already; set a larger value to train longer, or name a "
                "new folder for a shorter run"
            )

    def _read_environment(self) -> dict[str, Any]:
        """Read how the run began; empty if it has not begun, or the file is damaged."""
        try:
            found = json.loads(self.environment_file.read_bytes())
            return {
                **found,
                "origins": dict(found.get("origins", {})),
                "sessions": list(found.get("sessions", [])),
            }
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def begin(self, config: Config, manifest: Manifest) -> None:
        """Write the files that describe the run, before its first or its next epoch.

        What they say of the beginning of the run stays.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if self.manifest_file.is_file():
            manifest = _keep_scan(manifest, read_clips(self.manifest_file))
        # First, because it makes the folder a run folder, which the same command may
        # use again, however early this process is killed.
        write_text(self.config_file, config.to_toml())
        self.write_manifest(manifest)
        write_text(self.labels_file, "".join(f"{name}\n" for name in manifest.labels))
        seeds = {"train": config.train.seed, "dataset": config.dataset.seed}
        described, earlier = describe_environment(), self._read_environment()
        if earlier:
            session = described | {"epochs_done": self.epochs_done()}
            described = earlier | {"sessions": [*earlier["sessions"], session]}
        origins = _hash_origins(config) | earlier.get("origins", {})
        described |= {"seeds": seeds, "origins": origins}
        write_text(self.environment_file, json.dumps(described, indent=2) + "\n")

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the manifest, as far as it has been scanned."""
        manifest.write(self.manifest_file)
        write_text(self.protocol_file, json.dumps(manifest.protocol) + "\n")

    def lock(self) -> AbstractContextManager[None]:
        """Lock the folder against a second training; released when the process ends.

        Raises:
            UserError: If another process is training here.
        """
        # A hidden file, because a folder that holds nothing else counts as a new one.
        return lock_file(
            self.path / ".lock",
            f"--workdir={self.path}: another process is training here; wait for it, "
            "or name a new folder",
        )


def remove_paths(config: Config) -> dict[str, dict[str, Any]]:
    """Make the configuration of an export, without the paths of this machine."""
    shown = dataclasses.asdict(config)
    for key in (*PLACES, "dataset.csv_file"):
        section, name = key.split(".")
        shown[section][name] = ""
    return shown


def _select_comparable(config: Config) -> dict[str, Any]:
    """Select the values that must not change in a run, by key."""
    values: dict[str, Any] = dict(config.flat())
    # Older runs name the family's own filters, where the default is empty now.
    values["model.filters"] = config.model.family_filters
    if config.model.weights_file:
        values["model.weights"] = "a file"
    for place in PLACES:
        values[place] = "a folder" if place in SOURCES and values[place] else ""
    return values


def _hash_origins(config: Config) -> dict[str, str]:
    """Compute the checksums of initial weights, and of names and sizes of sounds."""
    files, model = {}, config.model
    if model.weights_file:
        files["model.weights"] = expand_home(model.weights_file)
    if model.init_from:
        files["model.init_from"] = Workdir(Path(model.init_from)).model_file
    checksums = {key: hash_path(path) for key, path in files.items() if path.is_file()}
    for key in FOLDERS:
        if folder := config.flat()[key]:
            # All bytes would take too long to read.
            sizes = [
                (path.relative_to(str(folder)).as_posix(), path.stat().st_size)
                for path in list_audio(Path(str(folder)))
                if path.is_file()
            ]
            checksums[key] = hash_bytes(repr(sizes).encode())
    return checksums


def _keep_scan(manifest: Manifest, earlier: Iterable[Clip]) -> Manifest:
    """Take over what an earlier scan says of the clips that are not scanned now."""
    fields = dataclasses.fields(Clip)
    first = [field.name for field in fields].index("size")
    blank: dict[str, Any] = {field.name: field.default for field in fields[first:]}
    scanned = {dataclasses.replace(clip, **blank): clip for clip in earlier}
    clips = tuple(scanned.get(clip, clip) for clip in manifest.clips)
    return dataclasses.replace(manifest, clips=clips)
