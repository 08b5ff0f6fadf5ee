"""The front-end section of a configuration: waveform to features."""

from dataclasses import dataclass
from functools import partial

from asc_tf.config.options import Section, Value, option

_LOGARITHMIC = ("log_mel", "linear", "mfcc")
_DECIBEL: dict[str, Value] = {"kind": _LOGARITHMIC, "logarithm": "decibel"}

_mel_option = partial(option, only_with={"kind": ("log_mel", "mfcc", "pcen")})
_decibel_option = partial(option, only_with=_DECIBEL)
_pcen_option = partial(option, only_with={"kind": "pcen"})


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
        "beyond the ends are zeros (constant: as librosa from 0.9 on), or the segment "
        "is reflected (reflect: as before librosa 0.9)",
        choices=("constant", "reflect"),
        only_with={"center": True},
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
        "linear: FFT bins; logarithmic: the same number of rows, spaced like "
        "librosa.display (y_axis = log), in equal steps up to 65 Hz and in octaves "
        "above",
        choices=("linear", "logarithmic"),
        only_with={"kind": "linear"},
    )
    n_mels: int = _mel_option(64, "mel bands", minimum=1, maximum=1024)
    fmin: float = option(
        0.0,
        "lower edge of the lowest band, or the lowest bin of linear, Hz",
        minimum=0.0,
    )
    fmax: float = option(
        0.0,
        "upper edge of the highest band, or the highest bin of linear, Hz; 0: half the "
        "sample rate",
        minimum=0.0,
    )
    mel_scale: str = _mel_option("slaney", "mel formula", choices=("slaney", "htk"))
    mel_norm: str = _mel_option(
        "slaney", "band weights: unit area, or unit peak", choices=("slaney", "none")
    )
    logarithm: str = option(
        "decibel",
        "decibels of a power spectrum, or the natural logarithm of the spectrum plus "
        "log_offset",
        choices=("decibel", "natural"),
        only_with={"kind": _LOGARITHMIC},
    )
    log_offset: float = option(
        1e-10,
        "number that is added before the natural logarithm",
        minimum=1e-30,
        maximum=1e6,
        only_with={"kind": _LOGARITHMIC, "logarithm": "natural"},
    )
    db_reference: str = _decibel_option(
        "clip_max",
        "reference of 0 dB: the segment's own maximum, or db_reference_value",
        choices=("clip_max", "fixed"),
    )
    db_reference_value: float = option(
        1.0,
        "fixed reference of 0 dB, in units of the spectrum",
        minimum=1e-12,
        only_with=_DECIBEL | {"db_reference": "fixed"},
    )
    top_db: float = _decibel_option(
        80.0,
        "floor below the segment's maximum, dB; 0: none",
        minimum=0.0,
        maximum=400.0,
    )
    n_mfcc: int = option(
        20,
        "number of coefficients, from the 0th on",
        minimum=1,
        maximum=1024,
        only_with={"kind": "mfcc"},
    )
    pcen_gain: float = _pcen_option(
        0.98, "exponent of the smoothed energy", minimum=0.0, maximum=10.0
    )
    pcen_bias: float = _pcen_option(
        2.0, "bias before compression", minimum=1e-6, maximum=1e6
    )
    pcen_power: float = _pcen_option(
        0.5, "exponent of compression", minimum=1e-3, maximum=1.0
    )
    pcen_seconds: float = _pcen_option(
        0.4, "time constant of the smoothing, s", minimum=1e-3, maximum=60.0
    )
    pcen_epsilon: float = _pcen_option(
        1e-6, "number that is added to the smoothed energy", minimum=1e-12, maximum=1.0
    )
    pcen_scale: float = _pcen_option(
        2.0**31,
        "factor of the spectrum, whose samples are in [-1, 1], before all else",
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
        9,
        "frames that a derivative is taken over; odd",
        minimum=3,
        maximum=99,
        only_with={"deltas": True},
    )
    standardize: str = option(
        "per_band",
        "subtract a mean, divide by a deviation: of the training split (one pair, one "
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
        """Count the frames of a waveform, before any resizing to an image.

        With `center`, that is `1 + samples // hop_length` (`n_fft` is even); without,
        `1 + (samples - n_fft) // hop_length`; in both cases at most `max_frames`.
        """
        padding = self.n_fft // 2 * 2 if self.center else 0
        count = 1 + (samples + padding - self.n_fft) // self.hop_length
        return min(count, self.max_frames) if self.max_frames else count
