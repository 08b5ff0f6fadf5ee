"""Load on asc-tf serve: latency, and CPU seconds beside those of the bare model.

    python benchmarks/serve_load.py --model=exports/esc10 --connections=32 --seconds=60

It measures in one run, one after the other:

- the bare model: its signature `encoded` called in a loop on one clip,
- `asc-tf serve` with and without dynamic batching,
- a plain FastAPI application that calls the same signature for each request.

Clients are threads of this process, servers are processes of their own. CPU seconds are
those of the server's process, from /proc, so that the clients do not count. Each client
sends the same WAV file again and again: as JSON with base64, or as an upload.

Exits with 1 if a request fails, or if uploads take over 1.18 times the CPU seconds of
the bare model.
"""

import argparse
import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from asc_tf.dsp.wav_format import pack_wav
from asc_tf.edge.machine import read_memory

BARE = """
import sys, time
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
classify = model.signatures["encoded"]
files = tf.constant([open(sys.argv[2], "rb").read()])
for _ in range(5):
    classify(encoded=files)
began, wall, count = time.process_time(), time.monotonic(), 0
while time.monotonic() - wall < float(sys.argv[3]):
    classify(encoded=files)["probabilities"].numpy()
    count += 1
print((time.process_time() - began) / count)
"""

PLAIN = """
import sys
import tensorflow as tf, uvicorn
from fastapi import FastAPI, UploadFile
model = tf.saved_model.load(sys.argv[1])
classify = model.signatures["encoded"]
app = FastAPI()

@app.post("/predict")
def predict(file: UploadFile):
    outputs = classify(encoded=tf.constant([file.file.read()]))
    return {"probabilities": outputs["probabilities"][0].numpy().tolist()}

uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
"""

MAX_FACTOR = 1.18
"""Most CPU seconds of an upload, as a multiple of those of the bare model."""

BOUNDARY = "asc-tf-benchmark"


def make_bodies(clip: bytes) -> dict[str, tuple[str, bytes]]:
    """Make the bodies of both formats, with their content types."""
    text = base64.b64encode(clip).decode()
    rows = {"signature_name": "encoded", "instances": [{"b64": text}]}
    head = (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=file; "
        f"filename=a.wav\r\nContent-Type: audio/wav\r\n\r\n"
    )
    upload = head.encode() + clip + f"\r\n--{BOUNDARY}--\r\n".encode()
    return {
        "json": ("application/json", json.dumps(rows).encode()),
        "upload": (f"multipart/form-data; boundary={BOUNDARY}", upload),
    }


def read_cpu_seconds(process: subprocess.Popen) -> float:
    """Read the CPU seconds of a process."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def send(port: int, path: str, form: tuple[str, bytes], until: float, done: list):
    """Send one request after the other; append the status and the seconds of each."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    while time.monotonic() < until:
        began = time.perf_counter()
        try:
            connection.request("POST", path, form[1], {"Content-Type": form[0]})
            response = connection.getresponse()
            response.read()
            done.append((response.status, time.perf_counter() - began))
        except (OSError, http.client.HTTPException) as error:
            done.append((type(error).__name__, time.perf_counter() - began))
            connection.close()


def load(process, port, path, form, connections, seconds) -> dict:
    """Load a server, and measure it."""
    send(port, path, form, time.monotonic() + 2, [])
    done: list = []
    cpu, began = read_cpu_seconds(process), time.monotonic()
    threads = [
        threading.Thread(target=send, args=(port, path, form, began + seconds, done))
        for _ in range(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.monotonic() - began
    good = [seconds for status, seconds in done if status == 200]
    p50, p95, p99 = (float(v) for v in np.percentile(good or [np.nan], (50, 95, 99)))
    return {
        "requests": len(done),
        "errors": len(done) - len(good),
        "per_second": len(good) / wall,
        "p50_ms": 1000 * p50,
        "p95_ms": 1000 * p95,
        "p99_ms": 1000 * p99,
        "cpu_ms": 1000 * (read_cpu_seconds(process) - cpu) / max(len(good), 1),
        "memory_mb": read_memory("VmRSS", process=process.pid),
    }


def start(command: list[str], port: int, log) -> subprocess.Popen:
    """Start a server, and wait until it answers."""
    process = subprocess.Popen(command, stdout=log, stderr=log)
    for _ in range(1200):
        if process.poll() is not None:
            sys.exit(f"the server ended: {' '.join(command)}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            connection.getresponse()
            return process
        except OSError:
            time.sleep(0.25)
        finally:
            connection.close()
    sys.exit("the server did not answer within five minutes")


def make_clip(path: str, rate: int = 44100) -> bytes:
    """Read the clip, or make 10 s of noise."""
    if path:
        return Path(path).read_bytes()
    noise = np.random.default_rng(0).normal(0, 3000, 10 * rate)
    return pack_wav(noise.astype("<i2").tobytes(), rate, 1, False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="an export folder")
    parser.add_argument("--clip", default="", help="a WAV file; 10 s of noise without")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--port", type=int, default=18599)
    parser.add_argument("--folder", default="/tmp", help="for the clip and the logs")
    options = parser.parse_args()
    saved_model = Path(options.model, "saved_model", "1")
    clip = Path(options.folder, "serve_load.wav")
    clip.write_bytes(make_clip(options.clip))
    bodies = make_bodies(clip.read_bytes())
    serve = [sys.executable, "-m", "asc_tf.cli", "serve", f"--model={options.model}"]
    serve += [f"--port={options.port}", "--poll_seconds=60"]
    plain = [sys.executable, "-c", PLAIN, str(saved_model), str(options.port)]
    model = "/v1/models/asc:predict"
    runs = {
        "serve, batching, JSON": (serve, model, "json"),
        "serve, batching, upload": (serve, model, "upload"),
        "serve, no batching, upload": ([*serve, "--nobatching"], model, "upload"),
        "plain FastAPI, upload": (plain, "/predict", "upload"),
    }
    bare = [sys.executable, "-c", BARE, str(saved_model), str(clip)]

    def measure_bare() -> float:
        text = subprocess.run(
            [*bare, str(options.seconds / 4)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        ).stdout
        return 1000 * float(text)

    before = measure_bare()
    results = {}
    with Path(options.folder, "serve_load.log").open("w") as log:
        for name, (command, path, form) in runs.items():
            process = start(command, options.port, log)
            results[name] = load(
                *(process, options.port, path, bodies[form]),
                *(options.connections, options.seconds),
            )
            process.send_signal(signal.SIGTERM)
            results[name]["exit_code"] = process.wait(120)
    after = measure_bare()
    is_well = not any(row["errors"] for row in results.values())
    mean = (before + after) / 2
    print(f"bare model: {before:.1f} and {after:.1f} CPU-ms per clip")
    for name, row in results.items():
        shown = ", ".join(f"{key} {value:.4g}" for key, value in row.items())
        print(f"{name}: {row['cpu_ms'] / mean:.2f} times the bare model; {shown}")
    upload = results["serve, batching, upload"]["cpu_ms"] / mean
    if not is_well or upload > MAX_FACTOR:
        sys.exit(f"there are errors, or uploads take over {MAX_FACTOR} times the model")


if __name__ == "__main__":
    main()
