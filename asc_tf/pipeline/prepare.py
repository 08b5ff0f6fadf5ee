"""Load, split, scan and validate the corpus of a run; report exclusions."""

from collections.abc import Sequence
from pathlib import Path

from asc_tf import datasets
from asc_tf.config import Config
from asc_tf.core.errors import UsageError
from asc_tf.core.folders import list_audio
from asc_tf.core.packages import require_package
from asc_tf.core.progress_bar import make_bar
from asc_tf.core.suggestions import suggest_path
from asc_tf.manifest import Clip, Manifest, read_clips
from asc_tf.pipeline.corpus_checks import (
    check_missing_files,
    check_same_clips,
    check_weights,
    print_excluded,
)
from asc_tf.pipeline.earlier_scans import find_runs_beside, read_scanned_clips
from asc_tf.pipeline.feature_store import StoredFeatures
from asc_tf.pipeline.run import Run
from asc_tf.workdir import Workdir


def prepare(config: Config, workdir: Workdir, known: Sequence[Clip] = ()) -> Run:
    """Read, split and scan the corpus, or open the stored features of it.

    Nothing is written when the corpus is refused. The test split is not read.

    Args:
        config: Configuration of the run.
        workdir: Run folder; nothing in it yet, or a run of the same configuration.
        known: Rows of scans by other runs on the same corpus, which are not repeated
            for unchanged files; by default, of the runs in the same folder.

    Raises:
        UserError: If the corpus is refused, or the stored features were made with other
            settings.
    """
    if config.dataset.features:
        return _prepare_stored(config, workdir)
    require_package("tensorflow")
    check_sounds(config)
    workdir.check_config(config)
    own = read_clips(workdir.manifest_file) if workdir.manifest_file.is_file() else ()
    splits = config.dataset.training_splits
    if not known and not own:
        known = read_scanned_clips(find_runs_beside(workdir, config))
    manifest = scan_corpus(config, splits, (*known, *own))
    check_weights(manifest, config)
    if workdir.checkpoint_file.is_file():
        check_same_clips(own, manifest.clips, workdir)
    return Run(config, workdir, manifest)


def _prepare_stored(config: Config, workdir: Workdir) -> Run:
    """Open the stored features of a run; its audio files are not needed."""
    stored = StoredFeatures.open(config.dataset.features)
    require_package("tensorflow")
    workdir.check_config(config)
    stored.check(config)
    manifest = stored.manifest
    for split in config.dataset.training_splits:
        stored.n_clips(split)
    print_excluded(manifest, config.dataset.training_splits)
    check_weights(manifest, config)
    if workdir.checkpoint_file.is_file():
        check_same_clips(read_clips(workdir.manifest_file), manifest.clips, workdir)
    return Run(config, workdir, manifest, stored)


def check_sounds(config: Config) -> None:
    """Refuse folders of noise or impulse responses that hold no audio.

    Raises:
        UsageError: If there is such a folder; the message names its setting.
    """
    for name in ("noise_dir", "impulse_dir"):
        folder = Path(place := getattr(config.augment, name))
        if not place:
            continue
        if not folder.is_dir():
            raise UsageError(
                f"augment.{name} = {place!r}: no such folder{suggest_path(folder)}"
            )
        if not list_audio(folder):
            raise UsageError(
                f"augment.{name} = {place!r}: holds no audio file (WAV, FLAC, Ogg, "
                "MP3, AIFF ...)"
            )


def scan_corpus(
    config: Config, splits: Sequence[str], known: Sequence[Clip]
) -> Manifest:
    """Read and split the corpus, and scan some of its splits.

    Args:
        config: Configuration of the run.
        splits: Splits to scan; files of other splits are not opened.
        known: Rows of an earlier scan, which is not repeated for unchanged files.

    Raises:
        UserError: If the corpus is refused.
    """
    manifest = datasets.load(config.dataset)
    check_missing_files(manifest, config, splits)
    # The table alone may show a leak, or a label without training clips.
    manifest.check()
    # TensorFlow is imported only now, so that a mistyped folder is refused at once.
    from asc_tf.audio.scan import scan

    files = {clip.path for clip in manifest.clips if clip.split in splits}
    print(f"checking {len(files)} files of {', '.join(splits)} ...", flush=True)
    manifest = scan(
        manifest,
        config.dataset.folder,
        splits,
        config.audio,
        known=known,
        progress=make_bar("scan", "files"),
    )
    print_excluded(manifest, splits)
    manifest.check()
    return manifest
