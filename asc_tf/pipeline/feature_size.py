"""Number of segments of a clip, and bytes that features take in memory."""

import math
from collections.abc import Sequence

from asc_tf.config import Config, Frontend
from asc_tf.dsp import channels
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.manifest import Clip
from asc_tf.pipeline.feature_store import StoredFeatures

VALUE_BYTES = 4
"""Bytes of a float32."""


def count_segments(clip: Clip, preprocessing: Preprocessing) -> int:
    """Count the segments of a scanned clip, those of all its views."""
    start, end = clip.bounds
    starts = preprocessing.find_starts(end - start, clip.sample_rate)
    return len(starts) * len(channels.list_views(preprocessing.channels, clip.channels))


def evaluated_bytes(clips: Sequence[Clip], config: Config) -> int:
    """Return the bytes of the features of all segments that evaluation takes of clips.

    Args:
        clips: Scanned clips.
        config: Configuration.
    """
    # Later, because it imports TensorFlow.
    from asc_tf.frontend import FrontendLayer

    audio = config.audio
    preprocessing = Preprocessing.from_config(audio, config.evaluate)
    frontend = FrontendLayer(audio.sample_rate, config.frontend)
    shape = (None, *preprocessing.segment_shape)
    _, *features = frontend.compute_output_shape(shape)
    count = sum(count_segments(clip, preprocessing) for clip in clips)
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
