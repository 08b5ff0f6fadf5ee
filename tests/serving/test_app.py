"""The HTTP interface, by clients that misbehave too."""

import asyncio
import base64
import contextlib
import gc
import http.client
import json
import logging
import socket
import threading
import time
import types
import weakref

import pytest
import uvicorn
from servers import LABELS, FakeBackend, run_server

from asc_tf.dsp.wav_format import pack_wav
from asc_tf.serving import requests
from asc_tf.serving.server import _Uvicorn
from asc_tf.serving.settings import RequestError

PREDICT = "/v1/models/asc:predict"


def encoded(*clips: bytes) -> dict:
    rows = [{"b64": base64.b64encode(clip).decode()} for clip in clips]
    return {"signature_name": "encoded", "instances": rows}


@pytest.fixture(scope="module")
def server():
    with run_server(timeout=20.0, max_request_mb=0.2) as running:
        yield running


def test_status_and_metadata_are_those_of_tensorflow_serving(server):
    status, found, _ = server.ask("GET", "/v1/models/asc")
    assert status == 200
    assert found["model_version_status"][0] == {
        "version": "1",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    assert server.ask("GET", "/v1/models/asc/versions/1")[1] == found
    _, metadata, _ = server.ask("GET", "/v1/models/asc/metadata")
    assert metadata["model_spec"]["version"] == "1"
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    shape = signatures["serving_default"]["inputs"]["waveform"]["tensor_shape"]
    assert [each["size"] for each in shape["dim"]] == ["-1", "-1"]
    assert signatures["encoded"]["inputs"]["encoded"]["dtype"] == "DT_STRING"


def test_the_reference_protobufs_read_the_metadata_and_the_status(server):
    from google.protobuf import json_format
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

    _, metadata, _ = server.ask("GET", "/v1/models/asc/metadata")
    parsed = json_format.ParseDict(
        metadata["metadata"]["signature_def"], get_model_metadata_pb2.SignatureDefMap()
    )
    probabilities = parsed.signature_def["encoded"].outputs["probabilities"]
    assert [dim.size for dim in probabilities.tensor_shape.dim] == [-1, 3]
    _, status, _ = server.ask("GET", "/v1/models/asc")
    answer = json_format.ParseDict(
        status, get_model_status_pb2.GetModelStatusResponse()
    )
    assert answer.model_version_status[0].version == 1
    assert answer.model_version_status[0].state == 30  # AVAILABLE


def test_a_bad_clip_is_null_beside_its_neighbours_and_400_alone(server):
    status, found, _ = server.predict(encoded(b"ab", b"bad", b"abc"))
    assert status == 200
    assert [row["label"] for row in found["predictions"]] == ["whistle", "", "hiss"]
    assert found["predictions"][1]["probabilities"] == [None] * 3
    assert found["predictions"][1]["error"] == "not audio"
    status, found, _ = server.predict(encoded(b"bad"))
    assert (status, found["errors"]) == (400, ["not audio"])


def test_an_upload_gives_a_row_for_each_file(server):
    body = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="%s"\r\n\r\n%s\r\n'
        % pair
        for pair in ((b"one.wav", b"\0" * 3), (b"two.wav", b"bad"))
    )
    kind = {"Content_Type": "multipart/form-data; boundary=b"}
    status, found, _ = server.predict(body + b"--b--\r\n", **kind)
    assert status == 200
    rows = found["predictions"]
    assert [(row["file"], row["label"], row["error"]) for row in rows] == [
        ("one.wav", "hiss", ""),
        ("two.wav", "", "not audio"),
    ]
    field = (
        b'--b\r\nContent-Disposition: form-data; name="signature_name"\r\n\r\n%s\r\n'
    )
    for name, reason in ((b"x", "no signature 'x'"), (b"labels", "takes no files")):
        status, found, _ = server.predict(field % name + body + b"--b--\r\n", **kind)
        assert status == 400 and reason in found["error"]
    for broken in (b"", b"--b--\r\n", b"--b\r\nnonsense", b"x" * 99):
        assert server.predict(broken, **kind)[0] == 400
    assert server.predict(body, Content_Type="multipart/form-data")[0] == 400


