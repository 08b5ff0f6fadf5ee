"""Small audio files of every kind, and random damage to them, for `fuzz_decoder.py`."""

import functools
import io
import itertools
from typing import Any

import numpy as np
import soundfile

from asc_tf.audio.framing import compute_ogg_checksum

RATE = 22050
KINDS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "WAV PCM": ("WAV", ("PCM_U8", "PCM_16", "PCM_24", "PCM_32"), "FILE"),
    "WAV float": ("WAV", ("FLOAT", "DOUBLE"), "FILE"),
    "WAVEX": ("WAVEX", ("PCM_16", "PCM_24", "FLOAT"), "FILE"),
    "RIFX": ("WAV", ("PCM_16", "PCM_24", "FLOAT"), "BIG"),
    "RF64": ("RF64", ("PCM_16", "PCM_24", "FLOAT"), "FILE"),
    "W64": ("W64", ("PCM_16", "FLOAT"), "FILE"),
    "WAV A-law": ("WAV", ("ALAW",), "FILE"),
    "WAV mu-law": ("WAV", ("ULAW",), "FILE"),
    "WAV IMA ADPCM": ("WAV", ("IMA_ADPCM",), "FILE"),
    "WAV MS ADPCM": ("WAV", ("MS_ADPCM",), "FILE"),
    "WAV GSM 6.10": ("WAV", ("GSM610",), "FILE"),
    "AIFF": ("AIFF", ("PCM_S8", "PCM_16", "PCM_24", "FLOAT", "IMA_ADPCM"), "FILE"),
    "AU": ("AU", ("PCM_16", "ULAW", "DOUBLE", "G723_24"), "FILE"),
    "CAF": ("CAF", ("PCM_16", "PCM_24", "ALAC_16"), "FILE"),
    "FLAC 8": ("FLAC", ("PCM_S8",), "FILE"),
    "FLAC 16": ("FLAC", ("PCM_16",), "FILE"),
    "FLAC 24": ("FLAC", ("PCM_24",), "FILE"),
    "Ogg Vorbis": ("OGG", ("VORBIS",), "FILE"),
    "Ogg Opus": ("OGG", ("OPUS",), "FILE"),
    "MP3": ("MP3", ("MPEG_LAYER_III",), "FILE"),
}
"""Container, encodings and byte order of each kind."""

MONO_ONLY = ("GSM610", "G723_24")


@functools.cache
def originals(kind: str) -> list[bytes]:
    """Return undamaged files of one kind."""
    container, subtypes, endian = KINDS[kind]
    files = []
    for subtype in subtypes:
        for channels in (1,) if subtype in MONO_ONLY else (1, 2):
            for samples in (400, 6000):
                steps = np.random.default_rng(samples).normal(0, 1, (samples, channels))
                stream = io.BytesIO()
                soundfile.write(
                    stream,
                    0.2 * np.clip(steps, -4, 4),
                    48000 if subtype == "OPUS" else RATE,
                    subtype,
                    endian=endian,
                    format=container,
                )
                files.append(stream.getvalue())
    return files


def case(seed: int, index: int) -> tuple[str, bytes]:
    """Return the kind and the bytes of one damaged file."""
    kind = list(KINDS)[index % len(KINDS)]
    generator = np.random.default_rng([seed, index])
    original = _one_of(originals(kind), generator)
    contents = bytearray(original)
    for _ in range(generator.choice([1, 1, 1, 2, 3])):
        damage = _one_of(DAMAGES, generator)
        if contents:
            damage(contents, generator)
    if generator.random() < 0.5:
        _repair(contents, original)
    return kind, bytes(contents)


def _one_of(values: Any, generator: np.random.Generator) -> Any:
    return values[generator.integers(len(values))]


def _cut(contents: bytearray, generator: np.random.Generator) -> None:
    del contents[generator.integers(len(contents)) :]


def _cut_head(contents: bytearray, generator: np.random.Generator) -> None:
    del contents[generator.integers(min(len(contents), 200)) :]


def _change(contents: bytearray, generator: np.random.Generator) -> None:
    for at in generator.integers(len(contents), size=generator.integers(1, 9)):
        contents[at] = generator.integers(256)


def _change_head(contents: bytearray, generator: np.random.Generator) -> None:
    usual = (0, 1, 2, 3, 4, 6, 7, 8, 16, 17, 24, 32, 127, 128, 254, 255)
    for at in generator.integers(
        min(len(contents), 120), size=generator.integers(1, 5)
    ):
        contents[at] = _one_of((*usual, generator.integers(256)), generator)


