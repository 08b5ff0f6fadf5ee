"""Sources: names, microphones, child processes, FIFOs."""

import os
import stat
import sys
import time

import numpy as np
import pytest

from asc_tf.core.errors import UsageError, UserError
from asc_tf.edge.listening.connections import MissingProgramError
from asc_tf.edge.listening.ffmpeg import make_ffmpeg_command
from asc_tf.edge.listening.microphones import MicrophoneFinder, list_microphones
from asc_tf.edge.listening.sources import add_password, make_source

CARDS = """\
 0 [Headphones     ]: bcm2835_headpho - bcm2835 Headphones
                      bcm2835 Headphones
{number:2d} [{name:15s}]: USB-Audio - USB PnP Sound Device
                      C-Media Electronics Inc. USB PnP Sound at usb-{port}, full speed
"""
PCM = """\
00-00: bcm2835 Headphones : bcm2835 Headphones : playback 8
{number:02d}-00: USB Audio : USB Audio : playback 1 : capture 1
"""


def plug(root, number=1, name="Device", port="0000:01:00.0-1.1"):
    proc = root / "proc" / "asound"
    proc.mkdir(parents=True, exist_ok=True)
    (proc / "cards").write_text(CARDS.format(number=number, name=name, port=port))
    (proc / "pcm").write_text(PCM.format(number=number))


def unplug(root):
    proc = root / "proc" / "asound"
    (proc / "cards").write_text("--- no soundcards ---\n")
    (proc / "pcm").write_text("")


def test_only_cards_that_record_are_microphones(tmp_path):
    plug(tmp_path)
    (microphone,) = list_microphones(tmp_path)
    assert (microphone.card, microphone.device) == (1, 0)
    assert microphone.identifier == "Device"
    assert microphone.description.startswith("C-Media Electronics Inc. USB PnP")
    assert microphone.alsa_name == "plughw:CARD=Device,DEV=0"
    unplug(tmp_path)
    assert list_microphones(tmp_path) == []
    assert list_microphones(tmp_path / "absent") == []


@pytest.mark.parametrize(
    "wanted", ["default", "1", "Device", "device", "c-media", "usb"]
)
def test_a_microphone_is_found_by_number_or_a_part_of_its_name(tmp_path, wanted):
    plug(tmp_path)
    assert MicrophoneFinder(wanted, tmp_path).find() == "plughw:CARD=Device,DEV=0"


def test_where_proc_is_hidden_the_microphones_are_read_from_sys(tmp_path):
    folder = tmp_path / "sys" / "class" / "sound"
    for name in ("card0", "card2/device", "pcmC0D0p", "pcmC2D0c", "pcmC2D1c"):
        (folder / name).mkdir(parents=True)
    (folder / "card0" / "id").write_text("Headphones\n")
    (folder / "card2" / "id").write_text("Device\n")
    (folder / "card2" / "product").write_text("USB PnP Sound Device\n")
    (microphone,) = list_microphones(tmp_path)
    assert (microphone.card, microphone.device) == (2, 0)
    assert microphone.identifier == "Device"
    assert microphone.description == "USB PnP Sound Device"


def test_a_folder_that_is_taken_for_a_microphone_is_named_so(tmp_path, monkeypatch):
    (tmp_path / "recordings").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="plugged in: none; it is a folder: give one"):
        MicrophoneFinder("recordings", tmp_path / "root").find()


def test_a_missing_microphone_is_refused_with_those_that_are_there(tmp_path):
    plug(tmp_path)
    with pytest.raises(UserError, match="no microphone '3'; plugged in: 1 Device"):
        MicrophoneFinder("3", tmp_path).find()


