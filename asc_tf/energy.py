"""The electrical energy that a training takes, measured epoch by epoch by codecarbon.

Embeddings of a frozen backbone are computed before the first epoch and counted too.
codecarbon reads the counters of processors and GPUs where it may; elsewhere it
estimates from the processor's model and load, so compare figures of one machine only.
"""

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import keras

from asc_tf.files import write_text
from asc_tf.workdir import Workdir


class EnergyReport(keras.callbacks.Callback):
    """Adds what each epoch has taken to `energy.json` in the run folder.

    A resumed run goes on counting; an epoch that was cut off is not in it. Embeddings
    that another run has kept cost this one nothing.

    Args:
        workdir: The run folder.

    Raises:
        ModuleNotFoundError: If codecarbon is not installed.
    """

    def __init__(self, workdir: Workdir) -> None:
        super().__init__()
        from codecarbon import OfflineEmissionsTracker

        self._file = workdir.energy_file
        # The offline one sends nothing away. It asks for a country to tell emissions,
        # of which nothing is taken here: any will do.
        log = logging.getLogger("codecarbon")
        log.addFilter(lambda record: record.levelno >= logging.ERROR)
        self._tracker = OfflineEmissionsTracker(
            country_iso_code="FRA",
            save_to_file=False,
            log_level="error",
            allow_multiple_runs=True,
        )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begin to measure."""
        del logs
        self._begin(f"epoch {epoch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write what this epoch, with its validation, has added."""
        del epoch, logs
        self._add(epochs=1)

    @contextlib.contextmanager
    def counted(self, name: str) -> Iterator[None]:
        """Count what is done within too, if it ends well."""
        self._begin(name)
        yield
        self._add(epochs=0)

    def _begin(self, name: str) -> None:
        self._began = time.monotonic()
        self._tracker.start_task(name)

    def _add(self, epochs: int) -> None:
        used = self._tracker.stop_task()
        spent = {
            "epochs": epochs,
            "seconds": time.monotonic() - self._began,
            "kwh": used.energy_consumed,
            "cpu_kwh": used.cpu_energy,
            "gpu_kwh": used.gpu_energy,
            "ram_kwh": used.ram_energy,
        }
        before = self._before()
        total = {key: before.get(key, 0) + value for key, value in spent.items()}
        found = total | {"cpu": used.cpu_model, "gpu": used.gpu_model}
        write_text(self._file, json.dumps(found, indent=2) + "\n")

    def _before(self) -> dict[str, Any]:
        """What the epochs before have taken."""
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
