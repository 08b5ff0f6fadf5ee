"""asc-tf serve as a process: a client written from TensorFlow Serving's REST pages.

https://www.tensorflow.org/tfx/serving/api_rest is all that `Rest` knows.
"""

import base64
import contextlib
import http.client
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tiny

import asc_tf
from asc_tf import cli
from asc_tf.client import Client
from asc_tf.dsp.wav_format import pack_wav
from asc_tf.serving.settings import Settings


class Rest:
    """Client of TensorFlow Serving's REST interface."""

    def __init__(self, port: int) -> None:
        self.port = port

    def call(self, verb: str, path: str, body=None) -> tuple[int, dict]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(connection):
            is_text = body is None or isinstance(body, str)
            text = body if is_text else json.dumps(body)
            connection.request(verb, path, text)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def predict(self, body: dict | str, version: str = "") -> tuple[int, dict]:
        return self.call("POST", f"/v1/models/tiny{version}:predict", body)


def limit_files(count: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


@contextlib.contextmanager
def serve(model: Path, *flags: str, open_files: int = 0):
    """Run the command; yields the process, its port and its log."""
    command = [sys.executable, "-m", "asc_tf.cli", "serve", f"--model={model}"]
    command += ["--name=tiny", "--port=0", *flags]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        *(command,),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=(lambda: limit_files(open_files)) if open_files else None,
    ) as process:
        log: list[str] = []
        reader = threading.Thread(target=lambda: log.extend(process.stderr))
        reader.start()
        try:
            line = process.stdout.readline()
            found = re.search(r":(\d+)/v1/models/tiny$", line.strip())
            assert found, (line, log)
            port = int(found[1])
            for _ in range(600):
                with contextlib.suppress(OSError):
                    if Rest(port).call("GET", "/readyz")[0] == 200:
                        break
                time.sleep(0.1)
            yield process, port, log
        finally:
            process.kill()
            reader.join()


def wav(clip: np.ndarray) -> bytes:
    return pack_wav(clip.astype("<f4").tobytes(), tiny.RATE, 1, True)


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def check_against_reference(exported: Path, rest: Rest, clips: list) -> None:
    """Compare an answer with the PredictResponse of the same SavedModel.

    Both go through the mapping of protobufs to JSON that the reference has.
    """
    import tensorflow as tf
    from google.protobuf import json_format
    from tensorflow_serving.apis import predict_pb2

    files = [wav(clip) for clip in clips]
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = "encoded"
    request.inputs["encoded"].CopyFrom(tf.make_tensor_proto(files))
    sent = json_format.MessageToDict(request, preserving_proto_field_name=True)
    # The bytes of the protobuf in JSON are the base64 of the REST interface.
    texts = sent["inputs"]["encoded"]["string_val"]
    body = {
        "signature_name": sent["model_spec"]["signature_name"],
        "inputs": {"encoded": [{"b64": text} for text in texts]},
    }
    found = rest.predict(body)[1]["outputs"]
    model = tf.saved_model.load(str(exported / "saved_model" / "1"))
    outputs = model.signatures["encoded"](encoded=tf.constant(files))
    response = predict_pb2.PredictResponse()
    for name, tensor in outputs.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(tensor.numpy()))
    assert set(found) == set(response.outputs)
    for name, proto in response.outputs.items():
        wanted = tf.make_ndarray(proto)
        if wanted.dtype == object:
            assert found[name] == [each.decode() for each in wanted.tolist()]
        else:
            np.testing.assert_allclose(found[name], wanted, atol=1e-5)


