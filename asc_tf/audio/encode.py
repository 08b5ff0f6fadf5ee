"""Compressed excerpts of waveforms, for the players of a page."""

import io
from typing import NamedTuple

import numpy as np

from asc_tf.dsp.preprocessing import downmix_and_resample

MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
"""Sample rates that MP3 knows, in Hz."""

BLOCK = 4096
"""Samples that are written at a time: libsndfile crashes when it writes a minute of Ogg
at once."""

COMPRESSION = 0.7
"""Compression of libsndfile, from 0 to 1; here about 60 kbit/s at 44.1 kHz."""


class Sound(NamedTuple):
    """Encoded audio and its MIME type."""

    data: bytes
    mime: str


def encode_excerpt(waveform: np.ndarray, sample_rate: int) -> Sound:
    """Encode a waveform as MP3, which every browser plays.

    A libsndfile older than 1.1 cannot write MP3; then it is Ogg Vorbis, which older
    versions of Safari do not play.

    Args:
        waveform: float32 `[samples]`; what is beyond full scale is clipped.
        sample_rate: Sample rate in Hz; where MP3 does not know it, the waveform is
            resampled to the next lower one that it knows.
    """
    import soundfile

    has_mp3 = "MP3" in soundfile.available_formats()
    form = {"format": "MP3", "subtype": "MPEG_LAYER_III"}
    if not has_mp3:
        form = {"format": "OGG", "subtype": "VORBIS"}
    rate = max([r for r in MP3_RATES if r <= sample_rate], default=MP3_RATES[0])
    if rate != sample_rate:
        column = np.asarray(waveform, np.float32)[:, np.newaxis]
        waveform = downmix_and_resample(column, sample_rate, "mono", rate)
    samples = np.clip(waveform, -1.0, 1.0)
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", rate, 1, compression_level=COMPRESSION, **form
    ) as file:
        for first in range(0, len(samples), BLOCK):
            file.write(samples[first : first + BLOCK])
    return Sound(buffer.getvalue(), "audio/mpeg" if has_mp3 else "audio/ogg")
