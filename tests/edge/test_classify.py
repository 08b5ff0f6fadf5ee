"""asc-edge classify: its output, its messages, and what it does without."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from statistics_model import LENGTH, RATE, probabilities_of, write_wav

from asc_tf.edge import cli


def loud(path):
    """All 0.9: the second label wins, then the first."""
    return write_wav(path, np.full(LENGTH, 0.9), subtype="FLOAT")


def test_classify_shows_the_best_labels_in_aligned_lines(model_file, tmp_path, capsys):
    short, longer = loud(tmp_path / "a.wav"), loud(tmp_path / "longer.wav")
    arguments = ["classify", f"--model={model_file}", str(short), str(longer)]
    assert cli.main([*arguments, "--top_k=2"]) == 0
    output = capsys.readouterr()
    first, second = probabilities_of(np.full(LENGTH, 0.9))[[1, 0]]
    width = len(str(longer))
    assert output.out.splitlines() == [
        f"{short!s:<{width}}  métro    {first:.4f}",
        f"{'':<{width}}  airport  {second:.4f}",
        f"{longer}  métro    {first:.4f}",
        f"{'':<{width}}  airport  {second:.4f}",
    ]
    assert output.err == ""


def test_classify_json_prints_one_object_per_file_and_nothing_else(
    model_file, tmp_path, capfd
):
    good, absent = loud(tmp_path / "a.wav"), tmp_path / "absent.wav"
    arguments = ["classify", "--json", str(absent), str(good), f"--model={model_file}"]
    assert cli.main(arguments) == 1
    output = capfd.readouterr()
    failure, result = map(json.loads, output.out.splitlines())
    assert failure == {"file": str(absent), "error": f"{absent}: no such file"}
    assert set(result) == {"file", "label", "probability", "top", "seconds", "ms"}
    assert (result["file"], result["label"]) == (str(good), "métro")
    assert [item["label"] for item in result["top"]] == ["métro", "airport", "park"]
    np.testing.assert_allclose(
        [item["probability"] for item in result["top"]],
        probabilities_of(np.full(LENGTH, 0.9))[[1, 0, 2]],
        atol=1e-6,
    )
    assert result["probability"] == result["top"][0]["probability"]
    assert result["seconds"] == LENGTH / RATE
    assert output.err == f"asc-edge classify: {absent}: no such file\n"


def test_silence_is_classified_with_a_note(model_file, tmp_path, capsys):
    path = write_wav(tmp_path / "silent.wav", np.zeros(LENGTH))
    assert cli.main(["classify", "--json", str(path), f"--model={model_file}"]) == 0
    output = capsys.readouterr()
    result = json.loads(output.out)
    assert result["note"].startswith("silent: every sample is 0")
    assert len(result["top"]) == 3
    assert output.err == f"asc-edge classify: {path}: {result['note']}\n"


def test_segments_and_folders_are_classified_as_by_asc_tf_predict(
    model_file, tmp_path, capsys
):
    samples = np.concatenate([np.full(LENGTH, 0.9), np.zeros(LENGTH)])
    write_wav(tmp_path / "in" / "a.wav", samples, subtype="FLOAT")
    (tmp_path / "in" / "b.flac").touch()
    arguments = ["classify", f"--model={model_file}", str(tmp_path / "in")]
    assert cli.main([*arguments, "--json", "--segments", "--hop_seconds=0.1"]) == 0
    output = capsys.readouterr()
    first, second, whole = map(json.loads, output.out.splitlines())
    assert (first["start"], second["start"], second["end"]) == (0.0, 0.1, 0.2)
    assert first["label"] == "métro" and "note" not in first
    assert second["note"].startswith("silent")
    assert (whole["n_segments"], whole["seconds"]) == (2, 0.2)
    # Without the flag segments overlap as the model has them.
    track = tmp_path / "labels.txt"
    assert cli.main([*arguments, f"--audacity={track}", "--nojoin"]) == 0
    assert len(track.read_text().splitlines()) == 3
    assert "1 audio file; skipped 1 other file" in capsys.readouterr().err


def test_a_failed_file_is_named_on_stderr_and_the_rest_is_shown(
    model_file, tmp_path, capsys
):
    good, absent = loud(tmp_path / "a.wav"), tmp_path / "absent.wav"
    arguments = ["classify", f"--model={model_file}", str(absent), str(good)]
    assert cli.main(arguments) == 1
    output = capsys.readouterr()
    assert output.err == f"asc-edge classify: {absent}: no such file\n"
    assert len(output.out.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "asc-edge classify --model="),
        (["clasify"], "unknown command; did you mean classify?"),
        (["classify", "a.wav"], "--model is missing"),
        (["classify", "--model=M"], "no files"),
        (["classify", "--model=absent", "a.wav"], "--model=absent: no such file"),
        (["classify", "--model=M", "--topk=1", "a.wav"], "--topk: unknown flag"),
        (["classify", "--model=M", "--top_k=0", "a.wav"], "top_k"),
        (["classify", "--model=M", "--top_k=x", "a.wav"], "top_k"),
        (["classify", "--model=M", "--threads=0", "a.wav"], "threads"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(
    model_file, capsys, arguments, message
):
    arguments = [word.replace("=M", f"={model_file}") for word in arguments]
    assert cli.main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err


def test_a_broken_model_exits_with_1(tmp_path, capsys):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"\0\0\0\0TFL3 and then nothing")
    assert cli.main(["classify", f"--model={path}", "a.wav"]) == 1
    assert f"asc-edge classify: {path}: no metadata" in capsys.readouterr().err


def test_help_and_version_go_to_stdout(capsys):
    from asc_tf.core.version import __version__

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"
    assert cli.main(["--help"]) == 0
    assert "asc-edge classify" in capsys.readouterr().out
    assert cli.main(["classify", "--help"]) == 0
    output = capsys.readouterr().out
    assert all(f"--{flag}" in output for flag in ("model", "top_k", "json", "threads"))


def run_without_the_training_stack(arguments):
    code = """
import sys
for name in ("tensorflow", "keras", "soundfile", "scipy", "sklearn", "librosa"):
    sys.modules[name] = None
import asc_tf.edge.runtime
from asc_tf.edge.cli import main
sys.exit(main(sys.argv[1:]))
"""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_the_edge_runs_without_tensorflow_and_says_nothing_but_the_result(
    model_file, tmp_path
):
    name = os.fsencode(loud(tmp_path / "a.wav"))[:-5] + b"\xff.wav"
    os.rename(tmp_path / "a.wav", name)
    done = run_without_the_training_stack(["classify", f"--model={model_file}", name])
    assert done.stderr == b""
    assert done.returncode == 0
    first, *rest = done.stdout.decode().splitlines()
    assert first.startswith(os.fsdecode(name[:-5]) + "\\udcff.wav")
    assert first.split()[1:] == [
        "métro",
        f"{probabilities_of(np.full(LENGTH, 0.9)).max():.4f}",
    ]
    assert len(rest) == 2