@pytest.mark.slow
def test_a_client_of_tensorflow_serving_talks_to_it(tiny_run, tiny_export, tmp_path):
    predictor = asc_tf.load(tiny_run.path)
    clips = [tiny.clip(label, 9, 1.3) for label in tiny.LABELS]
    wanted = np.array([predictor.predict(clip, tiny.RATE) for clip in clips])
    with serve(tiny_export) as (process, port, log):
        rest = Rest(port)
        status, answer = rest.call("GET", "/v1/models/tiny")
        assert status == 200
        assert answer["model_version_status"][0]["state"] == "AVAILABLE"
        _, answer = rest.call("GET", "/v1/models/tiny/versions/1/metadata")
        assert answer["model_spec"]["version"] == "1"
        rows = {"instances": [clip.tolist() for clip in clips]}
        columns = {"inputs": {"waveform": rows["instances"]}}
        by_file = {
            "signature_name": "encoded",
            "instances": [b64(wav(c)) for c in clips],
        }
        for body in (rows, columns, by_file):
            status, answer = rest.predict(body, "/versions/1")
            assert status == 200
            if "outputs" in answer:
                found = answer["outputs"]["probabilities"]
            else:
                found = [row["probabilities"] for row in answer["predictions"]]
            np.testing.assert_allclose(found, wanted, atol=1e-4)
        check_against_reference(tiny_export, rest, clips)
        examples = [{"waveform": clip.tolist()} for clip in clips]
        _, answer = rest.call(
            "POST", "/v1/models/tiny:classify", {"examples": examples}
        )
        best = [max(row, key=lambda pair: pair[1])[0] for row in answer["result"]]
        assert best == [tiny.LABELS[i] for i in wanted.argmax(axis=1)]
        path = tmp_path / "hum.wav"
        path.write_bytes(wav(clips[1]))
        client = Client(f"http://127.0.0.1:{port}", "tiny")
        row = client.predict_files(path)[0]
        assert row["label"] == "hum" and client.labels == tiny.LABELS
        over_time = client.predict_segments(clips[1], tiny.RATE)
        assert over_time["probabilities"].shape == (3, 3)
        # Half of a file is classified as far as it goes; half of a header is refused.
        whole = wav(clips[1])
        for contents, code in ((whole[: len(whole) // 2], 200), (whole[:30], 400)):
            body = {"signature_name": "encoded", "instances": [b64(contents)]}
            assert rest.predict(body)[0] == code
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    lines = [json.loads(line) for line in log if line.startswith("{")]
    assert lines[-1]["message"] == "ended"
    assert {line.get("method") for line in lines} >= {"predict", "classify", "status"}


@pytest.mark.slow
def test_a_new_version_is_taken_over_under_load_and_sigterm_answers_what_is_there(
    tiny_export, tmp_path
):
    model = tmp_path / "versions"
    shutil.copytree(tiny_export / "saved_model" / "1", model / "1")
    body = {"signature_name": "encoded", "instances": [b64(wav(tiny.clip("hum", 1)))]}
    with serve(model, "--poll_seconds=0.2") as (process, port, log):
        found, stop = [], threading.Event()

        def load():
            while not stop.is_set():
                found.append(Rest(port).predict(body)[0])

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        shutil.copytree(model / "1", tmp_path / "new")
        (tmp_path / "new").rename(model / "2")
        shutil.rmtree(model / "1")
        for _ in range(600):
            _, answer = Rest(port).call("GET", "/v1/models/tiny")
            if answer["model_version_status"][0]["version"] == "2":
                break
            time.sleep(0.1)
        assert answer["model_version_status"][0]["version"] == "2"
        count = len(found)
        while len(found) < count + 8:
            time.sleep(0.02)
        stop.set()
        for thread in threads:
            thread.join()
        assert set(found) == {200}
        long = wav(np.tile(tiny.clip("hum", 1, 1.0), 200))
        body["instances"] = [b64(long)] * 4
        last = []
        thread = threading.Thread(target=lambda: last.append(Rest(port).predict(body)))
        thread.start()
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        thread.join()
        assert last[0][0] == 200 and len(last[0][1]["predictions"]) == 4
        assert process.wait(60) == 0
    assert any('"version loaded"' in line for line in log)


@pytest.mark.slow
def test_hostile_requests_leave_it_running_with_the_same_memory(tiny_export):
    good = {"signature_name": "encoded", "instances": [b64(wav(tiny.clip("hum", 1)))]}
    junk = np.random.default_rng(0).bytes(300_000)
    noise = {"signature_name": "encoded", "instances": [b64(junk), b64(b"RIFF" + junk)]}
    # A header that promises 4 GB.
    claims = wav(tiny.clip("hum", 1))[:40] + b"\xff\xff\xff\xff" + bytes(100)
    promise = {"signature_name": "encoded", "instances": [b64(claims)]}
    nan = {"instances": [[float("nan")] * 2000]}
    bodies = (good, noise, promise, nan, {"instances": [[1], [1, 2]]}, {})
    large = ({"x": "A" * 6_000_000}, {"instances": [[]] * 1_200_000})
    # As text, once: making it takes longer than the server does.
    bodies, large = ([json.dumps(body) for body in each] for each in (bodies, large))
    flags = ["--timeout=10", "--max_request_mb=5", "--log=error"]
    with serve(tiny_export, *flags) as (process, port, _):
        rest = Rest(port)

        def read_memory() -> int:
            text = Path(f"/proc/{process.pid}/status").read_text()
            return int(re.search(r"VmRSS:\s+(\d+)", text)[1])

        def attack() -> list[int]:
            codes = [rest.predict(body)[0] for body in bodies]
            assert [rest.predict(body)[0] for body in large] == [413, 413]
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"POST /v1/models/tiny:predict HTTP/1.1\r\n")
            return codes

        for _ in range(30):
            assert attack() == [200, 400, 200, 400, 400, 400]
        # Large bodies come and go between two looks.
        before = max(read_memory() for _ in range(10) if attack())
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(800)]
        for _ in range(120):
            assert attack()[0] == 200
        for connection in idle:
            connection.close()
        assert rest.predict(good)[0] == 200
        assert min(read_memory() for _ in range(10) if attack()) < 1.05 * before


@pytest.mark.slow
def test_silent_connections_do_not_use_up_the_open_files(tiny_export):
    pytest.importorskip("resource")
    flags = ["--timeout=2", "--log=error"]
    with serve(tiny_export, *flags, open_files=160) as (process, port, log):
        idle = []
        for _ in range(400):
            with contextlib.suppress(OSError):
                idle.append(socket.create_connection(("127.0.0.1", port), timeout=5))
        for _ in range(200):
            with contextlib.suppress(OSError):
                if Rest(port).call("GET", "/readyz")[0] == 200:
                    break
            time.sleep(0.1)
        body = {
            "signature_name": "encoded",
            "instances": [b64(wav(tiny.clip("hum", 1)))],
        }
        assert Rest(port).predict(body)[0] == 200
        for connection in idle:
            connection.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not [line for line in log if "accept" in line]


def test_every_flag_and_the_token_reach_the_server(tmp_path, monkeypatch, capsys):
    from asc_tf.serving import logs, server

    given = []
    monkeypatch.setattr(server, "serve", lambda *words: given.append(words))
    monkeypatch.setattr(logs, "configure_logs", given.append)
    monkeypatch.setenv("ASC_TF_SERVE_TOKEN", "geheim\n")
    words = ["--name=m", "--host=0.0.0.0", "--port=8", "--nobatching", "--workers=3"]
    words += ["--max_batch_size=5", "--batch_timeout_ms=2.5", "--queue=9"]
    words += ["--timeout=7", "--max_request_mb=200", "--max_clips=11"]
    words += ["--poll_seconds=13", "--log=error", "--max_audio_seconds=17"]
    words += ["--drain_seconds=19"]
    assert cli.main(["serve", f"--model={tmp_path}", *words]) == 0
    level, (settings, announce) = given
    assert level == "error"
    assert settings == Settings(
        tmp_path,
        *("m", "0.0.0.0", 8, False, 5, 2.5, 3, 9, 7.0, 200.0, 11, 17.0, 19.0, 13.0),
        max_memory_mb=800.0,
        token="geheim",
    )
    announce("address")
    assert "serving" in capsys.readouterr().out
    monkeypatch.delenv("ASC_TF_SERVE_TOKEN")
    assert cli.main(["serve", f"--model={tmp_path}", "--host=0.0.0.0"]) == 0
    given[-1][1]("address")
    assert "set ASC_TF_SERVE_TOKEN" in capsys.readouterr().err
    for token in ("  ", "gehe im", "geheim€"):
        monkeypatch.setenv("ASC_TF_SERVE_TOKEN", token)
        assert cli.main(["serve", f"--model={tmp_path}"]) == 2
        assert "ASC_TF_SERVE_TOKEN" in capsys.readouterr().err


def test_the_extra_is_named_where_it_is_not_installed(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.delitem(sys.modules, "uvicorn", raising=False)
    assert cli.main(["serve", "--model=x"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "uvicorn" in line and "'.[serve]'" in line


def test_what_cannot_be_served_is_named_before_anything_loads(tmp_path, capsys):
    (tmp_path / "x.tflite").write_bytes(b"no model")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for words, code, reason in (
            (["--port=0"], 2, "--model is missing"),
            (["--model=none", "--port=0"], 2, "no such file or folder"),
            ([f"--model={tmp_path}", "--port=0"], 2, "no model to serve"),
            ([f"--model={tmp_path / 'x.tflite'}", "--port=0"], 1, "x.tflite"),
            (["--model=x", "--name=a/b"], 2, "--name=a/b"),
            (["--model=x", "--port=70000"], 2, "port"),
            (["--model=x", "--queue=0"], 2, "queue"),
            (["--model=x", f"--port={port}"], 1, "give another --host or --port"),
        ):
            assert cli.main(["serve", *words]) == code
            assert reason in capsys.readouterr().err
