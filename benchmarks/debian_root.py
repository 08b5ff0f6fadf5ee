"""Debian in a folder, also for another architecture: root, emulation, wheels, commands.

Needs root, and `apt install debootstrap qemu-user-static`. Everything is fetched by
debootstrap and by the pip of this Python, outside of the folder and with the settings
of this machine; inside of it nothing is fetched.
"""

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from absl import flags

SOURCE = Path(__file__).resolve().parents[1]

SUITES = {"bookworm": ("3.11", 36), "trixie": ("3.13", 41)}
"""Python and the minor number of glibc 2, by suite."""

MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}
"""Names of the architectures in Linux and in wheels, by Debian's names."""

NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
"""Begin of a command whose mounts and processes end with it, however it ends."""

FEATURES = {
    "cortex-a72": ("0xd08", "fp asimd evtstrm crc32 cpuid"),
    "cortex-a76": (
        "0xd0b",
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid "
        "asimdrdm lrcpc dcpop asimddp",
    ),
}
"""Part and features in /proc/cpuinfo of a Raspberry Pi 4 and 5, by which LiteRT chooses
its kernels."""

BINFMT_ENTRY = "asc_tf_aarch64_"
_MAGIC = (
    r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
    r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
)
"""Begin of a 64-bit ARM program, and the bits of it that count (binfmt of QEMU)."""


_CACHE = flags.DEFINE_string(
    "cache", "~/.cache/asc_tf/debian", "folder of what was downloaded"
)
SUITE = flags.DEFINE_enum("suite", "bookworm", list(SUITES), "suite of Debian")
_MIRROR = flags.DEFINE_string("mirror", "", "URL of a mirror of Debian")


def resolve(folder: str) -> Path:
    """Resolve a folder of the command line to an absolute path."""
    return Path(folder).expanduser().absolute()


def say(text: str) -> None:
    """Print what is done now on stderr."""
    print(text, file=sys.stderr, flush=True)


def check_machine(tools: Mapping[str, str]) -> None:
    """Check that this process is root on Linux and has the tools.

    From now on SIGTERM ends it as Ctrl-C does, so that mounts do not outlive it.

    Args:
        tools: Debian packages by the programs that they contain.
    """
    if platform.system() != "Linux" or os.geteuid() != 0:
        sys.exit("this needs Linux, and root for chroot: run it as root")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    missing = [package for tool, package in tools.items() if not shutil.which(tool)]
    if missing:
        sys.exit(f"install the missing programs: apt install {' '.join(missing)}")


@contextlib.contextmanager
def emulate(architecture: str) -> Iterator[None]:
    """Let the kernel run programs of an architecture, by QEMU if it is another one.

    An entry that the machine has is used. Otherwise one is added, and removed at the
    end; binfmt_misc is mounted in a temporary folder for that.
    """
    if platform.machine() == MACHINES[architecture] or _has_emulator():
        yield
        return
    if architecture != "arm64":
        sys.exit(f"{architecture} is not emulated, only arm64 is")
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "binfmt_misc", "binfmt_misc", folder]
        if subprocess.run(mount).returncode:
            sys.exit("binfmt_misc cannot be mounted; use a machine or VM of your own")
        entry = Path(folder) / f"{BINFMT_ENTRY}{os.getpid()}"
        try:
            for left in Path(folder).glob(f"{BINFMT_ENTRY}*"):
                # A run that was killed left it; others may go on beside this one.
                if not Path(f"/proc/{left.name.removeprefix(BINFMT_ENTRY)}").exists():
                    left.write_text("-1")
            emulator = shutil.which("qemu-aarch64-static")
            # F: the kernel opens QEMU now, and needs no copy of it in the root.
            line = f":{entry.name}:M::{_MAGIC[0]}:{_MAGIC[1]}:{emulator}:OF"
            (Path(folder) / "register").write_text(line)
            try:
                yield
            finally:
                entry.write_text("-1")
        finally:
            subprocess.run(["umount", folder], check=True)


def _has_emulator() -> bool:
    entry = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
    text = entry.read_text() if entry.exists() else ""
    flags = next((line for line in text.splitlines() if line.startswith("flags:")), "")
    return text.startswith("enabled") and "F" in flags.removeprefix("flags:")


