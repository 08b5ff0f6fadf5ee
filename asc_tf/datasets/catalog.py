"""Catalogue of the corpora: title, authors, licence, official protocol, size.

Sizes are decimal and rounded; the addresses are in `archives`.
"""

from dataclasses import dataclass

_DCASE_2018 = (
    'A. Mesaros, T. Heittola and T. Virtanen, "A multi-device dataset for urban '
    'acoustic scene classification", DCASE 2018 Workshop.'
)
_DCASE_2020 = (
    'T. Heittola, A. Mesaros and T. Virtanen, "Acoustic scene classification in DCASE '
    '2020 Challenge: generalization across devices and low complexity solutions", '
    "DCASE 2020 Workshop."
)
_PICZAK = (
    'K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM '
    "Multimedia 2015."
)
_BY_LOCATION = (
    "The lists are those of the authors; a validation split is drawn from the training "
    "list by whole recording locations."
)
_NON_COMMERCIAL = "non-commercial (Tampere University; its text is in the archives)"
_SCENES_LAYOUT = """\
D/
  meta.csv                          filename, scene_label, identifier, source_label
  evaluation_setup/
    fold1_train.csv  fold1_evaluate.csv       (or .txt, without header)
  audio/
    {}"""
_SCENES_CLIP = "airport-barcelona-0-0-a.wav     scene-city-location-recording-device"


@dataclass(frozen=True)
class Entry:
    """Description of a corpus.

    Attributes:
        name: Value of `dataset.name`.
        title: Full name; lists show it up to ` (`.
        licence: Short name of the licence; lists show it up to ` (`.
        page: Address of the official page; empty if there is none.
        citation: Publication to cite; empty if there is none.
        protocol: Official protocol, in a sentence or two.
        layout: Tree of the folder that `dataset.dir` has to name, here `D`.
        clips: Number of audio files; 0 for the user's own, or as configured.
        classes: Number of labels; 0 for the user's own.
        download_bytes: Size of all archives in bytes.
        unpacked_bytes: Size of the folder in bytes.
        strip: Whether the archives have one folder around everything.
        note: Further remarks.
        flags: Flags that `asc-tf train` needs besides the name and the folder.
    """

    name: str
    title: str
    licence: str
    protocol: str
    layout: str
    page: str = ""
    citation: str = ""
    clips: int = 0
    classes: int = 0
    download_bytes: int = 0
    unpacked_bytes: int = 0
    strip: bool = True
    note: str = ""
    flags: str = ""


