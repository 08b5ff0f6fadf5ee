"""Checks between fields: what is refused, and what is named because it has no use."""

import dataclasses

import pytest

from asc_tf import config
from asc_tf.config import FIELDS, Config
from asc_tf.config.checks import find_unused_settings
from asc_tf.config.options import Section, option
from asc_tf.core.errors import UsageError

IMAGE = {"frontend.image_frames": 96, "frontend.image_bands": 96}
STORED = {"dataset.features": "features"}

REFUSED = [
    ({"frontend.n_fft": 1000}, "frontend.n_fft = 1000: must be a power of two"),
    ({"frontend.win_length": 1025}, "frontend.win_length = 1025: must be at most"),
    ({"frontend.win_length": 1}, "a hann window of one sample is zero"),
    ({"frontend.fmin": 16000.0}, "frontend.fmin = 16000.0"),
    ({"frontend.fmax": 16000.5}, "frontend.fmax = 16000.5"),
    ({"frontend.fmin": 300, "frontend.fmax": 300}, "must rise"),
    ({"frontend.fmin": 300, "frontend.fmax": 200}, "must rise"),
    ({"audio.sample_rate": 8000, "frontend.fmax": 5000.0}, "4000 Hz"),
    (
        {"audio.segment_seconds": 0.05, "frontend.n_fft": 4096},
        "audio.segment_seconds = 0.05: shorter than the 2048 samples",
    ),
    (
        {"audio.segment_seconds": 0.06, "frontend.n_fft": 2048}
        | {"frontend.center": False},
        "audio.segment_seconds = 0.06: shorter than the 2048 samples",
    ),
    (
        {"audio.segment_seconds": 0.064, "frontend.n_fft": 4096}
        | {"frontend.pad_mode": "reflect"},
        "frontend.pad_mode = reflect: reflects 2048 samples",
    ),
    ({"audio.hop_seconds": 1e-5}, "audio.hop_seconds = 1e-05: less than a sample"),
    (
        {"frontend.kind": "linear", "frontend.fmin": 32, "frontend.fmax": 60},
        "no FFT bin between them (they are 31.25 Hz apart)",
    ),
    (
        {"frontend.kind": "mfcc", "frontend.n_mfcc": 65},
        "frontend.n_mfcc = 65: must be at most frontend.n_mels = 64",
    ),
    ({"frontend.deltas": 1, "frontend.delta_width": 4}, "must be odd"),
    (
        {"frontend.deltas": 1, "audio.segment_seconds": 0.1},
        "frontend.delta_width = 9: must be at most the 7 frames of a segment",
    ),
    ({"frontend.image_frames": 9}, "frontend.image_bands = 0: give both, or neither"),
    (IMAGE | {"audio.channels": "stereo"}, "gives 2: use one, or one with deltas = 2"),
    (IMAGE | {"frontend.deltas": 1}, "with frontend.deltas = 1 gives 2"),
    ({"augment.noise_min_snr_db": 41.0}, "augment.noise_min_snr_db = 41.0: must be at"),
    ({"augment.noise": "folder"}, "noise = folder and its folder go together"),
    ({"augment.noise_dir": "x"}, "noise = folder and its folder go together"),
    (
        {"augment.random_channel": True, "audio.channels": "left"},
        "augment.random_channel: needs audio.channels = mono, which is left",
    ),
    (
        {"augment.eq_tilt_db": 3.0, "frontend.kind": "pcen"},
        "augment.eq_tilt_db = 3.0: needs log features",
    ),
    ({"augment.eq_tilt_db": 3.0} | IMAGE, "augment.eq_tilt_db = 3.0: needs log"),
    (
        {"augment.eq_tilt_db": 3.0, "frontend.standardize": "per_clip"},
        "leaves no decibels to tilt; use per_band, scalar or none",
    ),
    (
        {"augment.frequency_warp": 0.1, "frontend.kind": "mfcc"},
        "augment.frequency_warp = 0.1: the coefficients of frontend.kind = mfcc are no",
    ),
    (
        {"augment.mixstyle_alpha": 0.1, "frontend.kind": "mfcc"},
        "augment.mixstyle_alpha = 0.1: the coefficients",
    ),
    (
        STORED | {"augment.gain_db": 3.0},
        "augment.gain_db = 3.0: dataset.features holds features of all segments, with",
    ),
    (STORED | {"augment.noise": "white"}, "set augment.noise = 'none', or leave"),
    (
        STORED | {"augment.noise": "folder", "augment.noise_dir": "x"},
        "set augment.noise = 'none', augment.noise_dir = '', or leave dataset.features",
    ),
    (STORED | {"augment.random_channel": True}, "set augment.random_channel = False,"),
    (STORED | {"evaluate.segments": "centre"}, "evaluate.segments = 'centre': datas"),
    (STORED | {"evaluate.overlap": 0.5}, "evaluate.overlap = 0.5: dataset.features ho"),
    (STORED | {"frontend.placement": "model"}, "set frontend.placement = 'dataset',"),
    ({"model.name": "imagenet"}, "takes images"),
    (
        {"model.name": "imagenet", "model.backbone": "inception_v3"}
        | {"frontend.image_frames": 64, "frontend.image_bands": 64},
        "none below 75",
    ),
    (
        {"model.name": "imagenet", "model.filters": (8,)},
        "model.filters = (8,): model.name = imagenet has no filters",
    ),
    (
        {"model.name": "esa3_cnn", "model.filters": (8, 8)},
        "model.name = esa3_cnn needs 3 of them, like its own (32, 64, 128)",
    ),
    ({"model.freeze": ("conv",)}, "give model.init_from too"),
    ({"model.keep_head": True}, "give model.init_from too"),
]


