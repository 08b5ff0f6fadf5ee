"""Check of the framing of compressed files, before tensorflow-io may decode them.

libsndfile tolerates damage that tensorflow-io does not: a page with a wrong checksum
ends the run, a wrong count in an MP3's first frame allocates gigabytes. So a file that
libsndfile can read must also be complete and undamaged.

Formats: RFC 3533 (Ogg), RFC 9639 (FLAC), ISO/IEC 11172-3 and 13818-3 (MPEG audio).
"""

import functools
import re
import struct
import zlib
from typing import NamedTuple

MP3_FRAME = 1152
"""Samples in the longest frame of an MP3."""

MAX_FLAC_FRAMES = 0x10FFFF
"""Most frame numbers that Python's UTF-8 can write."""

_MAX_TRIMMED = 2 * 4095
"""Samples that a LAME header can take off an MP3's start and end together."""

_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def find_problem(contents: bytes, container: str, samples: int) -> str:
    """Find out what is wrong with the framing of a file.

    Args:
        contents: Bytes of the file.
        container: `OGG`, `FLAC` or `MP3`.
        samples: Samples per channel by libsndfile's reading of the header.

    Returns:
        Description of the problem; empty if there is none.
    """
    if container == "OGG":
        return _check_ogg(contents)
    if container == "FLAC":
        return _check_flac(contents, samples)
    return _check_mp3(contents, samples)


def _check_ogg(contents: bytes) -> str:
    """Check the pages of an Ogg file: one stream, none missing, none damaged."""
    position = number = flags = 0
    stream = contents[14:18]
    while position < len(contents):
        if number and flags & 4:
            return f"more after the end of its stream, at byte {position}"
        header = contents[position : position + 27]
        if len(header) < 27 or header[:4] != b"OggS":
            return f"damaged at byte {position}"
        lacing = contents[position + 27 : position + 27 + header[26]]
        page = contents[position : position + 27 + header[26] + sum(lacing)]
        if compute_ogg_checksum(page) != int.from_bytes(header[22:26], "little"):
            return f"damaged or cut off in the page at byte {position}"
        if header[14:18] != stream:
            return "more than one stream"
        if int.from_bytes(header[18:22], "little") != number:
            return f"a page is missing at byte {position}"
        flags = header[5]
        position += len(page)
        number += 1
    return "" if flags & 4 else "cut off"


