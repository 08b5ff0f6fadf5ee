"""Audio files of any format as streams of blocks, without TensorFlow."""

import dataclasses
import math
from pathlib import Path

from asc_tf.audio import sndfile
from asc_tf.core.errors import UserError
from asc_tf.core.untrusted_files import open_regular_file
from asc_tf.dsp import wav_reader
from asc_tf.dsp.streaming import AudioStream


def open_stream(path: str | Path, max_seconds: float = math.inf) -> AudioStream:
    """Open an untrusted file of at most `max_seconds`.

    WAV files are read by our own reader, as on the edge; files that it refuses, and all
    other formats, are read by libsndfile.

    Raises:
        UserError: If it is not an audio file; the message does not name it.
        OSError: If it cannot be opened.
    """
    stream = _open(Path(path))
    return dataclasses.replace(stream, max_seconds=max_seconds)


def _open(path: Path) -> AudioStream:
    with open_regular_file(path) as (file, _):
        head = file.read(12)
    if not head:
        raise UserError("an empty file")
    try:
        return wav_reader.open_stream(path)
    except UserError as error:
        own = error
    try:
        return sndfile.open_stream(path)
    except sndfile.RefusedError as refusal:
        # Our own reason is the more precise one when neither can read a WAV file.
        is_wav = head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:] == b"WAVE"
        if is_wav and str(refusal).startswith(sndfile.UNREADABLE):
            raise own from refusal
        raise
    except ImportError:
        raise own from None
