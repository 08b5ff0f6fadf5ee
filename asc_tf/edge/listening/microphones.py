"""Microphones as ALSA lists them, each time anew, because USB devices come and go.

The sound is recorded by `arecord` in a child process. PortAudio, which sounddevice
uses, lists the devices once for each process, so a microphone that is plugged in later
does not exist for it, and a driver that hangs would hang this process.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asc_tf.core.errors import UserError

ROOT = Path("/")
"""Folder that holds `proc` and `sys`, in which the kernel lists sound cards."""

_CARD = re.compile(r"^\s*(\d+)\s+\[(.{1,16}?)\s*\]:\s*(.*)$")
_CAPTURE = re.compile(r"^(\d+)-(\d+):.*\bcapture\b")


@dataclass(frozen=True)
class Microphone:
    """Sound card that can record.

    Attributes:
        card: Number of the card; it may change when the machine starts again.
        device: Number of the device on the card.
        identifier: Short name of the card, like `Device`; ALSA makes it unique.
        description: Long name of the card.
    """

    card: int
    device: int
    identifier: str
    description: str

    @property
    def alsa_name(self) -> str:
        """Name for ALSA, with its conversion of formats but by the card's own name."""
        return f"plughw:CARD={self.identifier},DEV={self.device}"

    @property
    def model(self) -> tuple[str, str]:
        """Short and long name without their parts that depend on the port.

        ALSA numbers equal cards (`Device_1`); the long name ends with the port.
        """
        base = re.sub(r"_\d+$", "", self.identifier)
        return base, re.sub(r" at (usb|platform|pci)-?\S*.*$", "", self.description)


def list_microphones(root: Path = ROOT) -> list[Microphone]:
    """List the sound cards that can record, in the order of their numbers.

    Returns:
        The first recording device of each card; none where there is no sound system.
    """
    try:
        cards = (root / "proc/asound/cards").read_text(errors="replace").splitlines()
        devices = (root / "proc/asound/pcm").read_text(errors="replace").splitlines()
    except OSError:
        # A hardened service may not see this folder (ProcSubset=pid of systemd).
        return _list_from_sys(root / "sys/class/sound")
    names: dict[int, tuple[str, str]] = {}
    for line, following in zip(cards, [*cards[1:], ""], strict=False):
        if match := _CARD.match(line):
            long_name = following.strip() or match[3].strip()
            names[int(match[1])] = match[2].strip(), long_name
    found: dict[int, Microphone] = {}
    for line in devices:
        if match := _CAPTURE.match(line):
            card = int(match[1])
            if card in names and card not in found:
                found[card] = Microphone(card, int(match[2]), *names[card])
    return [found[card] for card in sorted(found)]


def _list_from_sys(folder: Path) -> list[Microphone]:
    """List the microphones by the kernel's objects, without their long names."""
    found: dict[int, Microphone] = {}
    for path in sorted(folder.glob("pcmC*D*c")):
        match = re.fullmatch(r"pcmC(\d+)D(\d+)c", path.name)
        if not match or int(match[1]) in found:
            continue
        card = folder / f"card{match[1]}"
        try:
            identifier = (card / "id").read_text(errors="replace").strip()
        except OSError:
            continue
        found[int(match[1])] = Microphone(
            int(match[1]), int(match[2]), identifier, _read_product(card) or identifier
        )
    return [found[card] for card in sorted(found)]


def _read_product(card: Path) -> str:
    """Read the name of a USB device, or give an empty string."""
    for file in (card / "device/../product", card / "device/product"):
        try:
            return file.read_text(errors="replace").strip()
        except OSError:
            continue
    return ""


class MicrophoneFinder:
    """Search for one microphone among those that are plugged in now.

    Args:
        wanted: `default` (the first one), the number of a card, or a part of its name.
        root: Folder that holds `proc` and `sys`.
        say: Function that prints a line for a person: which microphone it is.
    """

    def __init__(
        self,
        wanted: str,
        root: Path = ROOT,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._wanted, self._root, self._say = wanted, root, say
        self._known: Microphone | None = None
        self._last: Microphone | None = None

    def find(self) -> str:
        """Find the microphone: its name for ALSA.

        Once found, it is searched by its name: a USB microphone may come back with
        another number, and another card may have taken its number. While it is missing,
        `default` is another one, until that is lost too.

        Raises:
            UserError: If it is not plugged in; the message lists those that are.
        """
        # A name for ALSA itself, like `plughw:1,0` or `alsa:pipewire`.
        if ":" in self._wanted:
            return self._wanted.removeprefix("alsa:")
        microphones = list_microphones(self._root)
        chosen = self._find_known(microphones) or self._find_wanted(microphones)
        if chosen is None:
            shown = ", ".join(f"{m.card} {m.identifier}" for m in microphones)
            is_folder = os.path.isdir(os.path.expanduser(self._wanted))
            hint = "; it is a folder: give one of its files" if is_folder else ""
            raise UserError(
                f"no microphone {self._wanted!r}; plugged in: {shown or 'none'}{hint}"
            )
        self._known = self._known or chosen
        if chosen != self._last:
            self._say(f"microphone: {chosen.identifier} ({chosen.description})")
            self._last = chosen
        return chosen.alsa_name

    def _find_known(self, microphones: Sequence[Microphone]) -> Microphone | None:
        if self._known is None:
            return None
        same = [m for m in microphones if m.identifier == self._known.identifier]
        same += [m for m in microphones if m.model == self._known.model]
        return same[0] if same else None

    def _find_wanted(self, microphones: Sequence[Microphone]) -> Microphone | None:
        wanted = self._wanted.lower()
        if wanted == "default":
            return microphones[0] if microphones else None
        if wanted.isdecimal():
            # Another card with the number of the one that was lost is not the one.
            if self._known is not None:
                return None
            return next((m for m in microphones if m.card == int(wanted)), None)
        exact = [m for m in microphones if m.identifier.lower() == wanted]
        part = [
            m
            for m in microphones
            if wanted in f"{m.identifier} {m.description}".lower()
        ]
        return (exact + part or [None])[0]  # type: ignore[list-item]


def make_recorder_command(name: str, sample_rate: int, channels: int) -> list[str]:
    """Make the command line that records PCM16 to standard output.

    Args:
        name: Name for ALSA.
        sample_rate: Sample rate in Hz.
        channels: Number of channels.
    """
    return [
        *("arecord", "--quiet", "-D", name, "-t", "raw", "-f", "S16_LE"),
        *("-r", str(sample_rate), "-c", str(channels)),
    ]