def compute_ogg_checksum(page: bytes) -> int:
    """Compute an Ogg page's CRC-32: zlib's with all bits reversed."""
    blank = page[:22] + bytes(4) + page[26:]
    value = zlib.crc32(blank.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{value:032b}"[::-1], 2)


def _check_flac(contents: bytes, samples: int) -> str:
    """Check that the frames come in order, each of the size and depth of the header.

    libsndfile has verified their checksums. But tensorflow-io seeks by the size of the
    blocks and the numbers of the frames.
    """
    # Both libraries skip an ID3 tag in front of the stream.
    position = contents.find(b"fLaC") + 4
    stream_info = contents[position + 4 : position + 38]
    smallest, size = struct.unpack(">HH", stream_info[:4])
    if smallest != size or not size:
        return f"blocks of {smallest} to {size} samples"
    is_last = False
    while not is_last and position < len(contents):
        is_last = contents[position] >= 128
        position += 4 + int.from_bytes(contents[position + 1 : position + 4], "big")
    depth = ((stream_info[12] & 1) << 4 | stream_info[13] >> 4) + 1
    frames, count = -(-samples // size), 0
    for match in _make_frame_pattern(depth).finditer(contents, position):
        number = chr(count).encode("utf-8", "surrogatepass")
        if not contents.startswith(number, match.end()):
            continue
        expected, end = min(size, samples - count * size), match.end() + len(number)
        if _read_frame_samples(match[1][0], contents[end : end + 2]) != expected:
            return f"frame {count} is not of {expected} samples"
        count += 1
        if count == min(frames, MAX_FLAC_FRAMES):
            break
    return "" if count == frames else f"{count} of {frames} frames of {size} samples"


@functools.cache
def _make_frame_pattern(depth: int) -> re.Pattern[bytes]:
    """Make the pattern of a frame's start, up to its number; blocks have one size."""
    code = {8: 1, 12: 2, 16: 4, 20: 5, 24: 6, 32: 7}.get(depth, 0)
    # High half: channels, which differ from frame to frame. Code 0: as in the header.
    ends = bytes(high << 4 | low for high in range(16) for low in (0, code << 1))
    return re.compile(b"\xff\xf8(.)[" + re.escape(ends) + b"]", re.DOTALL)


def _read_frame_samples(codes: int, after_number: bytes) -> int:
    """Read the samples in a frame from its block size code."""
    code = codes >> 4
    if code in (6, 7):
        return int.from_bytes(after_number[: code - 5], "big") + 1
    if code < 6:
        return (0, 192, 576, 1152, 2304, 4608)[code]
    return 256 << (code - 8)


class _Mp3Frame(NamedTuple):
    """Header of an MP3 frame; `size` is in bytes, `samples` per channel."""

    kind: tuple[int, int, bool]
    size: int
    samples: int
    side_bytes: int


def _check_mp3(contents: bytes, samples: int) -> str:
    """Check that frames are alike, none is missing, and the count is the first's."""
    contents = _strip_tags(contents)
    first = _parse_mp3_frame(contents[:4])
    position = frames = 0
    while position < len(contents):
        frame = _parse_mp3_frame(contents[position : position + 4])
        if frame is None or first is None or frame.kind != first.kind:
            return f"damaged at byte {position} of its audio"
        position += frame.size
        frames += 1
    if first is None or position > len(contents):
        return "cut off"
    tag = 4 + first.side_bytes
    if contents[tag : tag + 4] not in (b"Xing", b"Info"):
        # libsndfile guesses the length from the first frame, well if all are alike.
        if abs(samples - frames * first.samples) > first.samples:
            return "an MP3 whose header does not tell its length"
        return ""
    flags, claimed = struct.unpack(">II", contents[tag + 4 : tag + 12])
    frames -= 1
    if flags & 1 and claimed != frames:
        return f"{frames} frames where its header says {claimed}"
    if not 0 <= frames * first.samples - samples <= _MAX_TRIMMED:
        return f"{samples} samples in {frames} frames of {first.samples}"
    return ""


def _parse_mp3_frame(header: bytes) -> _Mp3Frame | None:
    """Parse the header of a frame; None if it is not one of layer III."""
    bits = int.from_bytes(header, "big")
    version, rate_index = bits >> 19 & 3, bits >> 10 & 3
    if len(header) < 4 or bits >> 21 != 0x7FF or version == 1 or rate_index == 3:
        return None
    is_first = version == 3
    kilobits = (_KILOBITS_1 if is_first else _KILOBITS_2)[bits >> 12 & 15]
    if bits >> 17 & 3 != 1 or not kilobits:
        return None
    # Versions 2 and 2.5 (numbered 2 and 0) halve and quarter the rates.
    rate = (44100, 48000, 32000)[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    samples = MP3_FRAME if is_first else MP3_FRAME // 2
    is_mono = bits >> 6 & 3 == 3
    side_bytes = (17 if is_mono else 32) if is_first else (9 if is_mono else 17)
    size = samples // 8 * kilobits * 1000 // rate + (bits >> 9 & 1)
    return _Mp3Frame((version, rate, is_mono), size, samples, side_bytes)


_KILOBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_KILOBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)


def _strip_tags(contents: bytes) -> bytes:
    """Remove the ID3v2 tags before an MP3's audio and the ID3v1 and APE tags after."""
    while contents[:3] == b"ID3" and len(contents) >= 10:
        high, upper, lower, low = contents[6:10]
        size = (high & 127) << 21 | (upper & 127) << 14 | (lower & 127) << 7 | low & 127
        contents = contents[10 + size + (10 if contents[5] & 16 else 0) :]
    if contents[-128:-125] == b"TAG":
        contents = contents[:-128]
    if contents[-32:-24] == b"APETAGEX":
        size, _, flags = struct.unpack("<III", contents[-20:-8])
        contents = contents[: -size - (32 if flags >> 31 else 0)]
    return contents
