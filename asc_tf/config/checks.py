"""Checks between the fields of a configuration."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from asc_tf.config.audio import Audio
from asc_tf.config.augment import WAVEFORM_SWITCHES, Augment
from asc_tf.config.frontend import Frontend
from asc_tf.config.model import Model
from asc_tf.config.train import Train
from asc_tf.core.errors import UsageError

if TYPE_CHECKING:
    from asc_tf.config import Config

SMALLEST_IMAGE = {"inception_v3": 75, "mobilenet_v2": 32, "efficientnet_v2_b0": 32}
"""Pixels that a backbone needs in each direction."""


def check(config: "Config") -> None:
    """Refuse fields that contradict each other.

    Raises:
        UsageError: Naming the fields, their values and what to do.
    """
    _check_spectrum(config.frontend, config.audio)
    _check_features(config.frontend, config.audio)
    _check_augment(config.augment, config.frontend, config.audio)
    _check_stored_features(config)
    _check_model(config.model)
    _check_image(config.model, config.frontend)


def check_training(config: "Config") -> None:
    """Refuse settings under which no run can be trained.

    Commands that do not train, `asc-tf features` for one, accept them.

    Raises:
        UsageError: Naming the fields, their values and what to do.
    """
    _check_compilation(config.train, config.frontend)
    dataset = config.dataset
    if changes := find_changes_without_validation(config):
        raise UsageError(
            f"{_format_settings(config.flat(), changes)}: no validation loss, because "
            "dataset.validation = none leaves no validation split; set "
            f"{_format_settings(changes, changes)}, or dataset.validation = "
            "split"
        )
    if dataset.validation == "none" and dataset.validation_share:
        raise UsageError(
            f"dataset.validation_share = {dataset.validation_share}: "
            "dataset.validation = none leaves no validation split; leave one of them "
            "out"
        )


def find_changes_without_validation(config: "Config") -> dict[str, Any]:
    """Return what must change in a configuration that has no validation split.

    Returns:
        Values to use, by key: the last epoch is kept, and no setting needs a loss.
    """
    if config.dataset.validation != "none":
        return {}
    changes = {"train.keep": "last", "train.patience": 0}
    if config.train.schedule == "plateau":
        changes["train.schedule"] = "constant"
    return _select_changes(config, changes)


def find_changes_for_features(config: "Config") -> dict[str, Any]:
    """Return what must change in a configuration to train from stored features.

    Returns:
        Values to use, by key: stored features are those of all segments, without
        augmentation of waveforms.
    """
    off = Augment()
    changes = {f"augment.{name}": getattr(off, name) for name in WAVEFORM_SWITCHES}
    changes |= {"augment.noise_dir": "", "frontend.placement": "dataset"}
    changes |= {"evaluate.segments": "all", "evaluate.overlap": 0.0}
    return _select_changes(config, changes)


def _select_changes(config: "Config", changes: dict[str, Any]) -> dict[str, Any]:
    """Select the values that a configuration does not have yet."""
    values = config.flat()
    return {key: value for key, value in changes.items() if values[key] != value}


def _format_settings(values: Mapping[str, Any], keys: Iterable[str]) -> str:
    """Write some settings as `key = value`."""
    return ", ".join(f"{key} = {values[key]!r}" for key in keys)


def _check_compilation(train: Train, frontend: Frontend) -> None:
    """Refuse to compile a step that must be deterministic or computes features."""
    obstacles = {
        "train.deterministic=false": train.deterministic,
        "frontend.placement=dataset": frontend.placement == "model",
    }
    for remedy, is_obstacle in obstacles.items():
        if train.jit_compile and is_obstacle:
            raise UsageError(
                f"train.jit_compile = true: XLA compiles only with --{remedy}; give "
                "that too, or --train.jit_compile=false"
            )


def find_unused_settings(config: "Config") -> list[str]:
    """Name settings that have no effect, or hardly what was meant, a sentence each."""
    sections = (
        *(config.dataset, config.audio, config.frontend, config.augment, config.model),
        *(config.train, config.evaluate, config.export),
    )
    return [
        *(sentence for section in sections for sentence in section.find_unused()),
        *_describe_level(config.frontend, config.augment),
        *_describe_weights(config.model),
    ]


def _describe_level(frontend: Frontend, augment: Augment) -> list[str]:
    """Name augmentations that features relative to the clip's level undo or distort."""
    sentences = []
    in_decibels = frontend.kind != "pcen" and frontend.logarithm == "decibel"
    is_relative = in_decibels and frontend.db_reference == "clip_max"
    if augment.gain_db and (is_relative or frontend.waveform_range == "min_max"):
        cause = "db_reference = clip_max" if is_relative else "waveform_range = min_max"
        sentences.append(
            f"augment.gain_db has no effect: frontend.{cause} takes the level out"
        )
    has_masks = augment.time_masks or augment.frequency_masks
    is_loud = is_relative and frontend.standardize == "none" and frontend.kind != "mfcc"
    if has_masks and augment.mask_fill == "zero" and is_loud:
        sentences.append(
            "augment.mask_fill = zero fills masks with the loudest value, 0 dB "
            "(frontend.standardize = none): mean or minimum may be meant"
        )
    return sentences