def test_a_microphone_that_comes_back_under_another_number_is_found(tmp_path):
    plug(tmp_path, 1)
    finder = MicrophoneFinder("1", tmp_path)
    finder.find()
    unplug(tmp_path)
    with pytest.raises(UserError):
        finder.find()
    plug(tmp_path, 3, "Device_1", port="0000:01:00.0-1.4")
    assert finder.find() == "plughw:CARD=Device_1,DEV=0"
    # Another microphone that has got its number is not it.
    plug(tmp_path, 1, "Webcam")
    file = tmp_path / "proc" / "asound" / "cards"
    file.write_text(file.read_text().replace("C-Media", "Webcam maker"))
    with pytest.raises(UserError):
        finder.find()


def test_names_of_alsa_are_passed_on(tmp_path):
    assert MicrophoneFinder("plughw:2,0", tmp_path).find() == "plughw:2,0"
    assert MicrophoneFinder("alsa:pipewire", tmp_path).find() == "pipewire"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Folder of fake programs, the first on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def write(name, code):
        path = folder / name
        path.write_text(f"#!{sys.executable} -S\nimport sys, os, time\n{code}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return write


def read_all(connection, seconds=20):
    data, until = b"", time.monotonic() + seconds
    while time.monotonic() < until:
        new = connection.read(0.2)
        if new == b"":
            return data
        data += new or b""
    raise AssertionError("no end")


def test_a_microphone_is_recorded_by_arecord_with_its_rate_and_channels(
    programs, tmp_path
):
    programs("arecord", "sys.stdout.write(' '.join(sys.argv[1:]))")
    plug(tmp_path)
    source = make_source("default", None, None, tmp_path)
    assert (source.kind, source.raw.sample_rate, source.raw.channels) == (
        "microphone",
        48_000,
        1,
    )
    connection = source.open()
    command = read_all(connection).decode()
    assert (
        command == "--quiet -D plughw:CARD=Device,DEV=0 -t raw -f S16_LE -r 48000 -c 1"
    )
    connection.close()
    source = make_source("usb", 16_000, 2, tmp_path)
    connection = source.open()
    assert read_all(connection).decode().endswith("-r 16000 -c 2")
    connection.close()


def test_a_recorder_speaks_english_in_every_country(programs, tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    programs("arecord", "sys.stdout.write(os.environ['LC_ALL'])")
    plug(tmp_path)
    connection = make_source("default", None, None, tmp_path).open()
    assert read_all(connection) == b"C"
    connection.close()


def test_the_last_words_of_a_recorder_and_its_overruns_are_known(programs, tmp_path):
    programs(
        "arecord",
        "sys.stderr.write('overrun!!! (at least 5.123 ms long)\\n' * 3)\n"
        "sys.stderr.write('x' * 300_000)\n"
        "sys.stderr.write('\\narecord: pcm_read:2221: read error: No such device\\n')\n"
        "sys.exit(1)",
    )
    connection = make_source("plughw:1,0", None, None).open()
    assert read_all(connection) == b""
    text = connection.explain_end()
    assert text == (
        "arecord ended with 1: arecord: pcm_read:2221: read error: No such device"
    )
    assert connection.overruns == 3
    connection.close()


def test_a_child_that_does_not_end_is_killed(programs):
    programs("arecord", "print(os.getpid(), flush=True); time.sleep(1000)")
    connection = make_source("plughw:1,0", None, None).open()
    while not (data := connection.read(0.2)):
        pass
    connection.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(data), 0)


def test_a_program_that_is_not_installed_is_named_with_its_package(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgramError, match=r"arecord is missing.*alsa-utils"):
        make_source("plughw:1,0", None, None).open()
    with pytest.raises(MissingProgramError, match=r"ffmpeg is missing.*install ffmpeg"):
        make_source("rtsp://camera/1", None, None).open()


def test_a_url_is_opened_by_ffmpeg_and_its_password_is_not_shown(programs):
    programs("ffmpeg", "sys.stdout.write(' '.join(sys.argv[1:]))")
    source = make_source("rtsp://me:secret@camera:554/1", None, None)
    assert source.name == "rtsp://***@camera:554/1"
    connection = source.open()
    command = read_all(connection).decode()
    assert "-rtsp_transport tcp -i rtsp://me:secret@camera:554/1" in command
    assert command.endswith("-f wav -")
    connection.close()
    assert source.may_drop and source.is_reopened
    web = make_source("https://radio/stream", None, None)
    assert not web.may_drop and web.is_reopened
    assert "-rtsp_transport" not in make_ffmpeg_command("https://radio/stream")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://me:se/cr@et@camera/1", "rtsp://***@camera/1"),
        ("https://radio/stream?token=secret&x=1", "https://radio/stream?***"),
        ("http://radio/stream", "http://radio/stream"),
    ],
)
def test_no_secret_of_a_url_is_shown(programs, text, shown):
    programs("ffmpeg", f"sys.exit('{text}: Connection refused')")
    source = make_source(text, None, None)
    assert source.name == shown
    connection = source.open()
    assert read_all(connection) == b""
    said = connection.explain_end()
    assert "secret" not in said and "cr@et" not in said
    assert said.startswith(f"ffmpeg ended with 1: {shown}")
    connection.close()


