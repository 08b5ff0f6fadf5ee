"""Augmentation settings that explore.html shows: the configured or typical ones."""

import dataclasses
from pathlib import Path

from asc_tf.config import Augment
from asc_tf.config.augment import SWITCHES, WAVEFORM_SWITCHES
from asc_tf.config.options import format_value

FEATURE_SWITCHES = tuple(
    name for name in SWITCHES if name not in (*WAVEFORM_SWITCHES, "mixup_alpha")
)
DETAILS = {
    "impulse_dir": ("impulse_share",),
    "noise": ("noise_dir", "noise_share", "noise_min_snr_db", "noise_max_snr_db"),
    "mixstyle_alpha": ("mixstyle_share",),
    "time_masks": ("time_mask_frames", "mask_fill"),
    "frequency_masks": ("frequency_mask_bands", "mask_fill"),
    "mixup_alpha": ("mixup_per",),
}
TYPICAL_MIXUP = 0.4


def choose_version_settings(
    settings: Augment, frames: int, bands: int
) -> tuple[Augment, bool]:
    """Choose the settings that make versions of one clip of `frames` and `bands`.

    Returns:
        The configured settings without mixup, and False; typical ones, and True, if all
        others are off.
    """
    settings = dataclasses.replace(settings, mixup_alpha=0.0)
    if settings.active:
        return settings, False
    typical = Augment(
        time_roll=True,
        noise="pink",
        noise_min_snr_db=10.0,
        noise_max_snr_db=30.0,
        gain_db=6.0,
        time_masks=2,
        time_mask_frames=max(1, frames // 8),
        frequency_masks=2,
        frequency_mask_bands=max(1, bands // 8),
    )
    return typical, True


def choose_mixup_settings(settings: Augment) -> tuple[Augment, bool]:
    """Choose mixup as configured, and False; typical mixup, and True, if it is off."""
    alpha = settings.mixup_alpha or TYPICAL_MIXUP
    mixup = Augment(mixup_alpha=alpha, mixup_per=settings.mixup_per)
    return mixup, not settings.mixup_alpha


def changes_features(settings: Augment) -> bool:
    """Tell whether more than the waveform is changed."""
    return any(name in FEATURE_SWITCHES for name in settings.active)


def list_settings(settings: Augment) -> dict[str, str]:
    """List what is switched on and its details: configuration keys and values."""
    values = dataclasses.asdict(settings)
    names = [
        name
        for switch in SWITCHES
        if switch in settings.active
        for name in (switch, *DETAILS.get(switch, ()))
    ]
    for key in ("noise_dir", "impulse_dir"):
        # The page may be shown to others, whom the place of a folder does not concern.
        values[key] = Path(values[key]).name
    return {
        f"augment.{name}": format_value(values[name])
        for name in names
        if values[name] != ""
    }
