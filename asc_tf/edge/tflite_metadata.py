"""Metadata of a .tflite: a zip archive behind the flatbuffer.

TensorFlow Lite ignores bytes behind the flatbuffer, and `zipfile` finds an archive from
the end of a file (so does `unzip -p MODEL.tflite model.json`). TensorFlow's own model
metadata packs its files likewise, and its tools look for `labels.txt`.
"""

import dataclasses
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from asc_tf.config import FIELDS
from asc_tf.config.export import FORMATS
from asc_tf.core.errors import UserError
from asc_tf.core.files import hash_bytes, write_atomically
from asc_tf.core.untrusted_files import open_file
from asc_tf.core.version import __version__
from asc_tf.dsp.preprocessing import Preprocessing

FORMAT_VERSION = 1

MEMBER, LABELS = "model.json", "labels.txt"
"""Files in the archive: the metadata, and the labels alone, one a line."""

PARTS = ("frontend", "body")
"""Parts of a model that `export.separate` writes as files of their own."""

UNKNOWN = "unknown"
"""Format of a file whose metadata name one that asc-tf does not write."""

_MAX_JSON_BYTES = 2**20
_MAX_ARCHIVE_BYTES = 2**22
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MAX_FILE_BYTES = 2**31  # a flatbuffer's offsets are signed 32-bit
_MAX_SAMPLES = 2**28
_MAX_OVERLAPS = 1000  # segments per segment length; a tiny hop would take for ever
_RATES = (1000, 384_000)
_TEMPERATURES = (0.01, 100)

_AGAIN = "copy or export it again"


@dataclass(frozen=True)
class Metadata:
    """Checked metadata of a model.

    Attributes:
        labels: Class names, in the order of the probabilities.
        sample_rate: Sample rate of the waveform in Hz.
        segment_samples: Samples of a segment.
        hop_samples: Samples between the starts of neighbouring segments.
        precision: Format of the file, one of `asc_tf.config.export.FORMATS`, or
            `UNKNOWN`: it is part of file names, and chooses the gates of the doctor.
        format_version: Version of these metadata.
        flatbuffer_bytes: Size of the flatbuffer.
        sha256: SHA-256 of the flatbuffer, hexadecimal.
        channels: As in the configuration, as are the next four.
        short_clips: `pad` or `loop`.
        segments: `all` or `centre`.
        pooling: `mean`, `mean_log` or `majority`.
        last_segment: `align` or `drop`.
        extra: All other fields, `config` for one; a `temperature` in it is checked.
    """

    labels: tuple[str, ...]
    sample_rate: int
    segment_samples: int
    hop_samples: int
    precision: str
    format_version: int
    flatbuffer_bytes: int
    sha256: str
    channels: str = "mono"
    short_clips: str = "pad"
    segments: str = "all"
    pooling: str = "mean"
    last_segment: str = "align"
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def preprocessing(self) -> Preprocessing:
        """Inference preprocessing: sample rate, channels, segments, pooling."""
        names = (item.name for item in dataclasses.fields(Preprocessing))
        return Preprocessing(**{name: getattr(self, name) for name in names})


def write_metadata(path: Path, metadata: Mapping[str, Any]) -> None:
    """Append metadata to a .tflite, or replace the metadata in it.

    The same model and metadata give the same bytes. The file is replaced as a whole.

    Args:
        path: The .tflite.
        metadata: `labels`, `sample_rate` (Hz), `segment_samples`, `hop_samples`,
            `precision`, its preprocessing (`channels`, `short_clips`, `segments`,
            `pooling`, `last_segment`), and anything else that JSON can hold.
            `format_version`, `flatbuffer_bytes` and `sha256` are added.

    Raises:
        UserError: If the file is no .tflite, or a value is of the wrong type or range.
    """
    if zipfile.is_zipfile(path):
        flatbuffer = load(path)[1]
    else:
        with open_file(path) as (file, size):
            _check_size(size)
            flatbuffer = file.read()
            _check_start(flatbuffer)
    fields = {
        **metadata,
        "format_version": FORMAT_VERSION,
        "flatbuffer_bytes": len(flatbuffer),
        "sha256": hash_bytes(flatbuffer),
    }
    text = json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False)
    labels = _format_labels(_parse(json.loads(text)).labels)
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        file.write(flatbuffer)
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in ((MEMBER, text.encode()), (LABELS, labels)):
                # A fixed time, because equal metadata must give equal bytes.
                member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                member.create_system = 3
                member.external_attr = 0o644 << 16
                archive.writestr(member, content, zipfile.ZIP_DEFLATED, 9)


