"""Bytes that features take in memory."""

import math
from collections.abc import Sequence

from asc_tf.config import Config, Frontend
from asc_tf.dsp import channels, segments
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.frontend import FrontendLayer
from asc_tf.manifest import Clip
from asc_tf.pipeline.feature_store import StoredFeatures

VALUE_BYTES = 4
"""Bytes of a float32."""


def evaluated_bytes(clips: Sequence[Clip], config: Config) -> int:
    """Bytes of the features of all segments that evaluation takes of clips.

    Args:
        clips: The clips, scanned.
        config: The configuration.
    """
    audio = config.audio
    shape = Preprocessing.from_config(audio, config.evaluate).segment_shape
    frontend = FrontendLayer(audio.sample_rate, config.frontend)
    _, *features = frontend.compute_output_shape((None, *shape))
    count = 0
    for clip in clips:
        starts = segments.find_starts(
            round(clip.seconds * audio.sample_rate),
            audio.segment_samples,
            audio.hop_samples,
            config.evaluate.segments,
            audio.last_segment,
        )
        count += len(channels.list_views(audio.channels, clip.channels)) * len(starts)
    return VALUE_BYTES * math.prod(features) * count


def stored_bytes(
    stored: StoredFeatures, split: str, settings: Frontend | None = None
) -> int:
    """Bytes of the stored features of a split; 0 where it is not stored.

    Args:
        stored: The features folder.
        split: The split.
        settings: Settings of the front-end, where features are counted as the model
            takes them (which may be as images); None: as they are stored.
    """
    if split not in stored.splits:
        return 0
    shape = stored.shape
    if settings and settings.image_frames:
        shape = (settings.image_frames, settings.image_bands, 3)
    return VALUE_BYTES * math.prod(shape) * stored.n_segments(split)
