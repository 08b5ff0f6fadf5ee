"""Descriptions of a model: TensorFlow Serving's status and metadata, settings."""

from collections.abc import Mapping
from typing import Any

from asc_tf.config import Audio
from asc_tf.serving.backends import Signature, TensorSpec


def describe_model(
    name: str, version: int, signatures: Mapping[str, Signature]
) -> dict[str, Any]:
    """Describe a model as the answer to `/metadata`."""

    def describe(tensors: Mapping[str, TensorSpec], prefix: str) -> dict[str, Any]:
        return {
            key: {
                "dtype": spec.dtype,
                "tensor_shape": {
                    "dim": [{"size": str(n), "name": ""} for n in spec.shape or ()],
                    "unknown_rank": spec.shape is None,
                },
                "name": f"{prefix}_{key}:0",
            }
            for key, spec in tensors.items()
        }

    described = {
        key: {
            "inputs": describe(signature.inputs, key),
            "outputs": describe(signature.outputs, key),
            "method_name": "tensorflow/serving/predict",
            "defaults": {},
        }
        for key, signature in signatures.items()
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version)},
        "metadata": {"signature_def": {"signature_def": described}},
    }


def describe_status(version: int) -> dict[str, Any]:
    """Describe the state of the loaded version as the answer to its address."""
    status = {"error_code": "OK", "error_message": ""}
    return {
        "model_version_status": [
            {"version": str(version), "state": "AVAILABLE", "status": status}
        ]
    }


def get_settings(description: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Get a section of the model's configuration; empty where a file has none."""
    config = description.get("config")
    found = config.get(section) if isinstance(config, dict) else None
    return found if isinstance(found, dict) else {}


def read_max_seconds(description: Mapping[str, Any]) -> float:
    """Read the longest duration of a file that the model accepts, in seconds."""
    value = get_settings(description, "audio").get("max_seconds")
    return value if isinstance(value, int | float) else Audio().max_seconds
