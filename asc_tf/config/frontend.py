"""The sections of a configuration on features: how they are made and how varied."""

from dataclasses import dataclass

from asc_tf.config.options import Section, option


@dataclass(frozen=True)
class Frontend(Section):
    """Waveform to features."""

    kind: str = option(
        "log_mel",
        "log-mel spectrogram, log spectrogram in Hz, MFCC, or per-channel energy "
        "normalization of a mel spectrogram",
        choices=("log_mel", "linear", "mfcc", "pcen"),
    )
    placement: str = option(
        "dataset",
        "where training computes features: in tf.data on the CPU, or in the model on "
        "the accelerator, with the same numbers (TF32 is switched off for that)",
        choices=("dataset", "model"),
    )
    waveform_range: str = option(
        "as_is",
        "the segment as decoded, or its minimum and maximum moved to -0.5 and 0.5",
        choices=("as_is", "min_max"),
    )
    n_fft: int = option(
        1024, "FFT length, samples; a power of two", minimum=16, maximum=65536
    )
    win_length: int = option(
        0, "window length, samples; 0: n_fft", minimum=0, maximum=65536
    )
    hop_length: int = option(512, "samples between frames", minimum=1, maximum=65536)
    window: str = option(
        "hann", "window, periodic", choices=("hann", "hamming", "rectangular")
    )
    center: bool = option(
        True,
        "pad n_fft // 2 samples at both ends, so that frame t is centred on t * hop",
    )
    pad_mode: str = option(
        "constant",
        "center: beyond the ends are zeros (constant: as librosa from 0.9 on), or the "
        "segment is reflected (reflect: as before librosa 0.9)",
        choices=("constant", "reflect"),
    )
    max_frames: int = option(
        0, "frames after this many are dropped; 0: none", minimum=0, maximum=1000000
    )
    power: float = option(
        2.0,
        "exponent of the magnitude: 1 magnitude (usual for pcen; decibels are those of "
        "the spectrum as it is, so they are halved), 2 power",
        minimum=1.0,
        maximum=2.0,
    )
    frequency_axis: str = option(
        "linear",
        "kind = linear: equal steps of Hz, or the same number of rows on the axis of "
        "librosa.display (y_axis = log), equal steps up to 65 Hz and of octaves above",
        choices=("linear", "logarithmic"),
    )
    n_mels: int = option(64, "mel bands", minimum=1, maximum=1024)
    fmin: float = option(
        0.0, "lower edge of the lowest band (linear: of the bins kept), Hz", minimum=0.0
    )
    fmax: float = option(
        0.0,
        "upper edge of the highest band (linear: of the bins kept), Hz; 0: half the "
        "sample rate",
        minimum=0.0,
    )
    mel_scale: str = option("slaney", "mel formula", choices=("slaney", "htk"))
    mel_norm: str = option(
        "slaney", "band weights: unit area, or unit peak", choices=("slaney", "none")
    )
    logarithm: str = option(
        "decibel",
        "log_mel, linear, mfcc: decibels of a power spectrum, or the natural logarithm "
        "of the spectrum plus log_offset",
        choices=("decibel", "natural"),
    )
    log_offset: float = option(
        1e-10, "what is added before the natural logarithm", minimum=1e-30, maximum=1e6
    )
    db_reference: str = option(
        "clip_max",
        "what is 0 dB: the segment's own maximum, or db_reference_value",
        choices=("clip_max", "fixed"),
    )
    db_reference_value: float = option(
        1.0, "fixed reference of 0 dB, in units of the spectrum", minimum=1e-12
    )
    top_db: float = option(
        80.0, "floor below the segment's maximum, dB; 0: none", minimum=0.0, maximum=400
    )
    n_mfcc: int = option(
        20, "mfcc: coefficients, from the 0th on", minimum=1, maximum=1024
    )
    pcen_gain: float = option(
        0.98, "pcen: exponent of the smoothed energy", minimum=0.0, maximum=10.0
    )
    pcen_bias: float = option(
        2.0, "pcen: bias before compression", minimum=1e-6, maximum=1e6
    )
    pcen_power: float = option(
        0.5, "pcen: exponent of compression", minimum=1e-3, maximum=1.0
    )
    pcen_seconds: float = option(
        0.4, "pcen: time constant of the smoothing, s", minimum=1e-3, maximum=60.0
    )
    pcen_epsilon: float = option(
        1e-6, "pcen: what is added to the smoothed energy", minimum=1e-12, maximum=1.0
    )
    pcen_scale: float = option(
        2.0**31,
        "pcen: factor of the spectrum, whose samples are in [-1, 1], before all else",
        minimum=1e-12,
        maximum=1e12,
    )
    deltas: int = option(
        0,
        "derivatives in time, stacked as channels behind the features: 0 (none), 1 "
        "(the first), 2 (first and second)",
        minimum=0,
        maximum=2,
    )
    delta_width: int = option(
        9, "frames that a derivative is taken over; odd", minimum=3, maximum=99
    )
    standardize: str = option(
        "per_band",
        "subtract a mean, divide by a deviation: of the training part (one pair, one "
        "pair per band, or one per frame and band), of each segment, or neither",
        choices=("none", "per_clip", "scalar", "per_band", "per_position"),
    )
    image_frames: int = option(
        0,
        "image mode: resize in time to so many frames, spread each segment over 0 to "
        "255 in three channels, as ImageNet models take them; 0: no image",
        minimum=0,
        maximum=4096,
    )
    image_bands: int = option(
        0, "image mode: resize in frequency to so many bands", minimum=0, maximum=4096
    )

    def frames(self, samples: int) -> int:
        """The frame-count law: frames of a waveform, before any resizing."""
        padding = self.n_fft // 2 * 2 if self.center else 0
        count = 1 + (samples + padding - self.n_fft) // self.hop_length
        return min(count, self.max_frames) if self.max_frames else count


