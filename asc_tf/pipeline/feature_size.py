"""Number of segments of a clip, and bytes that features take in memory."""

import math
from collections.abc import Sequence

from asc_tf.config import Audio, Config, Evaluate, Frontend
from asc_tf.dsp import channels, segments
from asc_tf.dsp.preprocessing import Preprocessing, choose_hop
from asc_tf.manifest import Clip
from asc_tf.pipeline.feature_store import StoredFeatures

VALUE_BYTES = 4
"""Bytes of a float32."""


def count_segments(clip: Clip, audio: Audio, evaluate: Evaluate | None = None) -> int:
    """Count the segments of a scanned clip, those of all its views.

    Args:
        clip: Clip of known length.
        audio: Audio settings.
        evaluate: Settings of segments; None: all segments, as in training.
    """
    evaluate = evaluate or Evaluate()
    starts = segments.find_starts(
        round(clip.seconds * audio.sample_rate),
        audio.segment_samples,
        choose_hop(audio, evaluate),
        evaluate.segments,
        audio.last_segment,
    )
    return len(starts) * len(channels.list_views(audio.channels, clip.channels))


def evaluated_bytes(clips: Sequence[Clip], config: Config) -> int:
    """Return the bytes of the features of all segments that evaluation takes of clips.

    Args:
        clips: Scanned clips.
        config: Configuration.
    """
    # Later, because it imports TensorFlow.
    from asc_tf.frontend import FrontendLayer

    audio = config.audio
    shape = Preprocessing.from_config(audio, config.evaluate).segment_shape
    frontend = FrontendLayer(audio.sample_rate, config.frontend)
    _, *features = frontend.compute_output_shape((None, *shape))
    count = sum(count_segments(clip, audio, config.evaluate) for clip in clips)
    return VALUE_BYTES * math.prod(features) * count


def stored_bytes(
    stored: StoredFeatures, split: str, settings: Frontend | None = None
) -> int:
    """Return the bytes of the stored features of a split; 0 where it is not stored.

    Args:
        stored: Features folder.
        split: Name of the split.
        settings: Front-end settings, to count features as the model takes them (which
            may be as images); None: as they are stored.
    """
    if split not in stored.splits:
        return 0
    shape = stored.shape
    if settings and settings.image_frames:
        shape = (settings.image_frames, settings.image_bands, 3)
    return VALUE_BYTES * math.prod(shape) * stored.n_segments(split)
