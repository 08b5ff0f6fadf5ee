"""What every other part may use: errors, files, quiet imports, text tables, version."""
