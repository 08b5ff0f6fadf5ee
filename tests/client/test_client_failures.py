"""The REST client with servers that fail, and with values that cannot be used."""

import contextlib
import datetime
import email.utils
import json
import os
import socket
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from serving_stub import StubModel, serve

from asc_tf.client import Client, ServerError, transport
from asc_tf.client.clips import list_files
from asc_tf.client.retries import Retries
from asc_tf.core.errors import UsageError, UserError

STATUS = b'{"model_version_status": [{"version": "7"}]}'


def make_answer(status, body, *headers):
    lines = (f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


@contextmanager
def run_raw(handle, last=b"\r\n\r\n"):
    """A server that gives a connection to a function, after the bytes `last`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        is_done = threading.Event()

        def run():
            while not is_done.is_set():
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(10)
                    head = b""
                    while last not in head and (byte := connection.recv(1)):
                        head += byte
                    if head:
                        handle(connection)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            is_done.set()
            socket.create_connection(listener.getsockname()).close()
            thread.join()


@contextmanager
def run_answers(*answers):
    """A server that gives each answer to one connection."""
    left = list(answers)
    with run_raw(lambda connection: connection.sendall(left.pop(0))) as url:
        yield url


def read_failure(url, **options):
    """The error of a client, and its waits before other attempts."""
    waits = []
    retries = Retries(2, sleep=waits.append)
    with pytest.raises(ServerError) as raised:
        Client(url, retries=retries, **options).read_status()
    return raised.value, waits


def write_clips(folder, count, size=3):
    for number in range(count):
        (folder / f"{number:03}.wav").write_bytes(b"x" * size)
    return folder


def test_an_answer_to_a_body_that_was_not_read_is_not_tried_again(tmp_path):
    # Larger than the buffers of the sockets.
    (tmp_path / "large.wav").write_bytes(bytes(12_000_000))
    count, waits = [], []

    def refuse(connection):
        count.append(1)
        if len(count) == 1:
            connection.sendall(
                make_answer(200, STATUS[:-3] + b',"state":"AVAILABLE"}]}')
            )
        else:
            connection.sendall(make_answer(413, b'{"error": "at most 1 MB"}'))

    with run_raw(refuse) as url:
        client = Client(url, retries=Retries(3, sleep=waits.append))
        (row,) = client.predict_files(tmp_path)
    assert row["error"].endswith("413: at most 1 MB")
    assert waits == [] and len(count) == 2


def test_files_that_are_too_large_together_are_sent_one_by_one(tmp_path):
    model = StubModel({1: ("a", "b", "c")})

    def answer(path, body):
        if body and len(body["inputs"].get("encoded", ())) > 1:
            return 413, {"error": "too large"}
        return model.answer(path, body)

    with serve(answer) as url:
        found = Client(url, retries=0).predict_files(write_clips(tmp_path, 4))
    assert [row["label"] for row in found] == ["a"] * 4


def test_a_server_that_sends_slowly_is_given_up_at_the_time_limit():
    is_done = threading.Event()

    def drip(connection):
        for byte in make_answer(200, STATUS):
            connection.sendall(bytes([byte]))
            if is_done.wait(0.02):
                break

    with run_raw(drip) as url:
        error, waits = read_failure(url, timeout=0.4)
        is_done.set()
    assert "no whole answer within 0.4 s; timeout changes it" in str(error)
    assert waits == []


def test_broken_connections_are_tried_again():
    good = make_answer(200, STATUS)
    with run_answers(good[:-5], good[:25], b"", good) as url:
        waits = []
        client = Client(url, retries=Retries(3, sleep=waits.append))
        assert client.read_status() == [{"version": "7"}]
    assert len(waits) == 3


LATER = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30)


@pytest.mark.parametrize(
    ("answer", "reason", "status"),
    [
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 99\r\n\r\n{", "500: Oh", "500"),
        (make_answer(400, b'{"error": "x", "errors": 5}'), "400: x", "400"),
        (make_answer(504, b"[]"), "504: X", "504"),
        (make_answer(302, b"", "Location: http://127.0.0.1:9/"), "302: X", "302"),
        (make_answer(200, b"{}"), "no model_version_status", "200"),
        (make_answer(200, b'{"model_version_status": [5]}'), "no model_ver", "200"),
        (make_answer(200, b"[" * 100_000), "no JSON object", "200"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the answer is not HTTP", ""),
        (
            make_answer(429, b'{"error": "busy"}', "Retry-After: 3600"),
            "busy (it asks to wait 3600 s)",
            "429",
        ),
        pytest.param(
            make_answer(
                503, b"{}", f"Retry-After: {email.utils.format_datetime(LATER)}"
            ),
            "it asks to wait 2",
            "503",
            # Its own bytes would give each worker of the session another name.
            id="Retry-After: a date",
        ),
    ],
)
def test_failures_that_do_not_pass_are_not_tried_again(answer, reason, status):
    with run_answers(answer) as url:
        error, waits = read_failure(url)
    assert reason in str(error) and error.status == status
    assert waits == []


def test_http_where_tls_is_asked_for_is_not_tried_again():
    # The first byte is that of a TLS handshake.
    with run_raw(lambda connection: connection.sendall(b"hello"), b"\x16") as url:
        error, waits = read_failure(url.replace("http:", "https:"), timeout=60)
    assert "SSL" in str(error) and waits == []


def test_an_answer_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(transport, "MAX_ANSWER_BYTES", 100)
    with run_answers(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 200) as url:
        error, _ = read_failure(url)
    assert "more than 100 bytes" in str(error)


def test_another_model_behind_the_name_is_an_error_of_each_file(tmp_path):
    write_clips(tmp_path, 2)
    for outputs in (
        {"x": [1]},
        {"probabilities": [[1.0]] * 3},
        {"probabilities": 3},
        [1],
    ):

        def answer(path, body, outputs=outputs):
            if body is None:
                states = [{"version": "1", "state": "AVAILABLE"}]
                return 200, {"model_version_status": states}
            return 200, {"outputs": outputs}

        with serve(answer) as url:
            client = Client(url, retries=0)
            found = client.predict_files(tmp_path)
            assert all("asc-tf export?" in row["error"] for row in found)
            with pytest.raises(ServerError, match="asc-tf export"):
                client.predict_segments(np.zeros(8), 8000)
            with pytest.raises(ServerError, match="asc-tf export"):
                client.predict(np.zeros((8, 2)), 8000)


def test_after_a_refused_token_or_without_a_server_no_further_file_is_sent(tmp_path):
    write_clips(tmp_path, 80)
    asked = []

    def refuse(path, _):
        asked.append(path)
        return 401, {"error": "a bearer token is needed"}

    with serve(refuse) as url:
        found = Client(url, retries=0, connections=2).predict_files(tmp_path)
    assert len(found) == 80 and len(asked) <= 2
    assert all("401: a bearer token" in row["error"] for row in found)
    waits = []
    client = Client(url, retries=Retries(3, sleep=waits.append), connections=1)
    found = client.predict_files(tmp_path)
    assert all("no answer" in row["error"] for row in found) and len(found) == 80
    assert len(waits) == 3


def test_a_request_without_an_answer_does_not_stop_the_others(tmp_path):
    write_clips(tmp_path, 20)
    (tmp_path / "000.wav").write_bytes(b"poison")
    model = StubModel({1: ("a", "b", "c")})

    def answer(path, body):
        if body and {"b64": "cG9pc29u"} in body["inputs"].get("encoded", ()):
            raise ConnectionError
        return model.answer(path, body)

    with serve(answer) as url:
        found = Client(url, retries=0, connections=1).predict_files(tmp_path)
    assert all("no answer" in row["error"] for row in found[:8])
    assert [row.get("label") for row in found[8:]] == ["a"] * 12


def test_segments_that_only_fill_up_a_batch_are_left_out():
    outputs = {
        "probabilities": [[[0.25, 0.75], [1.0, 0.0], [None, None]]],
        "start": [[0.0, 1.0, None]],
        "end": [[1.0, 2.0, None]],
        "error": [""],
    }
    with serve(lambda *_: (200, {"outputs": outputs})) as url:
        found = Client(url, retries=0).predict_segments(np.zeros(8), 8000)
        assert found["probabilities"].tolist() == [[0.25, 0.75], [1.0, 0.0]]
        assert found["start"].tolist() == [0, 1] and found["end"].tolist() == [1, 2]
        outputs["error"] = ["no samples"]
        with pytest.raises(ServerError, match="no samples"):
            Client(url, retries=0).predict_segments(np.zeros(8), 8000)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"url": "http://127.0.0.1:abc"}, "url=http://127.0.0.1:abc: give"),
        ({"url": "ftp://localhost"}, "url=ftp://localhost: give"),
        ({"url": "http://me:secret@localhost"}, "url="),
        ({"url": "http://local host"}, "url="),
        ({"model": "my model"}, "model='my model'"),
        ({"model": ""}, "model=''"),
        ({"token": "a\n"}, "token: has a character"),
        ({"token": "geh\u20ac"}, "token: has a character"),
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": float("nan")}, "timeout=nan"),
        ({"retries": -1}, "retries=-1"),
        ({"retries": 1.5}, "retries=1.5"),
        ({"connections": 0}, "connections=0"),
        ({"version": -1}, "version=-1"),
        ({"max_file_mb": 0}, "max_file_mb=0"),
    ],
)
def test_values_that_cannot_be_used_are_named(given, named):
    with pytest.raises(UsageError) as raised:
        Client(**({"url": "http://localhost"} | given))
    assert named in str(raised.value)
    assert "secret" not in str(raised.value) or "url" in given


def test_files_that_are_too_large_are_not_sent(tmp_path):
    model = StubModel({1: ("a", "b", "c")})
    write_clips(tmp_path, 2)
    (tmp_path / "001.wav").write_bytes(bytes(3001))
    with serve(model.answer) as url:
        small, large = Client(url, max_file_mb=0.003).predict_files(tmp_path)
    assert small["label"] == "a"
    assert large["error"].startswith(f"{large['file']}: has 3001 bytes")
    assert "max_file_mb" in large["error"]


def test_inputs_of_every_kind_are_sent():
    sent = []

    def answer(_, body):
        sent.append(body["inputs"]["x"])
        return 200, {"outputs": {"y": [0]}}

    b64 = [{"b64": "YWI="}]
    with serve(answer) as url:
        client = Client(url, retries=0)
        for value in ((b"ab",), [b"ab"], np.array([b"ab"], object), [bytearray(b"ab")]):
            client.run("any", x=value)
        assert sent == [b64] * 4
        client.run("any", x=[np.float32(0.5), (np.int64(1), np.zeros(2))])
        assert sent[-1] == [0.5, [1, [0, 0]]]
        with pytest.raises(UsageError, match="inputs of any: "):
            client.run("any", x={1})


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    write_clips(tmp_path, 1)
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match="closed: Permission denied"):
        list_files(tmp_path)


def test_attempts_end_after_the_longest_time():
    waits = []
    busy = make_answer(429, json.dumps({"error": "busy"}).encode(), "Retry-After: 50")
    with run_answers(busy, busy, busy) as url:
        client = Client(url, retries=Retries(9, longest=120, sleep=waits.append))
        with pytest.raises(ServerError, match="429: busy"):
            client.read_status()
    assert waits == [50, 50]
