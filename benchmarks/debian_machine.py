"""A booted Debian with the service of `asc-edge listen`, for `debian_install.py`."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

SERVICE = "asc-edge-listen"


class State(NamedTuple):
    """Current environment in /opt/asc_tf, and number of the process of the service."""

    environment: str
    process: str


class Machine:
    """Booted Debian.

    Args:
        root: Its folder.
        leader: Process 1 in it, by its number outside.
    """

    def __init__(self, root: Path, leader: int) -> None:
        self.root, self._leader = root, leader

    def run(self, *command: str, folder: str = "/") -> tuple[int, str]:
        """Run a command in it; give its exit code and its output."""
        enter = ["nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc"]
        enter += ["--net", "--pid", f"--wdns={folder}"]
        done = subprocess.run(
            [*enter, *command],
            env={
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL": "C.UTF-8",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    def show(self, name: str) -> str:
        """Read a property of the service."""
        return self.run("systemctl", "show", SERVICE, f"--property={name}", "--value")[
            1
        ].strip()

    def install(self, *arguments: str) -> tuple[int, str]:
        """Run install.sh."""
        return self.run("sh", "install.sh", *arguments, folder="/srv")

    def read_state(self) -> State:
        """Read which environment is the current one, and the process of the service."""
        link = os.readlink(self.root / "opt" / "asc_tf" / "current")
        return State(link, self.show("MainPID"))

    def is_in_new_process(self, process: str) -> bool:
        """Check whether the service runs in another process."""
        is_active = self.show("ActiveState") == "active"
        return is_active and self.show("MainPID") not in (process, "0")

    def read_status(self) -> dict:
        """Read the status file of the service."""
        code, text = self.run("cat", "/run/asc_tf/status.json")
        return {} if code else json.loads(text)


@contextlib.contextmanager
def boot(root: Path) -> Iterator[Machine]:
    """Boot the Debian in a root, and switch it off at the end."""
    log = root.with_name(f"{root.name}.boot.log").open("w")
    command = ["systemd-nspawn", f"--directory={root}", "--boot", "--register=no"]
    command += ["--keep-unit", "--machine=asc-tf-test", "--link-journal=no"]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_until(lambda: children.read_text().split(), 20)
        machine = Machine(root, int(children.read_text().split()[0]))
        is_up = ("running", "degraded")
        wait_until(
            lambda: machine.run("systemctl", "is-system-running")[1].strip() in is_up,
            60,
        )
        yield machine
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def wait_until(condition: Callable[[], object], seconds: float) -> float:
    """Wait for a condition; give the seconds that it took.

    Raises:
        TimeoutError: If it does not come true.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() > began + seconds:
            raise TimeoutError(f"not within {seconds:.0f} s")
        time.sleep(0.25)
    return time.monotonic() - began


class Checks:
    """Table of what was checked."""

    def __init__(self) -> None:
        self.is_good = True
        print("| check | found | as it should be |\n|---|---|---|", flush=True)

    def add(self, name: str, found: object, is_good: bool) -> None:
        """Add a line."""
        self.is_good = self.is_good and is_good
        text = str(found).strip().replace("\n", " ") or "nothing"
        print(f"| {name} | {text[-200:]} | {'yes' if is_good else 'NO'} |", flush=True)

    def wait(self, name: str, condition: Callable[[], object], seconds: float) -> None:
        """Add a line on what has to come true."""
        try:
            self.add(name, f"after {wait_until(condition, seconds):.0f} s", True)
        except TimeoutError as error:
            self.add(name, error, False)
