"""Flags, help, messages and exit codes that all commands share."""
