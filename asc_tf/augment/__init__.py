"""Random changes to a training batch: batch to batch, in the graph.

Each function takes a seed `[2]` and is a pure function of it, so that an epoch is new
and yet the same again for the same run seed, also after a resume.

    waveforms: channel, reversal, roll, impulse response, noise, gain
    features: frequency warp, tilt, mixed statistics, mixup, masks
"""

from asc_tf.augment.features import (
    augment_features,
    compute_fill,
    eq_tilt,
    frequency_warp,
    mask,
)
from asc_tf.augment.mixing import mixstyle, mixup
from asc_tf.augment.seeds import fold_in
from asc_tf.augment.waveforms import (
    NoiseBanks,
    add_noise,
    augment_waveforms,
    convolve,
    gain,
    random_channel,
    time_reverse,
    time_roll,
)

__all__ = [
    "NoiseBanks",
    "add_noise",
    "augment_features",
    "augment_waveforms",
    "compute_fill",
    "convolve",
    "eq_tilt",
    "fold_in",
    "frequency_warp",
    "gain",
    "mask",
    "mixstyle",
    "mixup",
    "random_channel",
    "time_reverse",
    "time_roll",
]
