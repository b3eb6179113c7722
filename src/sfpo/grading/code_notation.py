"""Answers written as code, such as `2**10 - sqrt(2 + sqrt(3))` or `12*pi`, in LaTeX."""

from __future__ import annotations

import re

_MODULE = r"(?:(?:np|numpy|math|sympy|sp)\.)?"
# What stands for the name and its opening bracket, and what for the closing one.
_CALLS = {
    "sqrt": (r"\sqrt{", "}"),
    "cbrt": (r"\sqrt[3]{", "}"),
    "exp": ("e^{", "}"),
    "abs": ("|", "|"),
    "Abs": ("|", "|"),
    "fabs": ("|", "|"),
    "floor": (r"\lfloor ", r"\rfloor "),
    "ceil": (r"\lceil ", r"\rceil "),
    "ceiling": (r"\lceil ", r"\rceil "),
    "factorial": ("(", ")!"),
}
_CALL = re.compile(rf"(?<![A-Za-z])\\?{_MODULE}({'|'.join(_CALLS)})\s*\(|\\sqrt\s*(\[[^\[\]]*\])\s*\(|\^\s*\(")
_PI = re.compile(rf"(?<![\\A-Za-z]){_MODULE}pi(?![A-Za-z])")
_FUNCTIONS = {
    "log2": r"\log_{2}", "log10": r"\log_{10}", "asin": r"\arcsin ", "acos": r"\arccos ", "atan": r"\arctan ", "math.log": r"\ln ",
    "np.log": r"\ln ", "numpy.log": r"\ln ",
}  # fmt: skip
_FUNCTION = re.compile(
    r"(?<![\\A-Za-z.])(?:(?:np|numpy|math|sympy)\.(?!log\())?(log2|log10|asin|acos|atan|(?:math|np|numpy)\.log)(?=\s*\()"
)
_EXPONENT = re.compile(r"\^\s*([-+]?\d+(?:\.\d+)?)")
_FRACTION = re.compile(r"\b(?:Fraction|Rational)\(\s*([-+]?\d+)\s*,\s*(\d+)\s*\)")


def from_code(text: str) -> str:
    """`text` with code's powers, calls and constants as LaTeX; LaTeX stays as it is."""
    text = _FRACTION.sub(r"\\frac{\1}{\2}", text.replace("**", "^"))
    text = _FUNCTION.sub(lambda m: _FUNCTIONS[m.group(1)], _PI.sub(r"\\pi ", text))
    if "(" in text:
        text = _with_braces(text)
    # x^12 is a power of twelve in code, and hardly ever anything else in LaTeX.
    return _EXPONENT.sub(r"^{\1}", text)


def _with_braces(text: str) -> str:
    closing = _matching_brackets(text)
    edits: dict[int, tuple[int, str]] = {}
    for match in _CALL.finditer(text):
        opening = match.end() - 1
        if opening not in closing:
            continue
        if match.group(1):
            before, after = _CALLS[match.group(1)]
        else:
            before, after = (rf"\sqrt{match.group(2)}{{", "}") if match.group(2) else ("^{", "}")
        edits[match.start()] = match.end(), before
        edits[closing[opening]] = closing[opening] + 1, after
    pieces, position = [], 0
    for start in sorted(edits):
        end, replacement = edits[start]
        pieces += [text[position:start], replacement]
        position = end
    return "".join([*pieces, text[position:]])


def without_exponent_brackets(text: str) -> str:
    """7^{(7^{(2)})} as 7^{7^{2}}."""
    if "^{(" not in text:
        return text
    closing = _matching_brackets(text)
    dropped: set[int] = set()
    for match in re.finditer(r"\^\{(?=\()", text):
        end = closing.get(match.end(), len(text))
        if text[end + 1 : end + 2] == "}":
            dropped |= {match.end(), end}
    return "".join(character for position, character in enumerate(text) if position not in dropped)


def _matching_brackets(text: str) -> dict[int, int]:
    """Position of each round bracket to that of its closing one."""
    closing: dict[int, int] = {}
    stack: list[int] = []
    for match in re.finditer(r"[()]", text):
        if match.group() == "(":
            stack.append(match.start())
        elif stack:
            closing[stack.pop()] = match.start()
    return closing