@pytest.mark.parametrize(("changes", "wanted"), REFUSED)
def test_values_that_do_not_fit_together_are_refused(changes, wanted):
    with pytest.raises(UsageError) as caught:
        Config().replace(changes)
    assert wanted in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"frontend.win_length": 1024},
        {"frontend.win_length": 1, "frontend.window": "hamming"},
        {"frontend.fmin": 15999.0, "frontend.fmax": 16000.0},
        {"audio.segment_seconds": 0.064, "frontend.n_fft": 4096},
        {"audio.segment_seconds": 0.064, "frontend.n_fft": 2048}
        | {"frontend.center": False},
        {"audio.segment_seconds": 2049 / 32000, "frontend.n_fft": 4096}
        | {"frontend.pad_mode": "reflect"},
        {"audio.segment_seconds": 0.064, "frontend.n_fft": 2048}
        | {"frontend.center": False, "frontend.pad_mode": "reflect"},
        {"audio.hop_seconds": 1 / 32000},
        {"audio.sample_rate": 8000, "frontend.fmax": 4000.0},
        {"frontend.kind": "linear", "frontend.fmin": 31.25, "frontend.fmax": 32.0},
        {"frontend.kind": "mfcc", "frontend.n_mfcc": 64},
        {"frontend.deltas": 1, "frontend.delta_width": 7, "audio.segment_seconds": 0.1},
        {"frontend.delta_width": 4},
        IMAGE | {"frontend.deltas": 2},
        {"augment.noise_min_snr_db": 40.0},
        {"model.init_from": "run", "model.freeze": ("conv",), "model.keep_head": True},
    ],
    ids=str,
)
def test_values_that_just_fit_together_are_accepted(changes):
    flat = Config().replace(changes).flat()
    assert {key: flat[key] for key in changes} == changes


