"""Audio files made of parts, or by libsndfile, for tests of what reads them."""

import io
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from asc_tf.core.untrusted_files import name_in_errors
from asc_tf.dsp import segments
from asc_tf.dsp import wav_reader as edge_wav

KNOWN_TAIL = bytes.fromhex("000000001000800000aa00389b71")
SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
RATE = 22050


def noise(samples: int, channels: int = 1) -> np.ndarray:
    """Low noise, mostly: `[samples, channels]`, peak 0.9."""
    steps = np.random.default_rng(samples).normal(0, 1, (samples, channels))
    values = np.diff(steps, axis=0, prepend=0) + 0.1 * np.cumsum(steps, axis=0)
    return 0.9 * values / np.abs(values).max()


def cut_whole(
    waveform: np.ndarray,
    length: int,
    hop: int,
    which: str = "all",
    short_clips: str = "pad",
    last_segment: str = "align",
) -> Iterator[np.ndarray]:
    """Cut a waveform into its segments, float32 `[length, ...]`."""
    settings = (length, hop, which, short_clips, last_segment)
    for segment in segments.cut_blocks([waveform], len(waveform), *settings):
        yield segment.waveform


def encoded(
    container: str, subtype: str, samples=30001, channels=1, rate=RATE, endian=None
) -> bytes:
    """A file of noise that libsndfile wrote."""
    stream = io.BytesIO()
    data = noise(samples, channels)
    soundfile.write(stream, data, rate, subtype, endian=endian, format=container)
    return stream.getvalue()


def by_libsndfile(contents: bytes) -> tuple[np.ndarray, int]:
    """What libsndfile decodes: float32 `[samples, channels]`, and the rate."""
    return soundfile.read(io.BytesIO(contents), dtype="float32", always_2d=True)


def save(path: Path, contents: bytes) -> Path:
    path.write_bytes(contents)
    return path


def part(name: bytes, data: bytes, size: int | None = None) -> bytes:
    """A part with its pad byte; `size` is what it claims to hold."""
    size = len(data) if size is None else size
    return name + struct.pack("<I", size) + data + b"\0" * (len(data) % 2)


def fmt(tag=1, channels=1, rate=8000, bits=16, align=None, extra=b"") -> bytes:
    align = channels * -(-bits // 8) if align is None else align
    numbers = (tag, channels, rate, rate * align % 2**32, align, bits)
    return part(b"fmt ", struct.pack("<HHIIHH", *numbers) + extra)


def extensible(tag=1, tail=KNOWN_TAIL, **options) -> bytes:
    extra = struct.pack("<HHIH", 22, 16, 4, tag) + tail
    return fmt(0xFFFE, extra=extra, **options)


def riff(*parts: bytes, size: int | None = None, name: bytes = b"RIFF") -> bytes:
    body = b"WAVE" + b"".join(parts)
    return name + struct.pack("<I", len(body) if size is None else size) + body


def mutated(contents: bytes, generator: np.random.Generator, head: int = 0) -> bytes:
    """A copy cut, or with bytes changed, taken out or put in, within `head` bytes."""
    changed = bytearray(contents)
    reach = min(head, len(changed)) if head else len(changed)
    kind = generator.integers(4)
    if kind == 0:
        return bytes(changed[: generator.integers(len(changed))])
    at, length = generator.integers(reach), generator.integers(1, 300)
    if kind == 1 and not head:
        del changed[at : at + length]
    elif kind == 2 and not head:
        changed[at:at] = generator.bytes(length)
    else:
        for at in generator.integers(reach, size=generator.integers(1, 5)):
            usual = (0, 1, 2, 8, 16, 24, 32, 127, 128, 255, generator.integers(256))
            changed[at] = usual[generator.integers(len(usual))]
    return bytes(changed)


def read_on_edge(path: Path | str) -> tuple[np.ndarray, int]:
    """All that the edge's reader makes of a file, and the rate."""
    with name_in_errors(path):
        stream = edge_wav.open_stream(path)
        return np.concatenate(list(stream.blocks())), stream.sample_rate