def _claim(contents: bytearray, generator: np.random.Generator) -> None:
    """Replace a number in the header; most of these are sizes."""
    width = int(_one_of((2, 4, 4, 4, 8), generator))
    bits = 8 * width
    claims = (0, 1, 2 ** (bits - 1) - 1, 2 ** (bits - 1), 2**bits - 1, 2**20)
    claim = int(_one_of((*claims, generator.integers(2**31)), generator)) % 2**bits
    at = 2 * generator.integers(max(min(len(contents), 120) // 2, 1))
    order = "big" if generator.random() < 0.5 else "little"
    contents[at : at + width] = claim.to_bytes(width, order)


def _take_out(contents: bytearray, generator: np.random.Generator) -> None:
    at = generator.integers(len(contents))
    del contents[at : at + generator.integers(1, 300)]


def _put_in(contents: bytearray, generator: np.random.Generator) -> None:
    at = generator.integers(len(contents))
    contents[at:at] = generator.bytes(generator.integers(1, 300))


def _blank(contents: bytearray, generator: np.random.Generator) -> None:
    at = generator.integers(len(contents))
    end = min(at + int(generator.integers(1, 300)), len(contents))
    contents[at:end] = bytes([_one_of((0, 255), generator)]) * (end - at)


def _repeat(contents: bytearray, generator: np.random.Generator) -> None:
    at, start = generator.integers(len(contents), size=2)
    contents[at:at] = contents[start : start + generator.integers(1, 2000)]


def _mix(contents: bytearray, generator: np.random.Generator) -> None:
    """Replace the end of the file by the end of another one."""
    other = _one_of(originals(_one_of(list(KINDS), generator)), generator)
    at = generator.integers(len(contents))
    contents[at:] = other[min(at, generator.integers(len(other))) :]


DAMAGES = (
    *(_cut, _cut_head, _change, _change_head, _claim, _claim),
    *(_take_out, _put_in, _blank, _repeat, _mix),
)


def _repair(contents: bytearray, original: bytes) -> None:
    """Correct the checksums, so that the damage reaches the code behind them."""
    if contents.startswith(b"OggS"):
        _repair_pages(contents)
    elif contents.startswith(b"fLaC") and len(contents) == len(original):
        _repair_frames(contents, original)


def _repair_pages(contents: bytearray) -> None:
    position = 0
    while contents[position : position + 4] == b"OggS":
        lacing = contents[position + 27 :][: sum(contents[position + 26 :][:1])]
        end = position + 27 + len(lacing) + sum(lacing)
        checksum = compute_ogg_checksum(bytes(contents[position:end]))
        if end <= len(contents):
            contents[position + 22 : position + 26] = checksum.to_bytes(4, "little")
        position = end


def _repair_frames(contents: bytearray, original: bytes) -> None:
    starts = [
        at
        for at in range(len(original) - 16)
        if original[at : at + 2] == b"\xff\xf8"
        and _crc(original[at:][: _header_bytes(original[at:])], 8, 0x07)
        == original[at + _header_bytes(original[at:])]
    ]
    for start, end in itertools.pairwise([*starts, len(original)]):
        header = _header_bytes(original[start:])
        contents[start + header] = _crc(contents[start : start + header], 8, 0x07)
        frame = _crc(contents[start : end - 2], 16, 0x8005)
        contents[end - 2 : end] = frame.to_bytes(2, "big")


def _header_bytes(frame: bytes) -> int:
    """Return the size of a FLAC frame's header without its checksum (RFC 9639, 9.1)."""
    number = max(8 - (~frame[4] & 0xFF).bit_length(), 1)
    size, rate = frame[2] >> 4, frame[2] & 15
    return 4 + number + {6: 1, 7: 2}.get(size, 0) + {12: 1, 13: 2, 14: 2}.get(rate, 0)


def _crc(octets: bytes | bytearray, bits: int, polynomial: int) -> int:
    value, table = 0, _crc_table(bits, polynomial)
    for octet in octets:
        value = (value << 8 ^ table[value >> bits - 8 ^ octet]) & 2**bits - 1
    return value


@functools.cache
def _crc_table(bits: int, polynomial: int) -> list[int]:
    table = []
    for value in range(256):
        value <<= bits - 8
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> bits - 1 & 1 else 0)
        table.append(value & 2**bits - 1)
    return table
