"""Facts about the machine, as the kernel and the firmware tell them.

Each function gives None where the machine does not tell: containers and virtual
machines mostly have neither sensors nor counters of energy.
"""

import contextlib
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asc_tf.core.memory import find_memory_limit
from asc_tf.core.version import __version__

ROOT = Path("/")

MAX_SAMPLE_SECONDS = 60.0
"""Longest time between two readings of a counter of energy."""

THROTTLING = {
    0: "under-voltage now",
    1: "frequency capped now",
    2: "throttled now",
    3: "soft temperature limit now",
    16: "under-voltage since the start",
    17: "frequency capped since the start",
    18: "throttled since the start",
    19: "soft temperature limit since the start",
}
"""Bits of `vcgencmd get_throttled` (Raspberry Pi documentation, "vcgencmd")."""

_CPU_SENSORS = ("cpu", "x86_pkg", "soc", "coretemp", "k10temp", "zenpower")


def describe_machine(root: Path = ROOT) -> dict[str, Any]:
    """Describe the machine and the versions of what runs on it."""
    # It takes as long as all other modules together, and few need it.
    from importlib import metadata

    packages = {}
    for name in ("numpy", "ai-edge-litert", "paho-mqtt"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {
        "machine": read_model(root),
        "architecture": platform.machine(),
        "cpus": os.cpu_count(),
        "machine_memory_mb": round(find_memory_limit(root) / 1e6),
        "system": platform.platform(),
        "python": platform.python_version(),
        "asc_tf": __version__,
        **packages,
        "temperature_celsius": read_temperature(root),
        "frequency_mhz": read_frequency(root),
        "throttling": read_throttling(root),
    }


def read_model(root: Path = ROOT) -> str | None:
    """Read the name of the board, or else of the processor."""
    if board := _read_text(root / "proc/device-tree/model"):
        return board.rstrip("\0")
    for line in (_read_text(root / "proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return None


def read_temperature(root: Path = ROOT) -> float | None:
    """Read the temperature of the processor in degrees Celsius."""
    zones = sorted(root.glob("sys/class/thermal/thermal_zone*/type"))
    zones += sorted(root.glob("sys/class/hwmon/hwmon*/name"))
    for file in zones:
        kind = (_read_text(file) or "").lower()
        if not any(name in kind for name in _CPU_SENSORS):
            continue
        name = "temp" if file.name == "type" else "temp1_input"
        value = _read_integer(file.with_name(name))
        if value is not None:
            return value / 1000
    return None


def read_frequency(root: Path = ROOT) -> float | None:
    """Read the present frequency of the fastest processor in MHz."""
    files = root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    values = [value for file in files if (value := _read_integer(file)) is not None]
    return max(values) / 1000 if values else None


def read_throttling(root: Path = ROOT) -> list[str] | None:
    """Read whether the processor is or was slowed down; an empty list if not."""
    text = _read_text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    if text is None:
        text = _ask_firmware()
    if text is not None:
        with contextlib.suppress(ValueError):
            bits = int(text.rpartition("=")[2], 16)
            return [name for bit, name in THROTTLING.items() if bits >> bit & 1]
    files = root.glob("sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count")
    counts = [value for file in files if (value := _read_integer(file)) is not None]
    if not counts:
        return None
    return [f"throttled {max(counts)} times since the start"] if any(counts) else []


class EnergyMeter:
    """Meter of the energy of the processor or the board, from now on.

    Intel's and AMD's counters (RAPL) tell the energy of the packages. They begin again
    at 0 after some minutes of full load, so they have to be read at least once a
    minute. Where there are none, sensors of power (hwmon) are read at each `sample`,
    and averaged.

    Args:
        root: Folder that holds `sys`.
        read_clock: Function that reads a clock in seconds.
    """

    def __init__(
        self, root: Path = ROOT, read_clock: Callable[[], float] = time.monotonic
    ) -> None:
        folders = sorted(root.glob("sys/class/powercap/*-rapl:[0-9]"))
        self._counters = {
            folder: value
            for folder in folders
            if (value := _read_integer(folder / "energy_uj")) is not None
        }
        self._read_clock, self._last = read_clock, read_clock()
        self._microjoules: int | None = 0 if self._counters else None
        self._sensors = sorted(root.glob("sys/class/hwmon/hwmon*/power1_input"))
        self._watts, self._samples = 0.0, 0
        self.sample()

    def sample(self) -> None:
        """Read the counters and the sensors of power."""
        now = self._read_clock()
        if now - self._last > MAX_SAMPLE_SECONDS:
            # Nobody knows how often a counter began again.
            self._microjoules = None
        self._last = now
        for folder, before in self._counters.items():
            value = _read_integer(folder / "energy_uj")
            if value is None:
                self._microjoules = None
            if value is None or self._microjoules is None:
                continue
            self._counters[folder] = value
            self._microjoules += value - before
            if value < before:
                size = _read_integer(folder / "max_energy_range_uj") or 0
                self._microjoules += size
        values = [_read_integer(file) for file in self._sensors]
        watts = [value / 1e6 for value in values if value is not None]
        if watts:
            self._watts += sum(watts)
            self._samples += 1

    def read_joules(self, seconds: float) -> float | None:
        """Compute the energy since the meter was made.

        Args:
            seconds: Time since then in seconds.

        Returns:
            Energy in joules, of everything that the processor did; None if it is not
            known, also because counters were not read for more than a minute.
        """
        self.sample()
        if self._counters:
            return None if self._microjoules is None else self._microjoules / 1e6
        return seconds * self._watts / self._samples if self._samples else None


def read_memory(
    name: str = "VmHWM", root: Path = ROOT, process: int | str = "self"
) -> float | None:
    """Read the memory of a process in MB.

    Args:
        name: `VmHWM` for the largest so far, `VmRSS` for the present one, `VmSize` for
            what is reserved.
        root: Folder that holds `proc`.
        process: Its number; by default this process.

    Returns:
        The memory, or None if the process has ended.
    """
    for line in (_read_text(root / f"proc/{process}/status") or "").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def _ask_firmware() -> str | None:
    """Ask the firmware of a Raspberry Pi: `throttled=0x0`."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=5
        )
        if done.returncode == 0 and "=" in done.stdout:
            return done.stdout.strip()
    return None


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def _read_integer(path: Path) -> int | None:
    text = _read_text(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