@dataclass(frozen=True)
class Augment(Section):
    """Random changes to training batches, new in every epoch."""

    copies: int = option(
        1,
        "times that each clip is in an epoch, each time augmented anew",
        minimum=1,
        maximum=1000,
    )
    random_channel: bool = option(
        False,
        "audio.channels = mono: hear the left channel, the right one, or their mean",
    )
    time_reverse: bool = option(
        False, "play each waveform backwards with probability 1/2"
    )
    time_roll: bool = option(
        False, "rotate each waveform by a random number of samples"
    )
    impulse_dir: str = option(
        "", "folder of device impulse responses to convolve waveforms with; empty: none"
    )
    impulse_share: float = option(
        0.5, "share of waveforms that are convolved", minimum=0.0, maximum=1.0
    )
    noise: str = option(
        "none",
        "noise added to waveforms: white, pink, or clips of noise_dir",
        choices=("none", "white", "pink", "folder"),
    )
    noise_dir: str = option("", "noise = folder: the folder")
    noise_share: float = option(
        1.0, "share of waveforms that get noise", minimum=0.0, maximum=1.0
    )
    noise_min_snr_db: float = option(
        10.0, "lowest signal-to-noise ratio, dB", minimum=-60.0, maximum=120.0
    )
    noise_max_snr_db: float = option(
        40.0, "highest signal-to-noise ratio, dB", minimum=-60.0, maximum=120.0
    )
    gain_db: float = option(
        0.0, "waveform gain, uniform within +- this, dB", minimum=0.0, maximum=60.0
    )
    frequency_warp: float = option(
        0.0,
        "largest shift of the middle band as a share of all bands: bands below and "
        "above are squeezed and stretched; 0: none",
        minimum=0.0,
        maximum=0.4,
    )
    eq_tilt_db: float = option(
        0.0,
        "log features: tilt over the bands, uniform within +- this from the lowest to "
        "the highest, dB",
        minimum=0.0,
        maximum=60.0,
    )
    mixstyle_alpha: float = option(
        0.0,
        "both parameters of the Beta distribution of Freq-MixStyle, which mixes the "
        "statistics of bands between clips; 0: none",
        minimum=0.0,
        maximum=100.0,
    )
    mixstyle_share: float = option(
        0.5, "share of batches that Freq-MixStyle mixes", minimum=0.0, maximum=1.0
    )
    mixup_alpha: float = option(
        0.0,
        "both parameters of mixup's Beta distribution; 0: no mixup",
        minimum=0.0,
        maximum=100.0,
    )
    mixup_per: str = option(
        "sample",
        "mixup draws its share for each example, or one for the whole batch",
        choices=("sample", "batch"),
    )
    time_masks: int = option(0, "time masks per segment", minimum=0, maximum=100)
    time_mask_frames: int = option(
        10, "largest width of a time mask, frames", minimum=1, maximum=100000
    )
    frequency_masks: int = option(
        0, "frequency masks per segment", minimum=0, maximum=100
    )
    frequency_mask_bands: int = option(
        8, "largest width of a frequency mask, bands", minimum=1, maximum=100000
    )
    mask_fill: str = option(
        "zero",
        "what masks are filled with: 0 (the training part's mean, where features are "
        "standardized by it), the segment's own mean, or its minimum",
        choices=("zero", "mean", "minimum"),
    )

    @property
    def active(self) -> tuple[str, ...]:
        """The fields that make an example another in every epoch."""
        return tuple(
            name for name in SWITCHES if getattr(self, name) not in (0, "", "none")
        )


WAVEFORM_SWITCHES = (
    *("random_channel", "time_reverse", "time_roll", "impulse_dir", "noise", "gain_db"),
)
"""Fields of `Augment` that each switch on something that acts on waveforms."""

SWITCHES = (
    *WAVEFORM_SWITCHES,
    *("frequency_warp", "eq_tilt_db", "mixstyle_alpha", "mixup_alpha"),
    *("time_masks", "frequency_masks"),
)
"""Fields of `Augment` that each switch one augmentation on."""
