"""Reading and completing of `model.keras`, and the epoch that it is of."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.core.files import write_atomically
from asc_tf.workdir import Workdir


def select_row(
    history: Sequence[dict[str, float]], keep: str
) -> dict[str, float] | None:
    """Return the row of the best epoch, or of the last.

    Args:
        history: One row per epoch.
        keep: `best` (lowest validation loss) or `last`.

    Returns:
        The row, or None where no epoch qualifies.
    """
    if keep == "last":
        return history[-1] if history else None
    finite = [row for row in history if np.isfinite(row.get("val_loss", np.nan))]
    return min(finite, key=lambda row: row["val_loss"]) if finite else None


def load_whole(path: Path) -> keras.Model:
    """Load a `model.keras`, which takes waveforms.

    If a run with frozen weights was stopped, its best weights may still be in a file of
    their own (`best.npz`); they are put into the model.

    Raises:
        UserError: If a file is damaged, or written by a newer Keras.
    """
    from asc_tf.frontend import FrontendLayer

    # Read before the model, which a run that ends meanwhile replaces.
    best_file = Workdir(path.parent).best_file
    changed = _read_changed(best_file) if best_file.is_file() else {}
    try:
        model = keras.models.load_model(
            path,
            compile=False,
            custom_objects={
                "FrontendLayer": FrontendLayer,
                # The fused one is for training; see asc_tf.models.batch_norm.
                "asc_tf>BatchNormalization": keras.layers.BatchNormalization,
            },
        )
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = _suggest_newer_keras(path) or str(error).strip().split("\n")[0]
        if path.is_file() and not zipfile.is_zipfile(path):
            reason = "empty or damaged; train again, or copy the file again"
        raise UserError(f"{path}: the model cannot be loaded: {reason}") from error
    weights = model.weights
    try:
        for index, value in changed.items():
            weights[index].assign(value)
    except (IndexError, ValueError) as error:
        raise UserError(f"{best_file}: not of the model in {path}: {error}") from error
    return model


def _read_changed(path: Path) -> dict[int, np.ndarray]:
    """Read the weights of `best.npz` by their positions in the model.

    Raises:
        UserError: If the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as saved:
            return {int(name.split("_")[1]): value for name, value in saved.items()}
    except FileNotFoundError:  # The run has ended meanwhile.
        return {}
    except (OSError, ValueError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: the best model's weights cannot be read ({error}); remove the "
            "folder checkpoints to start the run again"
        ) from error


def complete_model(workdir: Workdir) -> None:
    """Write `model.keras` again if its best weights are in a file of their own.

    Raises:
        UserError: If a file is damaged, or the disk is full.
    """
    if workdir.best_file.is_file():
        model = load_whole(workdir.model_file)
        with write_atomically(workdir.model_file) as temporary:
            model.save(temporary)
        workdir.best_file.unlink()


def _suggest_newer_keras(path: Path) -> str:
    """Suggest how to load a model that a newer Keras wrote; empty for other models."""
    try:
        with zipfile.ZipFile(path) as archive:
            version = json.loads(archive.read("metadata.json"))["keras_version"]
        wrote, installed = (
            tuple(int(number) for number in each.split(".")[:2])
            for each in (version, keras.__version__)
        )
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return ""
    if wrote <= installed:
        return ""
    return (
        f"Keras {version} wrote it, and this is the older {keras.__version__}: use the "
        "newer one, or a file that asc-tf export writes with it"
    )
