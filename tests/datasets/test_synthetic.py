import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asc_tf.core.errors import UserError
from asc_tf.datasets.synthetic import COLUMNS, SCENES, scenes, sounds, write_scenes

SMALL = {"locations": 2, "seconds": 0.5}
FORMATS = {
    "a": (48_000, 2, "PCM_24"),
    "b": (44_100, 1, "PCM_16"),
    "c": (32_000, 1, "PCM_16"),
    "s4": (44_100, 1, "PCM_16"),
}
SOUNDS = sorted(
    {sound for scene in scenes.SCENES.values() for sound in scene.rates},
    key=lambda sound: sound.__name__,
)


def read_rows(meta: Path) -> list[dict[str, str]]:
    with meta.open(newline="") as file:
        return list(csv.DictReader(file))


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def interrupt(directory: Path, after: int = 3, **settings) -> None:
    def stop(done: int, total: int) -> None:
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scenes(directory, progress=stop, **settings)


@pytest.fixture(scope="module")
def progress() -> list[tuple[int, int]]:
    """The calls while `corpus` was written."""
    return []


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, progress) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_scenes(folder, progress=lambda *call: progress.append(call), **SMALL)
    return folder


@pytest.fixture
def copy(corpus, tmp_path) -> Path:
    return shutil.copytree(corpus, tmp_path / "copy")


@pytest.fixture(scope="module")
def rows(corpus) -> list[dict[str, str]]:
    return read_rows(corpus / "meta.csv")


def test_the_ten_scenes_are_in_alphabetical_order():
    assert len(SCENES) == 10
    assert list(SCENES) == sorted(SCENES)


def test_another_seed_gives_other_recordings(corpus, rows, tmp_path):
    write_scenes(tmp_path, seed=1, **SMALL)
    for row in rows:
        other = (tmp_path / row["path"]).read_bytes()
        assert other != (corpus / row["path"]).read_bytes()


def test_files_have_the_format_of_their_device(corpus, rows):
    for row in rows:
        info = soundfile.info(corpus / row["path"])
        assert (info.samplerate, info.channels, info.subtype) == FORMATS[row["device"]]
        assert info.frames == round(0.5 * info.samplerate)


def test_the_table_lists_every_file_once_under_its_dcase_name(corpus, rows):
    assert tuple(rows[0]) == COLUMNS
    files = {name for name in contents(corpus) if name.startswith("audio/")}
    assert Counter(row["path"] for row in rows) == Counter(files)
    for row in rows:
        name = f"{row['label']}-{row['identifier']}-0-{row['device']}.wav"
        assert row["path"] == f"audio/{name}"
        assert row["identifier"].startswith(row["city"] + "-")


def test_a_location_has_one_scene_one_city_and_one_split(rows):
    for column in ("label", "city", "split"):
        pairs = {(row["identifier"], row[column]) for row in rows}
        assert len(pairs) == len({row["identifier"] for row in rows})


def test_every_scene_is_in_both_splits(rows):
    for split in ("train", "test"):
        assert {r["label"] for r in rows if r["split"] == split} == set(SCENES)


@pytest.mark.parametrize(("locations", "held_out"), [(2, 1), (4, 1), (8, 2), (24, 6)])
def test_a_quarter_of_the_locations_is_held_out(tmp_path, locations, held_out):
    seen = []

    def stop(done: int, total: int) -> None:
        seen.append(total)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path, locations=locations, seconds=0.5, progress=stop)
    assert seen == [10 * (3 * locations + held_out)]


def test_the_unseen_device_records_only_in_the_test_split(rows):
    devices = {
        split: {row["device"] for row in rows if row["split"] == split}
        for split in ("train", "test")
    }
    assert devices == {"train": {"a", "b", "c"}, "test": {"a", "b", "c", "s4"}}


def test_all_devices_hear_the_same_performance(corpus, rows):
    takes: dict[str, list[np.ndarray]] = {}
    for row in rows:
        if row["device"] in ("b", "s4") and row["split"] == "test":
            samples, _ = soundfile.read(corpus / row["path"])
            takes.setdefault(row["identifier"], []).append(samples)
    same = [np.corrcoef(b, s4)[0, 1] for b, s4 in takes.values()]
    firsts = [b for b, _ in takes.values()]
    other = np.corrcoef(firsts)[np.triu_indices(len(firsts), 1)]
    assert min(same) > 0.3 > np.abs(other).max()


def test_the_channels_of_the_stereo_recorder_are_alike_but_not_equal(corpus, rows):
    paths = [corpus / row["path"] for row in rows if row["device"] == "a"]
    likeness = [np.corrcoef(soundfile.read(path)[0].T)[0, 1] for path in paths]
    assert 0.1 < np.mean(likeness) < 0.9
    assert max(likeness) < 0.999


def test_takes_of_one_location_differ(tmp_path):
    rows = read_rows(write_scenes(tmp_path, locations=2, takes=2, seconds=0.5))
    assert {row["path"].split("-")[3] for row in rows} == {"0", "1"}
    assert len({(tmp_path / row["path"]).read_bytes() for row in rows}) == len(rows)


