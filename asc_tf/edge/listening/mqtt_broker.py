"""Address of an MQTT broker, topics, and the client that connects to it."""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from asc_tf.core.errors import UsageError, UserError, install_hint
from asc_tf.core.files import hash_bytes

MAX_TOPIC_BYTES = 1000
"""Longest topic that we accept: MQTT has 65,535, of which the ends need some."""

MACHINE_ID = Path("/etc/machine-id")

PASSWORD_VARIABLE = "ASC_TF_MQTT_PASSWORD"


@dataclass(frozen=True)
class Broker:
    """Address of a broker.

    `user` and `password` may be empty; `is_encrypted` is true if the connection uses
    TLS.
    """

    host: str
    port: int
    user: str
    password: str
    is_encrypted: bool


def parse_broker(text: str, environment: Mapping[str, str] = os.environ) -> Broker:
    """Parse `--mqtt`: `HOST`, `HOST:PORT` or `mqtt[s]://[USER@]HOST[:PORT]`.

    Args:
        text: Value of the flag.
        environment: Environment variables, one of which may be the password: a command
            line can be read by every user of the machine.

    Raises:
        UsageError: If it is no address of a broker, contains a password, or has no
            user for the password of the environment.
    """
    url = urlsplit(text if "://" in text else f"mqtt://{text}")
    try:
        port, host = url.port, url.hostname
    except ValueError:
        port, host = None, None
    if url.scheme not in ("mqtt", "mqtts") or not host or url.path.strip("/"):
        raise UsageError(
            "--mqtt: not the address of a broker; give HOST, HOST:PORT or "
            "mqtts://USER@HOST:PORT"
        )
    if url.password is not None:
        raise UsageError(
            "--mqtt: other users can read a command line; give the password in the "
            f"environment variable {PASSWORD_VARIABLE}"
        )
    user = unquote(url.username or "")
    password = environment.get(PASSWORD_VARIABLE, "")
    if password and not user:
        raise UsageError(
            f"--mqtt: {PASSWORD_VARIABLE} is set, but a password needs a user; give "
            "mqtt://USER@HOST"
        )
    is_encrypted = url.scheme == "mqtts"
    return Broker(
        host=host,
        port=port or (8883 if is_encrypted else 1883),
        user=user,
        password=password,
        is_encrypted=is_encrypted,
    )


def check_topic(flag: str, topic: str) -> None:
    """Check a topic for messages.

    Raises:
        UsageError: If it has wildcards, or begins or ends with a slash.
    """
    is_outer = topic.startswith("/") or topic.endswith("/")
    is_long = len(topic.encode(errors="replace")) > MAX_TOPIC_BYTES
    if re.search(r"[+#\0\ud800-\udfff]", topic) or is_outer or is_long:
        raise UsageError(
            f"--{flag}={topic[:100]}: give a topic without +, # and outer /, of at "
            f"most {MAX_TOPIC_BYTES} bytes"
        )


def choose_client_id(name: str, topic: str, machine_id: Path = MACHINE_ID) -> str:
    """Choose a client identifier that no other listener has.

    A broker disconnects the older of two clients with the same identifier.

    Args:
        name: Name of this device, which another one may have too.
        topic: Topic of the messages.
        machine_id: File with the identifier of this machine.
    """
    try:
        machine = machine_id.read_text().strip()
    except (OSError, ValueError):
        machine = ""
    text = f"{machine or socket.gethostname()}\n{topic}"
    return f"asc_tf_{name}_{hash_bytes(text.encode(errors='replace'))[:8]}"


def make_client(broker: Broker, name: str, topic: str) -> Any:
    """Make a client of paho-mqtt.

    Raises:
        UserError: If the package is missing or older than 2.0.
    """
    try:
        from paho.mqtt import client as paho

        version = paho.CallbackAPIVersion.VERSION2
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"--mqtt needs paho-mqtt 2 ({error}); {install_hint('mqtt')}"
        ) from error
    client = paho.Client(version, client_id=choose_client_id(name, topic))
    if broker.user:
        client.username_pw_set(broker.user, broker.password or None)
    if broker.is_encrypted:
        client.tls_set()
    return client
