"""The gRPC client against the reference protobufs of tensorflow-serving-api."""

from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from servers import LABELS, FakeBackend
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from asc_tf.client import Client
from asc_tf.client.grpc import GrpcClient
from asc_tf.client.retries import Retries, ServerError
from asc_tf.core.errors import UsageError

MAX_ROWS = 8


class Service(
    prediction_service_pb2_grpc.PredictionServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    """TensorFlow Serving's services, with a batching configuration of 8 rows."""

    def __init__(self):
        self.requests, self.failures = [], []
        self.backends = {3: FakeBackend()}
        self.labels = {3: LABELS}

    def find_version(self, request, context):
        version = request.model_spec.version.value or max(self.backends)
        if version not in self.backends:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no version {version}")
        return version

    def Predict(self, request, context):  # noqa: N802
        self.requests.append(request)
        if self.failures:
            context.abort(*self.failures.pop(0))
        version = self.find_version(request, context)
        name = request.model_spec.signature_name
        inputs = {k: tf.make_ndarray(tensor) for k, tensor in request.inputs.items()}
        (rows,) = inputs.values()
        if len(rows) > MAX_ROWS:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "larger than maximum")
        if name == "labels":
            names = dict(enumerate(self.labels[version]))
            found = [names.get(i, "").encode() for i in rows.tolist()]
            outputs = {"label": np.array(found, object)}
        elif name == "encoded_segments":
            nothing = np.full((1, 1), np.nan, np.float32)
            outputs = {
                "probabilities": np.array([[[0.5] * 3, [np.nan] * 3]], np.float32),
                "start": np.append(np.zeros((1, 1), np.float32), nothing, 1),
                "end": np.append(np.ones((1, 1), np.float32), nothing, 1),
                "error": np.array([b""], object),
            }
        else:
            outputs = self.backends[version].run(name, inputs)
            # The same probabilities, with the labels of this version.
            names = dict(zip(LABELS, self.labels[version], strict=False))
            renamed = [names.get(n.decode(), "").encode() for n in outputs["label"]]
            outputs["label"] = np.array(renamed, object)
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        response.model_spec.version.value = version
        for key, value in outputs.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        return response

    def GetModelMetadata(self, request, context):  # noqa: N802
        assert list(request.metadata_field) == ["signature_def"]
        found = get_model_metadata_pb2.SignatureDefMap()
        found.signature_def["encoded"].inputs["encoded"].name = "x:0"
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = self.find_version(request, context)
        response.metadata["signature_def"].Pack(found)
        return response

    def GetModelStatus(self, request, context):  # noqa: N802
        self.find_version(request, context)
        response = get_model_status_pb2.GetModelStatusResponse()
        states = get_model_status_pb2.ModelVersionStatus
        response.model_version_status.add(version=2, state=states.END)
        response.model_version_status.add(version=3, state=states.AVAILABLE)
        return response


@pytest.fixture(scope="module")
def running():
    server = grpc.server(futures.ThreadPoolExecutor(4))
    service = Service()
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    service.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service
    server.stop(None)


@pytest.fixture
def service(running):
    port = running.port
    running.__init__()
    running.port = port
    return running


def test_files_are_sent_as_the_reference_protobufs_have_them(service, tmp_path):
    for number, contents in enumerate((b"\0ab", b"bad", b"\xff" * 4)):
        (tmp_path / f"{number}.wav").write_bytes(contents)
    with GrpcClient(f"127.0.0.1:{service.port}", "m", version=3) as client:
        found = client.predict_files(tmp_path)
        assert client.labels == LABELS
    assert [row.get("label") for row in found] == ["hiss", None, "hum"]
    assert found[1]["error"].endswith("1.wav: not audio")
    request = service.requests[0]
    assert request.model_spec.name == "m" and request.model_spec.version.value == 3
    assert request.model_spec.signature_name == "encoded"
    tensor = request.inputs["encoded"]
    assert tensor.dtype == tf.string.as_datatype_enum
    assert list(tensor.string_val) == [b"\0ab", b"bad", b"\xff" * 4]


def test_a_closed_client_answers_with_an_error_of_its_own(service):
    with GrpcClient(f"127.0.0.1:{service.port}", "m") as client:
        pass
    with pytest.raises(ServerError, match=r"127.0.0.1:\d+: Cannot invoke RPC"):
        client.read_metadata()


def test_labels_belong_to_the_version_that_has_answered(service, tmp_path):
    for number in range(10):
        (tmp_path / f"{number}.wav").write_bytes(b"x" * number)
    client = GrpcClient(f"127.0.0.1:{service.port}", retries=0)
    assert [row["label"] for row in client.predict_files(tmp_path)] == [
        LABELS[i % 3] for i in range(10)
    ]
    new = ("wind", "rain", "surf")
    service.backends, service.labels = {4: FakeBackend()}, {4: new}
    found = client.predict_files(tmp_path)
    assert [row["label"] for row in found] == [new[i % 3] for i in range(10)]
    assert all(tuple(row["probabilities"]) == new for row in found)
    many = tuple(f"scene {i}" for i in range(20))
    service.backends, service.labels = {5: FakeBackend()}, {5: many}
    assert client.labels == many
    client.close()


def test_the_functions_of_the_rest_client_are_there(service):
    def list_functions(kind):
        return {name for name in dir(kind) if not name.startswith("_")}

    assert list_functions(GrpcClient) == list_functions(Client)
    client = GrpcClient(f"127.0.0.1:{service.port}", "m", retries=0)
    assert client.read_status()[1] == {
        "version": "3",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    found = client.read_metadata()
    assert found["model_spec"] == {"name": "m", "signature_name": "", "version": "3"}
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert signatures["encoded"]["inputs"]["encoded"]["name"] == "x:0"
    segments = client.predict_segments(np.zeros(8), 8000)
    assert segments["start"].tolist() == [0] and segments["end"].tolist() == [1]
    assert segments["probabilities"].tolist() == [[0.5] * 3]
    client.close()


def test_failures_that_may_pass_are_tried_again(service):
    waits = []
    client = GrpcClient(
        f"127.0.0.1:{service.port}", retries=Retries(2, sleep=waits.append)
    )
    codes = grpc.StatusCode
    busy = (codes.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
    service.failures[:] = [(codes.UNAVAILABLE, "full"), busy]
    assert client.predict(np.zeros(8), 8000).shape == (3,)
    assert len(waits) == 2
    for code, details in (
        (codes.INVALID_ARGUMENT, "not now"),
        (codes.DEADLINE_EXCEEDED, "too late"),
        (codes.RESOURCE_EXHAUSTED, "Received message larger than max"),
    ):
        service.failures[:] = [(code, details)]
        with pytest.raises(ServerError, match=f"{code.name}: {details}"):
            client.predict(np.zeros(8), 8000)
    assert len(waits) == 2
    client.close()


def test_proxies_of_the_environment_are_not_used(service, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:9")
    client = GrpcClient(f"localhost:{service.port}", retries=0, timeout=20)
    assert client.predict(np.zeros(8), 8000).shape == (3,)
    client.close()


def test_values_that_cannot_be_used_are_named():
    for given, named in (
        ({"target": ""}, "target=''"),
        ({"target": "http://x"}, "target='http://x'"),
        ({"target": "x:1", "timeout": 0}, "timeout=0"),
    ):
        with pytest.raises(UsageError, match=named):
            GrpcClient(**given)
