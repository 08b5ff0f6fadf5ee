"""Output to an MQTT broker, with Home Assistant's discovery.

The connection lives in a thread of its own, so that a broker that does not answer never
delays the analysis.
"""

import contextlib
import json
import random
import threading
from collections import deque
from typing import Any

from asc_tf.command_line.prediction_rows import format_json
from asc_tf.edge.listening.clock import Backoff
from asc_tf.edge.listening.mqtt_broker import Broker
from asc_tf.edge.listening.mqtt_discovery import make_discovery
from asc_tf.edge.listening.outputs import Output, Report
from asc_tf.edge.listening.status import Status
from asc_tf.edge.tflite_metadata import Metadata

MAX_WAITING = 1000
"""Messages that wait for the broker; the oldest of more are dropped and counted."""

MAX_IN_FLIGHT = 20
"""Messages that the broker has not confirmed."""

KEEPALIVE_SECONDS = 30

STATUS_SECONDS = 60.0

STEADY_SECONDS = 30.0
"""Seconds after which a connection counts as good: the pauses begin anew."""


class MqttOutput(Output):
    """Output to a broker.

    Under the topic: `window` (each window), `decision` (each new decision, retained),
    `status` (each minute, retained) and `availability` (`online`; the broker itself
    says `offline` when the connection breaks).

    Args:
        client: Client of paho-mqtt, not connected.
        broker: The broker.
        topic: Topic under which all messages are.
        name: Name of this device.
        discovery: Topic under which Home Assistant looks for devices; empty: none.
        top_k: Number of labels in a message.
        status: State of the listener.
        generator: Source of chance for the pauses between attempts.
    """

    def __init__(
        self,
        client: Any,
        broker: Broker,
        topic: str,
        name: str,
        discovery: str,
        top_k: int,
        status: Status,
        generator: random.Random,
    ) -> None:
        self._client, self._broker = client, broker
        self._topic, self._name, self._discovery = topic, name, discovery
        self._top_k, self._status = top_k, status
        self._backoff = Backoff(generator)
        self._waiting: deque[tuple[str, str, bool]] = deque()
        self._lock = threading.Lock()
        self._in_flight: deque[Any] = deque()
        self._retained: dict[str, str] = {}
        self._lost = 0
        self._is_connected = self._should_end = False
        self._problem = ""
        self._next_attempt = self._connected_at = 0.0
        self._next_status = 0.0
        self._sent_alarms: dict[str, str] = {}
        self._thread: threading.Thread | None = None
        client.on_connect = self._note_connection
        client.on_disconnect = self._note_disconnection
        client.will_set(f"{topic}/availability", "offline", qos=1, retain=True)
        status.tasks.append(self._report_status)
        status.reports["mqtt"] = lambda: {
            "connected": self._is_connected,
            "waiting": len(self._waiting),
            "lost": self._lost,
        }

    def start(self) -> None:
        """Start the thread of the connection."""
        self._thread = threading.Thread(target=self._work, daemon=True, name="mqtt")
        self._thread.start()

    def begin(self, metadata: Metadata) -> None:
        """Implement `Output.begin`."""
        if self._discovery:
            for topic, config in make_discovery(
                self._discovery, self._topic, self._name, metadata
            ).items():
                self._send(topic, json.dumps(config), is_retained=True)

    def write(self, report: Report) -> None:
        """Implement `Output.write`."""
        if report.row is None:
            return
        row = json.dumps(format_json(report.row, self._top_k))
        self._send(f"{self._topic}/window", row)
        if report.row["changed"]:
            self._send(f"{self._topic}/decision", row, is_retained=True)

    def close(self) -> None:
        """Implement `Output.close`: give the broker 3 seconds for what waits."""
        self._send_status()
        self._send(f"{self._topic}/availability", "offline", is_retained=True)
        self._should_end = True
        if self._thread is not None:
            self._thread.join(3)
        with contextlib.suppress(Exception):
            self._client.disconnect()

    def step(self) -> bool:
        """Connect if it is time, or exchange messages; return whether it did either."""
        if not self._is_connected:
            now = self._status.clock.read_monotonic()
            if now < self._next_attempt:
                return False
            self._connect()
            return True
        self._publish()
        # Zero is success in all versions of paho-mqtt.
        if int(self._client.loop(0.2)) != 0:
            self._is_connected = False
            self._problem = "the connection broke"
            self._plan_attempt()
        elif self._status.clock.read_monotonic() - self._connected_at >= STEADY_SECONDS:
            self._backoff.reset()
        return True

    def _work(self) -> None:
        while not (self._should_end and (not self._is_connected or self._is_idle())):
            # A fault of the connection must not end the thread for ever.
            try:
                is_busy = self.step()
            except Exception as error:
                self._is_connected, is_busy = False, False
                self._problem = f"{type(error).__name__}: {error}"
                self._plan_attempt()
            if not is_busy:
                self._status.clock.sleep(0.2)

    def _is_idle(self) -> bool:
        self._in_flight = deque(m for m in self._in_flight if not _is_published(m))
        return not self._waiting and not self._in_flight

    def _connect(self) -> None:
        self._is_connected, self._problem = False, ""
        self._plan_attempt()
        try:
            self._client.connect(
                self._broker.host, self._broker.port, keepalive=KEEPALIVE_SECONDS
            )
            began = self._status.clock.read_monotonic()
            while not self._is_connected:
                code = int(self._client.loop(0.2))
                if code or self._status.clock.read_monotonic() - began > 10:
                    self._problem = self._problem or "the broker does not answer"
                    return
        # socket.gaierror and ssl.SSLError are OSErrors, ValueError is a bad host.
        except (OSError, ValueError) as error:
            self._problem = str(error)

    def _plan_attempt(self) -> None:
        now = self._status.clock.read_monotonic()
        self._next_attempt = now + self._backoff.choose_pause()

    def _note_connection(
        self, client: Any, userdata: Any, flags: Any, code: Any, properties: Any
    ) -> None:
        if code.is_failure:
            self._problem = f"the broker refuses: {code}"
            return
        self._is_connected, self._problem = True, ""
        self._connected_at = self._status.clock.read_monotonic()
        # The broker may have forgotten everything, and it has said `offline`.
        client.publish(f"{self._topic}/availability", "online", qos=1, retain=True)
        with self._lock:
            queued = {topic for topic, _, _ in self._waiting}
            for topic, payload in self._retained.items():
                if topic not in queued and not topic.endswith("/availability"):
                    self._waiting.appendleft((topic, payload, True))

    def _note_disconnection(
        self, client: Any, userdata: Any, flags: Any, code: Any, properties: Any
    ) -> None:
        self._is_connected = False
        self._problem = self._problem or f"disconnected: {code}"

    def _publish(self) -> None:
        self._in_flight = deque(m for m in self._in_flight if not _is_published(m))
        while self._waiting and len(self._in_flight) < MAX_IN_FLIGHT:
            with self._lock:
                topic, payload, is_retained = self._waiting.popleft()
            # paho-mqtt sends unconfirmed messages again after a new connection.
            self._in_flight.append(
                self._client.publish(topic, payload, qos=1, retain=is_retained)
            )

    def _send(self, topic: str, payload: str, is_retained: bool = False) -> None:
        with self._lock:
            if is_retained:
                self._retained[topic] = payload
            if len(self._waiting) >= MAX_WAITING:
                self._waiting.popleft()
                self._lost += 1
            self._waiting.append((topic, payload, is_retained))

    def _send_status(self) -> None:
        text = json.dumps(self._status.describe())
        self._send(f"{self._topic}/status", text, is_retained=True)

    def _report_status(self) -> None:
        """Raise the alarm of the broker; send the state each minute and at an alarm."""
        if self._is_connected:
            self._status.clear_alarm("mqtt")
        elif self._problem:
            self._status.raise_alarm("mqtt", self._problem)
        now, alarms = self._status.clock.read_monotonic(), dict(self._status.alarms)
        if now >= self._next_status or alarms != self._sent_alarms:
            self._next_status, self._sent_alarms = now + STATUS_SECONDS, alarms
            self._send_status()


def _is_published(message: Any) -> bool:
    """Check whether the broker has confirmed a message."""
    try:
        return bool(message.is_published())
    except (RuntimeError, ValueError):
        # It was published when the connection had just broken: paho-mqtt keeps it.
        return True
