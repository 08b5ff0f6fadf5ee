import dataclasses
import hashlib
import http.server
import io
import json
import subprocess
import sys
import threading
import zipfile
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from asc_tf import cli, datasets
from asc_tf.config import FIELDS
from asc_tf.core.errors import UserError
from asc_tf.datasets import archives as archives_module
from asc_tf.datasets.archives import ARCHIVES, SOUNDATA, find_archives
from asc_tf.datasets.catalog import CATALOG
from asc_tf.datasets.download import name_staging_folder
from asc_tf.datasets.download.fetching import Archive

CHOICES = FIELDS["dataset.name"].metadata["choices"]
FETCHED = {*ARCHIVES, *SOUNDATA}
CLASSES = {"001 - Dog bark": 0, "002 - Rain": 10}


def run(*words):
    return cli.main(["datasets", *map(str, words)])


def clip_names():
    """Four clips in each of five folds of two classes, each of its own recording."""
    return [
        f"{folder}/{fold}-{1000 * fold + 100 * take + number}-A.wav"
        for folder, number in CLASSES.items()
        for fold in range(1, 6)
        for take in range(2)
    ]


@pytest.fixture
def esc10(tmp_path, write_wav):
    """A folder of twenty clips in the layout of ESC-10."""
    samples = np.random.default_rng(0).normal(0, 0.1, 8000)
    for name in clip_names():
        write_wav(tmp_path / "esc10" / name, samples, 16000)
    return tmp_path / "esc10"


@pytest.fixture
def esc50(esc10):
    """The same clips in the layout of ESC-50, with a table."""
    (esc10 / "audio").mkdir()
    (esc10 / "meta").mkdir()
    lines = ["filename,fold,target,category,esc10"]
    for name in clip_names():
        folder, clip = name.split("/")
        target = CLASSES[folder]
        new = clip.replace(".wav", f"-{target}.wav")
        (esc10 / name).rename(esc10 / "audio" / new)
        lines.append(f"{new},{new[0]},{target},{folder[6:]},True")
    (esc10 / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    return esc10


# list and info


@pytest.mark.parametrize("words", [[], ["list"]])
def test_the_list_has_every_choice_of_the_name_with_its_protocols(words, capsys):
    assert run(*words) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(CHOICES)]] == list(CHOICES)
    by_name = {line.split()[0]: line for line in lines[1 : 1 + len(CHOICES)]}
    assert by_name["esc50"].split("  ")[-1] == "official"
    assert by_name["urbansound8k"].endswith("CC BY-NC        official, two_folds")
    assert "  8732   6.0 GB  " in by_name["urbansound8k"]
    assert err == ""


def test_the_catalog_has_an_entry_for_each_adapter():
    assert list(CATALOG) == list(CHOICES)
    assert set(CATALOG) == set(datasets.ADAPTERS)
    for name, entry in CATALOG.items():
        assert entry.name == name
        assert entry.licence
        assert entry.protocol


@pytest.mark.parametrize("name", sorted(FETCHED))
def test_what_can_be_fetched_says_its_source_its_size_and_what_to_cite(name):
    entry = CATALOG[name]
    assert entry.page.startswith("https://")
    assert entry.citation.endswith(".")
    assert 0 < entry.download_bytes < entry.unpacked_bytes
    assert entry.clips > entry.classes > 1


@pytest.mark.parametrize("name", sorted(ARCHIVES))
def test_an_address_is_https_and_a_checksum_is_md5_or_sha256(name):
    names = [each.name for each in ARCHIVES[name]]
    assert len(set(names)) == len(names)
    for each in ARCHIVES[name]:
        assert each.url.startswith("https://")
        assert len(each.checksum) in ((0,) if name == "esc10" else (32, 64))
        assert set(each.checksum) <= set("0123456789abcdef")
    sizes = [each.size for each in ARCHIVES[name]]
    if all(sizes):
        assert sum(sizes) == CATALOG[name].download_bytes


