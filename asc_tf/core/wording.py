"""Words that depend on a number."""


def count(number: int, one: str, many: str) -> str:
    """Write a number with the words that agree with it: `1 clip is`, `3 clips are`."""
    return f"{number} {one if number == 1 else many}"
