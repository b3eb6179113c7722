"""Equality of a gold and an answer: what kind of answer each is, and the parts compared in turn.

Only ever imported in a worker process. An equation equals another when it has the same solutions, not when it contains
the gold.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any, Literal

from math_verify import verify

from .calendar_time import same_amount, same_day, same_time
from .exact import exact_number
from .extract import boxed, committed_answer
from .normalise import normalise
from .regions import region, same_set
from .structure import (
    Chain,
    Items,
    ascending,
    bracketed_vector,
    chain,
    expanded,
    is_label,
    items,
    readings,
    row,
    split_label,
    split_top,
    vector,
)
from .units import conversion, split_unit
from .values import equal, expression, is_defined, names_in, parse, proportional, same_quantity

Verdict = Literal["correct", "wrong", "unparseable"]

_BASES = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "sixteen": 16,
}  # fmt: skip


def load_judge() -> Callable[[str, str], Verdict]:
    """`judge_response`, ready for a supervisor."""
    # Answers may have any number of digits here: the limits of time and memory hold.
    sys.set_int_max_str_digits(0)
    # The parser builds its tables with its first formula: here once, instead of in every child.
    judge_response("x+1", r"\boxed{1+x}")
    return judge_response


def judge_response(gold: str, response: str) -> Verdict:
    """Whether the answer that `response` commits to equals `gold`."""
    expected, answer = committed_answer(boxed(gold)), committed_answer(response)
    if expected is None or answer is None:
        return "unparseable"
    return judge(expected.text, answer.text, answer.whole)


def judge(gold: str, answer: str, whole: str) -> Verdict:
    """Whether `answer`, read from the statement `whole`, equals `gold`."""
    expected, given = normalise(gold), normalise(answer)
    if not is_defined(expected):
        return "wrong"
    if normalise(whole) == expected:
        return "correct"
    for one, other in product(readings(expected), readings(given)):
        # "42,042" is a list only when the other side is one.
        lists = [side for side, text in ((one, expected), (other, given)) if readings(text)[0] != side]
        if (not lists or (items(one) and items(other))) and same(one, other):
            return "correct"
    return "wrong" if _readable(given) else "unparseable"


def same(gold: str, answer: str) -> bool:
    """Whether two normalised answers are the same answer."""
    if not gold or not answer:
        return False
    if gold == answer:
        return is_defined(gold)
    for test in _KINDS:
        verdict = test(gold, answer)
        if verdict is not None:
            return verdict
    if vector(gold) and (named := re.fullmatch(r"[A-Z](?:_\{[^{}]*\})?(\(.*\))", answer)):
        return same(gold, named.group(1))
    # Beside a column or a list, square brackets are code's.
    is_column = answer[:1] == "[" and (gold.startswith("\\begin{pmatrix}") or _is_code_list(gold, answer))
    if (
        (_RELATIONAL.search(gold) or _RELATIONAL.search(answer))
        and not answer.endswith(("T}", "top"))
        and not is_column
    ):
        return _same_region(gold, answer)
    if "pmatrix" in gold + answer or (answer[-1:] == ")" and answer[:1] != "(") or answer[-1:] == "}":
        components, others = vector(gold), vector(answer)
        if components is None or others is None:
            components, others = components or _beside(answer, gold), others or _beside(gold, answer)
        if components is not None and others is not None:
            return _same_sequence(components, others)
    several, given = items(gold), items(answer)
    if several or given or _PLUS_MINUS.search(gold + answer):
        return _same_items(gold, several, answer, given)
    if len(chain(gold).parts) > 1 or len(chain(answer).parts) > 1:
        return _same_equation(gold, answer)
    return same_quantity(gold, answer)


def _is_code_list(gold: str, answer: str) -> bool:
    """Whether an answer is [1, 2, 3] where the gold is 1, 2, 3."""
    one, other = items(gold), items(answer)
    if one is None or other is None or not answer.startswith("["):
        return False
    return one.kind == "list" and other.kind == "tuple" and len(other.elements) > 2


def _beside(known: str, text: str) -> tuple[str, ...] | None:
    """The components of a vector in a notation that only another vector beside it makes one."""
    if known.startswith(r"\begin{pmatrix}") and vector(known):
        return bracketed_vector(text)
    return row(text) if vector(known) and known.startswith("(") else None


_RELATIONAL = re.compile(
    r"\\(?:cup|cap|setminus|le|ge|ne|mathbb|emptyset)(?![A-Za-z])|[<>]|^\[|\]$|(?<=,)[-+]?\\infty|^\(-\\infty"
    r"|^\\text\{(?:all )?(?:real|no (?:real )?solution)"
)
_PLUS_MINUS = re.compile(r"\\(?:pm|mp)(?![A-Za-z])")
# An option, and whatever stands behind a bracket, point or colon: its text.
_OPTION = re.compile(
    r"(?:\\text\{(?i:option|choice|answer)\})?(?:\\text\{)?(?:(?i:option|choice|answer) ?)?\(?([A-J])(?:\)|[.:]|\}|(?=$))\}?[.:]?(.*)",
    re.DOTALL,
)
_LONE_OPTION = re.compile(r"\(?(?:\\text\{)?\(?([A-J])\)?\}?\)?")
_ANOTHER_OPTION = re.compile(r"(?<![A-Za-z\\])[A-J](?![A-Za-z])")


def _same_option(gold: str, answer: str) -> bool | None:
    """(B), B, \\text{(B)} and (B) 42 choose the same option; A. or B chooses none."""
    expected, given = _LONE_OPTION.fullmatch(gold), _OPTION.fullmatch(answer)
    if expected and given:
        return expected.group(1) == given.group(1) and not _ANOTHER_OPTION.search(given.group(2))
    return None


def _same_words(gold: str, answer: str) -> bool | None:
    """Verdict for answers in words; None where a side is a formula."""
    if _words(gold) and _words(gold) == _words(answer):
        return True
    only_text = re.fullmatch(r"\\text\{[^{}]*[A-Za-z][^{}]*\}", gold) is not None
    return False if only_text and not _RELATIONAL.search(gold) and not split_unit(gold, known=None).unit else None


def _words(text: str) -> str:
    """The bare words of an answer that is all text, casefolded; "" for anything else."""
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", text).strip(" ().")
    if not re.fullmatch(r"[A-Za-z][A-Za-z\s,.'-]+", text):
        return ""
    words = re.sub(r"[\s,.'-]+", " ", text)
    # Two letters are more likely two symbols, whose case counts.
    return words.casefold() if len(words) > 2 or words.casefold() == "no" else words


_RESIDUE = re.compile(r"\\pmod(?![A-Za-z])|\(?\\text\{mod")
_BASED = re.compile(
    r"\(?([0-9A-Fa-f]+)\)?(?:_\{(?:\\text\{)?\(?(?:base )?(\w+)\)?\}?\}|\\text\{\(?base (\w+)\)?\}|\\text\{\(?base\}(\w+)\)?)"
)


def _same_base(gold: str, answer: str) -> bool | None:
    """204_5 is 204_5 and not 204_6; a base the gold does not name is read."""
    expected, given = _based(gold), _based(answer)
    if expected is None and given is None:
        return None
    if expected and given:
        return expected == given
    if expected:
        return expected[0] == answer.lower()
    assert given is not None
    number = exact_number(gold)
    return number is not None and number == int(*given)


def _based(text: str) -> tuple[str, int] | None:
    """The digits of a number and its base; None for anything else, a_n and E_1 included."""
    match = _BASED.fullmatch(text)
    if match is None:
        return None
    name = match.group(2) or match.group(3) or match.group(4)
    base = int(name) if name.isdigit() else _BASES.get(name, 0)
    digits = match.group(1).lower().lstrip("0") or "0"
    is_number = 2 <= base <= 16 and all(int(digit, 16) < base for digit in digits)
    return (digits, base) if is_number else None


def _same_ratio(gold: str, answer: str) -> bool | None:
    """a:b as a ratio or a time of day: part by part."""
    expected, given = (
        split_top(_after_ratio_label(split_unit(text, known=None).value), re.compile(":"))[0]
        for text in (gold, answer)
    )
    if len(expected) == 1 and len(given) == 1:
        return None
    if len(expected) != len(given):
        return False
    if conversion(split_unit(gold, known=None).unit, split_unit(answer).unit) is None:
        return False
    return all(same(one, other) for one, other in zip(expected, given, strict=True))


def _after_ratio_label(text: str) -> str:
    label, sign, ratio = text.rpartition("=")
    return ratio if sign and ":" in ratio and not re.search(r"\d:|:\d", label) else text


def _same_residue(gold: str, answer: str) -> bool | None:
    """6 (mod 7) names the residue 6 where the gold leaves the modulus out, and the other way round."""
    pieces = [_RESIDUE.split(text, maxsplit=1) for text in (gold, answer)]
    if len(pieces[0]) == len(pieces[1]):
        return None
    return same(*(piece[0] for piece in pieces))


def _same_approximation(gold: str, answer: str) -> bool | None:
    """1/3 \\approx 0.333 answers 1/3, and 0.333: one side illustrates the other. 42 \\approx 43 answers neither."""
    if "\\approx" in gold:
        before, after = (side.strip() for side in gold.split("\\approx", maxsplit=1))
        return same(before if before and not is_label(before) else after, answer)
    if "\\approx" not in answer:
        return None
    parts = [part for part in chain(answer.replace("\\approx", "=")).parts if part]
    values = parts[1:] if len(parts) > 1 and is_label(parts[0]) else parts
    if not values:
        return False
    if not all(_illustrates(value, values[0]) for value in values[1:]):
        return False
    return any(same(gold, value) for value in values)


_SHOWN_DIGITS = re.compile(r"[-+]?\d*\.?(\d*)")


def _illustrates(value: str, exact: str) -> bool:
    """Whether a value equals the exact one, or is a decimal that shows its first digits, rounded or cut off."""
    if same(exact, value):
        return True
    shown, whole = split_unit(value).value, expression(split_unit(exact).value)
    digits, number = _SHOWN_DIGITS.fullmatch(shown), exact_number(shown)
    if digits is None or number is None or whole is None or names_in(whole):
        return False
    precise = whole.doit().evalf(30)
    last = Fraction(1, 10 ** len(digits.group(1)))
    cut_off = abs(number) <= abs(precise) and abs(precise - number) < last
    return bool(cut_off or 2 * abs(precise - number) <= last)


# In this order: an option's text may be a day, and a time of day looks like a ratio.
_KINDS = (
    *(_same_option, same_day, _same_words, same_amount, _same_base, _same_residue, same_time, _same_ratio),
    _same_approximation,
)


# Lists ------------------------------------------------------------------------------------------------------------


def _same_items(gold: str, expected: Items | None, answer: str, given: Items | None) -> bool:
    one = expected or Items("list", (gold,))
    other = given or Items("list", (answer,))
    if {one.kind, other.kind} == {"tuple"} or {one.kind, other.kind} == {"closed"}:
        return _same_sequence(one.elements, other.elements)
    if "closed" in (one.kind, other.kind):
        return False
    labels, other_labels = [[bool(split_label(e)[0]) for e in i.elements] for i in (one, other)]
    if all(labels) != all(other_labels) and len(one.elements) == len(other.elements) > 1:
        values = [[split_label(e)[1] for e in i.elements] for i in (one, other)]
        if len({split_label(e)[0] for e in (one if all(labels) else other).elements}) > 1:
            # AB=4, CD=5 against 4, 5: without labels the order has to tell them apart.
            return _same_sequence(tuple(values[0]), tuple(values[1]))
        one, other = Items("list", tuple(values[0])), Items("list", tuple(values[1]))
    if _is_code_list(gold, answer):
        return _same_collection(expanded(one), expanded(Items("list", other.elements)))
    if {one.kind, other.kind} == {"set", "tuple"}:
        # {(2, 3)} has one member, and {2, 3} is neither a point nor an interval.
        alone = one if one.kind == "set" else other
        if len(alone.elements) == 1:
            return same(gold, alone.elements[0]) if alone is other else same(alone.elements[0], answer)
        if len(alone.elements) == 2:
            return False
    if one.kind == "tuple" and other.kind == "list":
        return _same_sequence(one.elements, other.elements)
    if one.kind == "tuple":
        return False
    return _same_collection(expanded(one), expanded(other))


def _same_sequence(gold: tuple[str, ...], answer: tuple[str, ...]) -> bool:
    return len(gold) == len(answer) and all(same(one, other) for one, other in zip(gold, answer, strict=True))


def _same_collection(gold: list[str], answer: list[str]) -> bool:
    """Equal up to order. Equal spellings and numbers meet by look-up, only the rest one by one."""
    if len(gold) != len(answer):
        return False
    remaining: dict[Any, list[str]] = {}
    for element in answer:
        remaining.setdefault(_key(element), []).append(element)
    unmatched = []
    for element in gold:
        candidates = remaining.get(_key(element))
        if candidates:
            candidates.pop()
        else:
            unmatched.append(element)
    left = [element for elements in remaining.values() for element in elements]
    for element in unmatched:
        partner = next((candidate for candidate in left if same(element, candidate)), None)
        if partner is None:
            return False
        left.remove(partner)
    return True


def _key(element: str) -> Any:
    number = exact_number(element)
    return element if number is None else number


# Equations and regions --------------------------------------------------------------------------------------------


def _same_equation(gold: str, answer: str) -> bool:
    expected, given = chain(gold), chain(answer)
    if len(expected.parts) > 1 and len(given.parts) > 1:
        return _both_equations(gold, expected, answer, given)
    if len(expected.parts) == 1:
        return _value_of(given, gold)
    return is_label(expected.parts[0]) and all(same(part, answer) for part in expected.parts[1:])


def _value_of(equation: Chain, gold: str) -> bool:
    """Whether every value that a chain such as x = 6/2 = 3 names, besides a leading label, is the gold."""
    if set(equation.operators) - {"=", "\\equiv"}:
        return False
    values = equation.parts[1:] if is_label(equation.parts[0]) or not equation.parts[0] else equation.parts
    if same(gold, values[0]) and all(same(gold, value) for value in values[1:]):
        return True
    # 5 = x
    return len(equation.parts) == 2 and is_label(equation.parts[1]) and same(gold, equation.parts[0])


def _both_equations(gold: str, expected: Chain, answer: str, given: Chain) -> bool:
    if set(expected.operators) != set(given.operators):
        # x tends to 3 in one, and is 3 in the other.
        return False
    if is_label(expected.parts[0]) and is_label(given.parts[0]) and len(expected.parts) == 2:
        names = expected.parts[0], given.parts[0]
        functions = [name.partition("(")[0] for name in names if "(" in name]
        alike = names[0] == names[1] or ("y" in names and functions) or (len(functions) == 1 and functions[0] in names)
        if alike and same(expected.parts[1], given.parts[-1]):
            return True
        if len(given.parts) == 2 and _same_function(expected, given):
            return True
    if len(expected.parts) != 2 or len(given.parts) != 2:
        return False
    if same(expected.parts[0], given.parts[1]) and same(expected.parts[1], given.parts[0]):
        return True
    if same(expected.parts[0], given.parts[0]) and same(expected.parts[1], given.parts[1]):
        return True
    # Two equations are the same when their differences left - right are constant multiples of each other.
    sides = [side for part in (*expected.parts, *given.parts) if (side := expression(part)) is not None]
    return len(sides) == 4 and proportional(sides[0] - sides[1], sides[2] - sides[3])


_FUNCTION = re.compile(r"([A-Za-z]+(?:_\{[^{}]*\})?)\(([A-Za-z](?:,[A-Za-z])*)\)|([A-Za-z])_\{([a-z])\}")


def _same_function(expected: Chain, given: Chain) -> bool:
    """f(x) = 2x and f(t) = 2t are the same function, a_n = 2n and a_k = 2k the same sequence; f(t) = 2x is another."""
    left, right = _FUNCTION.fullmatch(expected.parts[0]), _FUNCTION.fullmatch(given.parts[0])
    if left is None or right is None or (left.group(1), left.group(3)) != (right.group(1), right.group(3)):
        return False
    names, others = ((side.group(2) or side.group(4)).split(",") for side in (left, right))
    one, other = expression(expected.parts[1]), expression(given.parts[1])
    if names == others or len(set(names)) != len(names) or not len(names) == len(others) == len(set(others)):
        return False
    if one is None or other is None:
        return False
    if (names_in(other) & set(names)) - set(others) or (names_in(one) & set(others)) - set(names):
        return False
    symbols = {str(symbol): symbol for symbol in (*one.free_symbols, *other.free_symbols)}
    arguments = {
        symbols[theirs]: symbols[ours]
        for ours, theirs in zip(names, others, strict=True)
        if ours in symbols and theirs in symbols
    }
    return equal(one, other.subs(arguments, simultaneous=True))


def _same_region(gold: str, answer: str) -> bool:
    """Intervals, unions, inequalities and finite sets in any notation for the same set of numbers."""
    expected, given = region(gold), region(answer)
    if expected is not None and given is not None:
        names = {expected[0], given[0]} - {""}
        return len(names) < 2 and same_set(expected[1], given[1])
    if _chains_agree(gold, answer):
        return True
    several, other = items(gold), items(answer)
    if several and other and (several.kind, len(several.elements)) == (other.kind, len(other.elements)):
        return _same_items(gold, several, answer, other)
    if split_label(gold)[0] != "" or split_label(answer)[0] != "":
        left, right = split_label(gold), split_label(answer)
        return (left[0] == right[0] or "" in (left[0], right[0])) and same(left[1], right[1])
    # A relation inside an index, as in a sum over k < n, makes no region.
    return len(chain(gold).parts) == len(chain(answer).parts) == 1 and same_quantity(gold, answer)


def _chains_agree(gold: str, answer: str) -> bool:
    """a < b < c against c > b > a, part by part; single inequalities also when math-verify solves them alike."""
    expected, given = ascending(chain(gold)), ascending(chain(answer))
    if len(expected.parts) < 2 or len(expected.parts) != len(given.parts):
        return False
    if expected.operators == given.operators and _same_sequence(expected.parts, given.parts):
        return True
    if len(expected.parts) != 2 or expected.operators[0] not in ("<", "\\le"):
        return False
    one, other = parse(gold), parse(answer)
    if one is None or other is None or names_in(one) != names_in(other):
        return False
    return bool(verify(one, other, timeout_seconds=None))


def _readable(text: str) -> bool:
    if _words(text) or _RELATIONAL.search(text) or "=" in text:
        return True
    several = items(text)
    values = several.elements if several else (text,)
    return all(_words(split_unit(v).value) or expression(split_unit(v).value) is not None for v in values[:50])