def _describe_weights(model: Model) -> list[str]:
    """Name weights of a backbone that are replaced, or that stay random."""
    if model.name != "imagenet":
        return []
    if model.init_from and model.weights != "none":
        return [
            f"model.weights = {model.weights} has no effect: the weights of "
            "model.init_from replace them; set model.weights = none"
        ]
    if not model.init_from and model.weights == "none":
        start = model.train_from or "the last layer"
        return [
            f"model.weights = none trains from {start} on: random weights below it "
            "stay as they are"
        ]
    return []


def _check_spectrum(frontend: Frontend, audio: Audio) -> None:
    if audio.hop_samples < 1:
        raise UsageError(f"audio.hop_seconds = {audio.hop_seconds}: less than a sample")
    n_fft, nyquist = frontend.n_fft, audio.sample_rate / 2
    if n_fft & (n_fft - 1):
        raise UsageError(
            f"frontend.n_fft = {n_fft}: must be a power of two (use "
            "frontend.win_length for another window length)"
        )
    if frontend.win_length > n_fft:
        raise UsageError(
            f"frontend.win_length = {frontend.win_length}: must be at most "
            f"frontend.n_fft = {n_fft}"
        )
    if frontend.win_length == 1 and frontend.window == "hann":
        raise UsageError(
            "frontend.win_length = 1: a hann window of one sample is zero; use more, "
            "or 0 for frontend.n_fft"
        )
    fmax = frontend.fmax or nyquist
    if not frontend.fmin < fmax <= nyquist:
        raise UsageError(
            f"frontend.fmin = {frontend.fmin}, frontend.fmax = {frontend.fmax}: must "
            f"rise, up to half of audio.sample_rate, {nyquist:g} Hz"
        )
    shortest = n_fft // 2 if frontend.center else n_fft
    if audio.segment_samples < shortest:
        raise UsageError(
            f"audio.segment_seconds = {audio.segment_seconds}: shorter than the "
            f"{shortest} samples that one frame needs"
        )
    is_reflected = frontend.center and frontend.pad_mode == "reflect"
    # A reflection begins with the sample beside the first or the last one.
    if is_reflected and audio.segment_samples <= shortest:
        raise UsageError(
            f"frontend.pad_mode = reflect: reflects {shortest} samples, and a segment "
            f"(audio.segment_seconds = {audio.segment_seconds}) has only "
            f"{audio.segment_samples}; use a longer segment, a smaller frontend.n_fft, "
            "or constant"
        )


def _check_features(frontend: Frontend, audio: Audio) -> None:
    bin_width = audio.sample_rate / frontend.n_fft
    fmax = frontend.fmax or audio.sample_rate / 2
    if frontend.kind == "linear" and fmax // bin_width < -(-frontend.fmin // bin_width):
        raise UsageError(
            f"frontend.fmin = {frontend.fmin}, frontend.fmax = {frontend.fmax}: no FFT "
            f"bin between them (they are {bin_width:g} Hz apart)"
        )
    if frontend.kind == "mfcc" and frontend.n_mfcc > frontend.n_mels:
        raise UsageError(
            f"frontend.n_mfcc = {frontend.n_mfcc}: must be at most frontend.n_mels = "
            f"{frontend.n_mels}"
        )
    frames = frontend.frames(audio.segment_samples)
    if frontend.deltas and not frontend.delta_width % 2:
        raise UsageError(f"frontend.delta_width = {frontend.delta_width}: must be odd")
    if frontend.deltas and frontend.delta_width > frames:
        raise UsageError(
            f"frontend.delta_width = {frontend.delta_width}: must be at most the "
            f"{frames} frames of a segment"
        )
    if bool(frontend.image_frames) != bool(frontend.image_bands):
        raise UsageError(
            f"frontend.image_frames = {frontend.image_frames}, frontend.image_bands = "
            f"{frontend.image_bands}: give both, or neither"
        )
    is_stereo = audio.channels in ("stereo", "mid_side")
    channels = (2 if is_stereo else 1) * (1 + frontend.deltas)
    if frontend.image_frames and channels not in (1, 3):
        raise UsageError(
            f"frontend.image_frames = {frontend.image_frames}: an image has three "
            f"channels; audio.channels = {audio.channels} with frontend.deltas = "
            f"{frontend.deltas} gives {channels}: use one, or one with deltas = 2"
        )


