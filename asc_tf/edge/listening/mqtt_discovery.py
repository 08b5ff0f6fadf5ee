"""Messages by which Home Assistant learns of a listener (its "MQTT Discovery")."""

import re
from typing import Any

from asc_tf.command_line.prediction_rows import UNKNOWN
from asc_tf.core.files import hash_bytes
from asc_tf.core.version import __version__
from asc_tf.edge.tflite_metadata import Metadata


def make_discovery(
    prefix: str, topic: str, name: str, metadata: Metadata
) -> dict[str, dict[str, Any]]:
    """Make the messages, by topic, by which Home Assistant learns of this device."""
    node = _choose_node(name)
    shared = {
        "availability_topic": f"{topic}/availability",
        "device": {
            "identifiers": [node],
            "name": name,
            "manufacturer": "asc_tf",
            "model": f"{metadata.precision}, {len(metadata.labels)} labels",
            "sw_version": __version__,
        },
    }
    entities = {
        ("sensor", "sound"): _describe_sound(topic, metadata),
        ("sensor", "probability"): _describe_probability(topic),
        ("binary_sensor", "problem"): _describe_problem(topic),
    }
    return {
        f"{prefix}/{component}/{node}/{entity}/config": {
            **fields,
            "unique_id": f"{node}_{entity}",
            **shared,
        }
        for (component, entity), fields in entities.items()
    }


def _choose_node(name: str) -> str:
    """Choose the identifier of a device, of the characters that topics may have."""
    node = re.sub(r"[^a-zA-Z0-9_-]+", "_", name)
    if node != name:
        # Names in other scripts would all become "_".
        node = f"{node}_{hash_bytes(name.encode(errors='replace'))[:8]}"
    return f"asc_tf_{node}"


def _describe_sound(topic: str, metadata: Metadata) -> dict[str, Any]:
    return {
        "name": "Sound",
        "icon": "mdi:ear-hearing",
        "state_topic": f"{topic}/decision",
        "value_template": "{{ value_json.decision }}",
        "json_attributes_topic": f"{topic}/decision",
        "device_class": "enum",
        "options": list(dict.fromkeys([*metadata.labels, UNKNOWN])),
    }


def _describe_probability(topic: str) -> dict[str, Any]:
    return {
        "name": "Probability",
        "state_topic": f"{topic}/window",
        "value_template": "{{ 100 * value_json.decision_probability }}",
        "suggested_display_precision": 1,
        "unit_of_measurement": "%",
        "state_class": "measurement",
    }


def _describe_problem(topic: str) -> dict[str, Any]:
    return {
        "name": "Problem",
        "device_class": "problem",
        "entity_category": "diagnostic",
        "state_topic": f"{topic}/status",
        "value_template": "{{ 'ON' if value_json.alarms else 'OFF' }}",
        "json_attributes_topic": f"{topic}/status",
    }
