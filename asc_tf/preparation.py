"""The corpus of a run made ready: read, split, scanned, checked; the rest is named."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from asc_tf import command, datasets
from asc_tf import config as configuration
from asc_tf.config import Config
from asc_tf.corpus_checks import (
    check_found,
    check_same_clips,
    check_weights,
    say_excluded,
)
from asc_tf.datasets import table
from asc_tf.datasets.corpus import files_below, is_audio
from asc_tf.errors import UsageError
from asc_tf.manifest import SPLITS, Clip, Manifest, read_clips
from asc_tf.run_search import suggest_run
from asc_tf.stored import StoredFeatures
from asc_tf.workdir import PLACES, Workdir


def base_config(name: str | None, workdir: Workdir | None = None) -> Config:
    """Read the configuration that flags change.

    Args:
        name: A TOML file or the name of a shipped configuration; None: that of the run
            in `workdir` where there is one, else the defaults.
        workdir: The run folder, for a command that trains.

    Raises:
        UsageError: If the configuration is missing or refused.
    """
    if name:
        try:
            path = configuration.find(name)
        except UsageError as error:
            raise UsageError(f"{error}{suggest_run(Path(name))}") from error
        return configuration.read(path)
    if workdir and workdir.config_file.is_file():
        return workdir.config()
    return Config()


def resolve(
    values: flags.FlagValues, keys: Sequence[str], workdir: Workdir | None = None
) -> Config:
    """The configuration that --config and the flags ask for, with absolute folders.

    Args:
        values: The flags.
        keys: The configuration keys that are flags.
        workdir: The run folder, whose configuration stands in for a missing --config.
    """
    config = base_config(values.config, workdir)
    config = config.replace(command.changed(values, keys))
    folders = {place: config.flat()[place] for place in PLACES}
    if not config.dataset.dir and config.dataset.name == "synthetic":
        folders["dataset.dir"] = str(table.default_folder(config.dataset))
    if config.model.weights_file:
        folders["model.weights"] = config.model.weights_file
    return config.replace(
        {key: command.absolute(str(path)) for key, path in folders.items() if path}
    )


def parse_splits(flag: str, names: Sequence[str]) -> tuple[str, ...]:
    """The splits that a flag names, in the order of a manifest.

    Raises:
        UsageError: If one is unknown, or there is none.
    """
    names = [name.strip() for name in names]
    for name in names:
        if name not in SPLITS:
            near = configuration.suggestion(name, SPLITS)
            raise UsageError(
                f"--{flag}: {name!r} must be one of {', '.join(SPLITS)}{near}"
            )
    if not names:
        raise UsageError(f"--{flag} is empty: give some of {', '.join(SPLITS)}")
    return tuple(split for split in SPLITS if split in names)


def prepare(config: Config, workdir: Workdir) -> Manifest:
    """Read, split and scan the corpus; nothing is written when it is refused.

    The test part is not read.

    Raises:
        UserError: If the corpus cannot give an honest result.
    """
    command.need("tensorflow")
    check_sounds(config)
    workdir.check_config(config)
    known = read_clips(workdir.manifest_file) if workdir.manifest_file.is_file() else ()
    manifest = scanned_corpus(config, config.dataset.training_splits, known)
    check_weights(manifest, config)
    if workdir.checkpoint_file.is_file():
        check_same_clips(known, manifest.clips, workdir)
    return manifest


def check_sounds(config: Config) -> None:
    """Refuse folders of noise or impulse responses that hold no audio.

    Raises:
        UsageError: Naming the setting.
    """
    for name in ("noise_dir", "impulse_dir"):
        folder = Path(place := getattr(config.augment, name))
        if not place:
            continue
        if not folder.is_dir():
            raise UsageError(f"augment.{name} = {place!r}: no such folder")
        if not any(is_audio(path, folder) for path in files_below(folder)):
            raise UsageError(
                f"augment.{name} = {place!r}: holds no audio file (WAV, FLAC, Ogg, "
                "MP3, AIFF ...)"
            )


def prepare_stored(
    config: Config, workdir: Workdir, stored: StoredFeatures
) -> Manifest:
    """The corpus of a run on stored features, whose audio need not be at hand.

    Raises:
        UserError: If the features were made with other settings.
    """
    command.need("tensorflow")
    workdir.check_config(config)
    stored.check(config)
    manifest = stored.manifest
    for split in config.dataset.training_splits:
        stored.n_clips(split)
    say_excluded(manifest, config.dataset.training_splits)
    check_weights(manifest, config)
    if workdir.checkpoint_file.is_file():
        check_same_clips(read_clips(workdir.manifest_file), manifest.clips, workdir)
    return manifest


def scanned_corpus(
    config: Config, splits: Sequence[str], known: Sequence[Clip]
) -> Manifest:
    """Read and split the corpus, and scan some of its splits.

    Args:
        config: The configuration.
        splits: What is read; files of other splits are not opened.
        known: Rows of an earlier scan, which is not repeated for unchanged files.

    Raises:
        UserError: If the corpus cannot give an honest result.
    """
    manifest = datasets.load(config.dataset)
    check_found(manifest, config, splits)
    # TensorFlow is imported only now: a mistyped folder is refused at once.
    from tqdm import tqdm

    from asc_tf.scan import scan

    files = {clip.path for clip in manifest.clips if clip.split in splits}
    print(f"checking {len(files)} files of {', '.join(splits)} ...", flush=True)
    manifest = scan(
        manifest,
        Path(config.dataset.dir),
        splits,
        config.audio,
        known=known,
        progress=lambda done: tqdm(
            done, "scan", unit=" files", leave=False, disable=None
        ),
    )
    say_excluded(manifest, splits)
    manifest.check()
    return manifest
