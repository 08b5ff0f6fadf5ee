"""WAV reader in NumPy for untrusted files, in blocks of float32.

The scale is libsndfile's. The sizes in a header are not trusted: reading is bounded by
the bytes of the file. (Microsoft and IBM, "Multimedia Programming Interface and Data
Specifications 1.0", 1991; Microsoft, "Multiple Channel Audio Data and WAVE Files",
2001.)
"""

import io
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.core.untrusted_files import open_regular_file
from asc_tf.dsp import wav_format
from asc_tf.dsp.resampling import RATES
from asc_tf.dsp.streaming import NO_SAMPLES, AudioStream, choose_block_size

CONVERT = "convert it to PCM WAV, e.g. ffmpeg -i IN OUT.wav"

_STARTS = {
    b"RIFX": "RIFX (big-endian WAV)",
    b"RF64": "RF64 (64-bit WAV)",
    b"BW64": "BW64 (64-bit WAV)",
    b"riff": "Wave64",
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"FORM": "AIFF",
    b"ID3\x03": "MP3",
    b"ID3\x04": "MP3",
}


@dataclass(frozen=True)
class Format:
    """Sample format of a WAV file; a sample takes `width` bytes."""

    channels: int
    sample_rate: int
    width: int
    is_float: bool

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * self.width


def open_stream(path: str | Path) -> AudioStream:
    """Open a WAV file to read it in blocks.

    It may hold PCM of 8, 16, 24 or 32 bits (other depths in the next larger container)
    or floats of 32 or 64 bits, plain or WAVE_FORMAT_EXTENSIBLE. A data size beyond the
    end of the file means the rest of the file, and so does 0 in a file that was never
    closed (RIFF size 0 or 8); an incomplete last frame is dropped.

    Args:
        path: Path of the file.

    Returns:
        Stream of the clip: integers scaled to [-1, 1), floats unchanged.

    Raises:
        UserError: If it is another file, or has no samples; the message says what it
            is and what to do, but does not name the file.
        OSError: If it cannot be opened.
    """
    form, start, samples, promised = _read_header(path)
    if not samples:
        raise UserError(NO_SAMPLES)

    def read() -> Iterator[np.ndarray]:
        with open_regular_file(Path(path)) as (file, _):
            file.seek(start)
            yield from _read_samples(file, form, samples)

    return AudioStream(
        form.sample_rate, form.channels, samples, read, promised=promised
    )


def open_contents(contents: bytes, max_seconds: float = math.inf) -> AudioStream:
    """Open the bytes of a whole WAV file, as `open_stream` opens a file.

    Args:
        contents: Bytes of the file.
        max_seconds: Longest duration that is accepted, in seconds.

    Returns:
        Stream of the clip.

    Raises:
        UserError: If it is another file, or has no samples.
    """
    header, start, available, claimed = _find_parts(io.BytesIO(contents), len(contents))
    form = parse_format(header)
    samples, promised = available // form.frame_bytes, claimed // form.frame_bytes
    if not samples:
        raise UserError(NO_SAMPLES)

    def read() -> Iterator[np.ndarray]:
        file = io.BytesIO(contents)
        file.seek(start)
        return _read_samples(file, form, samples)

    return AudioStream(
        form.sample_rate, form.channels, samples, read, max_seconds, promised
    )


def read_header(path: str | Path) -> tuple[Format, int, int]:
    """Read the header of a WAV file.

    Args:
        path: Path of the file.

    Returns:
        Sample format, place of the first sample in bytes, and samples per channel that
        the file holds (0 if it is empty).

    Raises:
        UserError: If it is another file; the message does not name it.
        OSError: If it cannot be opened.
    """
    return _read_header(path)[:3]


def _read_header(path: str | Path) -> tuple[Format, int, int, int]:
    """Read a header as `read_header`, and the samples per channel that it promises."""
    with open_regular_file(Path(path)) as (file, size):
        header, start, available, claimed = _find_parts(file, size)
    form = parse_format(header)
    return form, start, available // form.frame_bytes, claimed // form.frame_bytes


