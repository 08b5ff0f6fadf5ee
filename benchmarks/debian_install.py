"""export/raspberry_pi in a booted Debian: install, listen, fail, upgrade, uninstall.

    apt install debootstrap systemd-container
    python benchmarks/debian_install.py --model=runs/demo/export/int8.tflite

Needs root, and about 1 GB in `--folder`. It installs Debian for the architecture of
this machine there, boots it by systemd-nspawn, and runs install.sh with the wheel of
this source. Then it looks at the service from outside: systemd's opinion on the unit,
windows that come through a FIFO, a program that is killed or hangs, upgrades that fail,
an upgrade that works, a new model, uninstall.sh. There is no microphone: the first
start waits for one.

Prints a table, and exits with 1 if a line of it is not as it should be.
"""

import json
import os
import shutil
import socket
import sys
import time
import zipfile
from pathlib import Path

import debian_root
import numpy as np
from absl import app, flags
from debian_machine import SERVICE, Checks, Machine, boot, wait_until
from debian_root import (
    MACHINES,
    SOURCE,
    build_wheel,
    check_machine,
    download_wheels,
    make_root,
    resolve,
    say,
)

from asc_tf.dsp.wav_format import pack_wav
from asc_tf.edge import tflite_metadata
from asc_tf.edge.tflite_metadata import read_metadata

flags.adopt_module_key_flags(debian_root)
_MODEL = flags.DEFINE_string("model", None, "a .tflite file", required=True)
_FOLDER = flags.DEFINE_string("folder", "runs/debian_install", "folder of the root")

PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "python3-venv", "alsa-utils")
MAX_EXPOSURE = 2.0
"""Largest value of systemd-analyze security, from 0 (safe) to 10."""

RATE = 44_100

BAD_CODE = b"""
import os
if "NOTIFY_SOCKET" in os.environ:
    raise RuntimeError("this version does not start")
"""
"""Code that ends the program where it runs as a service."""


def prepare(folder: Path) -> tuple[Path, Path]:
    """Make a root with what a maker copies into its /srv.

    Returns:
        The root, and the path of the wheel in it.
    """
    architecture = {v: k for k, v in MACHINES.items()}[os.uname().machine]
    root = make_root(folder, architecture, PACKAGES)
    wheel = build_wheel(root / "srv")
    wheels = download_wheels(architecture, f"{wheel}[mqtt]")
    shutil.copytree(wheels, root / "srv" / "wheels", dirs_exist_ok=True)
    shutil.copy(SOURCE / "export" / "raspberry_pi" / "install.sh", root / "srv")
    shutil.copy(Path(_MODEL.value).expanduser(), root / "srv" / "model.tflite")
    # A wheel that installs and classifies, but does not start as a service.
    (root / "srv" / "bad").mkdir(exist_ok=True)
    with (
        zipfile.ZipFile(wheel) as archive,
        zipfile.ZipFile(root / "srv" / "bad" / wheel.name, "w") as bad,
    ):
        for name in archive.namelist():
            content = archive.read(name)
            if name == "asc_tf/edge/listen.py":
                content += BAD_CODE
            bad.writestr(name, content)
    (root / "srv" / "torn.tflite").write_bytes(
        (root / "srv" / "model.tflite").read_bytes()[:-1000]
    )
    write_other_model(root / "srv" / "model.tflite", root / "srv" / "other.tflite")
    return root, Path("/srv") / wheel.name


def write_other_model(model: Path, other: Path) -> None:
    """Write the model once more, without its first label."""
    with zipfile.ZipFile(model) as archive:
        metadata = json.loads(archive.read("model.json"))
    metadata["labels"][0] += " of another kind"
    shutil.copy(model, other)
    tflite_metadata.write_metadata(other, metadata)


