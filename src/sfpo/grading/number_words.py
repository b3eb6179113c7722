"""Numbers in words: `two and a half`, `12 dozen`, `three quarters`, `minus twelve`."""

from __future__ import annotations

import re
from fractions import Fraction

_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = {
    "hundred": 10**2, "thousand": 10**3, "lakh": 10**5, "million": 10**6, "mn": 10**6, "crore": 10**7, "billion": 10**9,
    "bn": 10**9, "trillion": 10**12, "dozen": 12, "gross": 144,
}  # fmt: skip
_PARTS = {
    "half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10, "twelfth": 12, "hundredth": 100, "thousandth": 1000, "millionth": 10**6,
}  # fmt: skip
_NUMBERS = {word: value for value, word in enumerate(_ONES)} | {w: 20 + 10 * i for i, w in enumerate(_TENS)}
_DIGITS = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


def is_number_word(word: str) -> bool:
    """Whether a word names a number or changes one: twelve, dozen, thirds, squared."""
    word = word.lower()
    return word in _NUMBERS or _scale(word) is not None or _part(word) is not None or word in _POWERS


def spelled_number(text: str) -> Fraction | None:
    """The number that a text spells, with at least one word in it; None where it spells something else."""
    words = re.findall(r"[a-z]+|\d+(?:,\d{3})*(?:\.\d+)?|[^\sa-z\d-]", text.strip().lower())
    if not any(is_number_word(word) for word in words):
        return None
    sign = 1
    if words[0] in ("minus", "negative"):
        sign, words = -1, words[1:]
    if words.count("point") == 1:
        # zero point seven, twelve point two five
        whole, after = _whole(words[: words.index("point")]), words[words.index("point") + 1 :]
        if whole is None or not after or any(_NUMBERS.get(word, 10) > 9 for word in after):
            return None
        return sign * (whole + Fraction(int("".join(str(_NUMBERS[word]) for word in after)), 10 ** len(after)))
    for split in [i for i, word in enumerate(words) if word == "and"]:
        # "two and a half", but "one hundred and five" is a whole number.
        whole, part = _whole(words[:split]), _fraction(words[split + 1 :])
        if whole is not None and part is not None and part < 1:
            return sign * (whole + part)
    if words.count("of") == 1:
        # half of 12
        part, whole = _fraction(words[: words.index("of")]), _whole(words[words.index("of") + 1 :])
        return None if part is None or whole is None else sign * part * whole
    for value in (_whole(words), _fraction(words)):
        if value is not None:
            return sign * value
    return None


def digits(number: Fraction) -> str:
    """A number as LaTeX."""
    if number.denominator == 1:
        return str(number.numerator)
    return rf"{'-' if number < 0 else ''}\frac{{{abs(number.numerator)}}}{{{number.denominator}}}"


_POWERS = {"squared": 2, "cubed": 3}


def _whole(words: list[str]) -> Fraction | None:
    total, current, found = Fraction(0), Fraction(0), False
    for index, word in enumerate(words):
        scale = _scale(word)
        if _DIGITS.fullmatch(word) and index == 0:
            current = Fraction(word.replace(",", ""))
        elif word in _NUMBERS and (
            current % 100 == 0 or (current % 10 == 0 and current % 100 >= 20 and 0 < _NUMBERS[word] < 10)
        ):
            current += _NUMBERS[word]
        elif word in ("a", "an") and index == 0 and len(words) > 1:
            current = Fraction(1)
        elif scale is not None and found:
            current *= scale
            if scale >= 1000:
                total, current = total + current, Fraction(0)
        elif word != "and" or not found:
            return None
        found = True
    return total + current if found and words[-1] not in ("and", "a", "an") else None


def _fraction(words: list[str]) -> Fraction | None:
    """half, a half, two thirds, 12 tenths"""
    if not words or (part := _part(words[-1])) is None:
        return None
    if len(words) == 1:
        # "third" alone is a place.
        return Fraction(1, 2) if part == 2 else None
    count = Fraction(1) if words[:-1] in (["a"], ["an"]) else _whole(words[:-1])
    # More than three quarters are coins.
    return None if count is None or (part == 4 and count > 3) else count / part


def _scale(word: str) -> int | None:
    return _SCALES.get(word) or _SCALES.get(word.removesuffix("s"))


def _part(word: str) -> int | None:
    return 2 if word == "halves" else _PARTS.get(word) or _PARTS.get(word.removesuffix("s"))
