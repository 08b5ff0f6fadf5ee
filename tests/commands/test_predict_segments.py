"""asc-tf predict over the time of recordings: rows, tracks, notes and failures."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asc_tf import cli
from asc_tf.command_line.label_tracks import FORMATS, open_track
from asc_tf.command_line.prediction_flags import _check_outputs
from asc_tf.config import Audio, Evaluate
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.evaluation import load
from asc_tf.evaluation.predictor import Predictor

RATE = 8000
LABELS = ("low", "high")


def loudness(waveforms: np.ndarray) -> np.ndarray:
    """Probability of `high`: the mean square."""
    power = (waveforms.reshape(len(waveforms), -1) ** 2).mean(axis=1)
    return np.stack([1 - power, power], axis=1)


@pytest.fixture
def predict(monkeypatch, capsys):
    """Run the command on segments of 1 s; gives its exit code, output and errors."""
    audio = Audio(sample_rate=RATE, segment_seconds=1.0)
    own = Predictor(LABELS, Preprocessing.from_config(audio, Evaluate()), loudness)
    monkeypatch.setattr(load, "load", lambda _: own)

    def run(*words):
        code = cli.main(["predict", "--model=m.tflite", *map(str, words)])
        return code, *capsys.readouterr()

    return run


def write(path: Path, *levels: float) -> Path:
    """A recording with one second of each level, the sign of the samples in turns."""
    signs = np.where(np.arange(RATE) % 2, 1.0, -1.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.concatenate([level * signs for level in levels])
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_each_segment_has_a_line_with_times_and_labels(predict, tmp_path):
    path = write(tmp_path / "a.wav", 0.5, 0.9)
    code, out, err = predict(path, "--segments", "--top_k=1")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{path}       0.000       1.000  low 0.7500",
        f"{path}       1.000       2.000  high 0.8100",
    ]


def test_json_has_a_row_for_each_segment_and_one_for_the_recording(predict, tmp_path):
    path = write(tmp_path / "a.wav", 0.5, 0.0, 0.9)
    code, out, err = predict(path, "--segments", "--json", "--top_k=1")
    *rows, last = map(json.loads, out.splitlines())
    assert code == 0
    assert [(row["start"], row["end"]) for row in rows] == [(0, 1), (1, 2), (2, 3)]
    assert [row["label"] for row in rows] == ["low", "low", "high"]
    assert rows[0]["top"] == [{"label": "low", "probability": 0.75}]
    assert rows[0]["file"] == last["file"] == str(path)
    assert ["note" in row for row in rows] == [False, True, False]
    note = "1 of 3 segments are silent: every sample is 0"
    assert last == {"file": str(path), "seconds": 3.0, "n_segments": 3, "note": note}
    assert err == f"asc-tf predict: {path}: {note}\n"


def test_a_hop_of_half_a_segment_gives_twice_the_segments(predict, tmp_path):
    path, table = write(tmp_path / "a.wav", 0.5, 0.9), tmp_path / "out.csv"
    words = ("--segments", "--hop_seconds=0.5", f"--csv={table}")
    assert predict(path, *words)[:2] == (0, "")
    rows = read_csv(table)
    assert [row["start"] for row in rows] == ["0.0", "0.5", "1.0"]
    middle = (0.5**2 + 0.9**2) / 2
    assert float(rows[1]["p_high"]) == pytest.approx(middle, abs=1e-6)
    assert [row["label"] for row in rows] == ["low", "high", "high"]


def test_tracks_of_a_folder_are_written_from_one_reading(predict, tmp_path):
    write(tmp_path / "in" / "a.wav", 0.5, 0.5, 0.9)
    write(tmp_path / "in" / "x" / "a.wav", 0.9)
    labels, tables = tmp_path / "labels", tmp_path / "tables"
    words = (tmp_path / "in", f"--audacity={labels}", f"--raven={tables}")
    code, out, err = predict(*words)
    assert (code, err) == (0, "")
    assert (labels / "a.txt").read_text().splitlines() == [
        "0.000000\t2.000000\tlow",
        "2.000000\t3.000000\thigh",
    ]
    assert (labels / "x" / "a.txt").read_text() == "0.000000\t1.000000\thigh\n"
    (row,) = (tables / "x" / "a.Table.1.selections.txt").read_text().splitlines()[1:]
    assert row.split("\t")[3:] == [
        *("0.000000", "1.000000", "0.0", "4000.0", "high", "0.8100")
    ]
    first = out.splitlines()[0]
    assert first.startswith(f"{tmp_path}/in/a.wav: 3 segments, 3.0 s -> {labels}/a.txt")
    predict(*words, "--nojoin")
    assert len((labels / "a.txt").read_text().splitlines()) == 3


def test_below_the_threshold_the_answer_is_unknown_and_the_label_is_kept(
    predict, tmp_path
):
    path, table = write(tmp_path / "a.wav", 0.5, 0.9), tmp_path / "out.csv"
    track = tmp_path / "labels.txt"
    words = ("--threshold=0.8", f"--csv={table}", f"--audacity={track}")
    assert predict(path, *words)[0] == 0
    first, second = read_csv(table)
    assert (first["label"], first["raw_label"]) == ("unknown", "low")
    assert float(first["probability"]) == pytest.approx(0.75)
    assert (second["label"], second["raw_label"]) == ("high", "high")
    names = [line.split("\t")[2] for line in track.read_text().splitlines()]
    assert names == ["unknown", "high"]
    _, out, _ = predict(path, "--threshold=0.8", "--json")
    row = json.loads(out)
    assert (row["label"], row["raw_label"]) == ("unknown", "high")
    assert row["top"][0]["label"] == "high"
    _, out, _ = predict(path, "--threshold=0.8")
    # The mean of both segments: high 0.53.
    assert [line.split()[-2:] for line in out.splitlines()] == [
        [str(path), "unknown"],
        ["high", "0.5300"],
        ["low", "0.4700"],
    ]
    assert predict(path, "--threshold=1.5")[0] == 2


def test_a_damaged_recording_has_its_rows_but_no_track_and_the_next_one_goes_on(
    predict, tmp_path
):
    bad = write(tmp_path / "in" / "a.wav", *[0.5] * 50)
    samples, _ = soundfile.read(bad)
    samples[-1] = np.nan
    soundfile.write(bad, samples, RATE, subtype="FLOAT")
    good = write(tmp_path / "in" / "b.wav", 0.9)
    (tmp_path / "in" / "c.wav").write_bytes(b"no audio")
    table, labels = tmp_path / "out.csv", tmp_path / "labels"
    code, _, err = predict(good.parent, f"--csv={table}", f"--audacity={labels}")
    assert code == 1
    first, second = err.splitlines()
    assert first.startswith(f"asc-tf predict: {bad}: holds samples that are not finite")
    assert second.startswith(f"asc-tf predict: {good.parent}/c.wav: ")
    rows = read_csv(table)
    by_file = {
        name: [row for row in rows if row["file"].endswith(name)]
        for name in ("a.wav", "b.wav", "c.wav")
    }
    assert len(by_file["a.wav"]) > 1 and "not finite" in by_file["a.wav"][-1]["error"]
    assert [row["label"] for row in by_file["b.wav"]] == ["high"]
    assert by_file["c.wav"][0]["error"].startswith(f"{good.parent}/c.wav: ")
    assert [path.name for path in labels.rglob("*")] == ["b.txt"]


def test_a_track_that_cannot_be_written_fails_its_recording_alone(predict, tmp_path):
    names = ["a", "b" * 240, "c", "d"]
    files = [write(tmp_path / "in" / f"{name}.wav", 0.9) for name in names]
    write(tmp_path / "in" / "e" / "f.wav", 0.9)
    table, tables = tmp_path / "out.csv", tmp_path / "tables"
    # A file is where the folder of a track should be.
    tables.mkdir()
    (tables / "e").touch()
    code, _, err = predict(tmp_path / "in", f"--csv={table}", f"--raven={tables}")
    assert code == 1
    first, second = err.splitlines()
    track = f"{tables}/{names[1]}.Table.1.selections.txt"
    assert first == (
        f"asc-tf predict: {files[1]}: its label track {track} cannot be written: "
        "File name too long"
    )
    assert second.startswith(f"asc-tf predict: {tmp_path}/in/e/f.wav: its label track ")
    assert sorted(path.name for path in tables.iterdir() if path.name != "e") == [
        f"{name}.Table.1.selections.txt" for name in ("a", "c", "d")
    ]
    rows = read_csv(table)
    assert [bool(row["error"]) for row in rows] == [False, True, False, False, True]


def test_a_track_that_another_track_needs_as_a_folder_is_refused(predict, tmp_path):
    write(tmp_path / "in" / "x.wav", 0.5)
    write(tmp_path / "in" / "x.txt" / "y.wav", 0.5)
    code, out, err = predict(tmp_path / "in", f"--audacity={tmp_path}/labels")
    assert (code, out) == (2, "")
    assert f"{tmp_path}/labels/x.txt: cannot be an output and the folder of" in err
    assert not (tmp_path / "labels").exists()


def test_another_output_that_fails_is_no_failure_of_the_track(tmp_path):
    with (
        pytest.raises(BrokenPipeError),
        open_track(tmp_path / "a.txt", FORMATS["audacity"], RATE, True),
    ):
        raise BrokenPipeError
    assert list(tmp_path.iterdir()) == []


def test_files_of_folders_are_classified_as_clips_too(predict, tmp_path):
    write(tmp_path / "in" / "b.wav", 0.5)
    write(tmp_path / "in" / "a.wav", 1.0)
    (tmp_path / "in" / "notes.txt").touch()
    code, out, err = predict(tmp_path / "in", "--json", "--top_k=1")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [Path(row["file"]).name for row in rows] == ["a.wav", "b.wav"]
    assert "2 audio files; skipped 1 other file" in err
    # The samples change their sign each time, so that there are no runs.
    assert ["note" in row for row in rows] == [False, False]


def test_notes_are_on_stderr_and_in_json(predict, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.ones(RATE // 2), RATE)
    _, out, err = predict(path, "--json")
    note = json.loads(out)["note"]
    assert note.startswith("clipped: 100.0% of the samples")
    assert note.endswith("short: 0.5 s, padded with zeros to a segment of 1 s")
    assert err == f"asc-tf predict: {path}: {note}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hop_seconds=1"], "--hop_seconds: has no effect without --segments"),
        (["--join"], "--join: has no effect without --audacity or --raven"),
        (["--segments", "--hop_seconds=0"], "hop_seconds"),
        (["--audacity=in/a.wav"], "one of the recordings"),
        (["--audacity=x.txt", "--raven=x.txt"], "x.txt: two outputs have this name"),
        (["--audacity=x.txt", "--csv=x.txt"], "x.txt: two outputs have this name"),
        (["--csv=x", "--audacity=x"], "x: cannot be an output and the folder of"),
        (
            ["--segments", "--hop_seconds=nan"],
            "--hop_seconds=nan: give a finite",
        ),
        (["--segments", "--hop_seconds=inf"], "hop_seconds"),
        (["--threshold=nan"], "--threshold=nan: give a finite number"),
        (["--audio.max_seconds=nan"], "--audio.max_seconds=nan: give a finite number"),
        (["--audio.max_seconds=inf"], "--audio.max_seconds=inf: give a finite number"),
        (["in", "--audacity=x.txt"], "2 recordings; name a folder"),
        (["empty"], "empty: no audio files"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    predict, tmp_path, monkeypatch, words, message
):
    write(tmp_path / "in" / "a.wav", 0.5)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    code, out, err = predict("in/a.wav", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "in"]


def test_the_outputs_of_very_many_recordings_are_checked_at_once():
    paths = [Path(f"tracks/{number}.txt") for number in range(10_000)]
    begin = time.process_time()
    _check_outputs(Path("out.csv"), {"audacity": paths})
    assert time.process_time() - begin < 5


def test_an_export_of_rejected_files_says_so_with_the_reason(tmp_path):
    from asc_tf.core.errors import UsageError

    (tmp_path / "int8.tflite.rejected").touch()
    for described, words in (
        (
            {
                "rejected": {
                    "int8": {"file": "int8.tflite.rejected", "reason": "is off"}
                }
            },
            r"int8.tflite.rejected \(is off\)",
        ),
        ([], r"int8.tflite.rejected \(see export.json\)"),
    ):
        (tmp_path / "export.json").write_text(json.dumps(described))
        for path in (tmp_path, tmp_path / "int8.tflite.rejected"):
            with pytest.raises(UsageError, match=f"no model to use.*{words}"):
                load.load(path)


RUN = """
import sys
from asc_tf.cli import main
code = main(sys.argv[1:])
assert "tensorflow" not in sys.modules
# Not the maximum of getrusage, which has that of the parent process in it.
with open("/proc/self/status") as status:
    (peak,) = [line.split()[1] for line in status if line.startswith("VmHWM")]
print(int(peak) // 1024, file=sys.stderr)
sys.exit(code)
"""


def measure_megabytes(*words: str | Path) -> int:
    """Peak memory of the command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, "predict", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=900,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    return int(done.stderr.splitlines()[-1])


def write_noise(path: Path, minutes: int) -> Path:
    block = np.random.default_rng(0).uniform(-0.5, 0.5, 44_100 * 60)
    with soundfile.SoundFile(path, "w", 44_100, 1, subtype="PCM_16") as file:
        for _ in range(minutes):
            file.write(block)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_memory_does_not_grow_with_the_length_of_a_recording(
    tiny_export, tmp_path, suffix
):
    peaks = []
    for minutes in (2, 20):
        path = write_noise(tmp_path / f"{minutes}.{suffix}", minutes)
        table = tmp_path / f"{minutes}.csv"
        model = f"--model={tiny_export / 'int8.tflite'}"
        words = ("--segments", f"--csv={table}", f"--raven={tmp_path}/t")
        peaks.append(measure_megabytes(model, path, *words))
        assert len(read_csv(table)) == 120 * minutes
        path.unlink()
    # As float32 the longer one has 210 MB.
    assert peaks[1] < 200
    assert peaks[1] - peaks[0] < 10