def check_installation(machine: Machine, checks: Checks) -> None:
    """Install, and look at the unit and at the service that waits for a microphone."""
    code, text = machine.install("absent.tflite")
    checks.add("install.sh without a model", text, code == 2)
    code, text = machine.install("torn.tflite", "--wheels=wheels")
    is_clean = not list((machine.root / "opt" / "asc_tf").glob("env*"))
    checks.add("install.sh with a damaged model", text, code == 1 and is_clean)
    began = time.monotonic()
    code, text = machine.install("model.tflite", "--wheels=wheels")
    checks.add("install.sh", f"{time.monotonic() - began:.0f} s", code == 0)
    if code:
        sys.exit(text)
    unit = f"/etc/systemd/system/{SERVICE}.service"
    code, text = machine.run("systemd-analyze", "verify", unit)
    checks.add("systemd-analyze verify", text, code == 0 and not text.strip())
    text = machine.run("systemd-analyze", "security", "--no-pager", SERVICE)[1]
    (machine.root.parent / "security.txt").write_text(text)
    exposure = text.strip().splitlines()[-1].partition("->")[2].strip(" →")
    exposure = exposure or text.strip().splitlines()[-1]
    value = float(exposure.partition(": ")[2].split()[0])
    checks.add("systemd-analyze security", exposure, value <= MAX_EXPOSURE)
    for name, expected in (
        ("ActiveState", "active"),
        ("UnitFileState", "enabled"),
        ("User", "asc_tf"),
        ("WatchdogUSec", "1min"),
    ):
        checks.add(name, machine.show(name), machine.show(name) == expected)
    process = machine.show("MainPID")
    text = (machine.run("cat", f"/proc/{process}/status"))[1]
    rows = dict(line.partition(":\t")[::2] for line in text.splitlines())
    groups = machine.run("id", "asc_tf")[1]
    checks.add("groups of the user", groups, "(audio)" in groups)
    checks.add("capabilities", rows["CapBnd"], int(rows["CapBnd"], 16) == 0)
    facts = f"NoNewPrivs {rows['NoNewPrivs']}, Seccomp {rows['Seccomp']}"
    checks.add("privileges", facts, facts == "NoNewPrivs 1, Seccomp 2")
    checks.add("resident memory", rows["VmRSS"], int(rows["VmRSS"].split()[0]) < 150e3)
    wait_until(lambda: machine.read_status().get("alarms"), 20)
    status = machine.read_status()
    is_waiting = status["state"] == "waiting" and "no microphone" in str(status)
    checks.add("no microphone", status["alarms"].get("source"), is_waiting)


def check_listening(machine: Machine, checks: Checks) -> None:
    """Let the service listen to a FIFO, and kill and stop it."""
    state = machine.root / "var" / "lib" / "asc_tf"
    machine.run("runuser", "-u", "asc_tf", "--", "mkfifo", "/var/lib/asc_tf/fifo")
    file = machine.root / "etc" / "asc_tf" / "listen.flags"
    text = file.read_text().replace("=default", "=/var/lib/asc_tf/fifo")
    file.write_text(f"{text}\n--hop_seconds=1\n")
    code, text = machine.run("systemctl", "restart", SERVICE)
    checks.add("restart with changed flags", text or "restarted", code == 0)
    audio = machine.root / "srv" / "audio.wav"
    noise = np.random.default_rng(0).normal(0, 3000, 60 * RATE).astype("<i2")
    audio.write_bytes(pack_wav(noise.tobytes(), RATE, 1, False))
    feed(audio, state / "fifo")
    checks.wait("windows of 60 s arrive", lambda: count_rows(state) >= 50, 60)
    wait_until(lambda: machine.read_status()["windows"] >= 50, 20)
    status = machine.read_status()
    checks.add("status", machine.show("StatusText"), status["alarms"] == {})
    checks.add("windows", status["windows"], status["windows"] == count_rows(state))
    memory = f"{machine.show('MemoryCurrent')} of {machine.show('MemoryMax')} bytes"
    checks.add("memory of the service", memory, memory.endswith(f"{384 * 2**20} bytes"))
    rows = count_rows(state)
    process = machine.show("MainPID")
    machine.run("systemctl", "kill", "--signal=KILL", SERVICE)
    checks.wait("killed: it runs again", lambda: machine.is_in_new_process(process), 30)
    feed(audio, state / "fifo")
    checks.wait("and classifies again", lambda: count_rows(state) >= 2 * rows, 60)
    process = machine.show("MainPID")
    time.sleep(70)
    is_same = machine.show("MainPID") == process
    checks.add("70 s without sound", f"process {process}", is_same)
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", SERVICE)
    checks.wait(
        "stopped: the watchdog", lambda: machine.is_in_new_process(process), 100
    )


