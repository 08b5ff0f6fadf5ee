"""Number of processors for this process."""

import math
import os
from pathlib import Path

from asc_tf.core.cgroups import ROOT, find_limit_files

QUOTA_FILES = {"": "cpu.max", "cpu": "cpu.cfs_quota_us"}
"""File with a control group's quota of processor time, by controller."""

PERIOD_FILE = "cpu.cfs_period_us"
"""File with the period of the quota in version 1 of control groups."""


def count_processors(root: Path = ROOT) -> int:
    """Count the processors that this process may use.

    Args:
        root: Folder that holds `proc` and `sys`.

    Returns:
        The smallest of the processors on which the process may run and the quotas of
        its control groups; a part of a processor counts as a whole one.
    """
    quotas = [_read_quota(path) for path in find_limit_files(QUOTA_FILES, root)]
    return math.ceil(min([count_schedulable(), *quotas]))


def count_schedulable() -> int:
    """Count the processors on which this process may run, whatever its quota."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS, Windows


def _read_quota(path: Path) -> float:
    """Read a quota in processors; infinity where there is none."""
    try:
        words = path.read_text().split()
        if path.name != QUOTA_FILES[""]:
            words.append(path.with_name(PERIOD_FILE).read_text())
        # Version 2 writes `max` where there is no quota, version 1 writes -1.
        quota, period = map(int, words)
    except (OSError, ValueError):
        return math.inf
    return quota / period if quota > 0 and period > 0 else math.inf
