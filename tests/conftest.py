import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asc_tf.core.tensorflow_start import prepare_tensorflow

# Before any test module imports TensorFlow.
prepare_tensorflow()


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


def make_once(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]
) -> Path:
    """Have one worker of the session fill a folder, which all workers share.

    Args:
        factory: Maker of temporary folders.
        name: Name of the folder, unique in the session.
        make: Function that fills the folder that it is given.
    """
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, is_done = root / name, root / f"{name}.done"
    with (root / f"{name}.lock").open("w") as stream:
        # Windows has no such locks: run the tests in one process there.
        with contextlib.suppress(ModuleNotFoundError):
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        if not is_done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            is_done.touch()
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A run on the corpus of `tiny`; a test that changes it works on a copy.

    All workers share the corpus: a test that changes a clip needs a copy of that too.
    """
    import tiny

    from asc_tf.training.train import train
    from asc_tf.workdir import Workdir

    def make(folder: Path) -> None:
        corpus = tiny.write_corpus(folder / "corpus")
        changes = {"train__epochs": 6, "tensorboard__examples": 8}
        train(tiny.config(corpus, **changes), Workdir(folder / "run"))

    shared = make_once(tmp_path_factory, "tiny_run", make)
    own = tmp_path_factory.mktemp("tiny_run") / "run"
    return Workdir(Path(shutil.copytree(shared / "run", own)))


@pytest.fixture(scope="session")
def tiny_export(tiny_run, tmp_path_factory) -> Path:
    """The export of `tiny_run`, in the formats that are written by default."""
    from asc_tf.exporting.export import export

    def make(folder: Path) -> None:
        export(tiny_run, folder / "export")

    shared = make_once(tmp_path_factory, "tiny_export", make)
    own = tmp_path_factory.mktemp("tiny_export") / "export"
    return Path(shutil.copytree(shared / "export", own))


@pytest.fixture(scope="session")
def tiny_signatures(tiny_export):
    """Signatures of the SavedModel of `tiny_export`.

    Loading it and running a signature for the first time take seconds.
    """
    import tensorflow as tf

    model = tf.saved_model.load(str(tiny_export / "saved_model" / "1"))
    yield model.signatures
    del model


@pytest.fixture
def write_wav():
    """A function that writes samples to a WAV file and returns its path."""

    def write(path: Path, samples: np.ndarray, rate: int, subtype="PCM_16") -> Path:
        import soundfile

        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate, subtype=subtype, format="WAV")
        return path

    return write
