"""Speed of the front-end and its peers in seconds of audio per second.

    python benchmarks/frontend.py [--clips=32] [--seconds=10] [--sample_rate=44100]
        [--n_fft=2048] [--hop_length=512] [--n_mels=128] [--batches=1,8,32]
        [--rounds=3] [--passes=4] [--peers_python=/path/to/python,/path/to/another]

Each implementation computes log-mel in dB below each clip's maximum, floor at -80 dB,
from waveforms in memory. Each is a process that stays alive; they take turns, so that
other work of the machine affects all equally, and the best round counts. Making an
iterator, which happens once in a training, is not counted. Each may use all processors,
and none uses a GPU; "librosa" alone uses one thread. "CPU" is the time of all
processors for a clip in milliseconds. "asc_tf over it" is a ratio of speeds: above 1
this package is faster. "off by" is the largest difference to librosa; above 0.1 dB the
implementation computes something else. "tf.data by default" is without the options of
the package's pipelines. "memory" is the growth of the resident memory (VmHWM of
/proc/self/status, reset before) from one clip to all of them. The last number of a name
is the batch size.

The interpreters of `--peers_python` supply packages that this interpreter lacks:

    python3.11 -m venv peers && peers/bin/pip install torch==2.13.0 numpy
    python3.11 -m venv peers2 &&
        peers2/bin/pip install tensorflow==2.17.1 tf-keras==2.17.0 librosa &&
        peers2/bin/pip install --no-deps kapre==0.3.7

More tables show the other kinds of features and the front-end alone as a .tflite.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags, logging
from frontend_race import Way, race

from asc_tf.core.tensorflow_start import prepare_tensorflow

prepare_tensorflow()

_CLIPS = flags.DEFINE_integer("clips", 32, "number of clips", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 10.0, "seconds of a clip", lower_bound=0.1)
_RATE = flags.DEFINE_integer("sample_rate", 44100, "sample rate in Hz")
_N_FFT = flags.DEFINE_integer("n_fft", 2048, "FFT length")
_HOP = flags.DEFINE_integer("hop_length", 512, "samples between frames")
_MELS = flags.DEFINE_integer("n_mels", 128, "number of mel bands")
_BATCHES = flags.DEFINE_list("batches", ["1", "8", "32"], "numbers of clips in a batch")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "number of rounds; the best counts")
_PASSES = flags.DEFINE_integer("passes", 4, "passes over all clips in a round")
_PEERS = flags.DEFINE_list("peers_python", [], "interpreters with other packages")

SAME_DB = 0.1
OURS = "asc_tf"
CLIP_BY_CLIP = ("librosa", "librosa, threads", "librosa, processes")
BATCHED = (
    "asc_tf, tf.function",
    "asc_tf, tf.data",
    "asc_tf, tf.data by default",
    "tf.signal, dense mel",
    "torch.stft, dense mel",
    "keras.layers.MelSpectrogram",
    "kapre",
)
KINDS: dict[str, dict] = {
    "log_mel": {},
    "linear": {"kind": "linear"},
    "mfcc": {"kind": "mfcc"},
    "pcen": {"kind": "pcen", "power": 1.0},
    "log_mel, deltas = 1": {"deltas": 1},
    "log_mel, deltas = 2": {"deltas": 2},
}
BLOCKS = (1, 4, 8, 16, 32)


def way(
    label: str, name: str, folder: Path, batch: int | str = 0, **settings: object
) -> Way:
    """Start the implementation with a name of `frontend_peers.py`."""
    task = {
        **{"way": name, "folder": str(folder), "batch": int(batch)},
        **{"rate": _RATE.value, "n_fft": _N_FFT.value, "hop_length": _HOP.value},
        **{"n_mels": _MELS.value, "passes": _PASSES.value, "settings": settings},
    }
    return Way(label, task, (sys.executable, *_PEERS.value))


def speed(measured: Way) -> float:
    """Return the speed, in seconds of audio per second."""
    return _CLIPS.value * _SECONDS.value / measured.best


def write_inputs(folder: Path) -> None:
    """Write the mel matrix and clips of a tone and noise that fade by 70 dB."""
    from asc_tf.frontend.mel import make_filter_bank

    generator = np.random.default_rng(0)
    samples = round(_SECONDS.value * _RATE.value)
    waves = generator.standard_normal((_CLIPS.value, samples), np.float32) * 0.05
    pitch = generator.uniform(0.01, 0.5, (_CLIPS.value, 1)).astype(np.float32)
    time_axis = np.arange(samples, dtype=np.float32)
    waves += 0.5 * np.sin(pitch * time_axis)
    waves *= np.exp(-8 * time_axis / samples)
    np.save(folder / "waves.npy", waves)
    filters = make_filter_bank(
        *(_RATE.value, _N_FFT.value, _MELS.value, 0.0, _RATE.value / 2),
        *("slaney", "slaney"),
    )
    np.save(folder / "filters.npy", np.asarray(filters, np.float32))


def compare_ways(folder: Path) -> None:
    """Print the table of the log-mel implementations."""
    ways = [way(name, name, folder) for name in CLIP_BY_CLIP]
    ways += [
        way(f"{name}, {size}", name, folder, size)
        for name in BATCHED
        for size in _BATCHES.value
    ]
    able = race(ways, _ROUNDS.value)
    librosa = next(each for each in able if each.name == "librosa")
    own = max((each for each in able if OURS in each.name), key=speed)
    heads = f"{'version':>8} {'x real time':>11} {'CPU ms':>7} {'asc_tf over it':>14}"
    print(f"\n{'':31} {heads} {'memory':>9}  off by")
    for each in able:
        error = each.off_by(librosa)
        mark = "" if error <= SAME_DB else ", something else"
        has_children = "processes" in each.name
        grown = "-" if has_children else f"{each.grown_mb:.0f} MB"
        cpu = "-" if has_children else f"{1000 * each.cpu / _CLIPS.value:.1f}"
        print(
            f"{each.name:31} {each.version:>8} {speed(each):11.0f} {cpu:>7} "
            f"{speed(own) / speed(each):14.2f} {grown:>9}  {error:.1e} dB{mark}"
        )
    for each in ways:
        if each.missing:
            print(f"{each.name}: left out, no {each.missing} (see --help)")
    others = [each for each in able if OURS not in each.name]
    same = [each for each in others if each.off_by(librosa) <= SAME_DB]
    best = max(same, key=speed)
    print(
        f"{own.name} over librosa: {speed(own) / speed(librosa):.2f}; over the best "
        f"other that computes the same ({best.name}): {speed(own) / speed(best):.2f}"
    )


def compare_kinds(folder: Path) -> None:
    """Print the table of other kinds of features."""
    pairs = [
        (
            way(f"{kind}, own", "asc_tf, tf.data", folder, 8, **settings),
            way(f"{kind}, librosa", "librosa", folder, **settings),
        )
        for kind, settings in KINDS.items()
    ]
    race([each for pair in pairs for each in pair], _ROUNDS.value)
    print(
        f"\n{'tf.data, batch 8':20} {'asc_tf':>8} {'librosa':>8} {'ratio':>6}  off by"
    )
    for kind, (own, librosa) in zip(KINDS, pairs, strict=True):
        print(
            f"{kind:20} {speed(own):8.0f} {speed(librosa):8.0f} "
            f"{speed(own) / speed(librosa):6.2f}  {own.off_by(librosa):.1e}"
        )


def compare_blocks(folder: Path) -> None:
    """Print the table of speeds by number of blocks of the mel matrix."""
    ways = [
        way(str(number), "asc_tf, tf.data", folder, 8, mel_blocks=number)
        for number in BLOCKS
    ]
    cells = [f"{each.name}: {speed(each):.0f}" for each in race(ways, _ROUNDS.value)]
    print(f"\ntf.data, batch 8, mel blocks: x real time: {', '.join(cells)}")


def measure_litert(name: str, rate: int, settings: dict, folder: Path) -> None:
    """Convert the front-end as in an export, run it clip by clip, and print its row."""
    import keras
    from ai_edge_litert.interpreter import Interpreter

    from asc_tf.config import Frontend
    from asc_tf.core.tensorflow_start import suppress_notes
    from asc_tf.exporting.conversion.tflite import Settings, convert
    from asc_tf.exporting.saved_model import write_one_segment
    from asc_tf.frontend import FrontendLayer

    samples = round(10 * rate)
    inputs = keras.Input([samples])
    layer = FrontendLayer(rate, Frontend(**settings))
    layer.portable = True
    model = keras.Model(inputs, layer(inputs))
    saved_model = folder / f"{rate}-{len(settings)}" / "saved_model"
    saved_model.parent.mkdir()
    write_one_segment(model, saved_model)
    made = convert(saved_model, ["float32"], Settings(""), np.zeros([1, samples]))
    path = made.paths["float32"]
    wave = np.random.default_rng(0).standard_normal((1, samples)).astype(np.float32)
    wave *= np.linspace(0.001, 0.3, samples, dtype=np.float32)
    with suppress_notes():
        interpreter = Interpreter(str(path), num_threads=1)
        run = interpreter.get_signature_runner("serving_default")
        (features,) = run(waveform=wave).values()
    error = np.abs(features - model(wave).numpy()).max()
    best = float("inf")
    for _ in range(4 * _ROUNDS.value):
        began = time.perf_counter()
        run(waveform=wave)
        best = min(best, time.perf_counter() - began)
    size = path.stat().st_size / 1000
    print(f"{name:34} {size:8.0f} {1000 * best:10.1f} {error:13.1e}")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        sys.exit(f"unexpected argument {argv[1]}")
    import tensorflow as tf

    logging.set_verbosity(logging.ERROR)
    devices = ", ".join(device.name for device in tf.config.list_physical_devices())
    print(
        f"{_CLIPS.value} clips of {_SECONDS.value:g} s at {_RATE.value} Hz, n_fft "
        f"{_N_FFT.value}, hop {_HOP.value}, {_MELS.value} mels; {os.cpu_count()} "
        f"processors; best of {_ROUNDS.value}; TensorFlow sees {devices}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder)
        compare_ways(folder)
        compare_kinds(folder)
        compare_blocks(folder)
        tf.config.set_visible_devices([], "GPU")
        heads = f"{'kB':>8} {'ms':>10} {'off by, dB':>13}"
        print(f"\n{'LiteRT, 1 thread, 10 s clip':34} {heads}")
        measure_litert("defaults at 32 kHz", 32000, {}, folder)
        own = {"n_fft": _N_FFT.value, "hop_length": _HOP.value, "n_mels": _MELS.value}
        title = f"{_N_FFT.value}/{_HOP.value}/{_MELS.value} at {_RATE.value} Hz"
        measure_litert(title, _RATE.value, own, folder)


if __name__ == "__main__":
    app.run(main)
