"""Version of the package, read by setuptools without importing anything else."""

__version__ = "0.1.0"
