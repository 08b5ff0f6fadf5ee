"""Versions of the served model: the newest is loaded, and a newer one is taken over."""

import gc
import logging
import re
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.core.errors import UsageError, UserError
from asc_tf.dsp.wav_format import pack_wav
from asc_tf.serving.backends import UNKNOWN, Backend
from asc_tf.serving.settings import RequestError, Settings

LOGGER = logging.getLogger("asc_tf.serving")

FIRST_RUN = ("serving_default", "encoded", "segments", "encoded_segments")
"""Signatures that run before a version is served: TensorFlow optimizes the graph of
each when it runs for the first time, which takes seconds."""

RETRY_SECONDS = 60.0
"""Time after which a version that could not be loaded is tried again; it doubles."""

MAX_COLLECTIONS = 60
"""Maximum number of collections for an old version, one per check for a new version:
requests may keep it for some time."""

_VERSION = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class Candidate:
    """A version on the disk.

    Attributes:
        path: Folder of a SavedModel, or a .tflite.
        version: Its version; 0 for a .tflite, which has none.
        files: Size, time and inode of its files, which change with its content.
    """

    path: Path
    version: int
    files: tuple[tuple[str, int, int, int], ...]


def find_candidate(model: Path) -> Candidate:
    """Find the newest version of a model.

    Args:
        model: Export folder, folder of versions, SavedModel or .tflite.

    Raises:
        UsageError: If there is none.
    """
    if model.is_file() and model.suffix == ".tflite":
        return _describe(model, 0)
    if (model / "saved_model.pb").is_file():
        name = model.resolve().name
        return _describe(model, int(name) if _VERSION.fullmatch(name) else 1)
    for folder in (model / "saved_model", model):
        versions = [
            path
            for path in (folder.iterdir() if folder.is_dir() else ())
            if _VERSION.fullmatch(path.name) and (path / "saved_model.pb").is_file()
        ]
        if versions:
            newest = max(versions, key=lambda path: int(path.name))
            return _describe(newest, int(newest.name))
    reason = "no such file or folder" if not model.exists() else "no model to serve"
    raise UsageError(
        f"--model={model}: {reason}; give the folder of asc-tf export, a folder of "
        "versions (1, 2 ...), a SavedModel or a .tflite"
    )


def _describe(path: Path, version: int) -> Candidate:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = []
    for file in files:
        status = file.stat()
        name = str(file.relative_to(path.parent))
        found.append((name, status.st_size, status.st_mtime_ns, status.st_ino))
    return Candidate(path, version, tuple(found))


def find_backend(path: Path) -> Callable[[Path, int, Settings], Backend]:
    """Import the class that runs a model: a .tflite, or else a SavedModel."""
    if path.suffix == ".tflite":
        from asc_tf.serving.tflite import TfliteBackend

        return TfliteBackend
    from asc_tf.serving.saved_model import SavedModelBackend

    return SavedModelBackend


def load_backend(candidate: Candidate, version: int, settings: Settings) -> Backend:
    """Load a version and classify silence, so that the first answers are fast.

    Raises:
        UserError: If it cannot be loaded or run.
    """
    try:
        backend = find_backend(candidate.path)(candidate.path, version, settings)
        for name in FIRST_RUN:
            if name in backend.signatures:
                inputs = _make_silence(backend.signatures[name].inputs)
                _check_outputs(backend, backend.run(name, inputs))
    except UserError:
        raise
    except RequestError as error:
        raise UserError(f"{candidate.path}: {error.message}") from error
    except Exception as error:
        # Any SavedModel may be given, and its functions do what they like.
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{candidate.path}: cannot be served: {reason}") from error
    return backend


def _check_outputs(backend: Backend, outputs: dict[str, np.ndarray]) -> None:
    """Check that a model classifies silence.

    Raises:
        RequestError: If it does not.
    """
    reason = b"".join(outputs.get("error", np.empty(0, object)).tolist()).decode()
    probabilities = outputs.get("probabilities", np.full(1, np.nan))
    if reason or not np.isfinite(probabilities).all():
        reason = reason or "probabilities that are not finite"
        raise RequestError(400, f"the model cannot classify silence: {reason}")
    if probabilities.shape[-1] != len(backend.labels):
        raise RequestError(
            400,
            f"{probabilities.shape[-1]} probabilities, but {len(backend.labels)} "
            "labels",
        )


