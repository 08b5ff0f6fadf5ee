"""Constants of the WAV format, shared by the graph and the edge."""

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE

COMPRESSED = {
    2: "Microsoft ADPCM",
    6: "A-law",
    7: "mu-law",
    17: "IMA ADPCM",
    49: "GSM 6.10",
    80: "MPEG",
    85: "MP3",
    353: "WMA",
}
"""Format tags that are refused by name."""

GUID_TAILS = (
    bytes.fromhex("000000001000800000aa00389b71"),
    bytes.fromhex("00002107d3118644c8c1ca000000"),  # ambisonic B-format
)
"""Bytes after the format tag in the sub-format of an EXTENSIBLE file."""

MAX_PARTS = 1000
"""Most parts (RIFF calls them chunks) in a file: real files have some tens, and
millions of empty ones would take minutes to walk.
"""
