"""Soak test of `asc-tf serve`: an hour's worth of good and hostile requests.

    python benchmarks/soak_serving.py --model=EXPORT [--hours=1 --rate=2]

EXPORT is of this version: older exports, which lack signatures, refuse good requests.

Sends as many requests as `--rate` a second would be in `--hours`, as fast as they are
answered, from `--connections` threads. One of four is hostile: malformed JSON, wrong
shapes, NaN, text or noise instead of audio, cut WAV files, headers that promise 4 GB,
base64 of megabytes of zeros, gzip, deep nesting, millions of lists, a body of 100 MB.
Meanwhile `--idle` connections say nothing, clients send one byte or half of a request,
close one direction, or go away without their answer; and a new version takes the place
of the model, `--takeovers` times: after 10 % of the requests, after 25 % and so on.
TensorFlow keeps some memory of each version: with six the memory grows.

Exits with 1 if an answer has another status than it must, if more than one of twenty
good requests is refused because the server is busy, if the last version is not served,
if the server does not answer at the end, or if the median of its resident memory in the
last quarter of the requests is more than 5 % above that in the second.
"""

import argparse
import base64
import collections
import contextlib
import http.client
import json
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from asc_tf.dsp.wav_format import pack_wav
from asc_tf.edge.machine import read_memory

PATH = "/v1/models/asc:predict"
JSON = {"Content-Type": "application/json"}
BOUNDARY = "asc-tf-soak"
UPLOAD = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

LARGE_BYTES, LARGE_EVERY = 2_000_000, 60
"""Bytes from which a body is large, and how many requests there are for each."""

REASON_BYTES = 300
"""Bytes of a wrong answer that are printed."""

FIRST_TAKEOVER, TAKEOVER_EVERY = 0.1, 0.15
"""Shares of the requests after which a new version takes over, and the next one."""

Request = tuple[bytes, dict[str, str], tuple[int, ...]]
"""Body, headers, and the status codes that are right."""


def make_clip(seconds: float, rate: int) -> bytes:
    """Make a WAV file of noise."""
    noise = np.random.default_rng(0).normal(0, 3000, round(seconds * rate))
    return pack_wav(noise.astype("<i2").tobytes(), rate, 1, False)


def pack_json(*contents: bytes, signature: str = "encoded") -> bytes:
    """Pack files into a request in row format."""
    rows = [{"b64": base64.b64encode(content).decode()} for content in contents]
    return json.dumps({"signature_name": signature, "instances": rows}).encode()


