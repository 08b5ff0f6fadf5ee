import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from wavs import encoded, extensible, fmt, part, riff, save

from asc_tf.audio import framing
from asc_tf.audio.inspect import inspect

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from damaged_files import KINDS, case, originals
from fuzz_decoder import Decoders, fuzz
from fuzz_workers import Outcome

# --- mutated files -------------------------------------------------------------------


def check(outcomes: list[Outcome], count: int) -> None:
    assert sorted(outcome.index for outcome in outcomes) == list(range(count))
    faults = [outcome for outcome in outcomes if outcome.fault]
    assert not faults, "\n".join(map(str, faults))
    accepted = {each.kind for each in outcomes if each.result != "refused"}
    assert len(accepted) > len(KINDS) // 2


def test_a_hundred_mutated_files_are_read_or_refused_and_nothing_else(tmp_path):
    # In this process, which saves seconds; a file that ends it fails the test too.
    decoders = Decoders(tmp_path)
    decoders.check("", -1, originals("WAV PCM")[0])
    files = [case(seed=4, index=number) for number in range(100)]
    check([decoders.check(kind, n, text) for n, (kind, text) in enumerate(files)], 100)


@pytest.mark.slow
def test_thousands_of_mutated_files_are_read_or_refused_and_nothing_else():
    # A hundred of each kind; benchmarks/fuzz_decoder.py tries as many as are wanted.
    check(list(fuzz(100 * len(KINDS), seed=5, workers=2)), 100 * len(KINDS))


@pytest.mark.parametrize("count", [120, pytest.param(3000, marks=pytest.mark.slow)])
def test_random_bytes_are_refused_whatever_they_begin_with(tmp_path, count):
    generator = np.random.default_rng(6)
    starts = [
        b"",
        b"RIFF\0\0\0\0WAVE",
        b"RF64\xff\xff\xff\xffWAVEds64",
        b"OggS\0\2",
        b"fLaC\0\0\0\x22",
        b"\xff\xfb\x90",
        b"ID3",
        b"FORM\0\0\0\0AIFF",
        b"caff\0\1\0\0",
    ]
    # The first of each makes the graph.
    for start in starts:
        assert inspect(save(tmp_path / "first", start + bytes(9))).error
    for number in range(count):
        size = int(generator.integers(1, 3000))
        contents = starts[number % len(starts)] + generator.bytes(size)
        assert inspect(save(tmp_path / "random", contents)).error


# --- memory --------------------------------------------------------------------------

MEASURE = """
import ctypes, functools, json, sys
from asc_tf.core.tensorflow_start import prepare_tensorflow
prepare_tensorflow()
import tensorflow as tf
from asc_tf.audio.decode import Variants, decode_clip
from asc_tf.audio.inspect import inspect
from asc_tf.audio.read import read
from asc_tf.config import Audio
from asc_tf.core.errors import UserError

AUDIO = Audio(sample_rate=48000, channels="stereo")

def status(name):
    for line in open("/proc/self/status"):
        if line.startswith(name):
            return int(line.split()[1]) / 1024

def read_it(path):
    try:
        read(path, AUDIO)
    except UserError:
        pass

@functools.cache
def graph_of(route):
    variants = Variants((route,), ("stereo",), (48000,))
    span, rate = tf.zeros([2], tf.float64), tf.constant(48000, tf.int64)
    name, view = tf.constant(route), tf.constant("stereo")

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def decode(path):
        contents = tf.io.read_file(path)
        return decode_clip(contents, name, rate, span, view, AUDIO, variants)

    return decode

growth = {}
for small, large in json.load(sys.stdin):
    steps = {"inspect": inspect, "read": read_it}
    found = inspect(large)
    is_in_graph = found.decoder != "libsndfile" and not found.refusal
    if is_in_graph and found.route == inspect(small).route:
        steps["graph"] = graph_of(found.route)
    growth[large] = {}
    for step, run in steps.items():
        run(small)
        ctypes.CDLL(None).malloc_trim(0)
        before = status("VmRSS")
        open("/proc/self/clear_refs", "w").write("5")
        run(large)
        growth[large][step] = status("VmHWM") - before
json.dump(growth, sys.stdout)
"""

LENGTHY = {
    "PCM_U8": ("WAV", "PCM_U8"),
    "PCM_16": ("WAV", "PCM_16"),
    "PCM_24": ("WAV", "PCM_24"),
    "PCM_32": ("WAV", "PCM_32"),
    "float": ("WAV", "FLOAT"),
    "double": ("WAV", "DOUBLE"),
    "A-law": ("WAV", "ALAW"),
    "FLAC 16": ("FLAC", "PCM_16"),
    "FLAC 24": ("FLAC", "PCM_24"),
    "Ogg Vorbis": ("OGG", "VORBIS"),
    "MP3": ("MP3", "MPEG_LAYER_III"),
}
SLACK = 64


