"""Electrical energy and CO2 of a training, measured for each epoch with codecarbon.

The embeddings of a frozen backbone, which are computed before the first epoch, are
measured too. codecarbon reads the counters of processors and GPUs if it has access;
otherwise it estimates from the model and load of the processor, so compare figures of
one machine only. The CO2 is the energy times the emissions per kWh of electricity in a
country, from the tables of codecarbon, or in the world if no country is configured.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

import keras

from asc_tf.core.errors import UsageError
from asc_tf.core.files import write_json
from asc_tf.workdir import Workdir

WORLD = "world average"


def look_up_emissions(country: str) -> float:
    """Look up the CO2 equivalent of a kWh of electricity in kg.

    Args:
        country: ISO 3166-1 code of three letters; empty for the world's average.

    Raises:
        UsageError: If the tables do not have the country.
        ModuleNotFoundError: If codecarbon is not installed.
    """
    from codecarbon.core.emissions import Emissions
    from codecarbon.core.units import Energy
    from codecarbon.external.geography import GeoMetadata
    from codecarbon.input import DataSource

    source = DataSource()
    if not country:
        average = source.get_carbon_intensity_per_source_data()["world_average"]
        return float(average) / 1000
    if country not in source.get_global_energy_mix_data():
        raise UsageError(
            f"train.energy_country = {country}: codecarbon does not know this country; "
            "use a code of three letters like DEU or FRA, or leave it empty for the "
            "world's average"
        )
    place = GeoMetadata(country_iso_code=country)
    one = Energy.from_energy(kWh=1.0)
    return float(Emissions(source).get_country_emissions(one, place))


class EnergyReport(keras.callbacks.Callback):
    """Callback that adds the energy of each epoch to `energy.json` in the run folder.

    A resumed run continues the sum; an interrupted epoch is not in it. Embeddings that
    another run has computed cost this one nothing.

    Args:
        workdir: Run folder.
        country: Country code, as for `look_up_emissions`.

    Raises:
        UsageError: If codecarbon does not know the country.
        ModuleNotFoundError: If codecarbon is not installed.
    """

    def __init__(self, workdir: Workdir, country: str = "") -> None:
        super().__init__()
        from codecarbon import OfflineEmissionsTracker

        self._workdir = workdir
        self._country = country or WORLD
        self._emissions_per_kwh = look_up_emissions(country)
        # The offline tracker sends no data. It requires a country for its emissions,
        # which are not used here because they do not include earlier sessions.
        log = logging.getLogger("codecarbon")
        log.addFilter(lambda record: record.levelno >= logging.ERROR)
        self._tracker = OfflineEmissionsTracker(
            country_iso_code="FRA",
            save_to_file=False,
            log_level="error",
            allow_multiple_runs=True,
        )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start to measure."""
        self._begin(f"epoch {epoch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the energy of the epoch, with its validation, to the file."""
        self._add(epochs=1)

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measure a block before the epochs; an exception in it discards the result."""
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
        before = self._workdir.energy()
        total = {key: before.get(key, 0) + value for key, value in spent.items()}
        content = total | {
            "co2_kg": total["kwh"] * self._emissions_per_kwh,
            "co2_kg_per_kwh": self._emissions_per_kwh,
            "country": self._country,
            "cpu": used.cpu_model,
            "gpu": used.gpu_model,
        }
        write_json(self._workdir.energy_file, content)
