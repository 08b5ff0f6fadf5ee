"""URLs as ffmpeg reads them: live streams, which have no end, and recordings."""

import re

from asc_tf.edge.listening.connections import ChildConnection

INSTALL = "install it with sudo apt install ffmpeg"

_LEVEL = re.compile(rb"\[(info|verbose|debug|warning|error|fatal|panic)\] ")
_DURATION = re.compile(rb"^\s*Duration: \d+:\d+:\d+")
_CUT = re.compile(rb"prematurely|Error during demuxing|Input/output error", re.I)


class FfmpegConnection(ChildConnection):
    """Connection to a URL.

    A recording is known by its duration, which ffmpeg writes before its first sample;
    a live stream has none (`Duration: N/A`).

    Raises:
        UserError: If ffmpeg is missing or cannot be started.
    """

    def __init__(self, url: str) -> None:
        self._rest = b""
        self._has_duration = self._is_cut = False
        super().__init__(make_ffmpeg_command(url), INSTALL)

    @property
    def is_recording(self) -> bool:
        """Implement `Connection.is_recording`."""
        self._read_messages()
        return self._has_duration

    def is_complete(self) -> bool:
        """Implement `Connection.is_complete`."""
        return super().is_complete() and not self._is_cut

    def _take_messages(self, text: bytes) -> None:
        """Keep the errors of ffmpeg, and find the duration among its other lines."""
        *lines, self._rest = (self._rest + text).split(b"\n")
        for line in lines:
            level = _LEVEL.search(line)
            if level is None or level[1] in (b"error", b"fatal", b"panic"):
                message = line[level.end() :] if level else line
                self._is_cut = self._is_cut or bool(_CUT.search(message))
                super()._take_messages(message + b"\n")
            elif _DURATION.match(line[level.end() :]):
                self._has_duration = True
        # A program that never ends a line must not fill the memory.
        self._rest = self._rest[-2000:]


def make_ffmpeg_command(url: str) -> list[str]:
    """Make the command line that writes the sound of a URL as WAV to standard output.

    The sample rate stays that of the source, because our resampler is the one that the
    model was trained with. Each message begins with its level.
    """
    # Without TCP a camera sends UDP, of which routers lose packets.
    transport = ["-rtsp_transport", "tcp"] if url.lower().startswith("rtsp") else []
    return [
        *("ffmpeg", "-nostdin", "-hide_banner", "-nostats"),
        *("-loglevel", "level+info", *transport),
        *("-i", url, "-vn", "-c:a", "pcm_s16le", "-f", "wav", "-"),
    ]
