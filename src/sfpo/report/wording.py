"""Words that sentences and headings of a report share."""


def counted(number: int, noun: str) -> str:
    """A number with its noun, which gets an s where it needs one: `1 step`, `2 steps`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
