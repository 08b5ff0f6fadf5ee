"""Content of explore.html: label counts, examples and augmentation of a corpus."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from asc_tf.config import Audio, Config
from asc_tf.core.errors import UserError
from asc_tf.datasets.shared_recordings import format_shared
from asc_tf.dsp import channels
from asc_tf.explore.corpus import SEARCHED, Corpus
from asc_tf.explore.counts import (
    Counts,
    count_by_device,
    count_by_split,
    count_by_verification,
    count_examples,
)
from asc_tf.manifest import Clip, Manifest, pick_evenly
from asc_tf.report.explore_page import Augmentation, Examples, Exploration

if TYPE_CHECKING:
    from asc_tf.explore.renderer import ClipRenderer

NOT_FACTS = ("leaky", "shared_recordings")
"""Keys of the protocol that a banner or a note shows."""

MAX_SHOWN, MIN_SHOWN = 4.0, 1.0
"""Seconds of an example that are drawn and played: fewer where there are many."""

SOUND_BYTES = 8_000_000
"""Bytes that the players of all examples take, unless MIN_SHOWN needs more."""

CALIBRATION_CLIPS = 48
"""Clips for the statistics of the features; training takes all."""


def explore(config: Config, manifest: Manifest) -> Exploration:
    """Make the content of the page.

    Args:
        config: Configuration with absolute folders.
        manifest: The corpus, split; it need not be scanned.

    Raises:
        UserError: If no training clip can be used.
    """
    from asc_tf.explore.renderer import ClipRenderer

    corpus = Corpus(config, manifest)
    chosen: dict[str, list[Clip]] = {}
    left_out: list[tuple[str, str]] = []
    for label in manifest.labels:
        chosen[label], refused = corpus.choose(label)
        left_out += refused
    usable = [clip for clips in chosen.values() for clip in clips]
    if not usable:
        raise UserError("no training clip can be used; the reasons are above")
    renderer = ClipRenderer(config)
    calibration = pick_evenly(usable, CALIBRATION_CLIPS)
    renderer.calibrate(corpus.read_segment(clip) for clip in calibration)
    seconds = choose_seconds(len(usable), config.audio)
    protocol = manifest.protocol
    return Exploration(
        title=f"{config.dataset.name}: what a model is trained on",
        facts={
            **{key: protocol[key] for key in protocol if key not in NOT_FACTS},
            "n_labels": len(manifest.labels),
            "n_training_clips": len(corpus.clips),
            "sample rate": f"{config.audio.sample_rate} Hz",
            "segment": f"{config.audio.segment_seconds:g} s",
        },
        counts=count_labels(corpus),
        examples_note=_describe_examples(config.audio, seconds),
        examples=_render_examples(renderer, corpus, chosen, seconds),
        augmentations=_render_augmentations(renderer, corpus, chosen),
        left_out=tuple(left_out),
        is_leaky=bool(protocol.get("leaky")),
        notes=tuple(filter(None, [format_shared(protocol)])),
    )


def _render_examples(
    renderer: "ClipRenderer",
    corpus: Corpus,
    chosen: Mapping[str, Sequence[Clip]],
    seconds: float,
) -> tuple[Examples, ...]:
    """Draw and encode an excerpt of each chosen clip, by label."""
    available = Counter(clip.label for clip in corpus.clips)
    examples = []
    for label, clips in chosen.items():
        note = "no training clips"
        if available[label]:
            note = f"{len(clips)} of {available[label]} training clips"
        excerpts = ((clip, *corpus.read_excerpt(clip, seconds)) for clip in clips)
        rendered = tuple(renderer.render_example(*excerpt) for excerpt in excerpts)
        examples.append(Examples(label, note, rendered))
    return tuple(examples)


def _render_augmentations(
    renderer: "ClipRenderer", corpus: Corpus, chosen: Mapping[str, Sequence[Clip]]
) -> tuple[Augmentation, ...]:
    """Draw versions of a clip, and mixtures of clips of two labels."""
    labels = [label for label, clips in chosen.items() if clips]
    seed = corpus.config.train.seed
    order = np.random.default_rng(seed).permutation(len(labels))
    first = chosen[labels[order[0]]][0]
    second = chosen[labels[order[1 % len(labels)]]][-1]
    pair, view = (first, second), "stereo" if renderer.versions.random_channel else ""
    return (
        renderer.render_versions(first, *(corpus.read_segment(c, view) for c in pair)),
        renderer.render_mixtures(*((c, corpus.read_segment(c)) for c in pair)),
    )


def choose_seconds(examples: int, audio: Audio) -> float:
    """Choose how many seconds of each example are drawn and played."""
    # Base64 makes four bytes of three.
    second = audio.sample_rate * 2 * channels.count_channels(audio.channels) * 4 / 3
    longest = SOUND_BYTES / (examples * second)
    return float(np.clip(np.floor(2 * longest) / 2, MIN_SHOWN, MAX_SHOWN))


def count_labels(corpus: Corpus) -> tuple[Counts, ...]:
    """Count clips and examples by label, in each way that the corpus allows."""
    config, manifest = corpus.config, corpus.manifest
    note = "An example is a random segment of a clip"
    if config.train.segments == "all":
        note = "An example is one of all segments of a clip"
    if config.audio.channels == "split":
        note += "; left, right and mean of a stereo clip are examples of their own"
    note += f". augment.copies = {config.augment.copies}."
    if corpus.needs_headers:
        note += " Segments are counted from the headers of the files."
    counts = (
        count_by_split(manifest),
        count_by_device(manifest),
        count_by_verification(manifest),
        count_examples(manifest, corpus.count_examples, config.augment.copies, note),
    )
    return tuple(item for item in counts if item)


def _describe_examples(audio: Audio, seconds: float) -> str:
    note = (
        "Chosen from the training split by train.seed, resampled to "
        f"{audio.sample_rate} Hz: of a longer clip the loudest {seconds:g} s of its "
        f"first {SEARCHED:g}."
    )
    if audio.channels in ("stereo", "mid_side"):
        name = {"stereo": "left channel", "mid_side": "mean of the channels"}
        note += f" The {name[audio.channels]} is drawn."
    return note + " Colours are dB below the loudest point of each picture."