RADIO = "[info]   Duration: N/A, start: 0.025057, bitrate: 64 kb/s"
FILE = "[info]   Duration: 00:00:05.00, start: 0.025057, bitrate: 64 kb/s"
CUT = "[in#0/mp3 @ 0x5607] [error] Error during demuxing: Input/output error"


def read_url(programs, *lines, code=0, pause=0.0):
    """Read a URL to its end, of which ffmpeg says these lines, in two halves."""
    said = "".join(f"{line}\n" for line in lines)
    programs(
        "ffmpeg",
        f"for text in {said[: len(said) // 2]!r}, {said[len(said) // 2 :]!r}:\n"
        "    sys.stderr.write(text)\n"
        "    sys.stderr.flush()\n"
        f"    time.sleep({pause})\n"
        f"sys.exit({code})",
    )
    connection = make_source("https://radio/1", None, None).open()
    assert read_all(connection) == b""
    return connection


def test_a_recording_at_a_url_is_known_by_its_duration(programs):
    lines = "[info] Input #0", FILE, "[info] size=  3kB"
    connection = read_url(programs, *lines, pause=0.5)
    assert connection.explain_end() == "ffmpeg ended"
    assert connection.is_recording and connection.is_complete()
    connection.close()


@pytest.mark.parametrize("lines", [[RADIO], [RADIO, CUT], [CUT]])
def test_a_live_stream_is_no_recording(programs, lines):
    connection = read_url(programs, *lines)
    has_error = CUT in lines
    expected = ": Error during demuxing: Input/output error" if has_error else ""
    assert connection.explain_end() == f"ffmpeg ended{expected}"
    assert not connection.is_recording
    connection.close()


@pytest.mark.parametrize(("lines", "code"), [([CUT], 0), ([], 183)])
def test_a_recording_that_is_cut_off_is_not_complete(programs, lines, code):
    connection = read_url(programs, FILE, *lines, code=code)
    connection.explain_end()
    assert connection.is_recording and not connection.is_complete()
    connection.close()


def test_the_name_of_a_station_is_no_overrun(programs):
    name = "[info]     icy-name        : Overrun radio"
    error = "[udp @ 0x1] [error] Circular buffer overrun."
    connection = read_url(programs, name, RADIO, error)
    connection.explain_end()
    assert connection.overruns == 1
    connection.close()


def test_a_fifo_waits_for_writers_one_after_the_other(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    source = make_source(str(path), 8000, 1)
    assert source.kind == "fifo" and source.is_reopened and not source.may_drop
    for text in (b"first", b"second"):
        connection = source.open()
        assert connection.read(0.01) is None
        writer = os.open(path, os.O_WRONLY)
        os.write(writer, text)
        assert connection.read(1) == text
        os.close(writer)
        assert connection.read(1) == b""
        connection.close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.wav", "no such file; asc-edge devices"),
        ("no/such/fifo", "no such file"),
        ("FOLDER", "a folder; give a file"),
    ],
)
def test_a_path_that_is_no_source_is_refused(tmp_path, name, message):
    name = name.replace("FOLDER", str(tmp_path))
    with pytest.raises(UsageError, match=message):
        make_source(name, None, None)


