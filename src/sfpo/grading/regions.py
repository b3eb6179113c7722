"""Sets of numbers: intervals, unions, inequalities and finite sets, in any notation. Only ever imported in a worker."""

from __future__ import annotations

import re
from typing import Any

import sympy

from .structure import FLIPPED, chain, drop_membership, expanded, items, split_top
from .values import equal, expression, names_in

_SET_OPERATOR = re.compile(r"\\(?:cup|cap|setminus)(?![A-Za-z]) ?")
# x \\ne 0, 1
_EXCLUDED = re.compile(r"([A-Za-z])\\ne ?([^,=<>\\]+)((?:,[^,=<>\\]+)+)")
_LOGICAL = re.compile(r"\\(?:and|or)(?![A-Za-z]) ?|,")


def region(text: str) -> tuple[str, sympy.Set] | None:
    """The set of numbers that `text` describes and the variable it names ("" for none); None where it is not one."""
    name = ""
    if (member := re.match(r"([A-Za-z])\\in ?", text)) and drop_membership(text) != text:
        name, text = member.group(1), drop_membership(text)
    elif text.startswith("\\{"):
        text = drop_membership(text)
    pieces, operators = split_top(re.sub(r"(?<=[\w)}\]])-(?=\\\{)", r"\\setminus ", text), _SET_OPERATOR)
    if len(pieces) > 1:
        parts = [region(piece) for piece in pieces]
        result = parts[0]
        for operator, part in zip(operators, parts[1:], strict=True):
            if result is None or part is None:
                return None
            combine = {"cup": result[1].union, "cap": result[1].intersect}.get(operator.strip(" \\"))
            result = name or result[0], combine(part[1]) if combine else result[1] - part[1]
        return (name, result[1]) if result is not None else None
    if match := _EXCLUDED.fullmatch(text):
        text = rf"{match.group(1)}\ne {match.group(2)}" + "".join(
            rf",{match.group(1)}\ne {value}" for value in match.group(3).split(",")[1:]
        )
    simple = _simple_region(text)
    if simple is not None:
        return name, simple
    pieces, operators = split_top(text, _LOGICAL)
    pieces = [piece for piece in pieces if piece]
    if len(pieces) > 1:
        regions = [region(piece) for piece in pieces]
        if any(region is None or not region[0] for region in regions):
            return None
        found = [region for region in regions if region is not None]
        if len({region[0] for region in found}) > 1:
            return None
        # "x > 2, x < 5" and "x ≠ 1, x ≠ 2" hold together; "or" and "x < 2, x > 5" are alternatives.
        together = sympy.Intersection(*(region[1] for region in found))
        if any("or" in operator for operator in operators) or (
            "\\and" not in "".join(operators) and together.is_empty
        ):
            return found[0][0], sympy.Union(*(region[1] for region in found))
        return found[0][0], together
    return _half_line(text)


def _simple_region(text: str) -> sympy.Set | None:
    if re.fullmatch(r"\\mathbb\{R\}|\\text\{(?:all )?reals?(?: numbers?)?\}", text):
        return sympy.Reals
    if re.fullmatch(r"\\emptyset ?|\\text\{no (?:real )?solutions?\}", text):
        return sympy.EmptySet
    if text.startswith("\\{") and text.endswith("\\}"):
        several = items(text)
        members = [expression(value) for value in expanded(several)] if several else [None]
        return None if any(member is None for member in members) else sympy.FiniteSet(*members)
    if text[:1] in ("(", "[") and text[-1:] in (")", "]"):
        ends, _ = split_top(text[1:-1], re.compile("[,;]"))
        if len(ends) == 2:
            low, high = (expression(end) for end in ends)
            if low is not None and high is not None and not (names_in(low) | names_in(high)):
                if low.is_extended_real is False or high.is_extended_real is False:
                    return None
                interval = sympy.Interval(low, high, text[0] == "(", text[-1] == ")")
                # (3, -1) is a point, and no set that another badly ordered pair could equal.
                return None if interval is sympy.EmptySet else interval
    return None


def _half_line(text: str) -> tuple[str, sympy.Set] | None:
    """The solutions of `x < c`, `c \\le x`, `a < x < b` or `x \\ne c`."""
    relation = chain(text)
    if len(relation.parts) not in (2, 3) or set(relation.operators) - set(FLIPPED):
        return None
    values = [expression(part) for part in relation.parts]
    variables = [index for index, value in enumerate(values) if isinstance(value, sympy.Symbol)]
    if len(variables) != 1 or any(v is None or (i not in variables and names_in(v)) for i, v in enumerate(values)):
        return None
    index = variables[0]
    region: sympy.Set = sympy.Reals
    for other, operator in ((index - 1, -1), (index + 1, 1)):
        if not 0 <= other < len(values):
            continue
        sign = relation.operators[min(index, other)]
        region = region.intersect(_ray(sign if operator == 1 else FLIPPED[sign], values[other]))
    return relation.parts[index], region


def _ray(sign: str, bound: Any) -> sympy.Set:
    if sign == "=":
        return sympy.FiniteSet(bound)
    if sign == "\\ne":
        return sympy.Reals - sympy.FiniteSet(bound)
    if sign in ("<", "\\le"):
        return sympy.Interval(-sympy.oo, bound, True, sign == "<")
    return sympy.Interval(bound, sympy.oo, sign == ">", True)


def same_set(one: sympy.Set, other: sympy.Set) -> bool:
    if one == other:
        return True
    if isinstance(one, sympy.Interval) and isinstance(other, sympy.Interval):
        return bool(
            (one.left_open, one.right_open) == (other.left_open, other.right_open)
            and equal(one.start, other.start)
            and equal(one.end, other.end)
        )
    return bool((one - other).is_empty and (other - one).is_empty)