def pack_upload(*contents: bytes) -> bytes:
    """Pack files into an upload."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="f"; filename="a.wav"'
        "\r\n\r\n"
    ).encode()
    parts = b"".join(head + content + b"\r\n" for content in contents)
    return parts + f"--{BOUNDARY}--\r\n".encode()


def make_requests() -> tuple[list[Request], list[Request]]:
    """Make the good and the hostile requests."""
    clips = [make_clip(10, 44100), make_clip(4, 48000), make_clip(0.7, 16000)]
    good = [(pack_upload(clip), UPLOAD, (200,)) for clip in clips]
    good += [(pack_json(clip), JSON, (200,)) for clip in clips]
    good += [
        (pack_json(clips[1], signature="encoded_segments"), JSON, (200,)),
        (pack_json(clips[2], b"text", clips[2]), JSON, (200,)),
        (pack_json(clips[1][: len(clips[1]) // 2]), JSON, (200,)),
        (json.dumps({"instances": [[0.1] * 32000]}).encode(), JSON, (200,)),
    ]
    noise = np.random.default_rng(1).bytes(300_000)
    promise = clips[2][:40] + b"\xff\xff\xff\xff" + clips[2][44:]
    bad: list[Request] = [
        (b'{"instances": [', JSON, (400,)),
        (b'{"instances": [[1, 2], [1]]}', JSON, (400,)),
        (b'{"instances": [[[[1]]]]}', JSON, (400,)),
        (b'{"instances": [[NaN, 1, 1]]}', JSON, (400,)),
        (pack_json(b"text"), JSON, (400,)),
        (pack_json(noise, b"RIFF" + noise, b""), JSON, (400,)),
        (pack_json(clips[0][:30]), JSON, (400,)),
        (pack_json(promise), JSON, (200,)),
        (b'{"signature_name":"encoded","instances":[{"b64":"%%%%"}]}', JSON, (400,)),
        (pack_json(bytes(20_000_000)), JSON, (400,)),
        (b"\x1f\x8b" + noise, {**JSON, "Content-Encoding": "gzip"}, (415,)),
        (b'{"instances":' + b"[" * 100_000, JSON, (400,)),
        (b'{"instances":[' + b"[]," * 5_000_000 + b"[]]}", JSON, (413,)),
        (b"x" * 100_000_000, JSON, (413,)),
        (b"no form", UPLOAD, (400,)),
        (pack_upload(noise), UPLOAD, (400,)),
        (pack_json(clips[2], signature="nothing"), JSON, (400,)),
        (b'{"inputs": {"\\ud800": [[1]]}}', JSON, (400,)),
    ]
    return good, bad


def describe_wrong(status: str, answer: str, body: bytes) -> str:
    """Describe an answer that has another status than it must."""
    return f"{status} ({answer}) for {body[:40]!r}, {len(body)} bytes"


class Soak:
    """Threads that send requests, and count what is wrong.

    Args:
        port: Port of the server.
        count: Requests to send.
        until: Time at which to stop, even if not all of them were sent.
    """

    def __init__(self, port: int, count: int, until: float) -> None:
        self.port, self.count, self.until = port, count, until
        self.sent, self.lock = 0, threading.Lock()
        self.statuses: collections.Counter[str] = collections.Counter()
        self.wrong: collections.Counter[str] = collections.Counter()
        self.refused = 0
        self.good, self.bad = make_requests()
        self.large = [each for each in self.bad if len(each[0]) > LARGE_BYTES]
        self.bad = [each for each in self.bad if len(each[0]) <= LARGE_BYTES]

    def take(self) -> int | None:
        """Take the number of the next request."""
        with self.lock:
            if self.sent >= self.count or time.monotonic() > self.until:
                return None
            self.sent += 1
            return self.sent

    def run(self, seed: int) -> None:
        """Send requests until there are enough."""
        choose = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        while (number := self.take()) is not None:
            body, headers, wanted = self.choose(number, choose)
            try:
                connection.request("POST", PATH, body, headers)
                response = connection.getresponse()
                answer = response.read(REASON_BYTES).decode(errors="replace")
                response.read()
                status = response.status
                found, is_right = str(status), status in (*wanted, 429)
            except (OSError, http.client.HTTPException) as error:
                found, is_right = type(error).__name__, False
                answer = str(error)
                connection.close()
            with self.lock:
                self.statuses[found] += 1
                self.refused += found == "429" and wanted == (200,)
                if not is_right:
                    self.wrong[describe_wrong(found, answer, body)] += 1

    def choose(self, number: int, chooser: random.Random) -> Request:
        """Choose a request; the large bodies come in turn, as often in each quarter."""
        if number % LARGE_EVERY == 0:
            return self.large[number // LARGE_EVERY % len(self.large)]
        return chooser.choice(self.bad if number % 4 == 0 else self.good)

    def annoy(self, seed: int) -> None:
        """Connect and do not go on, in several ways, until all requests are sent."""
        choose = random.Random(seed)
        head = f"POST {PATH} HTTP/1.1\r\nHost:\r\nContent-Length: 60\r\n\r\n".encode()
        good = self.good[4][0]
        whole = head.replace(b"60", str(len(good)).encode()) + good
        ways = (b"", b"P", head[:30], head + b"{", whole, b"\0\1\2\r\n\r\n")
        while self.sent < self.count and time.monotonic() < self.until:
            with contextlib.suppress(OSError), self.connect() as connection:
                connection.settimeout(5)
                connection.sendall(choose.choice(ways))
                if choose.random() < 0.5:
                    connection.shutdown(socket.SHUT_WR)
                time.sleep(choose.uniform(0, 2))

    def connect(self) -> socket.socket:
        """Connect to the server."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def read_version(self) -> int:
        """Read the version that is served."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(connection):
            connection.request("GET", "/v1/models/asc")
            answer = json.loads(connection.getresponse().read())
        return int(answer["model_version_status"][0]["version"])

    def idle(self, count: int) -> None:
        """Keep connections open that say nothing; the server may close them."""
        while self.sent < self.count and time.monotonic() < self.until:
            with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
                for _ in range(count):
                    stack.enter_context(self.connect())
                time.sleep(20)


def watch(
    soak: Soak, process: int, replace: Callable[[int], None], takeovers: int
) -> list[list[float]]:
    """Read the memory of the server in each quarter of the requests.

    Args:
        soak: The threads that send requests.
        process: Process of the server.
        replace: Function that puts a version, given by its number, into the folder.
        takeovers: Number of versions that take over, 0 to 6.

    Returns:
        Resident memory in MB, a list for each quarter.
    """
    quarters: list[list[float]] = [[], [], [], []]
    began, version, shown = time.monotonic(), 1, 0
    while soak.sent < soak.count and time.monotonic() < soak.until:
        share = max(
            soak.sent / soak.count,
            (time.monotonic() - began) / max(soak.until - began, 1e-9),
        )
        memory = read_memory("VmRSS", process=process)
        if memory is None:
            sys.exit("the server has ended")
        quarters[min(int(4 * share), 3)].append(memory)
        is_next = share > FIRST_TAKEOVER + (version - 1) * TAKEOVER_EVERY
        if version <= takeovers and is_next and soak.read_version() == version:
            version += 1
            replace(version)
        if share > shown / 10:
            threads = len(list(Path(f"/proc/{process}/task").iterdir()))
            print(
                f"{soak.sent} requests, {memory:.0f} MB, {threads} threads, "
                f"version {version}",
                file=sys.stderr,
            )
            shown += 1
        time.sleep(0.25)
    return quarters


def start(model: Path, log: Path) -> tuple[subprocess.Popen, int]:
    """Start the server on a free port."""
    command = [sys.executable, "-m", "asc_tf.cli", "serve", f"--model={model}"]
    process = subprocess.Popen(
        [*command, "--port=0", "--log=error", "--timeout=20"],
        stdout=subprocess.PIPE,
        stderr=log.open("w"),
        text=True,
    )
    line = process.stdout.readline()
    if not (found := re.search(r":(\d+)/v1/models/asc$", line.strip())):
        sys.exit(f"the server did not start: {log.read_text()}")
    return process, int(found[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="an export folder")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--rate", type=float, default=2.0, help="requests a second")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--idle", type=int, default=1000)
    parser.add_argument("--takeovers", type=int, default=1, choices=range(7))
    parser.add_argument("--max_minutes", type=float, default=60.0)
    options = parser.parse_args()
    count = round(3600 * options.hours * options.rate)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model")
        shutil.copytree(Path(options.model, "saved_model", "1"), model / "1")
        process, port = start(model, Path(folder, "log"))
        began = time.monotonic()
        soak = Soak(port, count, began + 60 * options.max_minutes)

        def replace(version: int) -> None:
            shutil.copytree(model / str(version - 1), Path(folder, "new"))
            Path(folder, "new").rename(model / str(version))
            shutil.rmtree(model / str(version - 1))

        work = [(soak.run, n) for n in range(options.connections)]
        work += [(soak.annoy, n) for n in range(4)] + [(soak.idle, options.idle)]
        threads = [threading.Thread(target=run, args=(n,)) for run, n in work]
        for thread in threads:
            thread.start()
        quarters = watch(soak, process.pid, replace, options.takeovers)
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
        version = soak.read_version()
        process.terminate()
        code = process.wait(120)
        log = Path(folder, "log").read_text()
    medians = [float(np.median(each or [np.nan])) for each in quarters]
    growth = medians[3] / medians[1] - 1
    print(
        f"{soak.sent} requests in {seconds:.0f} s, {soak.sent / seconds:.1f} a second; "
        f"status codes {dict(sorted(soak.statuses.items()))}\n"
        f"{soak.refused} good requests refused as the server was busy\n"
        f"version {version}, exit code {code}, {len(log.splitlines())} lines of errors"
        f"\nmemory in the quarters: {', '.join(f'{each:.0f}' for each in medians)} MB; "
        f"the last differs from the second by {growth:+.1%}"
    )
    for text, times in soak.wrong.most_common(20):
        print(f"wrong: {times} times {text}")
    print(log[:3000], end="")
    is_well = not soak.wrong and code == 0 and growth <= 0.05
    is_last = version == 1 + options.takeovers
    return int(not is_well or not is_last or soak.refused > 0.05 * soak.sent)


if __name__ == "__main__":
    sys.exit(main())