def _find_parts(file: BinaryIO, size: int) -> tuple[bytes, int, int, int]:
    """Find the fmt part, and start, size and claimed size of the samples in bytes.

    The two parts may come in either order, with others anywhere.
    """
    riff_bytes = check_start(file.read(12))
    header = data = None
    position = 12
    # One turn more than the limit, to see that the last part was enough.
    for _ in range(wav_format.MAX_PARTS + 1):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8 or (header is not None and data is not None):
            break
        name, length = head[:4], int.from_bytes(head[4:], "little")
        start = position + 8
        if name == b"fmt " and header is None:
            header = file.read(min(length, 40))
        elif name == b"data" and data is None:
            if length == 0 and riff_bytes in (0, 8):
                length = size - start
            data = start, min(length, size - start), length
        # Parts begin at even offsets; the size does not count the pad byte.
        position = start + length + length % 2
    else:
        raise UserError(f"more than {wav_format.MAX_PARTS} parts: damaged; {CONVERT}")
    if header is None:
        raise UserError(f"no fmt part: damaged or cut short; {CONVERT}")
    if data is None:
        raise UserError(f"no data part: damaged or cut short; {CONVERT}")
    return header, *data


def check_start(start: bytes) -> int:
    """Refuse a file that is not WAV, else return the size of the RIFF part in bytes."""
    if not start:
        raise UserError("is empty; record or copy it again")
    if start[:4] in _STARTS:
        raise UserError(f"is {_STARTS[start[:4]]}, not plain WAV; {CONVERT}")
    if len(start) < 12 or start[:4] != b"RIFF" or start[8:] != b"WAVE":
        raise UserError(f"not a WAV file (begins {start!r}); {CONVERT}")
    return int.from_bytes(start[4:8], "little")


def parse_format(header: bytes) -> Format:
    """Parse and check the fmt part."""
    if len(header) < 16:
        raise UserError(f"its fmt part has {len(header)} bytes of 16; {CONVERT}")
    tag, channels, rate, _, align, bits = struct.unpack("<HHIIHH", header[:16])
    if tag == wav_format.EXTENSIBLE:
        if len(header) < 40:
            raise UserError(f"its fmt part has {len(header)} bytes of 40; {CONVERT}")
        if header[26:40] not in wav_format.GUID_TAILS:
            raise UserError(
                f"its format is GUID {header[24:40].hex()}, not PCM or float; {CONVERT}"
            )
        tag = int.from_bytes(header[24:26], "little")
    if tag not in (wav_format.PCM, wav_format.FLOAT):
        name = wav_format.COMPRESSED.get(tag, "unknown")
        raise UserError(
            f"its format is tag {tag} ({name}), not PCM or float; {CONVERT}"
        )
    if channels == 0 or rate == 0:
        raise UserError(
            f"{channels} channels at {rate} Hz: the header is damaged; {CONVERT}"
        )
    if not RATES[0] <= rate <= RATES[1]:
        raise UserError(
            f"a sample rate of {rate} Hz, outside {RATES[0]} to {RATES[1]}; {CONVERT}"
        )
    width = _compute_sample_bytes(bits, align, channels)
    if width not in ((4, 8) if tag == wav_format.FLOAT else (1, 2, 3, 4)):
        kind = "float" if tag == wav_format.FLOAT else "PCM"
        raise UserError(f"{bits}-bit {kind} samples are not read; {CONVERT}")
    return Format(channels, rate, width, tag == wav_format.FLOAT)


def _compute_sample_bytes(bits: int, align: int, channels: int) -> int:
    """Compute the bytes per sample.

    A depth of whole bytes wins against a block size that differs, as in libsndfile; a
    depth such as 12 bits takes the bytes that the block size gives it, if they suffice.
    """
    least = -(-bits // 8)
    if bits % 8 and align % channels == 0 and least <= align // channels <= 4:
        return align // channels
    return least


def _read_samples(file: BinaryIO, form: Format, samples: int) -> Iterator[np.ndarray]:
    """Read samples of all channels in blocks: float32 `[samples, channels]`."""
    step = choose_block_size(form.channels)
    for first in range(0, samples, step):
        count = min(samples - first, step)
        raw = file.read(count * form.frame_bytes)
        if len(raw) < count * form.frame_bytes:
            raise UserError("became shorter while it was read; try again")
        yield decode_samples(raw, form).reshape(count, form.channels)


def decode_samples(raw: bytes, form: Format) -> np.ndarray:
    """Convert interleaved samples to float32 `[samples * channels]`."""
    if form.is_float:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.frombuffer(raw, f"<f{form.width}").astype(np.float32)
    if form.width == 1:
        return np.frombuffer(raw, np.uint8).astype(np.float32) / 128 - 1
    if form.width == 3:
        octets = np.zeros((len(raw) // 3, 4), np.uint8)
        octets[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return octets.view("<i4")[:, 0].astype(np.float32) * np.float32(2**-31)
    full_scale = np.float32(2.0 ** (8 * form.width - 1))
    return np.frombuffer(raw, f"<i{form.width}").astype(np.float32) / full_scale