UNUSED = [
    ({}, []),
    (
        {"train.momentum": 0.5},
        [
            "train.momentum has no effect with train.optimizer = adam; it needs "
            "train.optimizer = sgd"
        ],
    ),
    ({"train.momentum": 0.5, "train.optimizer": "sgd"}, []),
    (
        {"train.decay_rate": 0.5},
        [
            "train.decay_rate has no effect with train.schedule = cosine; it needs "
            "train.schedule = inverse_time"
        ],
    ),
    (
        {"train.plateau_factor": 0.1, "train.plateau_patience": 1},
        [
            "train.plateau_factor has no effect with",
            "train.plateau_patience has no effect with train.schedule = cosine; it "
            "needs train.schedule = plateau",
        ],
    ),
    (
        {"train.focal_gamma": 1.0},
        [
            "train.focal_gamma has no effect with train.loss = "
            "categorical_crossentropy; it needs train.loss = focal"
        ],
    ),
    (
        {"train.energy_country": "DEU"},
        ["train.energy_country has no effect without train.energy"],
    ),
    (
        {"train.steps": 100, "train.epochs": 3},
        ["train.epochs has no effect with train.steps = 100; it needs train.steps = 0"],
    ),
    ({"train.steps": 100}, []),
    (
        {"frontend.kind": "pcen", "frontend.top_db": 40.0},
        [
            "frontend.top_db has no effect with frontend.kind = pcen; it needs "
            "frontend.kind = log_mel, linear or mfcc"
        ],
    ),
    (
        {"frontend.logarithm": "natural", "frontend.top_db": 40.0},
        [
            "frontend.top_db has no effect with frontend.logarithm = natural; it "
            "needs frontend.logarithm = decibel"
        ],
    ),
    ({"frontend.log_offset": 1.0}, ["frontend.log_offset has no effect with fronte"]),
    ({"frontend.pcen_bias": 1.0}, ["frontend.pcen_bias has no effect with frontend"]),
    (
        {"frontend.kind": "pcen", "frontend.logarithm": "natural"},
        ["frontend.logarithm has no effect with frontend.kind = pcen"],
    ),
    (
        {"frontend.kind": "linear", "frontend.n_mels": 20},
        ["frontend.n_mels has no effect with frontend.kind = linear"],
    ),
    (
        {"frontend.frequency_axis": "logarithmic"},
        ["frontend.frequency_axis has no effect with frontend.kind = log_mel"],
    ),
    (
        {"frontend.center": False, "frontend.pad_mode": "reflect"},
        ["frontend.pad_mode has no effect without frontend.center"],
    ),
    ({"frontend.delta_width": 5}, ["frontend.delta_width has no effect without fro"]),
    (
        {"augment.impulse_share": 0.1},
        ["augment.impulse_share has no effect without augment.impulse_dir"],
    ),
    ({"augment.impulse_share": 0.1, "augment.impulse_dir": "x"}, []),
    (
        {"evaluate.overlap": 0.5, "evaluate.segments": "centre"},
        ["evaluate.overlap has no effect with evaluate.segments = centre"],
    ),
    (
        {"evaluate.false_accept_rate": 0.1, "evaluate.calibrate": False},
        ["evaluate.false_accept_rate has no effect without evaluate.calibrate"],
    ),
    (
        {"dataset.csv_file": "x", "dataset.name": "folder"},
        ["dataset.csv_file has no effect"],
    ),
    (
        {"augment.gain_db": 6.0},
        [
            "augment.gain_db has no effect: frontend.db_reference = clip_max takes "
            "the level out"
        ],
    ),
    (
        {"augment.gain_db": 6.0, "frontend.db_reference": "fixed"}
        | {"frontend.waveform_range": "min_max"},
        ["augment.gain_db has no effect: frontend.waveform_range = min_max takes"],
    ),
    ({"augment.gain_db": 6.0, "frontend.db_reference": "fixed"}, []),
    (
        {"frontend.standardize": "none", "augment.time_masks": 1},
        ["augment.mask_fill = zero fills masks with the loudest value, 0 dB"],
    ),
    ({"model.backbone": "inception_v3"}, ["model.backbone has no effect with model"]),
    (
        {"model.weights": "none", "model.units": 4},
        ["model.units has no effect with", "model.weights has no effect with"],
    ),
    ({"model.name": "esa3_cnn", "model.units": 4}, []),
    (
        {"export.sparsity": 0.4, "export.formats": ("float32", "int8_qat")},
        ["export.sparsity has no effect with export.formats = float32, int8_qat; it"],
    ),
    ({"export.sparsity": 0.4, "export.formats": ("float32", "int8_pruned")}, []),
    ({"model.train_from": "x"}, ["model.train_from has no effect with model.name ="]),
    (
        {"model.name": "imagenet", "model.weights": "none"} | IMAGE,
        ["model.weights = none trains from the last layer on: random weights below it"],
    ),
    (
        {"model.name": "imagenet", "model.init_from": "run"} | IMAGE,
        ["model.weights = imagenet has no effect: the weights of model.init_from rep"],
    ),
]


@pytest.mark.parametrize(("changes", "wanted"), UNUSED, ids=str)
def test_settings_that_change_nothing_are_named_with_what_they_need(changes, wanted):
    sentences = find_unused_settings(Config().replace(changes))
    assert len(sentences) == len(wanted)
    for sentence, start in zip(sentences, wanted, strict=True):
        assert sentence.startswith(start)


def test_every_setting_of_the_shipped_configurations_has_a_use():
    for path in config.shipped().values():
        assert find_unused_settings(config.read(path)) == []


def test_what_a_field_needs_is_a_value_of_another_field_of_its_section():
    for key, item in FIELDS.items():
        section = key.partition(".")[0]
        for other, needed in item.metadata["only_with"].items():
            values = needed if isinstance(needed, tuple) else (needed,)
            choices = FIELDS[f"{section}.{other}"].metadata["choices"]
            if needed is not True and choices:
                assert set(values) <= set(choices)


def test_a_section_made_by_hand_is_checked_like_one_from_a_file():
    @dataclasses.dataclass(frozen=True)
    class Coffee(Section):
        cups: int = option(1, "number of cups", minimum=0, maximum=3)
        milk: str = option("none", "kind of milk", choices=("none", "oat", "soy"))
        grams: float = option(
            9.0, "mass of the milk", only_with={"cups": True, "milk": ("oat", "soy")}
        )

    assert Coffee(cups=3).cups == 3
    with pytest.raises(UsageError, match=r"coffee\.cups = 4: must be at most 3"):
        Coffee(cups=4)
    assert Coffee(milk="oat", grams=20).find_unused() == []
    assert Coffee(milk="none", grams=20).find_unused() == [
        "coffee.grams has no effect with coffee.milk = none; it needs coffee.milk = "
        "oat or soy"
    ]
    assert Coffee(cups=0, grams=20).find_unused() == [
        "coffee.grams has no effect without coffee.cups"
    ]
