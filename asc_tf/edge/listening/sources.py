"""Sources of audio, by their name on the command line."""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from asc_tf.core.errors import UsageError
from asc_tf.dsp.wav_reader import Format
from asc_tf.edge.listening.connections import (
    ChildConnection,
    Connection,
    FifoOpener,
    hide_secrets,
)
from asc_tf.edge.listening.ffmpeg import FfmpegConnection
from asc_tf.edge.listening.microphones import (
    ROOT,
    MicrophoneFinder,
    make_recorder_command,
)

MICROPHONE_RATE = 48_000
"""Sample rate in Hz of a microphone, which nearly every one has: ALSA's own conversion
of other rates is poor."""

PASSWORD_VARIABLE = "ASC_TF_SOURCE_PASSWORD"

INSTALL_ARECORD = "install it with sudo apt install alsa-utils"


@dataclass(frozen=True)
class Source:
    """Source of audio.

    Attributes:
        name: Name for messages, without passwords.
        kind: `microphone`, `url`, `fifo`, `stdin` or `file`.
        raw: Format of its samples where it has no WAV header, or None.
        open: Function that opens it; it raises UserError if that fails.
    """

    name: str
    kind: str
    raw: Format | None
    open: Callable[[], Connection]

    @property
    def is_reopened(self) -> bool:
        """True if it is opened again when it ends, unless it is a recording."""
        return self.kind in ("microphone", "url", "fifo")

    @property
    def may_drop(self) -> bool:
        """True if audio is dropped when the analysis is late.

        A web server may send a whole file at once; the others send the present only.
        """
        is_web = self.name.lower().startswith(("http:", "https:"))
        return self.kind in ("microphone", "url") and not is_web

    @property
    def is_live(self) -> bool:
        """True if time in it is the time of day."""
        return self.kind != "file"


def make_source(
    name: str,
    sample_rate: int | None,
    channels: int | None,
    root: Path = ROOT,
    say: Callable[[str], None] = lambda text: None,
) -> Source:
    """Make the source that `--source` names.

    Args:
        name: `default`, the number or a part of the name of a microphone, `-`, the path
            of a file or FIFO, or a URL.
        sample_rate: Sample rate in Hz of raw PCM, or of a microphone; None: WAV only,
            and 48,000 for microphones.
        channels: Channels of raw PCM, or of a microphone; None: 1.
        root: Folder that holds `proc` and `sys`.
        say: Function that prints a line for a person.

    Raises:
        UsageError: If there is no such file, it is a folder, or a number changes
            nothing.
    """
    raw = Format(channels or 1, sample_rate, 2, False) if sample_rate else None
    if channels and not sample_rate and _needs_rate(name):
        raise UsageError("--channels: give --sample_rate too; WAV has its own channels")
    if name == "-":
        return Source("standard input", "stdin", raw, lambda: Connection(0))
    if name.startswith("file://"):
        path = name.removeprefix("file://")
        return make_source(path, sample_rate, channels, root, say)
    if "://" in name:
        if sample_rate or channels:
            raise UsageError("--sample_rate, --channels: a URL has its own; omit them")
        shown = hide_secrets(name)
        return Source(shown, "url", None, lambda: FfmpegConnection(add_password(name)))
    if _is_path(name):
        return _make_file(Path(os.path.expanduser(name)), raw)
    form = Format(channels or 1, sample_rate or MICROPHONE_RATE, 2, False)
    finder = MicrophoneFinder(name, root, say)

    def open_microphone() -> Connection:
        command = make_recorder_command(finder.find(), form.sample_rate, form.channels)
        return ChildConnection(command, INSTALL_ARECORD)

    return Source(f"microphone {name}", "microphone", form, open_microphone)


def _needs_rate(name: str) -> bool:
    """Check whether raw samples of a source need a sample rate to be known."""
    return name == "-" or ("://" not in name and _is_path(name))


def _is_path(name: str) -> bool:
    """Check whether a name is that of a file or FIFO, and not of a microphone."""
    path = Path(os.path.expanduser(name))
    if os.sep in name or path.suffix.lower() in (".wav", ".wave"):
        return True
    # A file or folder may have the name of a microphone by chance.
    is_file = path.exists() and not path.is_dir()
    return is_file and name != "default" and not name.isdecimal()


def add_password(url: str, environment: Mapping[str, str] = os.environ) -> str:
    """Add the password of `ASC_TF_SOURCE_PASSWORD` to a URL that has a user only."""
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    password = environment.get(PASSWORD_VARIABLE, "")
    if not password or not at or ":" in user:
        return url
    return f"{scheme}://{user}:{quote(password, safe='')}@{host}{slash}{path}"


def _make_file(path: Path, raw: Format | None) -> Source:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise UsageError(
            f"--source={path}: no such file; asc-edge devices lists the microphones"
        ) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"--source={path}: {error}") from error
    if stat.S_ISDIR(mode):
        raise UsageError(
            f"--source={path}: a folder; give a file, or classify it with asc-edge "
            "classify --segments"
        )
    if stat.S_ISFIFO(mode):
        return Source(str(path), "fifo", raw, FifoOpener(path))
    return Source(
        str(path), "file", raw, lambda: Connection(os.open(path, os.O_RDONLY))
    )