def test_classify_gives_labels_with_probabilities(server):
    body = {"examples": [{"waveform": [0.0, 0.5]}]}
    status, found, _ = server.ask("POST", "/v1/models/asc:classify", body)
    assert status == 200
    assert found["result"][0][2] == ["whistle", 0.875]
    assert [label for label, _ in found["result"][0]] == list(LABELS)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/models/other:predict", 404),
        ("POST", "/v1/models/asc/versions/2:predict", 404),
        ("GET", "/v1/models/asc/versions/2", 404),
        ("GET", PREDICT, 405),
        ("GET", "/v1/models/asc/versions/1:classify", 405),
        ("POST", "/v1/models/asc:regress", 404),
        ("POST", "/v1/models/asc/versions/1:predic", 404),
        ("POST", "/v1/models/asc", 405),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("GET", "/../etc/passwd", 404),
    ],
)
def test_an_unknown_address_is_answered_with_json(server, method, path, status):
    found, answer, _ = server.ask(method, path, b"{}" if method == "POST" else None)
    assert found == status
    assert answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "kind", "words"),
    [
        ("GET", PREDICT, "", f"GET {PREDICT}: use POST"),
        (
            "POST",
            "/v1/models/asc:predic",
            "",
            "no method 'predic'; there are predict, ",
        ),
        ("POST", "/v1/models/asc", "", "use GET, or add :predict"),
        ("POST", "/v1/models/asc:classify", "multipart/form-data", "to :predict"),
        ("POST", PREDICT, "audio/wav", "send a WAV file to :predict as a form"),
    ],
)
def test_a_request_that_is_meant_for_another_address_says_for_which(
    server, method, path, kind, words
):
    headers = {"Content_Type": kind} if kind else {}
    wav = pack_wav(b"\xbb\xff" * 8, 8000, 1, False)
    _, answer, _ = server.ask(
        method, path, wav if method == "POST" else None, **headers
    )
    assert words in answer["error"]


def test_a_body_over_the_limit_is_not_read(server):
    status, found, headers = server.predict(b"x" * 200_001)
    assert status == 413 and "over 0.2 MB" in found["error"]
    # The body was dropped, so that the client may go on.
    assert "connection" not in headers
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with contextlib.closing(connection):
        # The size is not announced.
        parts = iter([b"x" * 100_000] * 3)
        with contextlib.suppress(OSError):
            connection.request("POST", PREDICT, parts, encode_chunked=True)
        assert connection.getresponse().status == 413


