"""Training and validation examples of a run, from audio or stored features."""

import dataclasses

from asc_tf.config import Audio
from asc_tf.core.memory import find_memory_limit, fits_memory
from asc_tf.core.progress_bar import make_bar
from asc_tf.dsp import channels
from asc_tf.frontend import FrontendLayer
from asc_tf.pipeline import noise_banks
from asc_tf.pipeline.examples import ClipExamples, SegmentExamples, StoredExamples
from asc_tf.pipeline.feature_size import evaluated_bytes
from asc_tf.pipeline.run import Run
from asc_tf.pipeline.waveforms import Waveforms


def make_examples(run: Run, frontend: FrontendLayer) -> SegmentExamples:
    """Make the training and validation examples of a run.

    Args:
        run: The run; its stored features are used where it has some.
        frontend: Front-end layer.
    """
    config = run.config
    if run.features:
        return StoredExamples(run.features, frontend, config)
    training, validation = make_waveforms(run)
    banks = noise_banks.load(
        config.augment,
        config.audio.sample_rate,
        config.audio.segment_samples,
        config.train.seed,
        config.audio,
    )
    size = evaluated_bytes(run.manifest.clips_in("validation"), config)
    return ClipExamples(
        training, validation, frontend, config, banks, fits_memory(size)
    )


def make_waveforms(run: Run) -> tuple[Waveforms, Waveforms | None]:
    """Make the waveforms of training and of validation (None without that split).

    Decoded training clips are cached as configured, unless all that is cached would
    fill more than half of the memory. Of the validation clips the features are cached
    instead, where the pipeline computes them.
    """
    audio = _choose_cache(run)
    config = run.config
    training = _decode(run, "train", audio)
    if "validation" not in run.manifest.splits:
        return training, None
    has_waveforms = config.frontend.placement == "model"
    cache = audio.cache if audio.cache == "disk" or has_waveforms else "none"
    validation = dataclasses.replace(audio, cache=cache, channels=config.audio.channels)
    return training, _decode(run, "validation", validation)


def _choose_cache(run: Run) -> Audio:
    """Return the audio settings of training, without a cache that memory cannot hold.

    Training that draws a random channel reads both channels of a clip.
    """
    config, manifest = run.config, run.manifest
    audio = config.audio
    if config.augment.random_channel:
        audio = dataclasses.replace(audio, channels="stereo")
    if audio.cache != "memory":
        return audio
    clips, validation = manifest.clips_in("train"), manifest.clips_in("validation")
    has_waveforms = config.frontend.placement == "model"
    if has_waveforms:
        clips += validation
    size = 4 * audio.sample_rate * sum(clip.seconds for clip in clips)
    size *= channels.count_channels(audio.channels) * len(
        channels.list_views(audio.channels, 2)
    )
    features = evaluated_bytes(validation, config)
    if not has_waveforms and fits_memory(features):
        size += features
    if fits_memory(size):
        return audio
    limit = find_memory_limit()
    print(
        f"Decoded clips and validation features need {size / 1e9:.1f} GB, more than "
        f"half of the memory ({limit / 1e9:.1f} GB). Clips are decoded again in each "
        "epoch; audio.cache = disk stores them in files."
    )
    return dataclasses.replace(audio, cache="none")


def _decode(run: Run, split: str, audio: Audio) -> Waveforms:
    """Make the waveforms of a split, with a progress bar where files are decoded."""
    return Waveforms(
        run.manifest.clips_in(split),
        run.config.dataset.folder,
        run.manifest.labels,
        audio,
        run.workdir.audio_cache(run.config.audio),
        unverified_weight=run.config.dataset.unverified_weight,
        progress=make_bar("decode", "clips"),
    )