def check_programs_and_network(machine: Machine, checks: Checks) -> None:
    """Look whether the service may start arecord and reach a broker and /sys."""
    file = machine.root / "etc" / "asc_tf" / "listen.flags"
    before = file.read_text()
    with socket.create_server(("127.0.0.1", 0)) as broker:
        broker.settimeout(30)
        address = f"--mqtt=127.0.0.1:{broker.getsockname()[1]}"
        file.write_text(f"{before}\n--source=plughw:9,0\n{address}\n")
        machine.run("systemctl", "restart", SERVICE)
        with broker.accept()[0] as connection:
            connection.settimeout(30)
            first = connection.recv(100)
    checks.add("a broker", f"bytes {first[:8].hex()}", first[0] == 0x10)
    wait_until(lambda: "arecord" in str(machine.read_status().get("alarms")), 30)
    alarm = machine.read_status()["alarms"]["source"]
    checks.add("arecord", alarm, "arecord ended with 1" in alarm)
    process = machine.show("MainPID")
    sandbox = (*("nsenter", f"--target={process}", "--mount"), "ls")
    for name in ("/sys/class/thermal", "/proc/cpuinfo"):
        code, text = machine.run(*sandbox, "-d", name)
        checks.add(f"{name} in the sandbox", text, code == 0)
    code, text = machine.run(*sandbox[:-1], "touch", "/etc/asc_tf/x", "/opt/asc_tf/x")
    checks.add("writing elsewhere", text, text.count("Read-only file system") == 2)
    file.write_text(before)
    machine.run("systemctl", "restart", SERVICE)


def feed(audio: Path, fifo: Path) -> None:
    """Write a file to a FIFO of the service."""
    with fifo.open("wb") as stream:
        stream.write(audio.read_bytes())


def count_rows(state: Path) -> int:
    """Count the windows in the tables."""
    files = (state / "tables").glob("listen_*.csv")
    return sum(len(file.read_text().splitlines()) - 1 for file in files)


def check_upgrades(machine: Machine, checks: Checks, wheel: Path) -> None:
    """Run upgrades that fail and that work."""
    root = machine.root
    before = machine.read_state()
    flags_before = (root / "etc/asc_tf/listen.flags").read_text()
    # On purpose no wheel: pip refuses it.
    (root / "srv" / "bad" / "asc_tf-9-py3-none-any.whl").write_bytes(b"no wheel")
    code, text = machine.install(
        "--package=bad/asc_tf-9-py3-none-any.whl", "--wheels=wheels"
    )
    is_same = machine.read_state() == before
    checks.add("upgrade by a damaged wheel", text, code == 1 and is_same)
    code, text = machine.install("torn.tflite", "--wheels=wheels")
    is_same = machine.read_state() == before
    checks.add("upgrade by a damaged model", text, code == 1 and is_same)
    code, text = machine.install(f"--package=bad/{wheel.name}", "--wheels=wheels")
    state = machine.read_state()
    is_back = state.environment == before.environment
    is_back = is_back and machine.is_in_new_process(before.process)
    checks.add("upgrade that does not start", text, code == 1 and is_back)
    code, text = machine.install("--wheels=wheels")
    is_upgraded = machine.read_state().environment != before.environment
    is_upgraded = is_upgraded and machine.is_in_new_process(state.process)
    checks.add("upgrade", text.splitlines()[0], code == 0 and is_upgraded)
    is_kept = (root / "etc/asc_tf/listen.flags").read_text() == flags_before
    checks.add("the flags after it", "kept" if is_kept else "changed", is_kept)
    environment = machine.read_state().environment
    code, text = machine.run(
        *("sh", "/opt/asc_tf/install.sh", "/srv/model.tflite"), folder="/tmp"
    )
    is_same = machine.read_state().environment == environment
    is_same = is_same and machine.show("ActiveState") == "active"
    checks.add("a new model alone", text.splitlines()[0], code == 0 and is_same)
    left = sorted(path.name for path in (root / "opt" / "asc_tf").glob("env*"))
    checks.add("environments that are left", len(left), len(left) <= 2)


