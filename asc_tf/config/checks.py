"""What must hold between the fields of a configuration."""

from typing import TYPE_CHECKING

from asc_tf.config.frontend import WAVEFORM_SWITCHES, Augment, Frontend
from asc_tf.config.inputs import Audio
from asc_tf.config.model_checks import check_model, model_without_effect
from asc_tf.config.sections import Train
from asc_tf.core.errors import UsageError

if TYPE_CHECKING:
    from asc_tf.config import Config


def check(config: "Config") -> None:
    """Refuse fields that contradict each other.

    Raises:
        UsageError: Naming the fields, their values and what to do.
    """
    _check_audio(config.audio)
    _check_spectrum(config.frontend, config.audio)
    _check_features(config.frontend, config.audio)
    _check_augment(config.augment, config.frontend, config.audio)
    _check_stored(config)
    check_model(config.model, config.frontend)


def check_training(config: "Config") -> None:
    """Refuse settings under which no run can be trained.

    Commands that do not train, `asc-tf features` for one, take them.

    Raises:
        UsageError: Naming the fields, their values and what to do.
    """
    dataset, train = config.dataset, config.train
    if dataset.validation != "none":
        return
    refused = {
        f"train.keep = {train.keep}": (train.keep != "last", "use train.keep = last"),
        f"train.patience = {train.patience}": (
            train.patience > 0,
            "use train.patience = 0",
        ),
        f"train.schedule = {train.schedule}": (
            train.schedule == "plateau",
            "use constant, inverse_time or cosine",
        ),
    }
    for setting, (is_refused, remedy) in refused.items():
        if is_refused:
            raise UsageError(
                f"{setting}: needs a validation loss, and dataset.validation = none "
                f"leaves no validation part; {remedy}, or dataset.validation = split"
            )
    if dataset.validation_share:
        raise UsageError(
            f"dataset.validation_share = {dataset.validation_share}: "
            "dataset.validation = none leaves no validation part; leave one of them out"
        )


def _check_audio(audio: Audio) -> None:
    if audio.hop_samples < 1:
        raise UsageError(f"audio.hop_seconds = {audio.hop_seconds}: less than a sample")


def _check_spectrum(frontend: Frontend, audio: Audio) -> None:
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
    two = audio.channels in ("stereo", "mid_side")
    channels = (2 if two else 1) * (1 + frontend.deltas)
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
    logarithmic = frontend.kind in ("log_mel", "linear") and not frontend.image_frames
    if augment.eq_tilt_db and not logarithmic:
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


def without_effect(config: "Config") -> list[str]:
    """What is set and changes nothing, or hardly what was meant, a sentence each."""
    frontend, augment = config.frontend, config.augment
    said = [
        f"frontend.{name} changes nothing with frontend.{because}"
        for because, names in _unused(frontend).items()
        for name in names
        if getattr(frontend, name) != getattr(Frontend(), name)
    ]
    in_decibels = frontend.kind != "pcen" and frontend.logarithm == "decibel"
    levelled = in_decibels and frontend.db_reference == "clip_max"
    if augment.gain_db and (levelled or frontend.waveform_range == "min_max"):
        cause = "db_reference = clip_max" if levelled else "waveform_range = min_max"
        said.append(
            f"augment.gain_db changes nothing: frontend.{cause} takes the level out"
        )
    masks = augment.time_masks or augment.frequency_masks
    loud = levelled and frontend.standardize == "none" and frontend.kind != "mfcc"
    if masks and augment.mask_fill == "zero" and loud:
        said.append(
            "augment.mask_fill = zero fills masks with the loudest value, 0 dB "
            "(frontend.standardize = none): mean or minimum may be meant"
        )
    return (
        said + _train_without_effect(config.train) + model_without_effect(config.model)
    )


def _train_without_effect(train: Train) -> list[str]:
    needed = {
        "momentum": ("optimizer", "sgd"),
        "decay_rate": ("schedule", "inverse_time"),
        "plateau_factor": ("schedule", "plateau"),
        "plateau_patience": ("schedule", "plateau"),
        "focal_gamma": ("loss", "focal"),
    }
    said = [
        f"train.{name} changes nothing with train.{other} = {getattr(train, other)}"
        for name, (other, value) in needed.items()
        if getattr(train, name) != getattr(Train(), name)
        and getattr(train, other) != value
    ]
    if train.energy_country and not train.energy:
        said.append("train.energy_country changes nothing with train.energy = false")
    if train.steps and train.epochs != Train().epochs:
        said.append(f"train.epochs changes nothing with train.steps = {train.steps}")
    return said


def _unused(frontend: Frontend) -> dict[str, tuple[str, ...]]:
    """Fields that a setting makes idle, by that setting."""
    decibel = ("db_reference", "db_reference_value", "top_db")
    pcen = tuple(name for name in vars(frontend) if name.startswith("pcen_"))
    idle: dict[str, tuple[str, ...]] = {}
    if frontend.kind == "pcen":
        idle["kind = pcen"] = ("frequency_axis", "logarithm", "log_offset", *decibel)
    else:
        idle[f"kind = {frontend.kind}"] = ("frequency_axis", *pcen)
        if frontend.logarithm == "natural":
            idle["logarithm = natural"] = decibel
        else:
            idle["logarithm = decibel"] = ("log_offset",)
    if frontend.kind == "linear":
        idle["kind = linear"] = (*pcen, "n_mels", "mel_scale", "mel_norm")
    if not frontend.center:
        idle["center = false"] = ("pad_mode",)
    return idle


def _check_stored(config: "Config") -> None:
    """Features that are stored leave nothing to do on waveforms."""
    if not config.dataset.features:
        return
    for name in WAVEFORM_SWITCHES:
        value, off = getattr(config.augment, name), getattr(Augment(), name)
        if value != off:
            raise UsageError(
                f"augment.{name} = {value!r}: changes waveforms, and dataset.features "
                f"holds features; set it to {off!r}, or train without dataset.features"
            )
    if config.evaluate.segments != "all":
        raise UsageError(
            f"evaluate.segments = {config.evaluate.segments}: dataset.features holds "
            "all segments; use all, or take --dataset.features= away to hear audio"
        )
    if config.frontend.placement == "model":
        raise UsageError(
            "frontend.placement = model: dataset.features holds features that are "
            "computed; use dataset"
        )