def test_the_published_archives_of_the_scenes_are_all_there():
    parts = [each.name.split("development.")[1] for each in ARCHIVES["tut2018"]]
    assert parts[:3] == ["doc.zip", "meta.zip", "audio.1.zip"]
    assert parts[-1] == "audio.13.zip"
    assert len(ARCHIVES["tau2020_3class"]) == 23
    assert ARCHIVES["tut2018"][1] == Archive(
        "TUT-urban-acoustic-scenes-2018-development.meta.zip",
        "https://zenodo.org/records/1228142/files/"
        "TUT-urban-acoustic-scenes-2018-development.meta.zip?download=1",
        "e196065ee83c07af03a11a310364377d",
        69272,
    )


@pytest.mark.parametrize("name", CHOICES)
def test_info_shows_the_layout_and_how_to_train(name, capsys):
    assert run("info", name) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{name}: ")
    assert "\nprotocol  " in out
    assert "\nfolder\n  D/" in out
    assert f"\nasc-tf train --dataset.name={name} --dataset.dir=D " in out
    assert max(map(len, out.splitlines())) <= 100


def test_the_command_of_info_can_be_copied_into_a_shell(capsys):
    assert run("info", "folder", r"--dataset.identifier_pattern=/(.+)-\d a") == 0
    out = capsys.readouterr().out
    assert r" '--dataset.identifier_pattern=/(.+)-\d a' --workdir=W" in out


def test_info_of_a_folder_counts_locations_and_clips_of_each_label(esc10, capsys):
    assert run("info", "esc10", f"--dataset.dir={esc10}", "--dataset.fold=2") == 0
    table = capsys.readouterr().out.split("--workdir=W\n\n")[1].splitlines()
    cells = [[cell.strip() for cell in line.split("  ") if cell] for line in table]
    heads = ["locations / clips", "train", "validation", "test", "all", "held out"]
    assert cells[0] == heads
    assert cells[1] == ["dog", "7 / 7", "1 / 1", "2 / 2", "10 / 10", "12.5 %"]
    assert cells[3] == ["total", "14 / 14", "2 / 2", "4 / 4", "20 / 20", "12.5 %"]
    assert cells[4] == [
        "share",
        "70.0 / 70.0 %",
        "10.0 / 10.0 %",
        "20.0 / 20.0 %",
        "100.0 / 100.0 %",
    ]
    assert table[-1].startswith("corpus esc10, protocol official, fold 2, leaky False")