def _format_labels(labels: Sequence[str]) -> bytes:
    return "".join(f"{label}\n" for label in labels).encode()


def read_metadata(path: str | Path) -> Metadata:
    """Read and check the metadata of a .tflite.

    Raises:
        UserError: If asc-tf did not export the file, it is damaged, or its format is
            newer than this version reads.
    """
    return load(path)[0]


def load(path: str | Path) -> tuple[Metadata, bytes]:
    """Read a .tflite: its metadata, and the flatbuffer that they belong to.

    Raises:
        UserError: As `read_metadata`.
    """
    with open_file(Path(path)) as (file, size):
        _check_start(file.read(8))
        _check_size(size)
        text, labels, archive_start = _read_archive(file, size)
        metadata = _parse(_parse_json(text))
        if labels is not None and labels != _format_labels(metadata.labels):
            raise UserError(
                f"damaged: {LABELS} and {MEMBER} in it name different labels; {_AGAIN}"
            )
        if metadata.flatbuffer_bytes != archive_start:
            raise UserError(
                f"damaged: the model has {archive_start} bytes, not "
                f"{metadata.flatbuffer_bytes}; {_AGAIN}"
            )
        file.seek(0)
        flatbuffer = file.read(archive_start)
        if hash_bytes(flatbuffer) != metadata.sha256:
            raise UserError(f"damaged: its checksum differs; {_AGAIN}")
        return metadata, flatbuffer


def _check_start(content: bytes) -> None:
    if content[4:8] != b"TFL3":
        raise UserError("is not a TensorFlow Lite model; give a .tflite file")


def _check_size(size: int) -> None:
    if size > _MAX_FILE_BYTES:
        raise UserError(f"has {size} bytes; a .tflite has 2 GB at most")


def _read_archive(file: BinaryIO, size: int) -> tuple[bytes, bytes | None, int]:
    """Read the archive behind a flatbuffer, and not the flatbuffer.

    Returns:
        The text of `model.json`, that of `labels.txt` (None in a file of an earlier
        version), and the offset at which the archive begins.
    """
    tail_start = max(size - _MAX_ARCHIVE_BYTES, 0)
    file.seek(tail_start)
    tail = file.read(_MAX_ARCHIVE_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(tail)) as archive:
            start = tail_start + archive.getinfo(MEMBER).header_offset
            text = _read_member(archive, MEMBER)
            has_labels = LABELS in archive.namelist()
            labels = _read_member(archive, LABELS) if has_labels else None
    # Damaged archives raise many exceptions, struct.error and zlib.error among them.
    except Exception as error:
        raise UserError(
            "no metadata: cut short, or not exported by asc-tf export "
            f"({type(error).__name__}); {_AGAIN}"
        ) from error
    if max(len(text), len(labels or b"")) > _MAX_JSON_BYTES:
        raise UserError(f"damaged: its metadata exceed 1 MB; {_AGAIN}")
    return text, labels, start


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read a file of an archive, up to a byte more than it may have.

    LZMA and bzip2 are refused, because the file says how much memory they take.
    """
    if archive.getinfo(name).compress_type not in _COMPRESSIONS:
        raise zipfile.BadZipFile(f"{name} is compressed by an unusual method")
    with archive.open(name) as member:
        return member.read(_MAX_JSON_BYTES + 1)


def _parse_json(text: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"damaged: its metadata are not JSON; {_AGAIN}") from error
    if not isinstance(fields, dict):
        raise UserError(f"damaged: its metadata are not an object; {_AGAIN}")
    return fields


def _parse(fields: dict[str, Any]) -> Metadata:
    """Check the fields; unknown ones go to `extra`."""
    rest = dict(fields)
    version = rest.pop("format_version", None)
    if type(version) is not int or version != FORMAT_VERSION:
        raise UserError(
            f"metadata of format_version {version!r}, asc-tf {__version__} reads "
            f"{FORMAT_VERSION}; install a newer asc-tf"
        )
    check_temperature(rest.get("temperature", 1.0))
    segment_samples = _take_integer(rest, "segment_samples", 1, _MAX_SAMPLES)
    least_hop = max(segment_samples // _MAX_OVERLAPS, 1)
    return Metadata(
        labels=check_labels(rest.pop("labels", None)),
        sample_rate=_take_integer(rest, "sample_rate", *_RATES),
        segment_samples=segment_samples,
        hop_samples=_take_integer(rest, "hop_samples", least_hop, _MAX_SAMPLES),
        precision=_take_format(rest),
        format_version=FORMAT_VERSION,
        flatbuffer_bytes=_take_integer(rest, "flatbuffer_bytes", 8, _MAX_FILE_BYTES),
        sha256=_take_text(rest, "sha256"),
        channels=_take_choice(rest, "audio.channels"),
        short_clips=_take_choice(rest, "audio.short_clips"),
        segments=_take_choice(rest, "evaluate.segments"),
        pooling=_take_choice(rest, "evaluate.pooling"),
        last_segment=_take_choice(rest, "audio.last_segment"),
        extra=rest,
    )


def read_config_section(metadata: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Read one section of the configuration in metadata; empty if they have none.

    Raises:
        UserError: If it is there and is not a table.
    """
    value: Any = metadata
    for key in ("config", name):
        value = value.get(key, {})
        if not isinstance(value, dict):
            raise UserError(f"metadata: {key} is {value!r:.60}, not a table; {_AGAIN}")
    return dict(value)


