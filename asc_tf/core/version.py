"""The version, read by packaging without importing anything else."""

__version__ = "0.1.0"