def test_a_location_with_two_labels_counts_once_in_the_total(tmp_path, capsys):
    rows = [f"{n}.wav,{label},{n // 2}" for n in range(12) for label in ["ab"[n % 2]]]
    (tmp_path / "t.csv").write_text("filename,label,place\n" + "\n".join(rows))
    words = ["--dataset.csv_file=t.csv", "--dataset.identifier_column=place"]
    words += ["--dataset.path_column=filename", "--dataset.label_column=label"]
    assert run("info", "csv", f"--dataset.dir={tmp_path}", *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  6 / 6  " in next(line for line in lines if line.startswith("a "))
    assert "  6 / 12  " in next(line for line in lines if line.startswith("total"))


def test_info_writes_no_synthetic_scenes(tmp_path, capsys):
    assert run("info", "synthetic", f"--dataset.dir={tmp_path}") == 2
    assert "no scenes in it; asc-tf train --dataset.name=synthetic" in (
        capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


def test_list_and_info_need_neither_tensorflow_nor_what_decodes():
    blocked = ("tensorflow", "keras", "soundfile", "sklearn", "tqdm", "soundata")
    code = "import sys\n" + "".join(f"sys.modules[{n!r}] = None\n" for n in blocked)
    code += (
        "from asc_tf.cli import main\n"
        "for words in ([], ['info', 'esc50'], ['--help']):\n"
        "    print(main(['datasets', *words]), 'is the exit code')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("0 is the exit code") == 3
    assert done.stdout.count("esc50") >= 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["verifi"], "verifi: unknown action; did you mean verify? (known: list, info"),
        (["esc10"], "esc10: unknown action; did you mean info esc10? (known:"),
        (["list", "esc10"], "unexpected argument esc10 after list"),
        (["info"], "info: no corpus; give one of synthetic, folder, csv, esc10"),
        (["info", "esc11"], "esc11: unknown corpus; did you mean esc10? (known: synth"),
        (["info", "esc10", "esc50"], "info: one corpus only, not esc10 and esc50"),
        (["info", "esc10", "--dataset.name=esc50"], "only, not esc10 and esc50"),
        (["info", "--dataset.name=esc11"], "dataset.name = 'esc11': must be one of"),
        (["info", "esc10", "--dataset.dir=none"], "--dataset.dir=none: no such folder"),
        (["info", "esc10", "--json"], "--json is a flag of verify, not of info"),
        (["list", "--quick"], "--quick is a flag of verify, not of list"),
        (["verify", "esc10"], "--dataset.dir is missing: the folder of esc10"),
        (["download", "esc10"], "--dataset.dir is missing"),
        (["download", "csv", "--dataset.dir=d"], "csv cannot be downloaded: These are"),
        (["download", "folder", "--dataset.dir=d"], "folder cannot be downloaded: The"),
        (["download", "synthetic", "--dataset.dir=d"], "asc-tf train --dataset.name=s"),
        (
            ["download", "asc_mini", "--dataset.dir=d"],
            "asc_mini.zip of the project machinel",
        ),
    ],
)
def test_wrong_usage_is_one_line_exit_code_2_and_nothing_written(
    words, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []


# download


@pytest.fixture
def served(monkeypatch):
    """Serve files; returns a function that puts one and gives its address."""
    files = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            body = files.get(self.path.strip("/"))
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def put(name, body):
        files[name] = body
        return f"http://127.0.0.1:{server.server_port}/{name}"

    yield put
    server.shutdown()
    server.server_close()


@pytest.fixture
def small_esc10(served, esc10, monkeypatch):
    """Serve the twenty clips as ESC-10; returns a function that changes what is said.

    Its arguments are the number of clips that the catalog states, a checksum and names
    to leave out of the archive.
    """

    def change(clips=20, checksum="", without=()):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name in sorted(set(clip_names()) - set(without)):
                archive.write(esc10 / name, f"ESC-10-master/{name}")
        url = served("ESC-10.zip", stream.getvalue())
        entry = dataclasses.replace(CATALOG["esc10"], clips=clips)
        monkeypatch.setitem(CATALOG, "esc10", entry)
        archive = (Archive("ESC-10.zip", url, checksum),)
        monkeypatch.setitem(ARCHIVES, "esc10", archive)
        return hashlib.md5(stream.getvalue()).hexdigest()

    change()
    return change


def test_a_download_is_unpacked_checked_and_says_how_to_train(
    small_esc10, tmp_path, capsys
):
    folder = tmp_path / "a b" / "D"
    assert run("download", "esc10", f"--dataset.dir={folder}") == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{folder}: complete: 2 labels; train 14 clips of 14")
    assert f"asc-tf train --dataset.name=esc10 --dataset.dir='{folder}' --w" in out
    assert "ESC-10.zip: 100 %\nESC-10.zip: fetched, checked and unpacked\n" in err
    assert "\r" not in err
    assert len(list(folder.rglob("*.wav"))) == 20
    assert list((tmp_path / "a b").iterdir()) == [folder]


def test_a_complete_corpus_is_left_as_it_is(small_esc10, esc10, capsys, monkeypatch):
    gone = (Archive("ESC-10.zip", "http://127.0.0.1:9/gone"),)
    monkeypatch.setitem(ARCHIVES, "esc10", gone)
    name_staging_folder(esc10, "esc10").mkdir()
    before = {path: path.stat().st_mtime_ns for path in esc10.rglob("*")}
    assert run("download", "esc10", f"--dataset.dir={esc10}") == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{esc10}: complete: 2 labels")
    assert err == ""
    assert {path: path.stat().st_mtime_ns for path in esc10.rglob("*")} == before
    assert not name_staging_folder(esc10, "esc10").exists()


def test_a_folder_that_holds_something_else_is_refused(small_esc10, tmp_path, capsys):
    (tmp_path / "D").mkdir()
    (tmp_path / "D" / "mine.txt").write_text("mine")
    assert run("download", "esc10", f"--dataset.dir={tmp_path / 'D'}") == 2
    err = capsys.readouterr().err
    assert "D is not empty, and holds no complete esc10 (dataset.dir" in err
    assert [path.name for path in (tmp_path / "D").iterdir()] == ["mine.txt"]


def test_a_corpus_with_a_file_missing_is_not_complete(small_esc10, esc50, capsys):
    (esc50 / "audio" / "1-1000-A-0.wav").unlink()
    assert run("download", "esc10", f"--dataset.dir={esc50}") == 2
    err = capsys.readouterr().err
    assert "(1 of 20 files are missing, among them audio/1-1000-A-0.wav)" in err
    assert "name a new folder" in err


def test_without_a_checksum_the_clips_are_counted(small_esc10, tmp_path, capsys):
    small_esc10(without=clip_names()[:1])
    folder = tmp_path / "D"
    assert run("download", "esc10", f"--dataset.dir={folder}") == 1
    assert "19 clips, expected 20; remove " in capsys.readouterr().err
    assert not folder.exists()


def test_with_a_checksum_it_decides(small_esc10, tmp_path, capsys):
    found = small_esc10(checksum="0" * 32)
    folder = tmp_path / "D"
    assert run("download", "esc10", f"--dataset.dir={folder}") == 1
    expected = f"ESC-10.zip: received md5 {found}, expected {'0' * 32}"
    assert expected in capsys.readouterr().err
    assert not folder.exists()
    small_esc10(checksum=found)
    assert run("download", "esc10", f"--dataset.dir={folder}") == 0


@pytest.fixture
def soundata(monkeypatch):
    """A package soundata that has UrbanSound8K in the parts that the test puts in."""
    module = ModuleType("soundata.datasets.urbansound8k")
    module.REMOTES = {}
    for name in ("soundata", "soundata.datasets"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.REMOTES


def remote(name):
    return SimpleNamespace(filename=name, url=f"https://x/{name}", checksum="0" * 32)


def test_soundata_gives_addresses_and_checksums_of_the_parts_we_use(
    soundata, monkeypatch
):
    monkeypatch.setitem(SOUNDATA, "urbansound8k", ("urbansound8k", "development"))
    soundata["development.audio.1"] = remote("a.zip")
    soundata["development.meta"] = remote("m.zip")
    soundata["evaluation.audio.1"] = remote("e.zip")
    soundata["index"] = remote("index.json")
    assert find_archives("urbansound8k") == (
        Archive("a.zip", "https://x/a.zip", "0" * 32),
        Archive("m.zip", "https://x/m.zip", "0" * 32),
    )


@pytest.mark.parametrize("remotes", [{}, {"all": [remote("a.z01"), remote("a.zip")]}])
def test_a_soundata_that_no_longer_fits_is_an_error(remotes, soundata):
    soundata.update(remotes)
    with pytest.raises(UserError, match="no longer has urbansound8k as single"):
        find_archives("urbansound8k")


def test_a_missing_soundata_is_said_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "soundata", None)
    assert run("download", "tau2019", f"--dataset.dir={tmp_path / 'D'}") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "addresses of tau2019 come from the package soundata" in err
    assert "install it with pip install '.[datasets]'" in err
    assert list(tmp_path.iterdir()) == []


def test_the_installed_soundata_has_what_we_ask_of_it():
    pytest.importorskip("soundata")
    for name in archives_module.SOUNDATA:
        found = find_archives(name)
        assert all(each.url.startswith("https://zenodo.org/") for each in found)
        assert all(len(each.checksum) == 32 for each in found)
        assert any("meta" in each.name for each in found) or len(found) == 1


# verify


def verify(folder, *words):
    return run("verify", "esc10", f"--dataset.dir={folder}", *words)


def test_a_whole_corpus_is_whole(esc10, capsys):
    assert verify(esc10, "--dataset.fold=5") == 0
    out = capsys.readouterr().out
    cells = [line.split() for line in out.splitlines()]
    assert ["test", "4", "0", "0"] in cells
    assert ["total", "20", "0", "0"] in cells
    assert "0 audio files that this protocol does not use" in out


@pytest.fixture
def spoilt(esc50, write_wav):
    """Of fold 1 a file is missing, of fold 5 one is cut off; one is in no table."""
    audio = esc50 / "audio"
    (audio / "1-1000-A-0.wav").unlink()
    cut = audio / "5-5000-A-0.wav"
    cut.write_bytes(cut.read_bytes()[:20])
    write_wav(audio / "1-9-A-9.wav", np.zeros(100), 16000)
    write_wav(esc50 / ".hidden" / "x.wav", np.zeros(100), 16000)
    return esc50


def test_verify_counts_what_is_missing_unreadable_and_in_no_table(spoilt, capsys):
    assert verify(spoilt, "--dataset.fold=5", "--json") == 1
    out, _ = capsys.readouterr()
    assert out.count("\n") == 1
    record = json.loads(out)
    assert record["corpus"] == "esc10"
    assert record["dir"] == str(spoilt)
    assert record["whole"] is False
    assert record["decoded"] is True
    assert record["missing"] == ["audio/1-1000-A-0.wav"]
    assert list(record["unreadable"]) == ["audio/5-5000-A-0.wav"]
    assert record["extra"] == ["audio/1-9-A-9.wav"]
    splits = record["splits"]
    assert splits["test"] == {"files": 4, "missing": 0, "unreadable": 1}
    assert splits["total"] == {"files": 20, "missing": 1, "unreadable": 1}
    assert splits["train"]["missing"] + splits["validation"]["missing"] == 1


def test_verify_names_the_files_with_their_reasons(spoilt, capsys):
    assert verify(spoilt) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "missing: audio/1-1000-A-0.wav" in lines
    assert "not used: audio/1-9-A-9.wav" in lines
    reasons = [line for line in lines if line.startswith("unreadable: ")]
    assert len(reasons) == 1
    assert reasons[0].startswith("unreadable: audio/5-5000-A-0.wav: ")
    assert len(reasons[0]) > len("unreadable: audio/5-5000-A-0.wav: ")


def test_a_long_list_of_files_is_cut(esc50, capsys):
    rows = "".join(f"{1}-{n}-B-0.wav,1,0,Dog bark,True\n" for n in range(25))
    with (esc50 / "meta" / "esc50.csv").open("a") as stream:
        stream.write(rows)
    assert verify(esc50, "--quick") == 1
    lines = capsys.readouterr().out.splitlines()
    named = [line for line in lines if line.startswith("missing: ")]
    assert len(named) == 21
    assert named[-1] == "missing: and 5 more (--json has all)"


def test_quick_looks_without_decoding(spoilt, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "asc_tf.audio.inspect", None)
    (spoilt / "audio" / "1-1000-A-0.wav").write_bytes(b"back, but no audio")
    assert verify(spoilt, "--quick", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["decoded"] is False
    assert record["unreadable"] == {}
    assert verify(spoilt, "--quick") == 0
    assert ["total", "20", "0", "-"] in [
        line.split() for line in capsys.readouterr().out.splitlines()
    ]


def test_a_clip_that_training_would_leave_out_is_named(esc10, write_wav, capsys):
    silent, short = sorted(clip_names())[:2]
    write_wav(esc10 / silent, np.zeros(8000), 16000)
    write_wav(esc10 / short, np.full(100, 0.1), 16000)
    assert verify(esc10) == 1
    lines = capsys.readouterr().out.splitlines()
    reasons = [line for line in lines if line.startswith("unreadable: ")]
    assert len(reasons) == 2
    assert reasons[0].startswith(f"unreadable: {silent}: silent: ")
    assert reasons[1].startswith(f"unreadable: {short}: too short: 6.2 ms")


def test_a_clip_longer_than_allowed_is_unreadable(esc10, capsys):
    assert verify(esc10, "--audio.max_seconds=0.2") == 1
    assert "longer than audio.max_seconds" in capsys.readouterr().out


@pytest.mark.shared_data
def test_the_real_esc10_is_whole(shared_data, capsys):
    assert verify(shared_data / "esc10", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["splits"]["total"] == {"files": 400, "missing": 0, "unreadable": 0}
    assert record["extra"] == []