def test_recordings_are_neither_clipped_nor_silent(corpus, rows):
    for row in rows:
        samples, _ = soundfile.read(corpus / row["path"])
        assert np.abs(samples).max() < 0.99
        assert -50 < 20 * np.log10(samples.std()) < -10


@pytest.mark.parametrize("sound", SOUNDS, ids=lambda sound: sound.__name__)
def test_every_sound_is_an_audible_event_of_a_few_seconds(sound):
    for seed in range(5):
        event = sound(np.random.default_rng(seed), 1.0)
        assert event.ndim == 1
        assert 0.2 < event.size / sounds.RATE < 6
        assert 0.3 < np.abs(event).max() <= 2.5


def test_a_complete_corpus_is_kept_as_it_is(copy):
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    calls: list[int] = []
    meta = write_scenes(copy, progress=lambda done, _: calls.append(done), **SMALL)
    assert meta == copy / "meta.csv"
    assert not calls
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_an_interrupted_corpus_has_no_table_and_is_written_anew_to_the_same_bytes(
    corpus, tmp_path
):
    interrupt(tmp_path, **SMALL)
    assert not (tmp_path / "meta.csv").exists()
    write_scenes(tmp_path, **SMALL)
    assert contents(tmp_path) == contents(corpus)


def test_a_corpus_that_lost_a_file_is_written_anew(corpus, copy, rows):
    (copy / rows[5]["path"]).unlink()
    write_scenes(copy, **SMALL)
    assert contents(copy) == contents(corpus)


def test_a_complete_corpus_with_other_settings_is_refused_untouched(copy):
    (copy / "audio" / ".DS_Store").write_bytes(b"hidden")
    before = contents(copy)
    with pytest.raises(ValueError, match=r"other settings \(seed = 0, locations = 2, "):
        write_scenes(copy, **(SMALL | {"seed": 1}))
    assert contents(copy) == before


def test_a_folder_in_which_another_process_writes_scenes_is_refused(tmp_path):
    def write_too(done: int, total: int) -> None:
        before = contents(tmp_path)
        with pytest.raises(UserError, match="another process is writing"):
            write_scenes(tmp_path, **SMALL)
        assert contents(tmp_path) == before
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path, progress=write_too, **SMALL)


def test_an_interrupted_corpus_with_other_settings_is_replaced(corpus, tmp_path):
    interrupt(tmp_path, after=5, locations=3, seconds=0.5, seed=7)
    write_scenes(tmp_path, **SMALL)
    assert contents(tmp_path) == contents(corpus)


@pytest.mark.parametrize(
    "name", ["notes.txt", "audio/mine.wav", "audio/bus-paris-900-0-a.wav"]
)
def test_a_corpus_with_a_foreign_file_in_it_is_refused_untouched(tmp_path, name):
    interrupt(tmp_path, **SMALL)
    (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=name) as refusal:
        write_scenes(tmp_path, **SMALL)
    assert str(tmp_path) in str(refusal.value)
    assert contents(tmp_path) == before


def test_a_real_corpus_with_the_same_file_names_is_refused_untouched(tmp_path):
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "airport-barcelona-0-0-a.wav").write_bytes(b"recorded")
    (tmp_path / "meta.csv").write_text("filename\tscene_label\n")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="not part of a synthetic corpus"):
        write_scenes(tmp_path, **SMALL)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "settings", [{"seed": "x"}, {"locations": 0}, {"format": "another"}, []]
)
def test_a_settings_file_that_is_not_ours_is_refused(tmp_path, settings):
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"settings\.json"):
        write_scenes(tmp_path, **SMALL)


def test_progress_counts_every_file(rows, progress):
    assert progress == [(done, len(rows)) for done in range(1, len(rows) + 1)]


def test_mean_spectra_tell_something_but_not_all_about_the_scene(tmp_path):
    rows = read_rows(write_scenes(tmp_path, locations=4, seconds=1.0))
    rows = [row for row in rows if row["device"] in ("a", "c")]
    edges = np.geomspace(200, 15_000, 25)
    features = []
    for row in rows:
        samples, rate = soundfile.read(tmp_path / row["path"], always_2d=True)
        frames = samples.mean(axis=1)[: len(samples) // 2048 * 2048].reshape(-1, 2048)
        power = np.abs(np.fft.rfft(frames * np.hanning(2048))) ** 2
        bins = np.searchsorted(edges, np.fft.rfftfreq(2048, 1 / rate))
        bands = [power[:, bins == band].sum(axis=1) for band in range(1, 25)]
        features.append(np.log(np.array(bands) + 1e-7).mean(axis=1))
    mean_spectra = np.stack(features)
    mean_spectra /= mean_spectra.std(axis=0)
    labels = np.array([row["label"] for row in rows])
    places = np.array([row["identifier"] for row in rows])
    hits = []
    for place in np.unique(places):
        held_out = places == place
        centroids = np.stack(
            [mean_spectra[~held_out & (labels == s)].mean(axis=0) for s in SCENES]
        )
        offsets = mean_spectra[held_out, None] - centroids
        guesses = np.array(SCENES)[(offsets**2).sum(axis=-1).argmin(axis=1)]
        hits.extend(guesses == labels[held_out])
    assert 0.12 < np.mean(hits) < 0.8
