"""Segments of the clips of a split, cut without the graph that decodes them."""

import numpy as np
import soundfile


def cut_clips(run, split, preprocessing):
    """In place of `asc_tf.exporting.doctor.examine._cut_clips`."""
    waveforms, ids = [], []
    for number, clip in enumerate(run.manifest.clips_in(split)):
        path = f"{run.config.dataset.dir}/{clip.path}"
        own = [*preprocessing.cut(*soundfile.read(path, dtype="float32"))]
        waveforms += own
        ids += [number] * len(own)
    yield np.stack(waveforms), np.array(ids)
