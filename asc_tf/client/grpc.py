"""Client of TensorFlow Serving over gRPC.

It needs the extra `serve`: tensorflow-serving-api brings TensorFlow.
"""

from collections.abc import Callable
from typing import Any

from asc_tf.client.base import BaseClient
from asc_tf.client.labels import Answer
from asc_tf.client.retries import Retries, RetryableError, ServerError
from asc_tf.core.errors import UsageError, UserError, install_hint

RETRYABLE = ("UNAVAILABLE", "ABORTED", "RESOURCE_EXHAUSTED")
"""Status after which another attempt may succeed.

RESOURCE_EXHAUSTED: all threads of the server are at work.
"""

FINAL = ("UNAUTHENTICATED", "PERMISSION_DENIED")
"""Status that every other request will get too."""

MAX_MESSAGE_BYTES = 2**30
"""Largest message in bytes; gRPC's own limit of 4 MB is less than a minute of audio."""


class GrpcClient(BaseClient):
    """Client of TensorFlow Serving over gRPC; for several threads.

    It has the functions of `asc_tf.client.Client`. No proxy is used.

    Args:
        target: Host and port of the server, such as `127.0.0.1:8500`.
        model: Name of the model there.
        version: Version of the model; 0: the newest.
        timeout: Longest time of a request in seconds.
        retries: Number of further attempts after a temporary failure.
        connections: Number of requests at a time when files are sent.
        max_file_mb: Largest file that is sent, in MB of 10^6 bytes.
        credentials: Credentials of TLS from `grpc.ssl_channel_credentials`; None: no
            encryption.

    Raises:
        UsageError: If a value cannot be used.
        UserError: If tensorflow-serving-api is not installed.
    """

    def __init__(
        self,
        target: str,
        model: str = "asc",
        *,
        version: int = 0,
        timeout: float = 75.0,
        retries: Retries | int = 4,
        connections: int = 4,
        max_file_mb: float = 64.0,
        credentials: Any = None,
    ) -> None:
        super().__init__(version, timeout, retries, connections, max_file_mb)
        if not target or "://" in target:
            raise UsageError(f"target={target!r}: give HOST:PORT")
        try:
            import grpc
            from tensorflow_serving.apis import (
                model_service_pb2_grpc,
                prediction_service_pb2_grpc,
            )
        except ImportError as error:
            raise UserError(
                f"gRPC needs a package that is missing ({error}); "
                f"{install_hint('serve')}"
            ) from error
        options = [
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.enable_http_proxy", 0),
        ]
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options)
        else:
            self._channel = grpc.secure_channel(target, credentials, options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._target, self._model = target, model

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def read_metadata(self) -> dict[str, Any]:
        """Read the signatures of the model, in the form that REST has.

        Raises:
            ServerError: If the server does not answer, or has no such model.
        """
        from google.protobuf import json_format
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest()
        self._name_model(request, self._version)
        request.metadata_field.append("signature_def")
        response = self._retries.run(
            lambda: self._attempt(self._stub.GetModelMetadata, request)
        )
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return {
            "model_spec": {
                "name": response.model_spec.name,
                "signature_name": response.model_spec.signature_name,
                "version": str(response.model_spec.version.value),
            },
            "metadata": {
                "signature_def": json_format.MessageToDict(
                    signatures, preserving_proto_field_name=True
                )
            },
        }

    def _ask_status(self) -> list[dict[str, Any]]:
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest()
        self._name_model(request, self._version)
        response = self._attempt(self._models.GetModelStatus, request)
        states = get_model_status_pb2.ModelVersionStatus.State
        return [
            {
                "version": str(found.version),
                "state": states.Name(found.state),
                "status": {
                    "error_code": _name_code(found.status.error_code),
                    "error_message": found.status.error_message,
                },
            }
            for found in response.model_version_status
        ]

    def _find_version(self) -> int:
        """Find the version to ask for; the answer names its own."""
        return self._version

    def _run(self, signature: str, inputs: dict[str, Any], version: int) -> Answer:
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        self._name_model(request, version)
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            try:
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            except (TypeError, ValueError) as error:
                raise UsageError(f"{name} of {signature}: {error}") from error
        response = self._retries.run(lambda: self._attempt(self._stub.Predict, request))
        outputs = {name: tf.make_ndarray(t) for name, t in response.outputs.items()}
        return Answer(outputs, response.model_spec.version.value)

    def _name_model(self, request: Any, version: int) -> None:
        request.model_spec.name = self._model
        if version:
            request.model_spec.version.value = version

    def _attempt(self, call: Callable[..., Any], request: Any) -> Any:
        """Call the server once.

        Raises:
            ServerError: If there is no answer with results.
            RetryableError: If there is none, and another attempt may succeed.
        """
        import grpc

        try:
            return call(request, timeout=self._timeout)
        except grpc.RpcError as error:
            status, details = error.code().name, error.details() or ""
            # gRPC has one status for a busy server and for a large message.
            is_large = status == "RESOURCE_EXHAUSTED" and "larger than" in details
            failure = ServerError(
                f"{self._target}: {status}: {details}",
                status,
                is_final=status in FINAL,
                is_too_large=is_large,
            )
            if status in RETRYABLE and not is_large:
                raise RetryableError(failure) from error
            raise failure from error
        except ValueError as error:
            # `close` has closed the channel.
            raise ServerError(f"{self._target}: {error}", is_final=True) from error


def _name_code(code: int) -> str:
    """Name a code of TensorFlow as its REST interface does."""
    import grpc

    names = {status.value[0]: status.name for status in grpc.StatusCode}
    return names.get(code, str(code))
