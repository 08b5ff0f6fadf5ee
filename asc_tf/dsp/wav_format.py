"""Numbers of the WAV format, which the graph and the edge read alike."""

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
"""What follows the format tag in the sub-format of an EXTENSIBLE file."""

MAX_PARTS = 1000
"""Real files have some tens of parts (RIFF calls them chunks); millions of empty ones
would take minutes to walk.
"""