def check_refused_model(machine: Machine, checks: Checks) -> None:
    """Install a model that runs, but lacks a label that the flags name."""
    root, label = (
        machine.root,
        read_metadata(machine.root / "srv/model.tflite").labels[0],
    )
    file = root / "etc" / "asc_tf" / "listen.flags"
    before = file.read_text()
    file.write_text(f"{before}\n--private={label}\n")
    machine.run("systemctl", "restart", SERVICE)
    code, text = machine.run(
        *("sh", "/opt/asc_tf/install.sh", "/srv/other.tflite"), folder="/tmp"
    )
    is_same = read_metadata(root / "etc/asc_tf/model.tflite").labels[0] == label
    is_good = code == 1 and is_same and machine.show("ActiveState") == "active"
    checks.add("a model that the flags refuse", text, is_good)
    file.write_text(before)


def check_disabled(machine: Machine, checks: Checks) -> None:
    """Upgrade a service that was switched off: it stays so."""
    environment = machine.read_state().environment
    machine.run("systemctl", "disable", "--now", SERVICE)
    code, _ = machine.install("model.tflite", "--wheels=wheels")
    state = f"{machine.show('UnitFileState')}, {machine.show('ActiveState')}"
    is_upgraded = code == 0 and machine.read_state().environment != environment
    is_good = is_upgraded and state == "disabled, inactive"
    checks.add("upgrade of a disabled service", state, is_good)


def check_removal(machine: Machine, checks: Checks) -> None:
    """Uninstall, and uninstall everything."""
    root, uninstall = machine.root, ("sh", "/srv/uninstall.sh")
    shutil.copy(root / "opt" / "asc_tf" / "uninstall.sh", root / "srv")
    rows = count_rows(root / "var" / "lib" / "asc_tf")
    code, text = machine.run(*uninstall)
    is_gone = not (root / "opt" / "asc_tf").exists() and machine.show("MainPID") == "0"
    checks.add("uninstall.sh", text, code == 0 and is_gone)
    kept = count_rows(root / "var" / "lib" / "asc_tf")
    checks.add("rows of the tables after it", kept, kept == rows > 0)
    code, text = machine.run(*uninstall, "--purge")
    places = ("opt/asc_tf", "etc/asc_tf", "var/lib/asc_tf")
    places += ("usr/local/bin/asc-edge", f"etc/systemd/system/{SERVICE}.service")
    left = [name for name in places if os.path.lexists(root / name)]
    is_clean = code == 0 and not left and machine.run("id", "asc_tf")[0] == 1
    is_clean = is_clean and machine.run("getent", "group", "asc_tf")[0] == 2
    checks.add("uninstall.sh --purge", text, is_clean)


def main(_: list[str]) -> int:
    check_machine(
        {
            "debootstrap": "debootstrap",
            "systemd-nspawn": "systemd-container",
            "nsenter": "util-linux",
        }
    )
    root, wheel = prepare(resolve(_FOLDER.value))
    say("booting ...")
    with boot(root) as machine:
        if (root / "opt" / "asc_tf").exists():  # of a run that was interrupted
            script = SOURCE / "export" / "raspberry_pi" / "uninstall.sh"
            shutil.copy(script, root / "srv")
            machine.run("sh", "/srv/uninstall.sh", "--purge")
        checks = Checks()
        check_installation(machine, checks)
        check_listening(machine, checks)
        check_programs_and_network(machine, checks)
        check_upgrades(machine, checks, wheel)
        check_disabled(machine, checks)
        check_refused_model(machine, checks)
        # userdel alone keeps a group that has other members.
        machine.run("usermod", "--append", "--groups", "asc_tf", "nobody")
        check_removal(machine, checks)
    return int(not checks.is_good)


if __name__ == "__main__":
    app.run(main)
