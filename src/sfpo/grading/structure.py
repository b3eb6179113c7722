"""The outer shape of an answer: lists, tuples, sets, labels, relations. Text only, no SymPy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Kind = Literal["list", "set", "tuple", "closed"]

_OPENING, _CLOSING = "([{", ")]}"
_RELATION = re.compile(r"\\(?:le|ge|ne|in|approx|equiv|sim|to|propto)(?![A-Za-z])|[=<>]")
_SEPARATOR = re.compile(r"[,;]|\\(?:and|or)(?![A-Za-z])")
_MEMBER = re.compile(r"(?:[A-Za-z](?:_\{[^{}]*\})?|\([A-Za-z](?:,[A-Za-z])*\))\\in ?(?=[\\({\[])")
_SET_BUILDER = re.compile(r"\\\{[A-Za-z](?:\\in ?\\mathbb\{R\})?(?::|\|)(.*)\\\}")


@dataclass(frozen=True)
class Items:
    """Several values in one answer. `closed` is a pair in square brackets: an interval unless compared with its like."""

    kind: Kind
    elements: tuple[str, ...]


@dataclass(frozen=True)
class Chain:
    """`parts[0] operators[0] parts[1] …`, as in 1 < x \\le 3 or x = 5."""

    parts: tuple[str, ...]
    operators: tuple[str, ...]


def split_top(text: str, separator: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """The pieces of `text` between separators outside all brackets, and the separators."""
    pieces: list[str] = []
    found: list[str] = []
    depth = start = position = 0
    while position < len(text):
        character = text[position]
        if character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth = max(0, depth - 1)
        elif depth == 0 and (match := separator.match(text, position)):
            pieces.append(text[start:position].strip())
            found.append(match.group())
            start = position = match.end()
            continue
        position += 1
    pieces.append(text[start:].strip())
    return pieces, found


@lru_cache(maxsize=64)
def chain(text: str) -> Chain:
    """`text` split at its relation signs."""
    parts, operators = split_top(text, _RELATION)
    return Chain(tuple(parts), tuple(operators))


@lru_cache(maxsize=64)
def items(text: str) -> Items | None:
    """`text` as several values, or None for a single one."""
    text = drop_membership(text)
    if not _SEPARATOR.search(text):
        return Items("set", (text[2:-2],)) if text.startswith("\\{") and text.endswith("\\}") else None
    groups, _ = split_top(text, re.compile(";"))
    if len(groups) > 1 and all("," in group and "(" not in group for group in groups):
        return Items("list", tuple("(" + ",".join(_unlabelled(group.split(","))) + ")" for group in groups))
    pieces, _ = split_top(text, _SEPARATOR)
    pieces = [piece for piece in pieces if piece]
    if len(pieces) > 1:
        return Items("list", tuple(_spread_label(pieces)))
    if len(pieces) == 1 and pieces[0] != text:
        return Items("list", tuple(pieces))
    parts = chain(text)
    if len(parts.parts) == 2 and parts.operators == ("=",):
        names, values = items(parts.parts[0]), items(parts.parts[1])
        if names and values and names.kind == values.kind == "tuple" and len(names.elements) == len(values.elements):
            return Items("list", tuple(f"{n}={v}" for n, v in zip(names.elements, values.elements, strict=True)))
    return _bracketed(text)


def _bracketed(text: str) -> Items | None:
    brackets: tuple[tuple[str, str, Kind], ...] = (("\\{", "\\}", "set"), ("(", ")", "tuple"), ("[", "]", "closed"))
    for opening, closing, kind in brackets:
        if text.startswith(opening) and text.endswith(closing) and _encloses(text, len(opening) - 1):
            pieces, _ = split_top(text[len(opening) : -len(closing)], _SEPARATOR)
            pieces = [piece for piece in pieces if piece]
            if len(pieces) > 1 or kind == "set":
                if kind == "closed" and len(pieces) > 2:
                    kind = "tuple"
                return Items(kind, tuple(pieces))
    return None


def _encloses(text: str, opening: int) -> bool:
    """Whether the bracket at `opening` is closed by the last character."""
    depth = 0
    for position in range(opening, len(text)):
        if text[position] in _OPENING:
            depth += 1
        elif text[position] in _CLOSING:
            depth -= 1
            if depth == 0:
                return position == len(text) - 1
    return False


def _spread_label(pieces: list[str]) -> list[str]:
    """`a=4, -8, -10` lists three values of a; `(x,y)=(5,8), (8,5)` two pairs."""
    first = chain(pieces[0])
    if len(first.parts) != 2 or first.operators[0] not in ("=", "\\in") or any("=" in piece for piece in pieces[1:]):
        return pieces
    named = is_label(first.parts[0]) or first.parts[0].startswith("(")
    return [first.parts[1], *pieces[1:]] if named else pieces


def _unlabelled(pieces: list[str]) -> list[str]:
    return [split_label(piece)[1] for piece in pieces]


def drop_membership(text: str) -> str:
    """`x \\in S` and `D = S` answer S, and { x | … } its condition."""
    if match := _SET_BUILDER.fullmatch(text):
        return match.group(1)
    if match := _MEMBER.match(text):
        return text[match.end() :]
    return match.group(1) if (match := re.fullmatch(r"[A-Z](?:_\{[^{}]*\})?=((?:\(|\[|\\\{).*[)\]}])", text)) else text


def split_label(text: str) -> tuple[str, str]:
    """`x=5` as ("x", "5"); ("", text) where nothing before the first equals sign is a mere name."""
    parts = chain(text)
    if len(parts.parts) == 2 and parts.operators == ("=",) and is_label(parts.parts[0]):
        return parts.parts
    return "", text


_FUNCTION_ARGUMENT = re.compile(r"(?<=[A-Za-z}'])\([^()]*\)")
_DECORATION = re.compile(
    r"\\(?:angle|triangle|vec|overline|overrightarrow|hat|bar|tilde|mathcal|mathbb|widehat|measuredangle|sin|cos|tan|log|ln|deg|plain)"
    r"(?![A-Za-z])|[{}|']|\\prime"
)
_GREEK = re.compile(r"\\[A-Za-z]+")


def is_label(text: str) -> bool:
    """Whether `text` only names a quantity: x, f(x), AB, \\angle A, \\text{Area}, \\frac{NO}{BO} - and constrains nothing.

    The left side of x + y = 5 is an expression: 5 alone does not answer it, nor it 5.
    """
    ratio = re.fullmatch(
        r"\\frac\{([A-Z]{2})\}\{([A-Z]{2})\}|([A-Z]{2})/([A-Z]{2})|\\frac\{d\^?[A-Za-z]?\}?.*\}\{d[A-Za-z]\}", text
    )
    if ratio:
        return True
    text = re.sub(r"_\{[^{}]*\}|\^\{\\prime\}|\\text\{[^{}\d]*\}", "", text)
    text = _FUNCTION_ARGUMENT.sub("", text)
    text = _DECORATION.sub("", text).strip()
    text = _GREEK.sub("x", text)
    return re.fullmatch(r"[A-Za-z]?|[A-Z]{2,4}|[a-z]{4,}|[A-Z][a-z]{3,}", text) is not None


_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")


def readings(text: str) -> list[str]:
    """`text` with "1,234" as one number, then as written: thousands and lists look alike."""
    if re.search(r"[(\[]|\\\{", text) or not _THOUSANDS.search(text):
        return [text]
    return [_THOUSANDS.sub(lambda m: m.group().replace(",", ""), text), text]


_SIGNS = re.compile(r"\\(?:pm|mp)(?![A-Za-z]) ?")


def both_signs(text: str) -> list[str]:
    """`a \\pm b` as its two values; all signs of one value change together."""
    if not _SIGNS.search(text):
        return [text]
    return [
        _tidy(_SIGNS.sub(lambda m, first=first: "+" if ("pm" in m.group()) == first else "-", text))  # type: ignore[misc]
        for first in (True, False)
    ]


def _tidy(text: str) -> str:
    return re.sub(r"^\+|(?<=[=(\[{])\+", "", text)


def expanded(collection: Items) -> list[str]:
    """The values of a collection: both of `a \\pm b`, and the members of a set within it."""
    values = [value for element in collection.elements for value in both_signs(element)]
    return [inner for value in values for inner in _flattened(value)]


def _flattened(value: str) -> tuple[str, ...]:
    """A set written inside a list, as in x \\in \\{1, 2\\}, contributes its members."""
    inner = items(value)
    return inner.elements if inner is not None and inner.kind == "set" else (value,)


# The same relation read from the right.
FLIPPED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le", "=": "=", "\\ne": "\\ne"}


def ascending(relation: Chain) -> Chain:
    """`a > b > c` as `c < b < a`; any other chain as it is."""
    if relation.operators and set(relation.operators) <= {">", "\\ge"}:
        return Chain(relation.parts[::-1], tuple(FLIPPED[operator] for operator in relation.operators[::-1]))
    return relation


_COLUMN = re.compile(r"\\begin\{pmatrix\}((?:(?!\\begin|&).)*)\\end\{pmatrix\}")
_SCALED = re.compile(
    r"(-|[-+]?(?:\d|\.|/|\\(?:frac|sqrt|pi|cdot)(?![A-Za-z])|[{}\[\] ])*[\d}i ])(?=[(\\])(\(.*\)|\\begin\{pmatrix\}.*)"
)
_TRANSPOSED = re.compile(r"([(\[].*[)\]])\^\{(?:T|\\top ?|\\intercal ?)\}|(?:([(\[].*[)\]])\^\\(?:top|intercal) ?)")


_ROW = re.compile(r"\\begin\{pmatrix\}((?:(?!\\begin|\\\\).)*&(?:(?!\\begin|\\\\).)*)\\end\{pmatrix\}")


def row(text: str) -> tuple[str, ...] | None:
    """The components of a matrix of one row, or None."""
    match = _ROW.fullmatch(text)
    return tuple(part.strip() for part in match.group(1).split("&")) if match else None


def bracketed_vector(text: str) -> tuple[str, ...] | None:
    """The components that brackets or commas alone enclose, as beside a column: [1, 2] or 1, 2."""
    several = items(text)
    return several.elements if several and several.kind in ("closed", "list", "tuple") else None


def vector(text: str) -> tuple[str, ...] | None:
    """The components of a column, of a tuple, or of a number times one of these; None for anything else."""
    if match := _TRANSPOSED.fullmatch(text):
        text = "(" + (match.group(1) or match.group(2))[1:-1] + ")"
    if match := _COLUMN.fullmatch(text):
        rows = tuple(row.strip() for row in match.group(1).split(r"\\") if row.strip())
        return rows if len(rows) > 1 else None
    inner = _bracketed(text)
    if inner is not None:
        return inner.elements if inner.kind == "tuple" else None
    if match := _SCALED.fullmatch(text):
        components = vector(match.group(2))
        factor = match.group(1).strip() if match.group(1) != "-" else "-1"
        return None if components is None else tuple(rf"{factor}\cdot({component})" for component in components)
    return None
