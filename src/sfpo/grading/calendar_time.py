"""Days, times of day, and amounts in several units, such as 2 hours 30 minutes: one value in many spellings."""

from __future__ import annotations

import re
from fractions import Fraction

from .units import size_of

# Characters; longer answers are none of these.
_LONGEST = 80
_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december")  # fmt: skip
_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_MONTH_FIRST = re.compile(r"([A-Za-z]{3,})\.? ?(\d{1,2})(?:st|nd|rd|th)?(?:,? ?(\d{4}))?")
_DAY_FIRST = re.compile(r"(?:the )?(\d{1,2})(?:st|nd|rd|th)? ?(?:of )?([A-Za-z]{3,})\.?(?:,? ?(\d{4}))?")
_IN_NUMBERS = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{4}")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2}) ?([ap]\.?m\.?)?", re.IGNORECASE)
_PRICE = re.compile(r"\\text\{dollars\}(\d+(?:\.\d+)?)")
_IN_WORDS = re.compile(r"\\text\{dollars\}\d|\d *(?:\\text|\\degree|[A-Za-z]{2})")
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)(?:,? and|,)? ?")
_DEGREES = re.compile(r"(\d+)\\degree ?(\d+)'(?:(\d+)'')?")


def same_day(gold: str, answer: str) -> bool | None:
    """May 5 is 5 May; 2024-01-01 is a day, and no difference. None where a side is no day."""
    if max(len(gold), len(answer)) > _LONGEST:
        return None
    if _IN_NUMBERS.fullmatch(gold) or _IN_NUMBERS.fullmatch(answer):
        return gold == answer
    one, other = _day(gold), _day(answer)
    return None if one is None or other is None else one == other


def _day(text: str) -> tuple[int, int, str | None] | None:
    text = _plain(text)
    if match := _MONTH_FIRST.fullmatch(text):
        name, day, year = match.groups()
    elif match := _DAY_FIRST.fullmatch(text):
        day, name, year = match.groups()
    else:
        return None
    months = [number for number, month in enumerate(_MONTHS) if month.startswith(name.lower())]
    return (months[0], int(day), year) if len(months) == 1 else None


def same_time(gold: str, answer: str) -> bool | None:
    """5:30 PM is 17:30. None where the two are not a time with its half of the day and one from 13:00 to 0:59."""
    if max(len(gold), len(answer)) > _LONGEST or ":" not in gold or ":" not in answer:
        return None
    one, other = _CLOCK.fullmatch(_plain(gold)), _CLOCK.fullmatch(_plain(answer))
    if one is None or other is None or bool(one.group(3)) == bool(other.group(3)):
        return None
    halved, whole = (one, other) if one.group(3) else (other, one)
    if 0 < int(whole.group(1)) < 13:
        return None
    hour = int(halved.group(1)) % 12 + (12 if halved.group(3).lower().startswith("p") else 0)
    return (hour, halved.group(2)) == (int(whole.group(1)), whole.group(2))


def same_amount(gold: str, answer: str) -> bool | None:
    """2 hours 30 minutes is 2.5 hours and 150 minutes. None where neither is an amount in several units."""
    if max(len(gold), len(answer)) > _LONGEST or not _IN_WORDS.search(gold) or not _IN_WORDS.search(answer):
        return None
    one, other = _amount(gold), _amount(answer)
    if one is None or other is None:
        return None
    if one[2] == other[2] == 1:
        return None
    return one[:2] == other[:2]


def _amount(text: str) -> tuple[object, Fraction, int] | None:
    """What is measured, how much of it, and in how many units; the larger units come first."""
    if match := _DEGREES.fullmatch(text):
        names = ("degree", "arcminute", "arcsecond")
        parts = [(number, name) for number, name in zip(match.groups(), names, strict=True) if number]
    else:
        price = _PRICE.fullmatch(text)
        text = f"{price.group(1)} dollars" if price else _plain(text.replace(r"\degree", " degrees "))
        parts = _AMOUNT.findall(text)
        if "".join(_AMOUNT.split(text)[::3]).strip():
            return None
    measures = [size_of(unit) for _, unit in parts]
    known = [measure for measure in measures if measure is not None]
    sizes = [measure[1] for measure in known]
    if (
        not parts
        or len(known) < len(parts)
        or len({m[0] for m in known}) > 1
        or sizes != sorted(set(sizes), reverse=True)
    ):
        return None
    total = sum((Fraction(number) * size for (number, _), size in zip(parts, sizes, strict=True)), Fraction(0))
    return known[0][0], total, len(parts)


def _plain(text: str) -> str:
    return " ".join(_TEXT.sub(r" \1 ", text).replace(r"\and", "and").split())
