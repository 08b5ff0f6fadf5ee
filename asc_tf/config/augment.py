"""The augmentation section of a configuration: random changes to batches."""

from dataclasses import dataclass
from functools import partial

from asc_tf.config.options import Section, option

_NOISES = ("white", "pink", "folder")
_noise_option = partial(option, only_with={"noise": _NOISES})


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
        "take the left channel, the right one, or their mean (needs audio.channels = "
        "mono)",
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
        0.5,
        "share of waveforms that are convolved",
        minimum=0.0,
        maximum=1.0,
        only_with={"impulse_dir": True},
    )
    noise: str = option(
        "none",
        "noise added to waveforms: white, pink, or clips of noise_dir",
        choices=("none", *_NOISES),
    )
    noise_dir: str = option(
        "", "folder of the noise clips", only_with={"noise": "folder"}
    )
    noise_share: float = _noise_option(
        1.0, "share of waveforms that get noise", minimum=0.0, maximum=1.0
    )
    noise_min_snr_db: float = _noise_option(
        10.0, "lowest signal-to-noise ratio, dB", minimum=-60.0, maximum=120.0
    )
    noise_max_snr_db: float = _noise_option(
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
        0.5,
        "share of batches that Freq-MixStyle mixes",
        minimum=0.0,
        maximum=1.0,
        only_with={"mixstyle_alpha": True},
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
        only_with={"mixup_alpha": True},
    )
    time_masks: int = option(0, "time masks per segment", minimum=0, maximum=100)
    time_mask_frames: int = option(
        10,
        "largest width of a time mask, frames",
        minimum=1,
        maximum=100000,
        only_with={"time_masks": True},
    )
    frequency_masks: int = option(
        0, "frequency masks per segment", minimum=0, maximum=100
    )
    frequency_mask_bands: int = option(
        8,
        "largest width of a frequency mask, bands",
        minimum=1,
        maximum=100000,
        only_with={"frequency_masks": True},
    )
    mask_fill: str = option(
        "zero",
        "value that fills masks: 0 (the mean of the training split, where features are "
        "standardized by it), the segment's own mean, or its minimum",
        choices=("zero", "mean", "minimum"),
    )

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the augmentations that are switched on."""
        return tuple(
            name for name in SWITCHES if getattr(self, name) not in (0, "", "none")
        )


WAVEFORM_SWITCHES = (
    *("random_channel", "time_reverse", "time_roll", "impulse_dir", "noise", "gain_db"),
)
"""Fields of `Augment` that each switch on an augmentation of waveforms."""

SWITCHES = (
    *WAVEFORM_SWITCHES,
    *("frequency_warp", "eq_tilt_db", "mixstyle_alpha", "mixup_alpha"),
    *("time_masks", "frequency_masks"),
)
"""Fields of `Augment` that each switch one augmentation on."""
