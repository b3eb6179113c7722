"""Units, currencies, percent and degrees at the end of an answer.

A unit the gold does not name is decoration (20 m/s answers 20). Where both name one, it is part of the value:
15 cm² is not 15 cm³, 2 hours is 120 minutes and not 120. Only words of the vocabulary are units, and those that the gold
uses: "12 squared", "12 or more" and "12 gizmos" do not answer 12.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from .number_words import is_number_word
from .vocabulary import is_counted

# Name: (dimension, size in the dimension's base unit). Names are singular and lower case where case means nothing.
_SIZES: dict[str, tuple[str, Fraction]] = {}


def _define(dimension: str, **names: Fraction | int | str) -> None:
    for spellings, size in names.items():
        for name in spellings.split("__"):
            _SIZES[name] = (dimension, Fraction(size))


_define("length", m__meter__metre=1, km__kilometer__kilometre=1000, cm__centimeter__centimetre="0.01")
_define(
    "length", mm__millimeter__millimetre="0.001", nm__nanometer="1e-9", mile__mi="1609.344", foot__feet__ft="0.3048"
)
_define("length", inch__inches="0.0254", yard__yd="0.9144", pc__parsec="3.0857e16", angstrom__Å="1e-10")
_define("time", s__sec__second=1, min__minute=60, h__hr__hour=3600, day=86400, week=604800, ms__millisecond="0.001")
_define("year", year__yr=1, month="1/12", decade=10, century__centuries=100)
_define("mass", kg__kilogram="1000", g__gram__gm=1, mg__milligram="0.001", lb__pound=Fraction("453.59237"))
_define("money", dollar__usd=1, cent="0.01")
for _currency in ("euro", "yen", "rupee"):
    _define(_currency, **{_currency: 1})
_define("unit", unit=1)
_define("angle", degree__deg=1, arcminute="1/60", arcsecond="1/3600")
# No rational number of degrees: `values.py` converts it.
_define("radian", radian__rad=1)
_define("volume", l__L__liter__litre=1, ml__mL__milliliter__millilitre="0.001", gallon__gal="3.785411784")
_define("force", N__newton=1, dyne="1e-5")
_define("energy", J__joule=1, kJ__kilojoule=1000, erg="1e-7", eV="1.602176634e-19")
_define("power", W__watt=1, kW__kilowatt=1000)
_define("frequency", Hz__hertz=1, kHz=1000, MHz=10**6, GHz=10**9)
_define("pressure", Pa__pascal=1, kPa=1000)
_define("temperature", K__kelvin=1)

# In a gold any other word is a noun of its problem.
_CHANGES_MEANING = frozenset({
    "not", "no", "never", "is", "are", "was", "isn't", "cannot", "impossible", "wrong", "incorrect", "false",
    "undefined", "than", "least", "most", "less", "more", "greater", "fewer", "or", "and", "if", "mod", "modulo",
    "when", "where", "unless", "except", "but", "maybe", "perhaps", "approximately", "nearly", "between", "base",
})  # fmt: skip
_LABEL_END = re.compile(r"(?:[:=]|\b(?:is|are|equals|answer|be|total of|value of))\s*$", re.IGNORECASE)
# With one of these before it, a value is another one, or a bound.
_NEGATION = re.compile(
    r"\b(?:but|not|no|never|isn't|aren't|less|more|than|least|most|cannot|wrong|incorrect|false|except|between|either|neither|nor|or|if|"
    r"unless|half|twice|thrice|double|triple|times|multiple|divided|minus|negative|plus|square|cube|root|power|squared|"
    r"cubed|over|under|above|below|inverse|reciprocal|opposite|nearly|almost|maybe|perhaps|possibly|might|could)\b",
    re.IGNORECASE,
)
_BARE = "|".join(sorted((*(name for name in _SIZES if len(name) > 1), "mph", "kmph", "kph"), key=len, reverse=True))
_WORD = r"\\text\{[^{}]*\}"
_TAIL = re.compile(
    rf"(?P<value>.*?(?:[\d}})!.]|\\pi)|(?:(?!\\text).)*?[A-Za-z](?=\\text|\\degree))\s*"
    rf"(?P<unit>(?:(?:{_WORD}|(?<![\\A-Za-z])(?:{_BARE})s?(?![A-Za-z])|\\degree)(?:\^\{{[-+]?\d+\}}|/[A-Za-z]{{1,2}}(?![A-Za-z])|/|\\cdot|\s)*)+[CFK]?)"
)
_NUMBER_WORDS = re.compile(
    r"(?P<value>[-+]?[\d.,:]*\d)\s*(?P<unit>[A-Za-z][A-Za-z]{2,}(?: [A-Za-z]+){0,5}|(?<=:\d\d)[AaPp]\.?[Mm]\.?)"
)
_CURRENCIES = {
    "dollars": "dollars", "USD": "dollars", "US": "dollars", "pounds": "pounds", "£": "pounds", "GBP": "pounds", "€": "euros",
    "EUR": "euros", "¥": "yen", "₹": "rupees", "Rs": "rupees", "Rs.": "rupees", "INR": "rupees",
}  # fmt: skip
_SIGN = r"(?:(?P<name>US(?=\\text)|[€£¥₹]|(?:USD|EUR|GBP|INR|Rs\.?)(?![A-Za-z]))|\\text\{(?P<word>dollars|pounds|Rs\.?|USD|EUR|GBP|INR)\})"
_CURRENCY = re.compile(rf"(?P<minus>-?){_SIGN}(?:\\text\{{dollars\}})?(?P<value>.+)")
_CURRENCY_BEHIND = re.compile(r"(?P<value>.*\d)(?P<name>[€£¥₹])")
_REPEATED = re.compile(r"(\\text\{[^{}]*\})(?:\s*\1)+")
_TRIGONOMETRY = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_PREFIX = re.compile(r"\\text\{([^{}]*)\}\s*[:=]?(.+)")


@dataclass(frozen=True)
class Quantity:
    """A value's text with the unit that stood beside it ("" for none, "%" for percent)."""

    value: str
    unit: str


