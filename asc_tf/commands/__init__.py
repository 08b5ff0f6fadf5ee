"""One thin module per command of asc-tf: flags in, text and an exit code out."""
