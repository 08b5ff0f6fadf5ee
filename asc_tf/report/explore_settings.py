"""Which augmentation a configuration switches on, and what is typical."""

import dataclasses
from pathlib import Path
from typing import Any

from asc_tf.config import Augment
from asc_tf.config.augment import WAVEFORM_SWITCHES

FEATURE_SWITCHES = (
    *("frequency_warp", "eq_tilt_db", "mixstyle_alpha", "time_masks"),
    "frequency_masks",
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


def for_versions(settings: Augment, frames: int, bands: int) -> tuple[Augment, bool]:
    """What makes versions of one clip.

    Args:
        settings: The configured settings.
        frames: Of the features.
        bands: Of the features.

    Returns:
        The settings without mixup; typical ones, and True, if that switches all off.
    """
    settings = dataclasses.replace(settings, mixup_alpha=0.0)
    names = (*WAVEFORM_SWITCHES, *FEATURE_SWITCHES)
    if any(getattr(settings, name) != getattr(Augment(), name) for name in names):
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


def for_mixtures(settings: Augment) -> tuple[Augment, bool]:
    """What mixes two clips: mixup as configured, or typical, and True, if it is off."""
    alpha = settings.mixup_alpha or TYPICAL_MIXUP
    mixing = Augment(mixup_alpha=alpha, mixup_per=settings.mixup_per)
    return mixing, not settings.mixup_alpha


def changes_features(settings: Augment) -> bool:
    """Whether more than the waveform is changed."""
    return any(getattr(settings, name) for name in FEATURE_SWITCHES)


def given(settings: Augment) -> dict[str, Any]:
    """What is switched on, with what belongs to it, keyed as in the configuration."""
    values, usual = dataclasses.asdict(settings), dataclasses.asdict(Augment())
    names = [
        name
        for switch in (*WAVEFORM_SWITCHES, *FEATURE_SWITCHES, "mixup_alpha")
        if values[switch] != usual[switch]
        for name in (switch, *DETAILS.get(switch, ()))
    ]
    for place in ("noise_dir", "impulse_dir"):
        # Where it lies is nobody else's business.
        values[place] = Path(values[place]).name
    return {f"augment.{name}": values[name] for name in names if values[name] != ""}
