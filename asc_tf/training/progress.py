"""Progress of training on the screen: a line per epoch and a bar of its steps."""

import time
from collections.abc import Mapping
from typing import Any

import keras
from tqdm import tqdm

EXPLANATION = (
    "accuracy: share of segments, not of clips as in asc-tf evaluate; waiting: share "
    "of the training time spent waiting for data"
)


class EpochReport(keras.callbacks.Callback):
    """Callback that prints a line at the end of each epoch.

    It comes after `WaitReport` in the list of callbacks, whose value it prints.
    """

    def __init__(self, epochs: int, steps: int, *, has_bar: bool) -> None:
        super().__init__()
        self._epochs, self._steps, self._has_bar = epochs, steps, has_bar

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Print what the numbers mean, and why the first epoch takes longer."""
        print(EXPLANATION)
        print("compiling the training step, in the first epoch ...", flush=True)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the bar."""
        self._began = time.monotonic()
        self._bar = tqdm(
            total=self._steps,
            desc=f"epoch {epoch + 1} of {self._epochs}",
            unit=" steps",
            leave=False,
            disable=not self._has_bar,
        )

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Advance the bar by a step."""
        if logs and self._has_bar:
            self._bar.set_postfix(loss=f"{logs['loss']:.3f}", refresh=False)
        self._bar.update()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Show that the steps are done and validation has begun."""
        self._bar.set_postfix_str("validating")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Print the line."""
        self._bar.close()
        seconds = time.monotonic() - self._began
        print(format_epoch(epoch + 1, self._epochs, seconds, logs or {}), flush=True)


def format_epoch(
    epoch: int, epochs: int, seconds: float, logs: Mapping[str, float]
) -> str:
    """Format the line of an epoch.

    Args:
        epoch: Number of the epoch, from 1.
        epochs: Number of epochs.
        seconds: Duration of the epoch with its validation, s.
        logs: `loss` and `accuracy`; `val_loss` and `val_accuracy` where there is a
            validation split; `waiting`, the share of time spent waiting for data.
    """
    parts = [_format_scores(logs, "")]
    if "val_loss" in logs:
        parts.append("validation " + _format_scores(logs, "val_"))
    parts.append(f"{seconds:.1f} s, waiting {logs['waiting']:.0%}")
    return f"epoch {epoch:>{len(str(epochs))}} of {epochs}: {'; '.join(parts)}"


def _format_scores(logs: Mapping[str, float], prefix: str) -> str:
    loss, accuracy = logs[f"{prefix}loss"], logs[f"{prefix}accuracy"]
    return f"loss {loss:.4f}, accuracy {accuracy:.1%}"
