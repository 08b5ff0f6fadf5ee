"""Training and validation examples: from clips, stored features or embeddings."""

import dataclasses
from pathlib import Path

from tqdm import tqdm

from asc_tf.config import Audio, Config
from asc_tf.core.memory import find_memory_limit, fits_memory
from asc_tf.dsp import channels
from asc_tf.frontend import FrontendLayer
from asc_tf.manifest import Manifest
from asc_tf.pipeline import embeddings, examples, noise_banks
from asc_tf.pipeline.feature_size import evaluated_bytes
from asc_tf.pipeline.feature_store import StoredFeatures
from asc_tf.pipeline.waveforms import Waveforms
from asc_tf.workdir import Workdir


def make_examples(
    config: Config,
    workdir: Workdir,
    manifest: Manifest,
    stored: StoredFeatures | None,
    frontend: FrontendLayer,
) -> examples.Examples:
    """Make the examples of training and validation from clips, or stored features.

    Where a frozen backbone gives the same in every epoch, they are its embeddings.
    """
    found: examples.Examples
    if stored:
        found = examples.StoredExamples(stored, frontend, config)
        return embeddings.embedded(found, workdir, manifest, config)
    training, validation = make_waveforms(config, workdir, manifest)
    sounds = noise_banks.load(
        config.augment,
        config.audio.sample_rate,
        config.audio.segment_samples,
        config.train.seed,
        config.audio,
    )
    size = evaluated_bytes(manifest.clips_in("validation"), config)
    found = examples.ClipExamples(
        training, validation, frontend, config, sounds, fits_memory(size)
    )
    return embeddings.embedded(found, workdir, manifest, config)


def make_waveforms(
    config: Config, workdir: Workdir, manifest: Manifest
) -> tuple[Waveforms, Waveforms | None]:
    """Make the waveforms of training and of validation (None without such a part).

    Training clips are kept decoded as configured, unless all that is kept would fill
    more than half of the memory. Of validation clips the features are kept instead,
    where they are not made in the model.
    """
    audio, training = config.audio, manifest.clips_in("train")
    if config.augment.random_channel:
        audio = dataclasses.replace(audio, channels="stereo")
    is_placed = config.frontend.placement == "model"
    kept = [*training, *(manifest.clips_in("validation") if is_placed else ())]
    wanted = 4 * audio.sample_rate * sum(clip.seconds for clip in kept)
    wanted *= channels.count_channels(audio.channels)
    wanted *= len(channels.list_views(audio.channels, 2))
    features = evaluated_bytes(manifest.clips_in("validation"), config)
    if not is_placed and fits_memory(features):
        wanted += features
    if audio.cache == "memory" and not fits_memory(wanted):
        print(
            f"the decoded clips, with the features of validation, take "
            f"{wanted / 1e9:.1f} GB, more than half of the memory of "
            f"{find_memory_limit() / 1e9:.1f} GB: they are decoded anew each epoch "
            "(audio.cache = disk keeps them in files)"
        )
        audio = dataclasses.replace(audio, cache="none")
    once = audio.cache if audio.cache == "disk" or is_placed else "none"

    def decoded(split: str, audio: Audio) -> Waveforms:
        return Waveforms(
            manifest.clips_in(split),
            Path(config.dataset.dir),
            manifest.labels,
            audio,
            workdir.audio_cache(config.audio),
            unverified_weight=config.dataset.unverified_weight,
            progress=lambda done: tqdm(
                done, "decode", unit=" clips", leave=False, disable=None
            ),
        )

    decoded_training = decoded("train", audio)
    if "validation" not in manifest.splits:
        return decoded_training, None
    validation = dataclasses.replace(audio, cache=once, channels=config.audio.channels)
    return decoded_training, decoded("validation", validation)
