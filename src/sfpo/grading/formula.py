"""A SymPy expression as a function of its variables, real unless it speaks of complex numbers.

SymPy's powers are complex: \\sqrt[3]{-8} is 1 + √3 i to it, and √n √(n + 1) is real, and negative, at n = -3. In answers
odd roots of negative numbers are real, and a formula has no value where one of its even roots or logarithms has none.
"""

from __future__ import annotations

from typing import Any

import sympy

from .points import Point

DIGITS = 60


class Formula:
    """One side of a comparison.

    Args:
        value: the expression, evaluated as far as SymPy does.
        is_real: whether it is a real function; otherwise powers and roots are complex and i is the imaginary unit.
    """

    def __init__(self, value: Any, is_real: bool) -> None:
        self._is_real = is_real
        self._value = value.replace(_is_odd_root, lambda power: _OddRoot(*power.args)) if is_real else value
        self._domain = _domain(value) if is_real else ()

    @property
    def signed_domain(self) -> set[str]:
        """Variables that stand with an odd power in a product under an even root or in a logarithm, as in √(g/l)."""
        names: set[str] = set()
        for part in self._domain:
            powers = part.as_powers_dict() if part.is_Mul or part.is_Pow or part.is_Symbol else {}
            names |= {str(base) for base, power in powers.items() if base.is_Symbol and power.is_odd}
        return names

    def at(self, point: Point) -> Any | None:
        """The value to 60 digits, or None where it has none."""
        if any(self._inserted(part, point).is_negative for part in self._domain):
            return None
        result = self._inserted(self._value, point).doit()
        if not result.is_Rational:
            result = result.evalf(DIGITS, maxn=400)
        if result.free_symbols or result.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo) or not result.is_number:
            return None
        return None if self._is_real and result.has(sympy.I) else result

    @staticmethod
    def _inserted(value: Any, point: Point) -> Any:
        return value.subs({s: sympy.I if str(s) == "i" else point[str(s)] for s in value.free_symbols})


class _OddRoot(sympy.Function):  # type: ignore[misc]
    """base^(p/q) for an odd q, real for every real base."""

    @classmethod
    def eval(cls, base: Any, exponent: Any) -> Any:
        if not (base.is_number and base.is_extended_real):
            return None
        return (-1) ** exponent.p * (-base) ** exponent if base.is_negative else base**exponent


def _is_odd_root(value: Any) -> bool:
    return bool(value.is_Pow and value.exp.is_Rational and value.exp.q > 1 and value.exp.q % 2)


def _domain(value: Any) -> tuple[Any, ...]:
    """What must not be negative: radicands of even roots, what logarithms are taken of, and what is counted in binomials."""
    roots = (power.base for power in value.atoms(sympy.Pow) if power.exp.is_Rational and power.exp.q % 2 == 0)
    counts = (
        part
        for binomial in value.atoms(sympy.binomial)
        for part in (*binomial.args, binomial.args[0] - binomial.args[1])
    )
    return (*roots, *(logarithm.args[0] for logarithm in value.atoms(sympy.log)), *counts)
