import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asc_tf.core.tensorflow_log import quiet_tensorflow

# Before any test module imports TensorFlow.
quiet_tensorflow()


REAL_RECORDINGS = (
    "esc10/*/*.ogg",
    "fsdkaggle2018/*.csv",
    "odd_wavs/*/*.wav",
    "tau2020_mobile_meta/*.csv",
    "tau2022_mobile_meta/*.csv",
    "tut2018/clips/**/*.wav",
    "tut2018/meta/**/*.*",
    "urbansound8k_meta/*.csv",
    "urbansound8k_mini/audio/*/*.*",
)
"""Patterns that each match files in the folder of `ASC_TF_TEST_DATA`."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings, for tests marked `shared_data`.

    Without it a test is skipped, but fails where it would go unnoticed: on CI, or where
    the folder that `ASC_TF_TEST_DATA` names is not complete.
    """
    folder = os.environ.get("ASC_TF_TEST_DATA")
    if not folder and os.environ.get("CI") == "true":
        pytest.fail("CI needs real recordings: set ASC_TF_TEST_DATA to their folder")
    if not folder:
        pytest.skip("ASC_TF_TEST_DATA is not set")
    missing = [name for name in REAL_RECORDINGS if not any(Path(folder).glob(name))]
    if missing:
        pytest.fail(f"ASC_TF_TEST_DATA={folder} has no {', '.join(missing)}")
    return Path(folder)


def make_once(factory: pytest.TempPathFactory, make: Callable[[Path], None]) -> Path:
    """Have one worker of the session make a folder, and return a copy of one's own.

    Args:
        factory: Maker of temporary folders.
        make: Function that fills the folder that it is given; its name is the folder's.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, is_done = root / make.__name__, root / f"{make.__name__}.done"
    with (root / f"{make.__name__}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if not is_done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            is_done.touch()
    return Path(shutil.copytree(folder, factory.mktemp("own") / folder.name))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A run on the corpus of `tiny`; a test that changes it works on a copy."""
    import tiny

    from asc_tf.training.train import train
    from asc_tf.workdir import Workdir

    def make_tiny_run(folder: Path) -> None:
        corpus = tiny.write_corpus(folder / "corpus")
        train(tiny.config(corpus, train__epochs=6), Workdir(folder / "run"))

    return Workdir(make_once(tmp_path_factory, make_tiny_run) / "run")


@pytest.fixture(scope="session")
def tiny_export(tiny_run, tmp_path_factory) -> Path:
    """The export of `tiny_run`, in every format."""
    from asc_tf.exporting.export import export

    def make_tiny_export(folder: Path) -> None:
        export(tiny_run, folder / "export")

    return make_once(tmp_path_factory, make_tiny_export) / "export"


@pytest.fixture
def write_wav():
    """A function that writes samples to a WAV file and returns its path."""

    def write(path: Path, samples: np.ndarray, rate: int, subtype="PCM_16") -> Path:
        import soundfile

        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate, subtype=subtype, format="WAV")
        return path

    return write