@pytest.mark.parametrize(
    ("name", "rate", "channels", "message"),
    [
        ("-", None, 2, "--channels: give --sample_rate too"),
        ("./fifo", None, 2, "--channels: give --sample_rate too"),
        ("rtsp://camera/1", 8000, None, "a URL has its own"),
        ("rtsp://camera/1", None, 2, "a URL has its own"),
    ],
)
def test_a_number_that_changes_nothing_is_refused(name, rate, channels, message):
    with pytest.raises(UsageError, match=message):
        make_source(name, rate, channels)


def test_a_microphone_may_have_channels_without_a_rate(tmp_path):
    assert make_source("USB", None, 2, tmp_path).raw.channels == 2


def test_a_file_or_folder_does_not_hide_a_microphone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("default", "1", "fifo"):
        (tmp_path / name).touch()
    (tmp_path / "USB").mkdir()
    kinds = [
        make_source(name, 8000, 1).kind for name in ("default", "1", "USB", "fifo")
    ]
    assert kinds == ["microphone"] * 3 + ["file"]
    assert make_source("./1", 8000, 1).kind == "file"


def test_a_file_url_is_a_file(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(np.zeros(8, np.int16).tobytes())
    source = make_source(f"file://{path}", 8000, None)
    assert source.kind == "file" and not source.is_reopened
    connection = source.open()
    assert len(connection.read(1)) == 16 and connection.read(1) == b""
    connection.close()


def test_an_empty_list_of_cards_has_no_microphones(tmp_path):
    plug(tmp_path)
    (tmp_path / "proc" / "asound" / "cards").write_text("")
    assert list_microphones(tmp_path) == []


def test_the_default_microphone_is_the_first_one_again_when_it_is_back(tmp_path):
    plug(tmp_path, 1, "Device")
    said = []
    finder = MicrophoneFinder("default", tmp_path, said.append)
    assert finder.find() == finder.find() == "plughw:CARD=Device,DEV=0"
    cards, pcm = (tmp_path / "proc" / "asound" / name for name in ("cards", "pcm"))
    first = cards.read_text()
    cards.write_text(" 2 [Webcam         ]: USB-Audio - Webcam\n        Maker Webcam\n")
    pcm.write_text("02-00: USB Audio : USB Audio : capture 1\n")
    assert finder.find() == "plughw:CARD=Webcam,DEV=0"
    cards.write_text(cards.read_text() + first.replace(" 1 [", " 3 ["))
    pcm.write_text(pcm.read_text() + "03-00: USB Audio : USB Audio : capture 1\n")
    assert finder.find() == "plughw:CARD=Device,DEV=0"
    assert [text.split()[1] for text in said] == ["Device", "Webcam", "Device"]


def test_a_scheme_in_capitals_is_the_same(programs):
    assert "-rtsp_transport" in make_ffmpeg_command("RTSP://camera/1")
    assert not make_source("HTTPS://radio/stream", None, None).may_drop


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtsp://me@camera/1", "rtsp://me:p%40ss%2F@camera/1"),
        ("rtsp://me:own@camera/1", "rtsp://me:own@camera/1"),
        ("rtsp://camera/a@b", "rtsp://camera/a@b"),
    ],
)
def test_the_password_of_a_url_may_be_in_the_environment(
    programs, monkeypatch, url, expected
):
    assert add_password(url, {}) == url
    monkeypatch.setenv("ASC_TF_SOURCE_PASSWORD", "p@ss/")
    programs("ffmpeg", "sys.stdout.write(sys.argv[sys.argv.index('-i') + 1])")
    connection = make_source(url, None, None).open()
    assert read_all(connection).decode() == expected
    connection.close()