def growths(pairs: list[tuple[Path, Path]]) -> dict[str, dict[str, float]]:
    """What each step adds to the largest memory of a process, MiB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("this machine does not say how much memory was used")
    result = subprocess.run(
        [sys.executable, "-c", MEASURE],
        input=json.dumps([(str(small), str(large)) for small, large in pairs]),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def lengthy(path: Path, kind: str, seconds: int) -> Path:
    """A stereo file of 48 kHz, written in blocks, which are all the same."""
    container, subtype = LENGTHY[kind]
    steps = np.random.default_rng(0).normal(0, 1e-3, (48000, 2))
    block = np.clip(np.cumsum(steps, axis=0), -0.9, 0.9)
    with soundfile.SoundFile(path, "w", 48000, 2, subtype, format=container) as stream:
        for _ in range(seconds):
            stream.write(block)
    return path


def lengthy_pairs(folder: Path, kinds: Iterable[str], seconds: int) -> list:
    """A file of a second and a long one of each kind."""
    return [
        (lengthy(folder / f"{kind} 1", kind, 1), lengthy(folder / kind, kind, seconds))
        for kind in kinds
    ]


def check_growth(found: dict[str, dict[str, float]], seconds: int) -> None:
    bound = 3 * seconds * 48000 * 2 * 4 / 2**20 + SLACK
    over = {kind: steps for kind, steps in found.items() if max(steps.values()) > bound}
    assert not over


def patched(contents: bytes, at: int, value: bytes) -> bytes:
    return contents[:at] + value + contents[at + len(value) :]


def checked(page: bytes) -> bytes:
    return patched(page, 22, framing.compute_ogg_checksum(page).to_bytes(4, "little"))


def claims() -> dict[str, bytes]:
    """Small files whose headers claim gigabytes."""
    most, data = b"\xff" * 4, part(b"data", bytes(2**20), size=2**32 - 1)
    wide = struct.pack("<HI", 65535, 768_000)
    flac, ogg = encoded("FLAC", "PCM_16", 6000), encoded("OGG", "VORBIS", 6000)
    last = ogg.rindex(b"OggS")
    page = ogg[last:]
    mp3, aiff = encoded("MP3", "MPEG_LAYER_III", 6000), encoded("AIFF", "PCM_16", 6000)
    au, caf = encoded("AU", "PCM_16", 6000), encoded("CAF", "PCM_16", 6000)
    rf64, w64 = encoded("RF64", "PCM_16", 6000), encoded("W64", "PCM_16", 6000)
    return {
        "sizes": riff(fmt(), data, size=2**32 - 1),
        "fmt of 4 GB": riff(part(b"fmt ", bytes(40), size=2**32 - 1), data),
        "channels": riff(fmt(channels=65535, rate=768_000, bits=8), data),
        "doubles": riff(fmt(3, 65535, 768_000, 64, align=65535), data),
        "extensible": riff(extensible(channels=9999, rate=768_000), data),
        "A-law": riff(fmt(6, 1024, 768_000, 8), data),
        "IMA ADPCM": riff(fmt(17, 2, 768_000, 4, align=65535, extra=most), data),
        "Microsoft ADPCM": patched(encoded("WAV", "MS_ADPCM", 6000), 32, most[:2]),
        "RF64": patched(rf64, 20, b"\xff" * 7 + b"\x7f" + b"\xff" * 7 + b"\x7f"),
        "W64": patched(w64, w64.index(b"data") + 16, b"\xff" * 7 + b"\x0f"),
        "AIFF frames": patched(aiff, aiff.index(b"COMM") + 10, most),
        "AIFF sound": patched(aiff, aiff.index(b"SSND") + 4, most),
        "AU": patched(patched(au, 8, b"\xff\xff\xff\x7f"), 20, b"\0\0\4\0"),
        "CAF": patched(caf, caf.index(b"data") + 4, b"\x7f" + b"\xff" * 7),
        "FLAC length": patched(flac, 21, b"\xff" * 5),
        "FLAC wide": patched(flac, 18, b"\xbb\x80\x0e"),
        "Ogg length": ogg[:last] + checked(patched(page, 6, b"\xff" * 7 + b"\x0f")),
        "Ogg channels": patched(ogg, 39, b"\xff"),
        "MP3 frames": patched(mp3, mp3.index(b"Xing") + 8, most * 2),
        "cut after its sizes": riff(fmt(), data, size=2**32 - 1)[:60],
        "wide": patched(riff(fmt(), data), 22, wide),
    }


def test_a_header_that_claims_gigabytes_takes_no_memory(tmp_path):
    files = [save(tmp_path / name, text) for name, text in claims().items()]
    small = save(tmp_path / "small", encoded("WAV", "PCM_16", 4000))
    compressed = [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")]
    whole = [save(tmp_path / f"{c} whole", encoded(c, e, 4000)) for c, e in compressed]
    # The whole ones first: with them the libraries are loaded.
    found = growths([(small, path) for path in [*whole, *files]])
    most = {path.name: max(found[str(path)].values()) for path in files}
    over = {name: growth for name, growth in most.items() if growth > SLACK / 2}
    assert not over


@pytest.mark.slow
def test_memory_of_long_files_of_every_kind_is_bounded_by_what_is_decoded(tmp_path):
    # Long enough that one whole copy more goes beyond the slack.
    check_growth(growths(lengthy_pairs(tmp_path, LENGTHY, 180)), 180)


@pytest.mark.parametrize("kind", ["FLAC 16", "Ogg Vorbis", "A-law"])
def test_a_file_that_expands_a_thousandfold_is_read_no_further_than_the_limit(
    tmp_path, kind
):
    container, subtype = LENGTHY[kind]
    path = tmp_path / "silence"
    with soundfile.SoundFile(path, "w", 48000, 2, subtype, format=container) as stream:
        for _ in range(300):
            stream.write(np.zeros((48000, 2)))
    # The first one makes the graph.
    assert not inspect(
        save(tmp_path / "first", encoded(container, subtype, 4000))
    ).error
    began = time.process_time()
    assert inspect(path, 2.0).error == "longer than audio.max_seconds = 2"
    assert time.process_time() - began < 2