def _make_silence(inputs: Any) -> dict[str, np.ndarray]:
    """Make one row for a signature: a second of silence at 16 kHz."""
    silence = {"DT_STRING": pack_wav(bytes(32000), 16000, 1, False), "DT_INT64": 0}
    made = {}
    for name, spec in inputs.items():
        if spec.dtype == "DT_FLOAT":
            shape = [1, 16000, *spec.shape[2:]]
            made[name] = np.zeros([1 if n == UNKNOWN else n for n in shape], np.float32)
        else:
            dtype = object if spec.dtype == "DT_STRING" else np.int64
            made[name] = np.array([silence[spec.dtype]], dtype)
    return made


class Versions:
    """The loaded version, and the thread that looks for a newer one.

    Requests keep the version with which they began until they are answered, also if its
    folder is gone. A version that cannot be loaded is logged, and the one before stays.

    Args:
        settings: Settings of the server.
        on_change: Function to call after each attempt to load, with True if it
            succeeded.

    Attributes:
        current: The version for new requests.
        is_loading: True while another version is loaded.

    Raises:
        UserError: If the first version cannot be loaded.
    """

    def __init__(
        self, settings: Settings, on_change: Callable[[bool], None] = lambda _: None
    ) -> None:
        self._settings, self._on_change = settings, on_change
        self._seen = self._loaded = find_candidate(settings.model)
        self.current = load_backend(self._loaded, self._loaded.version or 1, settings)
        self._failed: Candidate | None = None
        self._retry = self._wait = 0.0
        self._old: weakref.ref[Backend] | None = None
        self._collections = 0
        self.is_loading = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin to look for newer versions."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; a version that is being loaded is not waited for."""
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(self._settings.poll_seconds):
            try:
                self.poll()
            except Exception:
                # Whatever is wrong with a new version, the one before is served.
                LOGGER.exception("looking for a new version failed")

    def _collect_old(self) -> None:
        """Collect the version before, once its last request is answered.

        A loaded model is full of reference cycles.
        """
        if self._old is None:
            return
        if self._old() is None or self._collections >= MAX_COLLECTIONS:
            self._old = None
            return
        self._collections += 1
        gc.collect()

    def poll(self) -> bool:
        """Look once for another version, and load it if it is complete.

        A folder is taken to be complete when its files have not changed since the last
        check.

        Returns:
            True if another version was loaded.
        """
        self._collect_old()
        try:
            found = find_candidate(self._settings.model)
        except (UserError, OSError):
            # It is being replaced, or was removed: the loaded version stays.
            return False
        is_complete, self._seen = found == self._seen, found
        if found == self._loaded or not is_complete:
            return False
        if found == self._failed and time.monotonic() < self._retry:
            return False
        version = found.version or self.current.version + 1
        began = time.monotonic()
        self.is_loading = True
        try:
            backend = load_backend(found, version, self._settings)
        except Exception as error:
            # Whatever is wrong with it, the version before is served; and it may have
            # been a lack of memory or files, which passes.
            self._wait = 2 * self._wait if found == self._failed else RETRY_SECONDS
            self._failed, self._retry = found, time.monotonic() + self._wait
            LOGGER.error("version not loaded", extra={"fields": {"error": str(error)}})
            self._on_change(False)
            return False
        finally:
            self.is_loading = False
        self._loaded = found
        self._old, self._collections = weakref.ref(self.current), 0
        before, self.current = self.current.version, backend
        fields = {"version": version, "before": before}
        fields["seconds"] = round(time.monotonic() - began, 3)  # type: ignore[assignment]
        LOGGER.info("version loaded", extra={"fields": fields})
        self._on_change(True)
        return True
