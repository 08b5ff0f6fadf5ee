"""Basics for all other packages: errors, files, cache, quiet imports, text tables."""