def split_unit(text: str, known: frozenset[str] | None = frozenset()) -> Quantity:
    """Separates a normalised answer from its unit, currency sign, or a leading label such as `\\text{Answer: }`.

    Args:
        text: a gold or an answer.
        known: words that are units besides those of the vocabulary; None, for a gold, takes any word that leaves the
            value what it is.
    """
    if match := _CURRENCY.fullmatch(text):
        inner = split_unit(match.group("value"), known)
        currency = _CURRENCIES[match.group("name") or match.group("word")]
        return Quantity(match.group("minus") + inner.value, inner.unit or currency)
    if match := _CURRENCY_BEHIND.fullmatch(text):
        return Quantity(match.group("value"), _CURRENCIES[match.group("name")])
    if match := _PREFIX.fullmatch(text):
        label = match.group(1)
        if _LABEL_END.search(label) and not _NEGATION.search(label):
            return split_unit(match.group(2), known)
    if text.endswith(r"\%"):
        return Quantity(text[:-2], "%")
    if match := _TAIL.fullmatch(text) or _NUMBER_WORDS.fullmatch(text):
        if match.group("unit").startswith("\\degree") and _TRIGONOMETRY.search(match.group("value")):
            return Quantity(text, "")
        unit = _REPEATED.sub(r"\1", match.group("unit").replace(r"\degree", r"\text{degree}").strip())
        if _is_unit(unit, known):
            return Quantity(match.group("value").strip(), unit)
    return Quantity(text, "")


def unit_words(unit: str) -> frozenset[str]:
    """The words of a unit, for `split_unit` of an answer that is compared with it."""
    return frozenset(re.findall(r"[a-z']+", unit.lower().replace(r"\text", "")))


def _is_unit(unit: str, known: frozenset[str] | None) -> bool:
    if known is None:
        words = unit_words(unit)
        return not words & _CHANGES_MEANING and not any(map(is_number_word, words)) and len(words) <= 6
    return is_counted(re.sub(r"\\text|\\cdot|[{}]", " ", unit), known)


def conversion(gold: str, answer: str) -> Fraction | None:
    """The factor that turns a value in unit `answer` into unit `gold`; None where they measure different things.

    Units that are not in the table ("apples") convert with factor 1: nothing says that they differ.
    """
    if not gold or not answer or _bare(gold) == _bare(answer):
        return Fraction(1)
    if {_bare(gold), _bare(answer)} == {"am", "pm"}:
        return None
    one, other = _measure(gold), _measure(answer)
    if one is None or other is None:
        return Fraction(1)
    return other[1] / one[1] if one[0] == other[0] else None


def _bare(unit: str) -> str:
    return re.sub(r"[^a-z\d/-]", "", unit.lower().replace(r"\text", ""))


def size_of(unit: str) -> tuple[tuple[tuple[str, int], ...], Fraction] | None:
    """What one unit in words measures and its size in the dimension's base unit; None for an unknown word."""
    return _measure(rf"\text{{{unit}}}")


def _measure(unit: str) -> tuple[tuple[tuple[str, int], ...], Fraction] | None:
    """Dimension exponents and size of a unit expression such as `\\text{m/s}^{2}`; None for an unknown word."""
    text = re.sub(r"\\text|\\cdot|[{}]", " ", re.sub(r"\^\s*\{?([-+]?\d+)\}?", r" ^\1 ", unit))
    text = re.sub(r"\bsquare\s+([A-Za-z]+)", r"\1 ^2 ", re.sub(r"\bcubic\s+([A-Za-z]+)", r"\1 ^3 ", text))
    for short, long in (("mph", "mile/hour"), ("kmph", "km/hour"), ("kph", "km/hour")):
        text = re.sub(rf"\b{short}\b", long, text)
    exponents: dict[str, int] = {}
    size = Fraction(1)
    sign = 1
    last: tuple[str, Fraction, int] | None = None
    for token in re.findall(r"\^[-+]?\d+|/|[A-Za-zÅ]+", text):
        if token in ("/", "per"):
            sign, last = -1, None
        elif token.startswith("^"):
            if last is None:
                return None
            dimension, factor, power = last
            extra = power * (int(token[1:]) - 1)
            exponents[dimension] = exponents.get(dimension, 0) + extra
            size *= factor**extra
            last = None
        else:
            known = _known(token)
            if known is None:
                return None
            dimension, factor = known
            exponents[dimension] = exponents.get(dimension, 0) + sign
            size *= factor**sign
            last = (dimension, factor, sign)
    return tuple(sorted((d, n) for d, n in exponents.items() if n)), size


def _known(word: str) -> tuple[str, Fraction] | None:
    if word == "in":
        # Not in the table: a bare "in" after a number is a preposition.
        word = "inch"
    for name in (
        word,
        word.lower(),
        word.removesuffix("s"),
        word.lower().removesuffix("s"),
        word.lower().removesuffix("es"),
    ):
        if name in _SIZES:
            return _SIZES[name]
    return None
