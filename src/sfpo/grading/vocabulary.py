"""Words that may stand at a value without changing it: units of measure, plain nouns, and the small words between.

An answer's word is a unit only when it is listed: a policy under reward would find every word that multiplies, divides
or hedges and that nobody thought of forbidding.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from .number_words import is_number_word


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PREFIXES = ("", "k", "M", "G", "T", "h", "d", "c", "m", "µ", "μ", "n", "p", "f")
_ELEMENTS = (
    "H|He|Li|Be|B|C|N|O|F|Ne|Na|Mg|Al|Si|P|S|Cl|Ar|K|Ca|Sc|Ti|V|Cr|Mn|Fe|Co|Ni|Cu|Zn|Ga|Ge|As|Se|Br|Kr|Rb|Sr|Y|Zr|Nb|Mo|Tc|Ru|Rh|"
    "Pd|Ag|Cd|In|Sn|Sb|Te|I|Xe|Cs|Ba|La|Ce|Hf|Ta|W|Re|Os|Ir|Pt|Au|Hg|Tl|Pb|Bi|Po|At|Rn|Ra|Th|U|Pu"
)
_FORMULA = re.compile(rf"(?:{_ELEMENTS})+")
_SYMBOLS = (    "m", "g", "s", "A", "K", "mol", "cd", "J", "N", "W", "Pa", "V", "Hz", "C", "F", "T", "H", "S", "L", "l", "eV", "cal", "b",
    "B", "bit", "Ω", "pc", "bar", "Wh", "Bq", "Gy", "Sv", "Jy", "rad", "yr",
)  # fmt: skip
_UNITS = _words(
    """
    meter metre kilometer kilometre centimeter centimetre millimeter millimetre micrometer nanometer micron decimeter mile
    mi foot feet ft inch in yard yd furlong fathom parsec lightyear light-year au angstrom Å second sec minute min hour hr h
    day d week wk month mo year yr decade century am pm o'clock a.m p.m gram gm kilogram kilo milligram microgram ton tonne
    lb lbs pound ounce oz stone liter litre milliliter millilitre deciliter gallon gal quart qt pint pt cup tablespoon tbsp
    teaspoon tsp barrel acre hectare ha are degree deg arcminute arcsecond radian rad steradian sr celsius fahrenheit kelvin
    centigrade newton dyne dyn joule kilojoule erg calorie kilocalorie btu electronvolt electron-volt watt kilowatt megawatt
    horsepower hp volt millivolt kilovolt ampere amp milliampere ohm siemens farad microfarad henry tesla gauss weber coulomb
    hertz kilohertz megahertz gigahertz rpm pascal kilopascal atmosphere atm torr mmhg psi bar mole becquerel lux lumen
    candela sievert bit byte kilobyte megabyte gigabyte terabyte kb mb gb tb kbps mbps pixel dollar usd cent euro eur pence
    penny pennies rupee rs inr yen yuan rmb franc peso ruble rouble won gbp buck shilling krona crown mph kmph kph kmh knot
    percent percentage pct point unit sq cu revolution rev cycle turn esu statcoulomb solar bushel dioptre diopter fl c f
    """
)
_SMALL = _words(
    """
    a an the of in more per each every for on at by to with from such these those them it its my your his her our their this
    square cubic left remaining away long tall high deep wide thick old young ago later early earlier late apart different
    distinct possible whole full new extra additional other red green blue yellow white black brown purple pink grey gray
    gold silver big small large little tiny male female adult regular ordered unordered nonempty valid successful favorable
    identical similar consecutive unique correct right same there only exactly today now then first class school grade fresh
    ripe wooden empty complete real complex natural rational even odd positive available required needed necessary sold
    bought eaten made lost played scored won picked used chosen taken tomorrow yesterday tonight daily weekly monthly yearly annually afterwards together combined overall
    """
)
# Small words that say enough alone: 12 left, 12 in total.
_HEADS = _words("total altogether all left remaining more away long tall high deep wide thick old ago later")
_REMARK = _words(
    """
    as shown above below before proved proven computed found derived stated calculated needed required desired wanted exact
    simplified final answer verified checked simplest form see work given expected here
    """
)


@lru_cache(maxsize=1)
def _nouns() -> frozenset[str]:
    lines = Path(__file__).with_name("nouns.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


@lru_cache(maxsize=4096)
def is_unit_or_noun(word: str) -> bool:
    """Whether a word only says what is counted or measured."""
    if word in _SYMBOLS or any(word == prefix + symbol for prefix in _PREFIXES for symbol in _SYMBOLS):
        return True
    if _FORMULA.fullmatch(word):
        # mol of SrF2
        return True
    lower = word.lower()
    if is_number_word(lower) and lower not in ("quarter", "quarters"):
        return False
    return any(form in _UNITS or form in _nouns() for form in _singulars(lower))


def is_counted(phrase: str, known: frozenset[str] = frozenset()) -> bool:
    """Whether a phrase behind a value only says what was counted or measured, as `square units` and `red apples left` do.

    Args:
        phrase: words, with exponents and fraction bars between them where it is a unit such as m/s^2.
        known: words that count as nouns, because the gold uses them too.
    """
    remark = re.fullmatch(r"\(([a-z ,]+)\)", phrase.strip())
    if remark and all(word in _REMARK or word in _SMALL for word in re.findall(r"[a-z]+", remark.group(1))):
        return True
    if _ANOTHER_NUMBER.search(phrase):
        # 5 feet 6 inches, 9 percent of 100
        return False
    words = _COUNTED_WORD.findall(phrase)
    nouns = [_names_what_is_counted(word) or word.lower() in known or word.lower() in _HEADS for word in words]
    # cows and pigs, but not hours and a quarter
    joins = {
        i for i, word in enumerate(words) if word == "and" and 0 < i < len(words) - 1 and nouns[i - 1] and nouns[i + 1]
    }
    if any(words[index + 1] in ("quarter", "quarters") for index in joins):
        return False
    small = [word.lower() in _SMALL or index in joins for index, word in enumerate(words)]
    return any(nouns) and all(noun or filler for noun, filler in zip(nouns, small, strict=True))


# A number of its own: neither an exponent nor part of a word, as in m^2, cm2, CO2, 3-digit.
_ANOTHER_NUMBER = re.compile(r"(?<![\w^{.-])(?<!\^ )\d+(?![\w.-]*-[A-Za-z])")
_COUNTED_WORD = re.compile(r"[^\W\d_]+(?:['.][^\W\d_]+)*(?:-[^\W\d_]+)*")


def _names_what_is_counted(word: str) -> bool:
    """A unit or noun, or a compound that ends in one: four-digit, two-dollar."""
    if is_unit_or_noun(word):
        return True
    parts = word.split("-")
    return len(parts) > 1 and is_unit_or_noun(parts[-1]) and not any(part.endswith("th") for part in parts)


def _singulars(word: str) -> set[str]:
    """A word and what it may be the plural of."""
    forms = {word, word.removesuffix("s"), word.removesuffix("es")}
    return forms | {word.removesuffix("ies") + "y"} if word.endswith("ies") else forms
