"""Train or resume a run: prepare the corpus, build the model, lock the folder, fit."""

from collections.abc import Sequence
from pathlib import Path

from asc_tf.config import Config
from asc_tf.config.checks import check_training, find_unused_settings
from asc_tf.core.errors import UserError, install_hint
from asc_tf.core.packages import is_installed
from asc_tf.manifest import Clip, format_counts
from asc_tf.pipeline.corpus_checks import (
    describe_corpus_problems,
    describe_missing_recordings,
    describe_unusual_clips,
)
from asc_tf.pipeline.prepare import prepare
from asc_tf.pipeline.run import Run
from asc_tf.workdir import Workdir


def train(
    config: Config,
    workdir: Workdir,
    *,
    interactive: bool = False,
    known: Sequence[Clip] = (),
) -> Path:
    """Train, or resume, the run of a configuration.

    Args:
        config: Configuration of the run.
        workdir: Run folder: a new or empty one, or one of the same configuration,
            where `train.epochs` and `train.patience` may differ.
        interactive: Whether to draw a progress bar beside the line per epoch.
        known: Rows of scans by other runs on the same corpus; see `prepare`.

    Returns:
        File of the model.

    Raises:
        UserError: If the corpus, the folder or the training is refused.
    """
    check_training(config)
    run = prepare(config, workdir, known)
    manifest = run.manifest
    print(f"{config.dataset.name}: {format_counts(manifest)}{_describe_missing(run)}")
    if manifest.protocol.get("leaky"):
        print("LEAKY: clips of one recording are on both sides of this split")
    if "validation" not in manifest.splits:
        print("no validation split: the model of the last epoch is kept")
    print_notes(run)
    if config.train.energy:
        check_energy(config.train.energy_country)
    if workdir.config_file.is_file():
        # Before the model is built, for which the memory of a GPU may be lacking.
        with workdir.lock():
            pass
    print("building the model ...", flush=True)
    from asc_tf.training.build import build_training
    from asc_tf.training.fit import fit

    # A model that is refused leaves no folder behind.
    training = build_training(run)
    with workdir.lock():
        # Another process may have trained here since the folder was checked.
        workdir.check_config(config)
        workdir.begin(config, manifest)
        return fit(training, interactive)


def _describe_missing(run: Run) -> str:
    """Describe how many test files are missing, as the end of a line of counts.

    The test split is not scanned, so that its clips are counted with or without files.
    """
    if run.features:
        return ""
    root = run.config.dataset.folder
    clips = run.manifest.clips_in("test")
    missing = sum(not (root / clip.path).exists() for clip in clips)
    return f"; {missing} of the test files are missing" if missing else ""


def print_notes(run: Run) -> None:
    """Print what is unusual about the clips and settings.

    The files of a new run are also compared with each other.
    """
    config, manifest = run.config, run.manifest
    clips = manifest.clips_in("train", "validation")
    is_begun = run.workdir.checkpoint_file.is_file()
    splits = () if is_begun else config.dataset.training_splits
    for note in (
        *describe_corpus_problems(manifest, config.dataset.folder, splits, splits),
        *describe_unusual_clips(clips, config),
        *describe_missing_recordings(clips),
        *find_unused_settings(config),
    ):
        print(note)


def check_energy(country: str) -> None:
    """Refuse to measure energy without codecarbon, or CO2 of an unknown country.

    Raises:
        UserError: Saying what to do.
    """
    if not is_installed("codecarbon"):
        raise UserError(
            "train.energy = true: needs the package codecarbon, which is not "
            f"installed: {install_hint('energy')}, or give --train.energy=false"
        )
    from asc_tf.training.energy import look_up_emissions

    look_up_emissions(country)
