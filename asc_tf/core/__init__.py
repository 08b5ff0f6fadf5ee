"""Basics for all packages: errors, files, cache, TensorFlow's log, text tables."""
