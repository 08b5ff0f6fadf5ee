"""Download of a file over HTTP, in as many attempts as the connection needs.

The bytes received so far are in `NAME.part`, and notes on the file in `NAME.part.json`
beside it. A download is continued only if the server still has the same file.
"""

import dataclasses
import hashlib
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asc_tf.core.errors import UserError
from asc_tf.core.files import write_text
from asc_tf.core.version import __version__
from asc_tf.datasets.download.unpacking import check_space

BLOCK = 2**18
TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as cut."""
ATTEMPTS = 5
"""Most attempts in a row that bring less than `PROGRESS` bytes."""
PROGRESS = 2**20
MAX_PAUSE = 60.0
TEMPORARY_STATUSES = (408, 425, 429, 500, 502, 503, 504)
"""HTTP status codes after which another attempt may help."""

Report = Callable[[str, int, int], None]
"""Callback with an archive's name, its bytes so far, and its size (0: unknown)."""


@dataclasses.dataclass(frozen=True)
class Archive:
    """File to fetch; `checksum` (MD5 or SHA-256 in hex) and `size` may be missing."""

    name: str
    url: str
    checksum: str = ""
    size: int = 0


class _CutError(Exception):
    """Temporary failure; `pause` is the server's request in seconds."""

    def __init__(self, reason: object, pause: float = 0.0) -> None:
        super().__init__(str(reason) or type(reason).__name__)
        self.pause = pause


class _ChangedError(Exception):
    """The file on the server has changed, so that the download must begin again."""


def fetch(
    archive: Archive, folder: Path, report: Report, say: Callable[[str], None]
) -> Path:
    """Fetch one file, continuing an earlier attempt in the same folder.

    `report` is told the progress, and `say` gets a line on each failed attempt.

    Returns:
        Path of the file; a file of this name is always complete and checked.

    Raises:
        UserError: If it cannot be fetched, or has another checksum or size.
    """
    path = folder / archive.name
    if path.is_file():
        return path
    part = path.with_name(f"{archive.name}.part")
    failures = 0
    while True:
        before = _read_size(part)
        try:
            _transfer(archive, part, report)
            break
        except _CutError as error:
            failures = 1 if _read_size(part) - before >= PROGRESS else failures + 1
            if failures >= ATTEMPTS:
                raise UserError(
                    f"{archive.url}: {error} ({failures} attempts); run the command "
                    "again to continue"
                ) from error
            pause = min(max(error.pause, 2.0 ** (failures - 1)), MAX_PAUSE)
            say(f"{archive.name}: {error}; again in {pause:g} s")
            time.sleep(pause)
    _check(archive, part)
    os.replace(part, path)
    _notes_file(part).unlink(missing_ok=True)
    return path


def _read_size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _check(archive: Archive, part: Path) -> None:
    """Remove a file without the published size and checksum, and refuse it."""
    problem = ""
    if archive.size and _read_size(part) != archive.size:
        problem = f"{_read_size(part):,} bytes, expected {archive.size:,}"
    elif archive.checksum:
        kind = {32: "md5", 64: "sha256"}[len(archive.checksum)]
        with part.open("rb") as stream:
            checksum = hashlib.file_digest(stream, kind).hexdigest()
        if checksum != archive.checksum.lower():
            problem = f"{kind} {checksum}, expected {archive.checksum.lower()}"
    if problem:
        part.unlink()
        _notes_file(part).unlink(missing_ok=True)
        raise UserError(
            f"{archive.name}: received {problem}; the file was removed. Run the "
            f"command again; if it stays so, {archive.url} has been replaced"
        )


def _transfer(archive: Archive, part: Path, report: Report) -> None:
    """Download the rest of the file, as far as the connection lasts."""
    try:
        notes = _read_notes(archive, part)
        if notes.get("total") and _read_size(part) == notes["total"]:
            return
        response = _open(archive.url, _read_size(part) if notes else 0, notes)
    except _ChangedError:
        notes = {}
        response = _open(archive.url, 0, notes)
    with response:
        total = notes.get("total", 0)
        if response.status != 206:
            total = int(response.headers.get("Content-Length") or 0)
            if archive.size and total and total != archive.size:
                raise UserError(
                    f"{archive.url}: has {total:,} bytes, expected {archive.size:,}: "
                    "it has been replaced"
                )
            _begin(archive, part, response, total)
        check_space(part.parent, total - _read_size(part))
        with part.open("ab") as stream:
            while block := _read(response):
                stream.write(block)
                report(archive.name, stream.tell(), total)
    if total and _read_size(part) != total:
        raise _CutError(f"cut off after {_read_size(part):,} of {total:,} bytes")


def _begin(archive: Archive, part: Path, response: Any, total: int) -> None:
    """Begin a new part file, with notes on the file that it belongs to."""
    part.unlink(missing_ok=True)
    etag = response.headers.get("ETag") or ""
    validator = "" if etag.startswith("W/") else etag
    validator = validator or response.headers.get("Last-Modified") or ""
    notes = {"url": archive.url, "etag": etag, "validator": validator, "total": total}
    write_text(_notes_file(part), json.dumps(notes))


def _notes_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_notes(archive: Archive, part: Path) -> dict[str, Any]:
    """Read the notes on the part file; empty if it cannot be continued safely."""
    try:
        notes = json.loads(_notes_file(part).read_text("utf-8"))
        is_known = notes["total"] and (notes["validator"] or archive.checksum)
        is_same = notes["url"] == archive.url and 0 < _read_size(part) <= notes["total"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return notes if is_known and is_same and "etag" in notes else {}


def _open(url: str, offset: int, notes: dict[str, Any]) -> Any:
    """Request a file from `offset` on; the response may begin at 0 with status 200.

    Raises:
        _ChangedError: If the server has another file than the one begun.
        _CutError: If another attempt may help.
        UserError: If it will not.
    """
    request = urllib.request.Request(url)
    request.add_header("User-Agent", f"asc_tf/{__version__}")
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        if notes["validator"]:
            request.add_header("If-Range", notes["validator"])
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and offset:
            raise _ChangedError from error
        if error.code in TEMPORARY_STATUSES:
            wait = error.headers.get("Retry-After") or ""
            pause = float(wait) if wait.isdecimal() else 0.0
            raise _CutError(f"HTTP {error.code} {error.reason}", pause) from error
        raise UserError(
            f"{url}: HTTP {error.code} {error.reason}; open the address in a browser "
            "to see whether it has moved"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _CutError(getattr(error, "reason", error)) from error
    if response.status == 206 and not offset:
        response.close()
        raise UserError(
            f"{url}: the server sends a part of the file, unasked (HTTP 206)"
        )
    if response.status == 206 and not _is_continuation(response, offset, notes):
        response.close()
        raise _ChangedError
    return response


def _is_continuation(response: Any, offset: int, notes: dict[str, Any]) -> bool:
    """Check whether the response is the rest of the file that was begun."""
    pattern = r"bytes (\d+)-(\d+)/(\d+|\*)"
    match = re.fullmatch(pattern, response.headers.get("Content-Range") or "")
    if not offset or not match or int(match[1]) != offset:
        return False
    etag = response.headers.get("ETag") or ""
    is_same = not etag or not notes["etag"] or etag == notes["etag"]
    return is_same and match[3] in ("*", str(notes["total"]))


def _read(response: Any) -> bytes:
    try:
        return response.read(BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _CutError(error) from error
