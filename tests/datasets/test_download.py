"""Fetching, unpacking and installing, against a local server that misbehaves."""

import contextlib
import dataclasses
import functools
import hashlib
import http.server
import io
import json
import os
import random
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import tqdm

from asc_tf.core.errors import UsageError, UserError
from asc_tf.datasets import download
from asc_tf.datasets.download import (
    Plan,
    fetching,
    install,
    name_staging_folder,
    unpacking,
)
from asc_tf.datasets.download.fetching import Archive
from asc_tf.datasets.download.progress import Progress
from asc_tf.datasets.download.unpacking import BrokenArchiveError

CONTENT = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)


@dataclasses.dataclass
class Page:
    """What the server has at one address, and how it misbehaves."""

    content: bytes
    etag: str = '"one"'
    ranges: bool = True
    honours_if_range: bool = True
    has_length: bool = True
    statuses: list[int] = dataclasses.field(default_factory=list)
    retry_after: str = ""
    cuts: list[int] = dataclasses.field(default_factory=list)
    shift: int = 0
    stall: threading.Event | None = None


class Site:
    """A server in a thread; `asked` has the path and the Range of each request."""

    def __init__(self):
        self.pages = {}
        self.asked = []
        handler = type("Handler", (_Handler,), {"site": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        threading.Thread(
            target=self.server.serve_forever, args=(0.01,), daemon=True
        ).start()

    def put(self, path, content, **how):
        self.pages[path] = Page(content, **how)
        return f"http://127.0.0.1:{self.server.server_port}/{path}"


class _Handler(http.server.BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *_):
        pass

    def do_GET(self):
        page = self.site.pages.get(self.path.strip("/"))
        wanted = self.headers.get("Range", "")
        self.site.asked.append((self.path.strip("/"), wanted))
        status = page.statuses.pop(0) if page and page.statuses else 200
        if page is None or status != 200:
            self.send_response(404 if page is None else status)
            if page and page.retry_after:
                self.send_header("Retry-After", page.retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(page, wanted)

    def _send(self, page, wanted):
        body, start = page.content, 0
        validator = self.headers.get("If-Range")
        same = not page.honours_if_range or validator in (None, page.etag)
        if wanted and page.ranges and same:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            first, last = start + page.shift, len(body) - 1
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
            body = body[start + page.shift :]
        else:
            self.send_response(200)
        if page.etag:
            self.send_header("ETag", page.etag)
        if page.has_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = page.cuts.pop(0) if page.cuts else len(body)
        with contextlib.suppress(OSError):
            self.wfile.write(body[:cut])
            self.wfile.flush()
            if page.stall:
                page.stall.wait(30)
        self.close_connection = True


@pytest.fixture
def site():
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


@pytest.fixture
def pauses(monkeypatch):
    """The pauses between attempts, which take no time."""
    pauses = []
    monkeypatch.setattr(fetching.time, "sleep", pauses.append)
    return pauses


def md5(content):
    return hashlib.md5(content).hexdigest()


def quiet(*_):
    pass


def get(archive, folder):
    return fetching.fetch(archive, folder, quiet, quiet)


def zipped(files, **attributes):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            for key, value in attributes.items():
                setattr(member, key, value)
            archive.writestr(member, content)
    return stream.getvalue()


def tarred(files, kind=tarfile.REGTYPE, mode="w:gz"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.type = kind
            if kind == tarfile.REGTYPE:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                member.linkname = content
                archive.addfile(member)
    return stream.getvalue()


def tree(folder):
    """Path and content of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# Fetching


@pytest.mark.parametrize("kind", ["md5", "sha256", "none"])
def test_a_file_is_fetched_in_one_request_and_nothing_else_is_left(
    kind, site, tmp_path
):
    url = site.put("a.zip", CONTENT)
    checksum = hashlib.new(kind, CONTENT).hexdigest() if kind != "none" else ""
    path = get(Archive("a.zip", url, checksum.upper(), len(CONTENT)), tmp_path)
    assert tree(tmp_path) == {"a.zip": CONTENT}
    assert path == tmp_path / "a.zip"
    assert site.asked == [("a.zip", "")]


def test_progress_ends_at_the_whole_size(site, tmp_path):
    url, seen = site.put("a.zip", CONTENT), []
    fetching.fetch(Archive("a.zip", url), tmp_path, lambda *a: seen.append(a), quiet)
    assert seen[-1] == ("a.zip", 300_000, 300_000)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_a_cut_connection_is_continued_where_it_was_cut(site, tmp_path, pauses):
    url = site.put("a.zip", CONTENT, cuts=[100_000, 150_000])
    get(Archive("a.zip", url, md5(CONTENT)), tmp_path)
    assert tree(tmp_path) == {"a.zip": CONTENT}
    assert [asked for _, asked in site.asked] == ["", "bytes=100000-", "bytes=250000-"]
    assert pauses == [1, 2]


def test_a_server_that_ignores_ranges_is_begun_again(site, tmp_path, pauses):
    url = site.put("a.zip", CONTENT, cuts=[100_000], ranges=False)
    get(Archive("a.zip", url), tmp_path)
    assert tree(tmp_path) == {"a.zip": CONTENT}
    assert [asked for _, asked in site.asked] == ["", "bytes=100000-"]


@pytest.mark.parametrize(
    ("honours_if_range", "other", "requests"),
    [
        (True, OTHER, ["", "bytes=100000-"]),
        (False, OTHER, ["", "bytes=100000-", ""]),
        (False, OTHER + b"longer", ["", "bytes=100000-", ""]),
        (False, OTHER[:50_000], ["", "bytes=100000-", ""]),
    ],
    ids=["told", "not told", "not told, longer", "not told, shorter"],
)
def test_a_file_that_changes_between_attempts_is_begun_again(
    honours_if_range, other, requests, site, tmp_path, monkeypatch
):
    url = site.put("a.zip", CONTENT, cuts=[100_000])

    def replace(_):
        site.put("a.zip", other, etag='"two"', honours_if_range=honours_if_range)

    monkeypatch.setattr(fetching.time, "sleep", replace)
    get(Archive("a.zip", url), tmp_path)
    assert tree(tmp_path) == {"a.zip": other}
    assert [asked for _, asked in site.asked] == requests


def test_a_changed_size_is_seen_without_an_etag(site, tmp_path, monkeypatch):
    checksum = md5(OTHER + b"longer")
    url = site.put("a.zip", CONTENT, cuts=[100_000], etag="")

    pauses = []

    def replace(pause):
        pauses.append(pause)
        site.put("a.zip", OTHER + b"longer", etag="")

    monkeypatch.setattr(fetching.time, "sleep", replace)
    get(Archive("a.zip", url, checksum), tmp_path)
    assert tree(tmp_path) == {"a.zip": OTHER + b"longer"}
    assert [asked for _, asked in site.asked] == ["", "bytes=100000-", ""]
    assert pauses == [1]


def test_a_part_of_a_file_that_was_not_asked_for_is_refused(tmp_path, monkeypatch):
    class Part:
        status, headers = 206, {"Content-Range": "bytes 5-9/10"}

        def close(self):
            pass

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: Part())
    with pytest.raises(UserError, match="a part of the file, unasked"):
        get(Archive("a.zip", "http://127.0.0.1/a.zip", md5(CONTENT)), tmp_path)


def test_the_rest_of_a_file_is_not_taken_from_another_place(site, tmp_path, pauses):
    url = site.put("a.zip", CONTENT, cuts=[100_000], shift=7)
    get(Archive("a.zip", url), tmp_path)
    assert tree(tmp_path) == {"a.zip": CONTENT}
    assert [asked for _, asked in site.asked] == ["", "bytes=100000-", ""]


def test_without_etag_and_checksum_nothing_is_continued(site, tmp_path, pauses):
    url = site.put("a.zip", CONTENT, cuts=[100_000], etag="")
    get(Archive("a.zip", url), tmp_path)
    assert [asked for _, asked in site.asked] == ["", ""]


@pytest.mark.parametrize(("part", "requests"), [(OTHER * 2, 1), (CONTENT, 0)])
def test_a_part_that_is_too_long_is_begun_again_and_a_whole_one_is_not_asked_for(
    site, tmp_path, part, requests
):
    url = site.put("a.zip", CONTENT)
    (tmp_path / "a.zip.part").write_bytes(part)
    notes = {"url": url, "etag": '"one"', "validator": '"one"', "total": 300_000}
    (tmp_path / "a.zip.part.json").write_text(json.dumps(notes))
    get(Archive("a.zip", url, md5(CONTENT)), tmp_path)
    assert tree(tmp_path) == {"a.zip": CONTENT}
    assert len(site.asked) == requests


@pytest.mark.parametrize("notes", ["", "{", '{"url": "elsewhere"}', "[]", "null"])
def test_a_part_of_unknown_origin_is_begun_again(notes, site, tmp_path):
    url = site.put("a.zip", CONTENT)
    (tmp_path / "a.zip.part").write_bytes(OTHER[:1000])
    if notes:
        (tmp_path / "a.zip.part.json").write_text(notes)
    get(Archive("a.zip", url), tmp_path)
    assert tree(tmp_path) == {"a.zip": CONTENT}


def test_a_size_that_the_server_does_not_tell_is_no_obstacle(site, tmp_path):
    url = site.put("a.zip", CONTENT, has_length=False)
    get(Archive("a.zip", url, md5(CONTENT)), tmp_path)
    assert tree(tmp_path) == {"a.zip": CONTENT}


@pytest.mark.parametrize("status", [429, 503])
def test_a_status_that_may_pass_is_tried_again(status, site, tmp_path, pauses):
    url = site.put("a.zip", CONTENT, statuses=[status, status])
    said = []
    fetching.fetch(Archive("a.zip", url), tmp_path, quiet, said.append)
    assert tree(tmp_path) == {"a.zip": CONTENT}
    assert pauses == [1, 2]
    assert said[0].startswith(f"a.zip: HTTP {status} ")
    assert said[0].endswith("; again in 1 s")


@pytest.mark.parametrize(("asked", "waited"), [("7", 7), ("86400", 60), ("soon", 1)])
def test_the_server_says_how_long_to_wait_within_reason(
    asked, waited, site, tmp_path, pauses
):
    url = site.put("a.zip", CONTENT, statuses=[503], retry_after=asked)
    get(Archive("a.zip", url), tmp_path)
    assert pauses == [waited]


@pytest.mark.parametrize("status", [401, 404])
def test_a_status_that_stays_is_an_error_at_once(status, site, tmp_path, pauses):
    url = site.put("a.zip", CONTENT, statuses=[status])
    with pytest.raises(UserError, match=f"{url}: HTTP {status} .*browser"):
        get(Archive("a.zip", url), tmp_path)
    assert len(site.asked) == 1
    assert pauses == []


def test_attempts_without_progress_come_to_an_end_and_keep_what_there_is(
    site, tmp_path, pauses
):
    url = site.put("a.zip", CONTENT, cuts=[100_000, 0, 0, 0, 0, 0, 0])
    with pytest.raises(UserError, match=r"cut off after 100,000 of 300,000 .* again"):
        get(Archive("a.zip", url), tmp_path)
    assert pauses == [1, 2, 4, 8]
    assert (tmp_path / "a.zip.part").read_bytes() == CONTENT[:100_000]
    assert not (tmp_path / "a.zip").exists()


def test_attempts_that_bring_something_do_not_come_to_an_end(
    site, tmp_path, pauses, monkeypatch
):
    monkeypatch.setattr(fetching, "PROGRESS", 20_000)
    url = site.put("a.zip", CONTENT, cuts=[30_000] * 9)
    get(Archive("a.zip", url), tmp_path)
    assert tree(tmp_path) == {"a.zip": CONTENT}
    assert pauses == [1] * 9


def test_a_server_that_does_not_answer_is_named(tmp_path, pauses):
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9/a\.zip: .*refused"):
        get(Archive("a.zip", "http://127.0.0.1:9/a.zip"), tmp_path)
    assert len(pauses) == fetching.ATTEMPTS - 1


def test_a_wrong_checksum_names_both_and_removes_the_file(site, tmp_path):
    url = site.put("a.zip", CONTENT)
    with pytest.raises(UserError) as caught:
        get(Archive("a.zip", url, md5(OTHER)), tmp_path)
    assert f"a.zip: received md5 {md5(CONTENT)}, expected {md5(OTHER)}" in str(
        caught.value
    )
    assert url in str(caught.value)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(("is_told", "verb"), [(True, "has"), (False, "received")])
def test_another_size_is_refused_before_the_download_if_the_server_tells_it(
    site, tmp_path, is_told, verb
):
    url = site.put("a.zip", CONTENT, has_length=is_told)
    with pytest.raises(UserError, match=f"{verb} 300,000 bytes, expected 299,999"):
        get(Archive("a.zip", url, size=299_999), tmp_path)
    assert tree(tmp_path) == {}


def leave_free(monkeypatch, size):
    """Make every disk look as if it had so many bytes left."""
    usage = SimpleNamespace(free=size)
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda _: usage)


def test_a_full_disk_is_seen_before_the_download(site, tmp_path, monkeypatch):
    url = site.put("a.zip", CONTENT)
    leave_free(monkeypatch, 200_000)
    with pytest.raises(UserError, match=r"0\.0 GB are free"):
        get(Archive("a.zip", url), tmp_path)
    assert not (tmp_path / "a.zip").exists()


# Unpacking

FILES = {"top/meta.csv": b"a,b\n", "top/audio/1.wav": b"one", "top/audio/2.wav": b""}


@pytest.mark.parametrize(
    "content",
    [zipped(FILES), tarred(FILES), tarred(FILES, mode="w")],
    ids=["zip", "tar.gz", "tar"],
)
def test_an_archive_is_unpacked_whatever_its_name_says(content, tmp_path):
    (tmp_path / "archive.bin").write_bytes(content)
    unpacking.unpack(tmp_path / "archive.bin", tmp_path / "out", 7)
    assert tree(tmp_path / "out") == FILES


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_what_macos_leaves_in_archives_is_left_out(pack, tmp_path):
    litter = {"__MACOSX/top/._1.wav": b"x", "top/.DS_Store": b"x", "top/._1.wav": b"x"}
    (tmp_path / "a").write_bytes(pack(FILES | litter))
    unpacking.unpack(tmp_path / "a", tmp_path / "out", 100)
    assert tree(tmp_path / "out") == FILES


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize(
    "name",
    ["../evil", "top/../../evil", "/evil", "..", "..\\evil", "C:/evil", "top\\evil"],
)
def test_a_name_that_leads_out_is_refused(pack, name, tmp_path):
    (tmp_path / "a").write_bytes(pack({"good.wav": b"good", name: b"evil"}))
    with pytest.raises(BrokenArchiveError) as caught:
        unpacking.unpack(tmp_path / "a", tmp_path / "deep" / "out", 100)
    assert f"{tmp_path / 'a'}: refused: {name!r} is a name" in str(caught.value)
    assert "evil" not in {path.name for path in tmp_path.rglob("*")}


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE],
    ids=["symlink", "hard link", "device", "pipe"],
)
def test_a_link_or_device_in_a_tar_is_refused(kind, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "a").write_bytes(tarred({"top/x": str(tmp_path / "secret")}, kind))
    with pytest.raises(BrokenArchiveError, match="refused: 'top/x' is a link or a dev"):
        unpacking.unpack(tmp_path / "a", tmp_path / "out", 100)
    assert not (tmp_path / "out" / "top" / "x").exists()


def test_a_link_in_a_zip_is_refused_before_anything_is_written(tmp_path):
    link = zipped({"top/x": b"/etc/passwd"}, external_attr=(stat.S_IFLNK | 0o777) << 16)
    (tmp_path / "a").write_bytes(link)
    with pytest.raises(BrokenArchiveError, match="refused: 'top/x' is a link or a dev"):
        unpacking.unpack(tmp_path / "a", tmp_path / "out", 100)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_more_than_the_stated_size_is_refused_before_it_fills_the_disk(pack, tmp_path):
    (tmp_path / "a").write_bytes(pack({"zeros.wav": bytes(10_000_000)}))
    assert (tmp_path / "a").stat().st_size < 20_000
    with pytest.raises(BrokenArchiveError, match=r"10,000,000 bytes or .* 9,999,999"):
        unpacking.unpack(tmp_path / "a", tmp_path / "out", 9_999_999)
    assert not (tmp_path / "out" / "zeros.wav").exists()


def test_an_old_python_says_what_a_tar_archive_needs(tmp_path, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter")
    (tmp_path / "a").write_bytes(tarred(FILES))
    with pytest.raises(UserError, match=r"needs Python 3\.11\.4 or newer") as raised:
        unpacking.unpack(tmp_path / "a", tmp_path / "out", 7)
    # A broken archive would be removed and fetched again.
    assert not isinstance(raised.value, BrokenArchiveError)


def damaged_zip():
    content = bytearray(zipped({"a.wav": CONTENT}))
    content[1000] ^= 255
    return bytes(content)


def encrypted_zip():
    content = bytearray(zipped({"a.wav": b"secret"}))
    content[content.index(b"PK\x03\x04") + 6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def zip_with_a_size_too_large():
    content = bytearray(zipped({"a.wav": b"short"}))
    place = content.index(b"PK\x01\x02") + 24
    content[place : place + 4] = (9).to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>not found</html>",
        zipped({"a.wav": CONTENT})[:-10],
        damaged_zip(),
        tarred({"a.wav": CONTENT})[:100_000],
        tarred({"a.wav": CONTENT}, mode="w:bz2")[:100_000],
        tarred({"a.wav": CONTENT}, mode="w:xz")[:100_000],
        tarred({"a.wav": CONTENT}, mode="w")[:100_000],
        encrypted_zip(),
        zip_with_a_size_too_large(),
    ],
    ids=[
        *("empty", "page", "zip cut", "zip damaged", "gz cut", "bz2", "xz", "tar cut"),
        *("encrypted", "size"),
    ],
)
def test_an_archive_that_is_not_sound_is_named(content, tmp_path):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(BrokenArchiveError, match=str(tmp_path / "a")):
        unpacking.unpack(tmp_path / "a", tmp_path / "out", 10**6)


# A folder of archives


def plan(site, parts, **settings):
    """A plan whose archives are on the site, with their checksums."""
    archives = [
        Archive(name, site.put(name, content), md5(content), len(content))
        for name, content in parts.items()
    ]
    defaults = {"unpacked_bytes": 10**6, "download_bytes": 10**6}
    return Plan(archives, **(defaults | settings))


PARTS = {
    "meta.zip": zipped({"corpus/meta.csv": b"names\n"}),
    "audio.1.zip": zipped({"corpus/audio/1.wav": b"one", "corpus/README": b"1"}),
    "audio.2.tar.gz": tarred({"corpus/audio/2.wav": b"two", "corpus/README": b"2"}),
}
WHOLE = {"meta.csv": b"names\n", "audio/1.wav": b"one", "audio/2.wav": b"two"}
WHOLE |= {"README": b"2"}


def run(the_plan, folder, check=quiet, say=quiet):
    install(the_plan, folder, "corpus", check, quiet, say)


def test_archives_become_one_folder_and_nothing_else_is_left(site, tmp_path):
    said = []
    run(plan(site, PARTS), tmp_path / "new" / "D", say=said.append)
    assert tree(tmp_path / "new") == {f"D/{name}": each for name, each in WHOLE.items()}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["D"]
    assert said == [f"{name}: fetched, checked and unpacked" for name in PARTS]


def test_the_folder_around_everything_may_stay_and_an_empty_one_is_filled(
    site, tmp_path
):
    (tmp_path / "D").mkdir()
    run(plan(site, {"meta.zip": PARTS["meta.zip"]}, strip=False), tmp_path / "D")
    assert tree(tmp_path / "D") == {"corpus/meta.csv": b"names\n"}


def test_a_file_or_a_folder_with_something_in_it_is_not_touched(site, tmp_path):
    (tmp_path / "D").mkdir()
    (tmp_path / "D" / "mine").write_text("mine")
    with pytest.raises(UsageError, match="D is not empty; name a new folder"):
        run(plan(site, PARTS), tmp_path / "D")
    with pytest.raises(UsageError, match="mine is a file, not a folder"):
        run(plan(site, PARTS), tmp_path / "D" / "mine")
    assert tree(tmp_path) == {"D/mine": b"mine"}
    assert site.asked == []


def test_an_archive_that_is_missing_leaves_no_folder_and_the_rest_is_kept(
    site, tmp_path
):
    the_plan = plan(site, PARTS)
    del site.pages["audio.2.tar.gz"]
    with pytest.raises(UserError, match="HTTP 404"):
        run(the_plan, tmp_path / "D")
    assert not (tmp_path / "D").exists()
    site.put("audio.2.tar.gz", PARTS["audio.2.tar.gz"])
    site.asked.clear()
    run(the_plan, tmp_path / "D")
    assert tree(tmp_path / "D") == WHOLE
    assert [path for path, _ in site.asked] == ["audio.2.tar.gz"]


@pytest.mark.parametrize("where", ["unpack", "merge"])
def test_an_interrupted_unpacking_is_repeated_without_a_new_download(
    where, site, tmp_path, monkeypatch
):
    the_plan = plan(site, PARTS)
    real = getattr(download, where)

    def interrupted(source, target, more):
        if where == "merge":
            (target / "audio").mkdir(exist_ok=True)
            (target / "audio" / "1.wav").write_bytes(b"o")
        else:
            target.mkdir()
            (target / "litter.wav").write_bytes(b"o")
        raise KeyboardInterrupt

    monkeypatch.setattr(download, where, interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(the_plan, tmp_path / "D")
    assert not (tmp_path / "D").exists()
    monkeypatch.setattr(download, where, real)
    run(the_plan, tmp_path / "D")
    assert tree(tmp_path / "D") == WHOLE
    assert [path for path, _ in site.asked] == list(PARTS)


def test_an_archive_that_is_refused_is_removed_and_leaves_no_folder(site, tmp_path):
    the_plan = plan(site, PARTS | {"evil.zip": zipped({"../evil": b"evil"})})
    with pytest.raises(BrokenArchiveError, match=r"evil\.zip: refused"):
        run(the_plan, tmp_path / "D")
    assert not (tmp_path / "D").exists()
    assert not list(tmp_path.rglob("evil*"))


def test_content_beyond_what_the_corpus_may_have_is_refused(site, tmp_path):
    bomb = {"bomb.zip": zipped({"zeros.wav": bytes(10**6)})}
    with pytest.raises(BrokenArchiveError, match="1,000,000 bytes or more"):
        run(plan(site, bomb, unpacked_bytes=400_000), tmp_path / "D")


def test_what_the_check_refuses_does_not_take_the_name(site, tmp_path):
    def check(folder):
        assert tree(folder) == WHOLE
        raise UserError("2 files are missing")

    with pytest.raises(UserError, match=r"2 files are missing; remove .*\.partial to"):
        run(plan(site, PARTS), tmp_path / "D", check)
    assert not (tmp_path / "D").exists()


def test_a_changed_checksum_fetches_that_archive_again(site, tmp_path):
    the_plan = plan(site, PARTS)
    del site.pages["audio.2.tar.gz"]
    with pytest.raises(UserError):
        run(the_plan, tmp_path / "D")
    newer = zipped({"corpus/meta.csv": b"newer\n"})
    site.asked.clear()
    run(plan(site, PARTS | {"meta.zip": newer}), tmp_path / "D")
    assert [path for path, _ in site.asked] == ["meta.zip", "audio.2.tar.gz"]
    assert tree(tmp_path / "D") == WHOLE | {"meta.csv": b"newer\n"}


@pytest.mark.parametrize(("free", "fits"), [(1_400_000, False), (1_600_000, True)])
def test_room_for_the_content_and_one_archive_is_needed(
    free, fits, site, tmp_path, monkeypatch
):
    parts = {name: zipped({name: b""}) for name in ("a.zip", "b.zip")}
    archives = [Archive(name, site.put(name, each)) for name, each in parts.items()]
    the_plan = Plan(archives, unpacked_bytes=10**6, download_bytes=10**6)
    leave_free(monkeypatch, free)
    if fits:
        run(the_plan, tmp_path / "D")
        return
    with pytest.raises(UserError, match=r"are needed and .* are free on its disk"):
        run(the_plan, tmp_path / "D")
    assert site.asked == []


def test_two_processes_do_not_download_into_one_folder(site, tmp_path):
    the_plan = plan(site, PARTS)

    def check(_):
        with pytest.raises(UserError, match="another process is downloading it"):
            run(the_plan, tmp_path / "D")

    run(the_plan, tmp_path / "D", check)
    assert tree(tmp_path / "D") == WHOLE


CHILD = """
import sys
from pathlib import Path
from asc_tf.datasets.download import Archive, Plan, install
url, checksum, folder = sys.argv[1:]
plan = Plan([Archive("a.zip", url, checksum)], 10**6, 10**6)
nothing = lambda *_: None
install(plan, Path(folder), "corpus", nothing, nothing, nothing)
"""


def test_a_killed_download_is_continued_where_it_was(site, tmp_path):
    content = zipped({"corpus/1.wav": CONTENT})
    stall = threading.Event()
    url = site.put("a.zip", content, cuts=[270_000], stall=stall)
    part = name_staging_folder(tmp_path / "D", "corpus") / "a.zip.part"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, url, md5(content), str(tmp_path / "D")]
    )
    try:
        deadline = time.monotonic() + 30
        while not part.is_file() or part.stat().st_size < 250_000:
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.02)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        stall.set()
    size = part.stat().st_size
    assert not (tmp_path / "D").exists()
    site.pages["a.zip"].stall = None
    run(Plan([Archive("a.zip", url, md5(content))], 10**6, 10**6), tmp_path / "D")
    assert tree(tmp_path / "D") == {"1.wav": CONTENT}
    assert [asked for _, asked in site.asked] == ["", f"bytes={size}-"]
    assert [path.name for path in tmp_path.iterdir()] == ["D"]


def test_the_folder_beside_is_hidden_and_named_for_the_corpus():
    assert name_staging_folder(Path("/x/D"), "esc10") == Path("/x/.D.esc10.partial")


# Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_a_bar_shows_the_file_its_size_and_lines_of_text(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with contextlib.closing(Progress()) as progress:
        progress.report("a.zip", 1_000_000, 4_000_000)
        progress.report("a.zip", 3_000_000, 4_000_000)
        progress.say("a.zip: fetched")
        progress.report("b.zip", 5, 0)
    shown = sys.stderr.getvalue()
    assert "a.zip:  25%" in shown
    assert "1.00M/4.00M" in shown
    assert "a.zip: fetched\n" in shown
    assert "b.zip: " in shown


def test_bars_may_be_switched_off(monkeypatch):
    # As the environment variable TQDM_DISABLE does it.
    switched_off = functools.partial(tqdm.tqdm, disable=True)
    monkeypatch.setattr(tqdm, "tqdm", switched_off)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with contextlib.closing(Progress()) as progress:
        progress.report("a.zip", 1_000_000, 4_000_000)
        progress.report("b.zip", 1_000_000, 4_000_000)


def test_elsewhere_there_is_a_line_for_every_tenth(capsys):
    with contextlib.closing(Progress()) as progress:
        for done in range(0, 2001):
            progress.report("a.zip", done, 2000)
        for done in range(0, 300_000_000, 10_000_000):
            progress.report("b.zip", done, 0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:11] == [f"a.zip: {10 * step} %" for step in range(11)]
    assert lines[11:] == ["b.zip: 0 MB", "b.zip: 100 MB", "b.zip: 200 MB"]