_ENTRIES = (
    Entry(
        name="synthetic",
        title="Synthetic scenes, made here",
        licence="none needed",
        protocol="A quarter of the locations is the test split, with one device more "
        "than the training split.",
        layout="D/\n  meta.csv\n  audio/\n    park-vienna-5-0-a.wav",
        classes=10,
        note="asc-tf train --dataset.name=synthetic writes it; nothing to download.",
    ),
    Entry(
        name="folder",
        title="Your clips, one folder per label",
        licence="yours",
        protocol="Test and validation splits are drawn by whole recordings; "
        "dataset.identifier_pattern finds the recording in a clip's path.",
        layout="D/\n  label/\n    clip.wav\n  another label/\n    clip.flac",
        note="These are your own recordings; nothing to download.",
    ),
    Entry(
        name="csv",
        title="Your clips, in a table",
        licence="yours",
        protocol="By its split column or its fold column; else drawn by whole "
        "recordings.",
        layout="D/\n  table.csv                         path, label, recording, ...\n"
        "  clips/\n    clip.wav",
        note="These are your own recordings; nothing to download.",
        flags="--dataset.csv_file=table.csv",
    ),
    Entry(
        name="esc10",
        title="ESC-10",
        licence="CC BY 3.0",
        page="https://github.com/karolpiczak/ESC-10",
        citation=_PICZAK,
        protocol="Five folds, fixed by the author: train on four, test on the fifth, "
        "and report the mean over all five.",
        layout="D/                                  or the folder of ESC-50\n"
        "  001 - Dog bark/\n    1-100032-A.ogg                  fold-source-take\n"
        "  002 - Rain/ ...",
        clips=400,
        classes=10,
        download_bytes=42_000_000,
        unpacked_bytes=43_000_000,
        note="Nobody publishes a checksum of the archive: the archive's own sums and "
        "the number of clips are checked.",
    ),
    Entry(
        name="esc50",
        title="ESC-50",
        licence="CC BY-NC 3.0",
        page="https://github.com/karolpiczak/ESC-50",
        citation=_PICZAK,
        protocol="Five folds, fixed by the author: train on four, test on the fifth, "
        "and report the mean over all five.",
        layout="D/\n  meta/\n    esc50.csv\n  audio/\n"
        "    1-100032-A-0.wav                fold-source-take-target",
        clips=2000,
        classes=50,
        download_bytes=647_000_000,
        unpacked_bytes=890_000_000,
    ),
    Entry(
        name="urbansound8k",
        title="UrbanSound8K",
        licence="CC BY-NC",
        page="https://urbansounddataset.weebly.com/urbansound8k.html",
        citation='J. Salamon, C. Jacoby and J. P. Bello, "A Dataset and Taxonomy for '
        'Urban Sound Research", ACM Multimedia 2014.',
        protocol="Ten folds, fixed by the authors and not to be shuffled: test on each "
        "in turn and report the mean; the fold before the test fold validates.",
        layout="D/\n  metadata/\n    UrbanSound8K.csv\n  audio/\n    fold1/\n"
        "      101415-3-0-2.wav              recording-class-occurrence-slice\n"
        "    fold2/ ... fold10/",
        clips=8732,
        classes=10,
        download_bytes=6_023_741_708,
        unpacked_bytes=7_100_000_000,
        note="Five Freesound recordings are in two folds; "
        "dataset.drop_shared_recordings leaves them out of training and validation.",
    ),
    Entry(
        name="asc_mini",
        title="A tutorial's ten urban scenes",
        licence="not stated",
        protocol="Of the eight clips of each scene numbers 1 to 5 are the training "
        "split, 6 to 8 the test split.",
        page="https://github.com/machinelistening/machinelistening.github.io",
        layout="D/\n  airport_1.wav ... airport_8.wav\n  metrostation_1.wav ...   or "
        "metro station_1.wav, metro_station_1.wav",
        clips=80,
        classes=10,
        note="It is the file asc_mini.zip of the project "
        "machinelistening/machinelistening.github.io on GitHub: unpack its 80 clips "
        "into a folder and name that with --dataset.dir.",
    ),
    Entry(
        name="tut2018",
        title="TUT Urban Acoustic Scenes 2018 (development set)",
        licence=_NON_COMMERCIAL,
        page="https://zenodo.org/records/1228142",
        citation=_DCASE_2018,
        protocol=f"6122 training and 2518 test clips. {_BY_LOCATION}",
        layout=_SCENES_LAYOUT.format(_SCENES_CLIP),
        clips=8640,
        classes=10,
        download_bytes=21_353_171_682,
        unpacked_bytes=24_900_000_000,
    ),
    Entry(
        name="tau2019",
        title="TAU Urban Acoustic Scenes 2019 (development set)",
        licence=_NON_COMMERCIAL,
        page="https://zenodo.org/records/2589280",
        citation=_DCASE_2018,
        protocol=f"One training and one test list, which leave some of the clips out. "
        f"{_BY_LOCATION}",
        layout=_SCENES_LAYOUT.format(_SCENES_CLIP),
        clips=14400,
        classes=10,
        download_bytes=35_622_537_482,
        unpacked_bytes=41_500_000_000,
    ),
    Entry(
        name="tau2020_mobile",
        title="TAU Urban Acoustic Scenes 2020 Mobile (development set)",
        licence=_NON_COMMERCIAL,
        page="https://zenodo.org/records/3819968",
        citation=_DCASE_2020,
        protocol="One training and one test list; devices s4 to s6 are in the test "
        f"list only. {_BY_LOCATION}",
        layout=_SCENES_LAYOUT.format(_SCENES_CLIP),
        clips=23040,
        classes=10,
        download_bytes=27_364_817_167,
        unpacked_bytes=30_500_000_000,
    ),
    Entry(
        name="tau2020_3class",
        title="TAU Urban Acoustic Scenes 2020 3Class (development set)",
        licence=_NON_COMMERCIAL,
        page="https://zenodo.org/records/3670185",
        citation=_DCASE_2020,
        protocol=f"One training and one test list. {_BY_LOCATION}",
        layout=_SCENES_LAYOUT.format(_SCENES_CLIP),
        clips=14400,
        classes=3,
        download_bytes=35_543_717_092,
        unpacked_bytes=41_500_000_000,
    ),
    Entry(
        name="tau2022_mobile",
        title="TAU Urban Acoustic Scenes 2022 Mobile (development set)",
        licence=_NON_COMMERCIAL,
        page="https://zenodo.org/records/6337421",
        citation=_DCASE_2020,
        protocol="The lists of 2020 Mobile, its clips cut to 1 s. Of DCASE 2024 also "
        f"training lists of 5, 10, 25 and 50 per cent. {_BY_LOCATION}",
        layout=_SCENES_LAYOUT.format("airport-lisbon-1000-40000-0-a.wav  with segment")
        + "\n  split_setup/\n    split5.csv                      for dataset.subset",
        clips=230350,
        classes=10,
        download_bytes=27_503_592_469,
        unpacked_bytes=30_600_000_000,
        note="The lists of DCASE 2024 are not in these archives: copy them into "
        "D/split_setup from "
        "https://github.com/CPJKU/dcase2024_task1_baseline/releases/tag/files.",
    ),
    Entry(
        name="fsdkaggle2018",
        title="FSDKaggle2018",
        licence="CC BY 4.0 (each clip has a licence of its own)",
        page="https://zenodo.org/records/2552860",
        citation='E. Fonseca et al., "General-purpose Tagging of Freesound Audio with '
        'AudioSet Labels: Task Description, Dataset, and Baseline", DCASE 2018 '
        "Workshop.",
        protocol="9473 training clips, 3710 of them with verified labels, and 1600 "
        "test clips.",
        layout="D/\n  FSDKaggle2018.meta/\n    train_post_competition.csv\n"
        "    test_post_competition_scoring_clips.csv\n  FSDKaggle2018.audio_train/\n"
        "    00044347.wav\n  FSDKaggle2018.audio_test/\n    00326aa9.wav",
        clips=11073,
        classes=41,
        download_bytes=4_900_000_000,
        unpacked_bytes=6_400_000_000,
        strip=False,
    ),
)

CATALOG: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