def make_root(folder: Path, architecture: str, packages: Sequence[str]) -> Path:
    """Install Debian below a folder, unless it is there already.

    Args:
        folder: The folder.
        architecture: Architecture, a key of `MACHINES`.
        packages: Packages beyond those of a minimal system.

    Returns:
        The root of that Debian.
    """
    suite = SUITE.value
    root = folder / f"{suite}_{architecture}"
    if root.exists():
        say(f"{root}: is there")
        return root
    partial = root.with_name(f"{root.name}.partial")
    if f" {partial.absolute()}/" in Path("/proc/mounts").read_text():
        sys.exit(f"{partial}: something is mounted in it; unmount that first")
    if partial.exists():
        shutil.rmtree(partial)
    folder.mkdir(parents=True, exist_ok=True)
    packages_folder = resolve(_CACHE.value) / "packages"
    packages_folder.mkdir(parents=True, exist_ok=True)
    say(f"{root}: installing Debian {suite} for {architecture} ...")
    log = root.with_name(f"{root.name}.log")
    command = [*NAMESPACES, "debootstrap", "--variant=minbase"]
    command.append(f"--arch={architecture}")
    command += [f"--cache-dir={packages_folder}", f"--include={','.join(packages)}"]
    command += [suite, str(partial), *filter(None, [_MIRROR.value])]
    with log.open("w") as stream:
        done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT)
    if done.returncode:
        lines = log.read_text(errors="replace").splitlines()
        sys.exit(f"debootstrap failed; {log} has more:\n" + "\n".join(lines[-5:]))
    partial.rename(root)
    return root


def write_cpuinfo(root: Path, cpu: str) -> None:
    """Write the /proc/cpuinfo of a processor."""
    part, features = FEATURES[cpu]
    lines = []
    for number in range(os.cpu_count() or 1):
        lines += [
            f"processor\t: {number}",
            f"Features\t: {features}",
            "CPU implementer\t: 0x41",
            "CPU architecture: 8",
            "CPU variant\t: 0x0",
            f"CPU part\t: {part}",
            "CPU revision\t: 3\n",
        ]
    (root / "srv" / "cpuinfo").write_text("\n".join(lines))


def run_in_root(
    root: Path,
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    **options,
) -> subprocess.CompletedProcess:
    """Run a command in a root, with /proc and /sys that end with the command.

    Args:
        root: The root. If it has a file `srv/cpuinfo`, that is its /proc/cpuinfo: QEMU
            shows the one of this machine, by which LiteRT would not find its processor.
        command: Program and its arguments.
        environment: Environment variables beyond PATH, HOME and LC_ALL.
        **options: Options of `subprocess.run`.
    """
    script = (
        'mount -t proc proc "$0/proc" && mount -t sysfs -o ro sysfs "$0/sys" || exit; '
        'if [ -e "$0/srv/cpuinfo" ]; then '
        'mount --bind "$0/srv/cpuinfo" "$0/proc/cpuinfo" || exit; fi; '
        # Without exec: some programs behave differently as process 1.
        'chroot "$0" "$@"; exit $?'
    )
    variables = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        **(environment or {}),
    }
    return subprocess.run(
        [*NAMESPACES, "sh", "-c", script, str(root.absolute()), *command],
        env=variables,
        **options,
    )


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this source; the same source gives the same bytes."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "source"
        copy.mkdir()
        for name in ("LICENSE", "README.md", "setup.cfg", "pyproject.toml"):
            shutil.copy(SOURCE / name, copy)
        for name in ("asc_tf", "configs", "export"):
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(SOURCE / name, copy / name, ignore=ignored)
        run_pip(
            ["wheel", "--no-deps", f"--wheel-dir={place}", str(copy)],
            {"SOURCE_DATE_EPOCH": "1700000000"},
        )
        (built,) = Path(place).glob("*.whl")
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(built, folder))


def download_wheels(architecture: str, wheel: str, others: Sequence[str] = ()) -> Path:
    """Download wheels for the Python of the suite.

    Those that were downloaded before are not fetched again.

    Args:
        architecture: Architecture, a key of `MACHINES`.
        wheel: The wheel of this source, perhaps with extras.
        others: Other packages.

    Returns:
        Folder of what they need; the wheel of this source is not there.
    """
    folder = resolve(_CACHE.value) / f"wheels_{SUITE.value}_{architecture}"
    python, glibc = SUITES[SUITE.value]
    machine = MACHINES[architecture]
    platforms = [f"--platform=manylinux_2_{n}_{machine}" for n in range(glibc, 16, -1)]
    platforms.append(f"--platform=manylinux2014_{machine}")
    say(f"{folder}: wheels for Python {python} on {machine} ...")
    run_pip(
        [
            *("download", "--only-binary=:all:", f"--dest={folder}"),
            *(f"--find-links={folder}", f"--python-version={python}", *platforms),
            *(wheel, *others),
        ]
    )
    for own in folder.glob("asc_tf-*.whl"):
        own.unlink()
    return folder


def run_pip(arguments: Sequence[str], environment: Mapping[str, str] | None = None):
    """Run the pip of this Python; its messages are shown if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(f"pip {arguments[0]} failed:\n{done.stdout[-2000:]}")
