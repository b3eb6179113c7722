"""Equality of two single expressions, on top of math-verify and SymPy. Only ever imported in a worker process.

math-verify parses; the comparison differs from its own where that costs cases. Values are compared exactly or to
60 digits relative to their size, never to a fixed number of decimals, so that 1/2004! is not 1/2006!. Undefined values
equal nothing.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, NormalizationConfig, latex2sympy
from math_verify import verify
from math_verify.grader import should_treat_as_complex
from sympy.core.function import AppliedUndef

from .exact import exact_number, is_rounded
from .formula import DIGITS, Formula
from .points import has_pieces, points
from .units import conversion, split_unit, unit_words

# math-verify's parser. Units, numbers and lists are settled before it; what is left for it is one expression, in which
# R and r are two symbols.
_NORMALISATION = NormalizationConfig(
    basic_latex=True, units=False, malformed_operators=True, nits=False, boxed="none", equations=False
)
_CONVERSION = ConversionConfig(lowercase_symbols=False)


def same_quantity(gold: str, answer: str) -> bool:
    """Whether two normalised expressions, each with its unit or none, measure the same."""
    expected = split_unit(gold, known=None)
    given = split_unit(answer, known=unit_words(expected.unit))
    if "%" in (expected.unit, given.unit):
        # 28% is answered by 28 and by 0.28; 28 is not answered by 0.28.
        if same_value(expected.value, given.value):
            return True
        if expected.unit == given.unit:
            return False
        percent, bare = (expected, given) if expected.unit == "%" else (given, expected)
        return same_value(rf"\frac{{{percent.value}}}{{100}}", bare.value)
    if {_angle(expected.unit), _angle(given.unit)} == {"degree", "radian"}:
        return same_value(*(_in_radians(side.value, _angle(side.unit) == "degree") for side in (expected, given)))
    factor = conversion(expected.unit, given.unit)
    if factor is None:
        return False
    if factor != 1:
        return same_value(expected.value, rf"\frac{{{factor.numerator}}}{{{factor.denominator}}}\cdot({given.value})")
    if same_value(expected.value, given.value):
        return True
    degrees = "\\text{degree}" in (expected.unit, given.unit) and expected.unit != given.unit
    if degrees and "\\pi" in (given.value if expected.unit else expected.value):
        return same_value(*(_in_radians(side.value, bool(side.unit)) for side in (expected, given)))
    return False


def _angle(unit: str) -> str:
    return {r"\text{degree}": "degree", r"\text{rad}": "radian", r"\text{radians}": "radian"}.get(unit, "")


def _in_radians(value: str, is_degrees: bool) -> str:
    return rf"\frac{{{value}\pi}}{{180}}" if is_degrees else value


def same_value(gold: str, answer: str) -> bool:
    """Whether two normalised expressions without units have the same value."""
    if not gold or not answer:
        return False
    if gold == answer:
        return is_defined(gold)
    one, other = exact_number(gold), exact_number(answer)
    if one is not None and other is not None:
        rounded = is_rounded(gold) or is_rounded(answer)
        return one == other or (rounded and abs(one - other) <= Fraction(1, 10**11) * abs(one))
    left, right = expression(gold), expression(answer)
    if left is None or right is None:
        return False
    tolerance = 11 if is_rounded(gold) or is_rounded(answer) else DIGITS - 10
    return equal(left, right, tolerance)


def proportional(one: Any, other: Any) -> bool:
    """Whether two expressions are the same but for a constant factor."""
    names = names_in(one) | names_in(other)
    if not names or names_in(one) != names_in(other):
        return False
    ratios = []
    for point in points(names, one, other):
        above, below = Formula(one, False).at(point), Formula(other, False).at(point)
        if above is None or below is None or below == 0:
            continue
        ratios.append(above / below)
    return len(ratios) >= 3 and ratios[0] != 0 and all(_close(ratios[0], ratio) for ratio in ratios[1:])


_INNER_DECIMAL = re.compile(r"(?<![\d.])(\d*)\.(\d+)(?![\d.])")
_INNER_REPEATING = re.compile(r"\d*\.\d*\\(?:overline|bar|dot)\{\d+\}")
_INNER_DEGREES = re.compile(r"(\d+(?:\.\d+)?|[A-Za-z])\\degree ?")
_NOT_AN_EXPRESSION = re.compile(
    r"\\(?:ldots|text|boxed|input|write|csname|verb|href|and|or|pm|mp)(?![A-Za-z])|[?@#;:=<>]|__|\[\]|\d'"
)
_ALLOWED_TEXT = re.compile(r"_\{\\text\{[^{}]*\}\}")


def expression(text: str) -> Any | None:
    """The SymPy value of one normalised expression, or None where it is not one or is undefined."""
    number = exact_number(text)
    if number is not None:
        return sympy.Rational(number.numerator, number.denominator)
    value = parse(text)
    if value is None or isinstance(value, (sympy.core.relational.Relational, sympy.Set, sympy.Tuple)):
        return None
    return value


@lru_cache(maxsize=256)
@lru_cache(maxsize=256)
def parse(text: str) -> Any | None:
    """What SymPy makes of a normalised text, relations and sets included, or None where it makes nothing of it."""
    if not text or _NOT_AN_EXPRESSION.search(re.sub(r"[=<>]", "", _ALLOWED_TEXT.sub("", text))):
        return None
    text = _INNER_REPEATING.sub(lambda m: _as_fraction(exact_number(m.group())), text)
    text = _INNER_DECIMAL.sub(lambda m: _as_fraction(exact_number(m.group())), text)
    text = re.sub(r"([A-Za-z])('+)", lambda m: f"{m.group(1)}_{{prime{len(m.group(2))}}}", text)
    text = _INNER_DEGREES.sub(r"(\\frac{\1\\pi}{180})", text)
    try:
        value = latex2sympy(
            text,
            is_real=not should_treat_as_complex(text),
            normalization_config=_NORMALISATION,
            conversion_config=_CONVERSION,
        )
    except MemoryError:
        raise
    except Exception:
        # The grammar's own errors and whatever SymPy raises while an expression is built: it is not one.
        return None
    return _opaque(value) if isinstance(value, sympy.Basic) else value


def _opaque(value: Any) -> Any:
    """Unknown functions and their derivatives as symbols: u(t) and dx/dt have names, not values."""
    value = value.replace(
        lambda part: isinstance(part, sympy.Derivative) and isinstance(part.expr, (sympy.Symbol, AppliedUndef)),
        lambda part: sympy.Symbol(f"derivative {part.args}"),
    )
    return value.replace(lambda part: isinstance(part, AppliedUndef), lambda part: sympy.Symbol(f"{part}"))


def _as_fraction(number: Fraction | None) -> str:
    assert number is not None
    return rf"\frac{{{number.numerator}}}{{{number.denominator}}}"


def equal(one: Any, other: Any, digits: int = DIGITS - 10) -> bool:
    """Whether two SymPy values are equal: numbers to `digits` digits, formulas wherever both are real.

    A formula in pieces, such as |x|, is equal to another only where that one is real too.
    """
    if isinstance(one, (sympy.MatrixBase, sympy.MatrixExpr)) or isinstance(
        other, (sympy.MatrixBase, sympy.MatrixExpr)
    ):
        return _equal_matrices(one, other, digits)
    one, other = one.doit(), other.doit()
    if one.has(sympy.nan, sympy.zoo) or other.has(sympy.nan, sympy.zoo):
        return False
    if one == other:
        return True
    if one.is_Rational and other.is_Rational and digits > 20:
        return False
    names = names_in(one) | names_in(other)
    if names and digits > 20 and (proven := _equal_polynomials(one, other)) is not None:
        return proven
    is_real = not _is_complex(one) and not _is_complex(other)
    left, right = Formula(one, is_real), Formula(other, is_real)
    in_pieces = has_pieces(one) or has_pieces(other)
    # The variables of √(g/l) are taken to be positive, as in √(gl)/l.
    positive = set() if in_pieces else left.signed_domain | right.signed_domain
    agreed = 0
    for point in points(names, one, other):
        if any(point[name] < 0 for name in positive):
            continue
        values = left.at(point), right.at(point)
        if None not in values:
            if not _close(*values, digits):
                return False
            agreed += 1
        elif in_pieces and values != (None, None):
            return False
    if agreed >= (3 if names else 1):
        return True
    return bool(verify(one, other, timeout_seconds=None)) if names else False


# Multiplied out, a polynomial of this many operations, none of its powers larger, stays small.
_OPERATIONS, _POWER = 60, 6


def _equal_polynomials(one: Any, other: Any) -> bool | None:
    """Whether two small polynomials are the same, by multiplying them out; None where they are not such."""
    difference = one - other
    powers = [power.exp for power in difference.atoms(sympy.Pow)]
    if difference.count_ops() > _OPERATIONS or not all(p.is_Rational and abs(p) <= _POWER for p in powers):
        return None
    if not difference.is_polynomial(*difference.free_symbols) or _is_complex(difference):
        return None
    return bool(difference.expand().is_zero)


def _is_complex(value: Any) -> bool:
    """Whether a formula speaks of complex numbers: then none of its values may be left out for being one."""
    return bool(value.has(sympy.I) or "i" in {str(symbol) for symbol in value.free_symbols})


def _equal_matrices(one: Any, other: Any, digits: int) -> bool:
    one, other = one.doit(), other.doit()
    if not isinstance(one, sympy.MatrixBase) or not isinstance(other, sympy.MatrixBase) or one.shape != other.shape:
        return False
    return all(equal(left, right, digits) for left, right in zip(one.flat(), other.flat(), strict=True))


def names_in(value: Any) -> set[str]:
    """The variables of an expression, without the imaginary unit."""
    return {str(symbol) for symbol in value.free_symbols} - {"i"} if hasattr(value, "free_symbols") else set()


def _close(one: Any, other: Any, digits: int = DIGITS - 10) -> bool:
    if one == other:
        return True
    if one.is_Rational and other.is_Rational and digits > 20:
        return False
    size = max(abs(one).evalf(15), abs(other).evalf(15))
    return bool(abs((one - other).evalf(DIGITS)) <= size * sympy.Float(10) ** -digits)


def is_defined(text: str) -> bool:
    """Whether an answer has a value at all: 0/0 equals nothing, not even itself."""
    if not re.search(r"\w|\\emptyset|\\infty", text) or re.search(r"(?i)(?<![A-Za-z])nan(?![A-Za-z])", text):
        return False
    if "\\frac" not in text and "/" not in text:
        return True
    value = None if len(text) > 500 else parse(text)
    return value is None or not (hasattr(value, "has") and value.doit().has(sympy.nan, sympy.zoo))
