"""Check of a file's size against its header.

libsndfile reads a file that was cut off as far as it goes, without saying so.
"""

import struct


def count_missing_bytes(head: bytes, size: int) -> int:
    """Count the bytes that a file lacks, by the length in its header.

    Args:
        head: First 64 bytes of the file, or all of a shorter one.
        size: Size of the file in bytes.

    Returns:
        0 if nothing is missing, if the format does not tell the length, or if the
        length was left open, by a recorder that could not go back to fill it in.
    """
    claimed = _read_length(head.ljust(64, b"\0"))
    is_open = not 0 < claimed < 2**62 or claimed in _OPEN
    return 0 if is_open else max(claimed - size, 0)


_OPEN = (0, 2**32 - 1, 2**31 - 1, 2**32 - 1 + 8, 2**31 - 1 + 8)


def _read_length(head: bytes) -> int:
    """Read the size of the whole file in bytes; 0 if the format does not tell it."""
    kind = head[:4]
    if kind == b"RIFF" and head[8:12] == b"WAVE":
        return struct.unpack_from("<I", head, 4)[0] + 8
    if kind in (b"RIFX", b"FORM") and head[8:12] in (b"WAVE", b"AIFF", b"AIFC"):
        return struct.unpack_from(">I", head, 4)[0] + 8
    if kind == b"RF64" and head[12:16] == b"ds64":
        return struct.unpack_from("<Q", head, 20)[0] + 8
    if kind == b"riff" and head[24:28] == b"wave":  # Wave64
        return struct.unpack_from("<Q", head, 16)[0]
    if kind == b".snd":
        start, samples = struct.unpack_from(">II", head, 4)
        return 0 if samples == 2**32 - 1 else start + samples
    return 0