def _check_augment(augment: Augment, frontend: Frontend, audio: Audio) -> None:
    if augment.noise_min_snr_db > augment.noise_max_snr_db:
        raise UsageError(
            f"augment.noise_min_snr_db = {augment.noise_min_snr_db}: must be at most "
            f"augment.noise_max_snr_db = {augment.noise_max_snr_db}"
        )
    if (augment.noise == "folder") != bool(augment.noise_dir):
        raise UsageError(
            f"augment.noise = {augment.noise}, augment.noise_dir = "
            f"{augment.noise_dir!r}: noise = folder and its folder go together"
        )
    if augment.random_channel and audio.channels != "mono":
        raise UsageError(
            f"augment.random_channel: needs audio.channels = mono, which is "
            f"{audio.channels}"
        )
    is_log = frontend.kind in ("log_mel", "linear") and not frontend.image_frames
    if augment.eq_tilt_db and not is_log:
        raise UsageError(
            f"augment.eq_tilt_db = {augment.eq_tilt_db}: needs log features "
            "(frontend.kind = log_mel or linear, no image)"
        )
    if augment.eq_tilt_db and frontend.standardize == "per_clip":
        raise UsageError(
            f"augment.eq_tilt_db = {augment.eq_tilt_db}: frontend.standardize = "
            "per_clip leaves no decibels to tilt; use per_band, scalar or none"
        )
    for name in ("frequency_warp", "mixstyle_alpha"):
        if getattr(augment, name) and frontend.kind == "mfcc":
            raise UsageError(
                f"augment.{name} = {getattr(augment, name)}: the coefficients of "
                "frontend.kind = mfcc are no bands; use log_mel, linear or pcen"
            )


def _check_stored_features(config: "Config") -> None:
    """Refuse what stored features do not have, where they are read from a folder."""
    if config.dataset.features and (changes := find_changes_for_features(config)):
        raise UsageError(
            f"{_format_settings(config.flat(), changes)}: dataset.features holds "
            "features of all segments, without augmentation of waveforms; set "
            f"{_format_settings(changes, changes)}, or leave dataset.features empty to "
            "use audio"
        )


def _check_model(model: Model) -> None:
    family = model.family
    if model.filters and not family.filters:
        raise UsageError(
            f"model.filters = {model.filters}: model.name = {model.name} has no "
            "filters to choose; leave them out"
        )
    if not family.accepts(len(model.family_filters)):
        raise UsageError(
            f"model.filters = {model.filters}: model.name = {model.name} needs "
            f"{family.needs} of them, like its own {family.filters}"
        )
    if model.freeze and not (model.init_from or model.name == "imagenet"):
        raise UsageError(
            f"model.freeze = {model.freeze}: new weights would stay random; give "
            "model.init_from too, or leave it out"
        )
    if model.keep_head and not model.init_from:
        raise UsageError(
            "model.keep_head = true: there is no earlier run; give model.init_from "
            "too, or leave it out"
        )


def _check_image(model: Model, frontend: Frontend) -> None:
    if model.name != "imagenet":
        return
    smallest = SMALLEST_IMAGE[model.backbone]
    if min(frontend.image_frames, frontend.image_bands) < smallest:
        raise UsageError(
            f"frontend.image_frames = {frontend.image_frames}, frontend.image_bands = "
            f"{frontend.image_bands}: model.name = imagenet takes images, and "
            f"model.backbone = {model.backbone} none below {smallest}"
        )
