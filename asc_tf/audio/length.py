"""Whether a file is as long as its first bytes say.

libsndfile reads a file that was cut off as far as it goes and does not mention it.
"""

import struct


def count_missing_bytes(head: bytes, size: int) -> int:
    """Bytes that a file lacks, by what its header says of its length.

    Args:
        head: The first 64 bytes of the file, or all of a shorter one.
        size: Bytes of the file.

    Returns:
        0 where nothing is missing, where the format does not say, or where the length
        is left open as a recorder does that could not go back to fill it in.
    """
    claimed = _claimed(head.ljust(64, b"\0"))
    is_open = not 0 < claimed < 2**62 or claimed in _OPEN
    return 0 if is_open else max(claimed - size, 0)


_OPEN = (0, 2**32 - 1, 2**31 - 1, 2**32 - 1 + 8, 2**31 - 1 + 8)


def _claimed(head: bytes) -> int:
    """Bytes of a whole file; 0 where its format does not say."""
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