def test_a_client_that_sends_much_too_much_sees_why_and_goes_on(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with contextlib.closing(connection):
        for path, status in ((PREDICT, 413), ("/nowhere", 404)):
            connection.request("POST", path, bytes(30_000_000))
            response = connection.getresponse()
            assert response.status == status and json.loads(response.read())["error"]
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200


def test_a_name_that_has_no_encoding_is_named_in_an_answer(server):
    status, found, _ = server.predict(b'{"inputs": {"\\ud800": [[1]]}}')
    assert status == 400 and "inputs \ud800;" in found["error"]


def test_a_compressed_body_is_refused(server):
    status, found, _ = server.predict(b"\x1f\x8b", Content_Encoding="gzip")
    assert status == 415 and "gzip" in found["error"]


def test_malformed_http_and_closed_connections_leave_the_server_running(server):
    for data in (
        b"\0\1\2\r\n\r\n",
        b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST "
        + PREDICT.encode()
        + b" HTTP/1.1\r\nHost:\r\nContent-Length: 9\r\n\r\n{",
        b"GET / HTTP/1.1\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(data)
            # Half closed: no more comes, but an answer is still wanted.
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(10)
            answer = connection.recv(4096)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert server.predict(encoded(b"abc"))[0] == 200


def connect(server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def test_silent_connections_are_closed_and_their_number_is_bounded():
    with (
        run_server(timeout=1.0, max_connections=20) as server,
        contextlib.ExitStack() as stack,
    ):
        idle = [stack.enter_context(connect(server)) for _ in range(40)]
        idle[0].sendall(b"GET / HT")
        # Those that are too many are closed at once, the others after their time.
        for connection in idle:
            with contextlib.suppress(ConnectionError):
                assert connection.recv(1) == b""
        assert server.predict(encoded(b"abc"))[0] == 200


def test_clients_that_send_slowly_take_no_place_of_others():
    with run_server(queue=1, workers=1, max_batch_size=1, timeout=20.0) as server:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost:\r\nContent-Length: 50\r\n\r\n{{"
        with contextlib.ExitStack() as stack:
            for _ in range(8):
                stack.enter_context(connect(server)).sendall(head.encode())
            assert server.predict(encoded(b"abc"))[0] == 200
        backend = server.versions.current
        # The work on a request ends with the connection, and frees its place.
        with connect(server) as connection:
            body = json.dumps(encoded(b"wait")).encode()
            connection.sendall(head[:-1].replace("50", str(len(body))).encode() + body)
            assert backend.waiting.acquire(timeout=30)
        backend.release.set()
        for _ in range(3000):
            if not server.server.is_busy and not server.server._bodies._used:
                break
            time.sleep(0.02)
        assert not server.server.is_busy and server.server._bodies._used == 0


def test_a_client_that_does_not_read_is_given_up():
    with run_server(timeout=0.5, max_request_mb=8.0) as server:
        body = json.dumps(encoded(*[b"bad"] * 250, b"abc")).encode()
        head = f"POST {PREDICT} HTTP/1.1\r\nHost:\r\nContent-Length: {len(body)}\r\n"
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.settimeout(20)
            # More answers than the buffers of both sides hold.
            with contextlib.suppress(ConnectionError):
                for _ in range(400):
                    connection.sendall(head.encode() + b"\r\n" + body)
                for _ in range(400):
                    connection.sendall(b"x")
                    time.sleep(0.05)
                pytest.fail("the connection was not closed")
        assert server.predict(encoded(b"abc"))[0] == 200


def test_an_error_of_the_server_is_500_without_its_text(server):
    status, found, _ = server.predict(encoded(b"crash"))
    assert status == 500 and "boom" not in json.dumps(found)
    status, _, headers = server.predict(encoded(b"full"))
    assert status == 429 and int(headers["retry-after"]) >= 1


def test_logs_and_metrics_count_requests_without_audio(server, caplog):
    with caplog.at_level(logging.INFO, "asc_tf.serving"):
        server.predict(encoded(b"secret audio", b"bad"))
    fields = caplog.records[-1].fields
    assert (fields["method"], fields["status"], fields["clips"]) == ("predict", 200, 2)
    logged = caplog.text + json.dumps(fields)
    assert "secret" not in logged
    assert base64.b64encode(b"secret audio").decode() not in logged
    for path in ("/metrics", "/monitoring/prometheus/metrics"):
        status, text, _ = server.ask("GET", path)
        assert status == 200
        assert b'asc_tf_requests_total{method="predict",status="200"}' in text
        assert b'asc_tf_clips_total{outcome="bad"}' in text
        assert b"process_cpu_seconds_total" in text


def test_a_slow_client_is_given_up(tmp_path):
    with run_server(timeout=0.5) as server:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost:\r\nContent-Length: 50\r\n\r\n{{"
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head.encode())
            connection.settimeout(10)
            assert connection.recv(4096).startswith(b"HTTP/1.1 408")
        status, _, _ = server.predict(encoded(b"wait"))
        assert status == 504
        # The thread still works on it, and its place is taken until it is done.
        assert server.server._work.busy == 1
        server.versions.current.release.set()
        for _ in range(3000):
            if not server.server._work.busy:
                break
            time.sleep(0.02)
        assert server.server._work.busy == 0


def test_more_requests_than_places_are_refused_with_a_time_to_wait():
    with run_server(queue=2, workers=1, max_batch_size=1) as server:
        backend = server.versions.current
        found = []

        def send():
            found.append(server.predict(encoded(b"wait"))[0])

        threads = [threading.Thread(target=send) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            assert backend.waiting.acquire(timeout=30)
        status, answer, headers = server.predict(encoded(b"abc"))
        assert status == 429 and headers["retry-after"] == "1" and answer["error"]
        assert server.ask("GET", "/healthz")[0] == 200
        backend.release.set()
        for thread in threads:
            thread.join(30)
        assert found == [200] * 3
        assert server.predict(encoded(b"abc"))[0] == 200


def test_bodies_in_memory_are_bounded_together():
    with run_server(max_memory_mb=0.1) as server:
        status, found, headers = server.predict(b"x" * 100_001)
        assert status == 429 and "large requests" in found["error"]
        # The refused part was the last, so that the connection goes on.
        assert "retry-after" in headers and "connection" not in headers
        assert server.server._bodies._used == 0


def test_an_upload_that_stalls_is_given_up_and_does_not_refuse_small_bodies(
    monkeypatch,
):
    monkeypatch.setattr(requests, "STALL_SECONDS", 3.0)
    with run_server(max_memory_mb=8.0, timeout=60.0) as server:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost:\r\nContent-Length: %d\r\n\r\n"
        with connect(server) as connection, connect(server) as other:
            connection.sendall((head % 7_500_000).encode() + bytes(6_500_000))
            while server.server._bodies._used < 6_500_000:
                time.sleep(0.01)
            other.sendall((head % 1_200_000).encode() + bytes(1_200_000))
            assert other.recv(4096).startswith(b"HTTP/1.1 429")
            assert server.predict(encoded(b"abc"))[0] == 200
            assert connection.recv(4096).startswith(b"HTTP/1.1 408")


def test_a_refused_request_is_freed_without_a_collection(server, monkeypatch):
    freed = []

    def refuse(signature, inputs, *_):
        freed.append(weakref.ref(inputs["encoded"]))
        raise RequestError(400, "refused")

    monkeypatch.setattr(server.versions.current, "run", refuse)
    gc.disable()
    try:
        assert server.predict(encoded(b"abc"))[0] == 400
        ends = time.monotonic() + 60
        while freed[0]() is not None and time.monotonic() < ends:
            time.sleep(0.01)
        assert freed[0]() is None
    finally:
        gc.enable()


def test_a_request_needs_the_token_but_health_does_not():
    with run_server(token="geheim") as server:
        for given in ({}, {"Authorization": "Bearer x"}, {"Authorization": "geheim"}):
            status, _, headers = server.predict(encoded(b"abc"), **given)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert server.ask("GET", "/metrics", **given)[0] == 401
        good = {"Authorization": "Bearer geheim"}
        assert server.predict(encoded(b"abc"), **good)[0] == 200
        assert server.ask("GET", "/healthz")[0] == 200
        assert server.ask("GET", "/readyz")[0] == 200
        server.server.is_ending = True
        assert server.ask("GET", "/readyz")[0] == 503


def test_pages_of_other_sites_get_no_answer(server):
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200)):
        found, answer, _ = server.predict(encoded(b"abc"), Sec_Fetch_Site=site)
        assert found == status, answer
    # A name of another site may lead to this computer.
    for host, status in (
        ("evil.example:8501", 403),
        ("[", 403),
        ("localhost:8501", 200),
        ("[::1]:80", 200),
    ):
        assert server.ask("GET", "/v1/models/asc", Host=host)[0] == status
        assert server.ask("GET", "/healthz", Host=host)[0] == 200
    for settings in ({"host": "0.0.0.0"}, {"token": "geheim"}):
        with run_server(**settings) as other:
            given = {"Host": "scenes.example", "Authorization": "Bearer geheim"}
            assert other.ask("GET", "/v1/models/asc", **given)[0] == 200


def test_small_files_with_too_much_audio_are_refused():
    long = pack_wav(bytes(24000), 1000, 1, False)
    with run_server(max_audio_seconds=10.0) as server:
        status, found, _ = server.predict(encoded(long, b"abc"))
        assert status == 400 and "12 s of audio, over 10 s" in found["error"]
        server.versions.current.description["sample_rate"] = 2
        assert server.predict({"instances": [[0.0] * 21]})[0] == 400
        assert server.predict({"instances": [[0.0] * 20]})[0] == 200


def test_a_large_body_is_parsed_after_another_and_a_small_one_beside_it():
    with run_server() as server:
        large = json.dumps({"instances": [[0.25] * 300_000]}).encode()
        found = []
        thread = threading.Thread(target=lambda: found.append(server.predict(large)))
        with server.server._answers._parsing:
            thread.start()
            while not server.server.is_busy:
                time.sleep(0.01)
            assert server.predict(encoded(b"abc"))[0] == 200
            thread.join(0.2)
            assert not found
        thread.join(30)
        assert found[0][0] == 200


def test_the_server_listens_for_a_while_after_the_signal_to_end():
    for seconds in (0.0, 0.05):
        own = types.SimpleNamespace(is_ending=False)
        running = _Uvicorn(uvicorn.Config(None), own, seconds)
        assert not asyncio.run(running.on_tick(1))
        running.handle_exit(15, None)
        assert own.is_ending and running.should_exit == (not seconds)
        time.sleep(seconds)
        assert asyncio.run(running.on_tick(1))
    waiting = _Uvicorn(uvicorn.Config(None), own, 100.0)
    waiting._own = types.SimpleNamespace(is_ending=False)
    waiting.handle_exit(15, None)
    assert not asyncio.run(waiting.on_tick(1))
    waiting.handle_exit(15, None)
    assert waiting.should_exit


def test_requests_keep_their_version_when_another_takes_over():
    with run_server() as server:
        old = server.versions.current
        found = []

        def send():
            found.append(server.predict(encoded(b"wait"))[0])

        thread = threading.Thread(target=send)
        thread.start()
        assert old.waiting.acquire(timeout=30)
        server.versions.current = FakeBackend(2)
        _, answer, _ = server.ask("GET", "/v1/models/asc")
        assert answer["model_version_status"][0]["version"] == "2"
        assert server.ask("GET", "/v1/models/asc/versions/1")[0] == 404
        old.release.set()
        thread.join(30)
        assert found == [200]


def test_the_first_page_names_the_addresses_and_nothing_elsewhere(server):
    status, found, headers = server.ask("GET", "/")
    assert status == 200 and found["predict"] == PREDICT
    assert "http" not in json.dumps(found)
    assert "access-control-allow-origin" not in headers
