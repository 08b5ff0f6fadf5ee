"""Share of the speed of the training pipeline that each augmentation costs.

    python benchmarks/augmentation_cost.py [--clips=64] [--seconds=5] [--rounds=3]
        [--epochs=16]

The pipeline is that of `pipeline.py`, on PCM16 files that are decoded in each epoch
(`none`) or kept in memory. "lost" is the share of speed that an augmentation alone
costs, and "CPU" the increase of processor time, which a busy machine affects less;
negative values are measurement noise. All take turns, so that other work of the machine
affects all equally, and the best round counts.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pipeline
from absl import app, flags

flags.adopt_module_key_flags(pipeline)

CACHES = ("none", "memory")
PLAIN = "none of them"


def write_impulses(folder: Path) -> Path:
    """Write some decaying impulse responses of 50 ms."""
    import soundfile

    generator = np.random.default_rng(1)
    folder.mkdir()
    for number in range(4):
        decay = np.exp(-np.arange(pipeline.RATE // 20) / (200 + 100 * number))
        response = 0.2 * generator.standard_normal(len(decay)) * decay
        soundfile.write(folder / f"{number}.wav", response, pipeline.RATE, "PCM_16")
    return folder


def list_augmentations(folder: Path) -> dict[str, dict]:
    """List the settings of each augmentation by name."""
    return {
        PLAIN: {},
        "gain_db": pipeline.GAIN,
        "time_roll": pipeline.ROLL,
        "time_reverse": {"augment.time_reverse": True},
        "noise, white": {"augment.noise": "white"},
        "impulse responses": {
            "augment.impulse_dir": str(write_impulses(folder / "impulses"))
        },
        "masks": pipeline.MASKS,
        "mixup": pipeline.MIXUP,
        "frequency_warp": {"augment.frequency_warp": 0.1},
        "eq_tilt_db": {"augment.eq_tilt_db": 6.0},
        "mixstyle_alpha": {"augment.mixstyle_alpha": 0.3},
        "roll+gain+masks+mixup": pipeline.TYPICAL,
    }


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        sys.exit(f"unexpected argument {argv[1]}")
    pipeline.start()
    paces = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = pipeline.write_format(folder, "PCM16")
        sets = list_augmentations(folder)
        for cache in CACHES:
            ours = pipeline.Ours(paths, folder / cache, cache)
            paces[cache] = pipeline.race(
                {name: ours.batches(own) for name, own in sets.items()}
            )
    heads = "".join(
        f"{'cache = ' + cache:>16} {'lost':>7} {'CPU':>7}" for cache in CACHES
    )
    print(f"\n{'clips per second':22}{heads}")
    for name in sets:
        cells = ""
        for cache in CACHES:
            own, plain = paces[cache][name], paces[cache][PLAIN]
            lost = 1 - own.clips / plain.clips
            more = own.cpu / plain.cpu - 1
            cells += f"{own.clips:16.0f} {lost:7.1%} {more:7.1%}"
        print(f"{name:22}{cells}")


if __name__ == "__main__":
    app.run(main)
