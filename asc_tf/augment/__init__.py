"""Random changes to a training batch: batch to batch, in the graph.

Each function takes a seed `[2]` and is a pure function of it, so that an epoch is new
and yet the same again for the same run seed, also after a resume.

    waveforms: channel, reversal, roll, impulse response, noise, gain
    features: frequency warp, tilt, mixed statistics, mixup, masks
"""

from asc_tf.augment.features import augment_features
from asc_tf.augment.seeds import fold_in
from asc_tf.augment.waveforms import NoiseBanks, augment_waveforms

__all__ = ["NoiseBanks", "augment_features", "augment_waveforms", "fold_in"]
