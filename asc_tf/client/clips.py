"""Clips for a server: files, folders and waveforms, as the bytes of WAV files."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.client.results import Row
from asc_tf.client.retries import ServerError
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.untrusted_files import open_file
from asc_tf.dsp.preprocessing import check_rate, check_waveform
from asc_tf.dsp.wav_format import pack_wav

BATCH_BYTES = 2**23
"""Bytes of the files of one request, unless one file has more."""

BATCH_FILES = 8
"""Most files of one request."""

REFUSED = ("400", "413", "INVALID_ARGUMENT", "FAILED_PRECONDITION")
"""Status of a request that may be accepted if its files are sent one by one."""

Send = Callable[[list[bytes]], list[Row]]


def pack_waveform(waveform: Any, sample_rate: int) -> bytes:
    """Pack a waveform into a WAV file of floats.

    Args:
        waveform: Floats in [-1, 1], `[samples]` or `[samples, channels]`.
        sample_rate: Sample rate in Hz, 1000 to 768000.

    Raises:
        UserError: If the waveform is empty, not finite, far beyond full scale or of
            another shape or type, or the rate is out of range.
    """
    samples, rate = check_waveform(waveform), check_rate(sample_rate)
    data = np.ascontiguousarray(samples, "<f4").tobytes()
    return pack_wav(data, rate, samples.shape[1], True)


def list_files(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """List files; a folder stands for the WAV files in it and below it, sorted.

    Raises:
        UsageError: If a folder has no WAV file.
        UserError: If a folder cannot be read.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    found: list[Path] = []
    for path in map(Path, given):
        if not path.is_dir():
            found.append(path)
            continue
        files = sorted(
            Path(folder, name)
            for folder, _, names in os.walk(path, onerror=_refuse_folder)
            for name in names
            if name.lower().endswith(".wav")
        )
        if not files:
            raise UsageError(f"{path}: no .wav file in this folder or below it")
        found += files
    return found


def _refuse_folder(error: OSError) -> None:
    raise UserError(f"{error.filename}: {error.strerror or error}") from error


def send_files(
    paths: Sequence[Path], send: Send, connections: int, max_bytes: int
) -> list[Row]:
    """Send files in several requests at a time.

    After an error that is final for the server, no further file is sent.

    Args:
        paths: The files.
        send: Function from the bytes of files to a result for each.
        connections: Number of requests at a time.
        max_bytes: Largest size of a file in bytes; a larger one is not read.

    Returns:
        For each file, in their order, the result with `file`; or `file` and `error`.
    """
    final: list[ServerError] = []

    def run(batch: list[Path]) -> list[Row]:
        rows: list[Row] = [{"file": str(path)} for path in batch]
        if not final:
            try:
                _send_batch(batch, rows, send, max_bytes)
            except ServerError as error:
                final.append(error)
        if final:
            for row in rows:
                if len(row) == 1:
                    row["error"] = str(final[0])
        return rows

    pool = ThreadPoolExecutor(connections)
    try:
        return [row for rows in pool.map(run, _group(paths)) for row in rows]
    finally:
        pool.shutdown(cancel_futures=True)


def _group(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Group files to requests of a bounded size."""
    batch: list[Path] = []
    size = 0
    for path in paths:
        try:
            own = path.stat().st_size
        except (OSError, ValueError):
            own = 0  # reading it names the problem
        if batch and (len(batch) == BATCH_FILES or size + own > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += own
    if batch:
        yield batch


def _send_batch(paths: list[Path], rows: list[Row], send: Send, max_bytes: int) -> None:
    """Send files in one request, and write their results into rows.

    Raises:
        ServerError: If it is final.
    """
    contents, sent = [], []
    for path, row in zip(paths, rows, strict=True):
        try:
            contents.append(_read_file(path, max_bytes))
            sent.append(row)
        except UserError as error:
            row["error"] = str(error)
    if not sent:
        return
    try:
        results = send(contents)
    except ServerError as error:
        if error.is_final:
            raise
        if len(sent) > 1 and (error.is_too_large or error.status in REFUSED):
            results = [_send_one(send, content) for content in contents]
        else:
            results = [{"error": str(error)} for _ in sent]
    for row, result in zip(sent, results, strict=True):
        if reason := result.get("error"):
            row["error"] = f"{row['file']}: {reason}"
        else:
            row |= result


def _read_file(path: Path, max_bytes: int) -> bytes:
    with open_file(path) as (file, size):
        if size > max_bytes:
            raise UserError(
                f"has {size} bytes, and at most {max_bytes} are sent; cut the file, or "
                "raise max_file_mb of the client"
            )
        # It may have grown.
        return file.read(max_bytes)


def _send_one(send: Send, content: bytes) -> Row:
    try:
        return send([content])[0]
    except ServerError as error:
        if error.is_final:
            raise
        return {"error": str(error)}