def check_labels(value: Any) -> tuple[str, ...]:
    """Check the labels of metadata.

    Control characters are refused, because labels are printed on a terminal.

    Raises:
        UserError: If they are not a list of different names.
    """
    if not isinstance(value, list) or not value:
        raise UserError(f"metadata: labels is {value!r:.60}, not a list; {_AGAIN}")
    for label in value:
        if not isinstance(label, str) or not label or not label.isprintable():
            raise UserError(f"metadata: label {label!r:.60} is not a name; {_AGAIN}")
    if len(set(value)) < len(value):
        raise UserError(f"metadata: labels has one name twice; {_AGAIN}")
    return tuple(value)


def _take_integer(fields: dict[str, Any], name: str, low: int, high: int) -> int:
    value = fields.pop(name, None)
    if type(value) is not int or not low <= value <= high:
        raise UserError(
            f"metadata: {name} is {value!r:.60}, not an integer from {low} to {high}; "
            f"{_AGAIN}"
        )
    return value


def _take_choice(fields: dict[str, Any], key: str) -> str:
    """Take a setting of the configuration; older files may lack it."""
    name, item = key.split(".")[1], FIELDS[key]
    value = fields.pop(name, item.default)
    if value not in item.metadata["choices"]:
        raise UserError(
            f"metadata: {name} is {value!r:.60}, not one of "
            f"{', '.join(item.metadata['choices'])}; {_AGAIN}"
        )
    return str(value)


def _take_format(fields: dict[str, Any]) -> str:
    name = _take_text(fields, "precision")
    return name if name in FORMATS[1:] else UNKNOWN


def check_temperature(value: Any) -> float:
    """Check the temperature of metadata, the divisor of the logits, and return it.

    Raises:
        UserError: If it is not a number from 0.01 to 100.
    """
    low, high = _TEMPERATURES
    # NaN lies in no range.
    if type(value) not in (int, float) or not low <= value <= high:
        raise UserError(
            f"metadata: temperature is {value!r:.60}, not a number from {low} to "
            f"{high}; {_AGAIN}"
        )
    return float(value)


def _take_text(fields: dict[str, Any], name: str) -> str:
    value = fields.pop(name, None)
    if not isinstance(value, str) or not value.isprintable():
        raise UserError(f"metadata: {name} is {value!r:.60}, not a name; {_AGAIN}")
    return value
