"""Points at which two formulas are compared: where they agree at all of these, they are the same function.

One sign and one size for all variables would take |xy| for xy and ⌊x/100⌋ for ⌊x/200⌋. So the points have every
combination of signs, values of different sizes in every order, integers, and, for formulas in pieces, values on both
sides of the places where the pieces meet, far beyond them and between.
"""

from __future__ import annotations

from itertools import islice, pairwise, product
from typing import Any

import sympy

Point = dict[str, Any]

_SIZES = tuple(
    sympy.Rational(*ratio) for ratio in ((7, 3), (2, 7), (31, 4), (5, 9), (13, 11), (19, 2), (1, 13), (23, 5))
)
_INTEGERS = (2, 5, 3, 4, 7, 6, 9, 8)
_LARGE = tuple(sympy.Rational(*ratio) for ratio in ((220, 3), (4001, 2), (10**7, 3)))
_PIECEWISE = (sympy.Abs, sympy.Max, sympy.Min, sympy.floor, sympy.ceiling, sympy.sign, sympy.Mod, sympy.Piecewise)
# With more variables than this, signs beyond the first ones' combinations are drawn in turn.
_COMBINED = 4
_MOST_BREAKS = 10


def has_pieces(value: Any) -> bool:
    """Whether a formula follows different rules in different places, as |x| does."""
    return bool(value.has(*_PIECEWISE))


def points(names: set[str], *formulas: Any) -> list[Point]:
    """Values of the variables to compare `formulas` at, cheap ones first; one empty point where there are no variables."""
    if not names:
        return [{}]
    ordered = sorted(names)
    found = _signed(ordered, _SIZES) + _signed(ordered, _INTEGERS, limit=8)
    if any(has_pieces(formula) or _even_roots(formula) for formula in formulas):
        found += _around_breaks(ordered, formulas)
        found += _signed(ordered, _LARGE, limit=8)
    return found


def _signed(names: list[str], sizes: tuple[Any, ...], limit: int = 16) -> list[Point]:
    """Every combination of signs, each with sizes in another order; one variable alone takes every size."""
    combinations = list(product((1, -1), repeat=min(len(names), _COMBINED)))
    count = max(len(combinations), min(limit, 2 * len(sizes)))
    found = []
    for number in range(min(count, 2**_COMBINED)):
        signs = combinations[number % len(combinations)]
        # Neighbours in the list of sizes are apart by different factors, and each comes before each.
        step, start = 1 + 2 * (number % 3), number // len(combinations) + number
        found.append(
            {
                name: signs[index % len(signs)]
                * (-1) ** (index // len(signs) * number)
                * _size(sizes, start, step, index)
                for index, name in enumerate(names)
            }
        )
    return found


def _size(sizes: tuple[Any, ...], start: int, step: int, index: int) -> Any:
    turn, place = divmod(start + step * index, len(sizes))
    # Beyond the list the sizes come again, a little larger, so that no two variables are equal.
    return sizes[place] + sympy.Rational(turn, 17) if index and turn else sympy.sympify(sizes[place])


def _around_breaks(names: list[str], formulas: tuple[Any, ...]) -> list[Point]:
    """Points on both sides of every place where a piece ends, one variable moving and the others at two settings."""
    found: list[Point] = []
    conditions = {condition for formula in formulas for condition in _conditions(formula)}
    for others in islice(_signed(names, _SIZES), 0, 6, 5):
        for name in names:
            rest = {other: value for other, value in others.items() if other != name}
            breaks = sorted({value for condition in conditions for value in _zeros(condition, name, rest)})[
                :_MOST_BREAKS
            ]
            if not breaks:
                continue
            edges = [breaks[0] - abs(breaks[0]) - 3, *breaks, breaks[-1] + abs(breaks[-1]) + 3]
            between = [(2 * low + high) / 3 for low, high in pairwise(edges)]
            found += [
                rest | {name: value} for value in (*edges, *between, *(b + sympy.Rational(1, 7) for b in breaks))
            ]
    return found


def _even_roots(formula: Any) -> list[Any]:
    """What stands under even roots: the root of a square is a formula in pieces."""
    roots = formula.atoms(sympy.Pow)
    return [root.base for root in roots if root.exp.is_Rational and root.exp.q % 2 == 0 and root.base.free_symbols]


def _conditions(formula: Any) -> set[Any]:
    """Expressions that change sign, or may, where a formula's pieces meet."""
    found = set(_even_roots(formula))
    for part in formula.atoms(*_PIECEWISE):
        if isinstance(part, (sympy.Max, sympy.Min)):
            found |= {one - other for one, other in product(part.args, part.args) if one != other}
        elif isinstance(part, sympy.Piecewise):
            found |= {c.lhs - c.rhs for _, c in part.args if isinstance(c, sympy.core.relational.Relational)}
        else:
            # A step function changes at every integer: from 0 to 1 is the first of its steps, -1 to 0 the one before.
            steps = (0, 1, -1) if isinstance(part, (sympy.floor, sympy.ceiling)) else (0,)
            found |= {part.args[0] - step for step in steps}
    return found


def _zeros(condition: Any, name: str, others: Point) -> list[Any]:
    """Real zeros of a condition in one variable, the others being fixed. Only of polynomials."""
    value = condition.subs({symbol: others[str(symbol)] for symbol in condition.free_symbols if str(symbol) in others})
    symbols = list(value.free_symbols)
    if [str(symbol) for symbol in symbols] != [name]:
        return []
    if not value.is_polynomial(symbols[0]) or sympy.degree(value, symbols[0]) > 6:
        return []
    zeros = sympy.Poly(value, symbols[0]).nroots(maxsteps=200) if sympy.degree(value, symbols[0]) > 1 else None
    if zeros is None:
        constant = value.subs(symbols[0], 0)
        slope = value.subs(symbols[0], 1) - constant
        zeros = [-constant / slope]
    return [sympy.nsimplify(zero, rational=True, tolerance=1e-12) for zero in zeros if zero.is_real]
