"""The text of a problem without its layout, which is equal for two copies of one problem and differs between problems.

Copies of a problem differ in spaces, dollar signs, fonts, synonyms such as `\\le` and `\\leq`, the capital letter of a
word, and the punctuation of sentences. Everything else may change the question and stays: brackets and their kind, the
extent of a radical, a fraction, an exponent or an index, factorials, primes, decimal points, the commas of a list.
A difference that could be either stays: to miss a repeat costs less than to lose a problem.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

_TOKEN = re.compile(
    r"\\[A-Za-z]+\*?|(?:\\_)+|\\.|__+|\d*\.\d+|\d+|[^\W\d_]+|[\s\x00-\x1f]+|\.\.+|''|\$\$|.", re.DOTALL
)

# 1{,}000, 1,\!000 and 1\,000 are one number; a plain comma is decided where its brackets are known.
_TYPESET_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:(?:\{,\}|,\\!|\\,|\{\\,\}|\\!)\d{3})+(?!\d)")
_QUOTED = re.compile(r"``([^`]*?)''")
_GROUPS = re.compile(r"(,\d{3})+(\.\d+)?")
_SPACED_DOTS = re.compile(r"\.\s\.\s\.|·\s?·\s?·")
_RAISED = re.compile(r"(?:\^\{\0[^{}]*\})+|(?:_\{\0[^{}]*\})+")
_ROW_GAP = re.compile(r"\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm|in)\s*\]")

_SPACES = {
    "\\,", "\\;", "\\:", "\\>", "\\ ", "\\/", "~", "\\quad", "\\qquad", "\\enspace", "\\thinspace", "\\medspace",
    "\\thickspace", "\\par", "\\newline", "\\linebreak", "\\noindent", "\\indent", "\\smallskip", "\\medskip",
    "\\bigskip", "\\displaystyle", "\\textstyle", "\\scriptstyle", "\\limits", "\\nolimits", "\\rm", "\\bf", "\\it",
    "\\em", "\\sf", "\\tt", "\\left", "\\right", "\\middle",
    *(f"\\{size}{side}" for size in ("big", "Big", "bigg", "Bigg") for side in ("", "l", "r", "m")),
}  # fmt: skip
_SPACES_OF_A_LENGTH = {"\\hspace", "\\vspace", "\\phantom", "\\hphantom", "\\vphantom"}
_DELIMITED = {"\\left", "\\right", "\\middle"}

# Their argument reads the same without them.
_FONTS = {
    "\\text", "\\mathrm", "\\textrm", "\\textbf", "\\textit", "\\textnormal", "\\textsf", "\\texttt", "\\textup",
    "\\textsl", "\\emph", "\\operatorname", "\\mbox", "\\hbox", "\\mathit", "\\mathsf", "\\mathtt",
}  # fmt: skip

_SAME_COMMAND = {
    "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac", "\\nicefrac": "\\frac", "\\sfrac": "\\frac",
    "\\dbinom": "\\binom", "\\tbinom": "\\binom", "\\Bbb": "\\mathbb",
}  # fmt: skip
_ARGUMENTS = {
    "\\frac": 2, "\\binom": 2, "\\overset": 2, "\\underset": 2, "\\stackrel": 2, "\\sqrt": 1, "\\overline": 1,
    "\\underline": 1, "\\bar": 1, "\\hat": 1, "\\vec": 1, "\\dot": 1, "\\ddot": 1, "\\tilde": 1, "\\widehat": 1,
    "\\widetilde": 1, "\\overrightarrow": 1, "\\overleftarrow": 1, "\\overarc": 1, "\\mathbb": 1, "\\mathbf": 1,
    "\\mathcal": 1, "\\mathfrak": 1, "\\mathscr": 1, "\\bm": 1, "\\boldsymbol": 1, "\\pmod": 1, "\\pod": 1,
    "\\boxed": 1, "\\overbrace": 1, "\\underbrace": 1,
}  # fmt: skip
_ACCENTS = {"\\overline", "\\bar", "\\hat", "\\vec", "\\tilde", "\\widehat", "\\widetilde"}
_INDEXED = re.compile(r"([^\W\d_])(_\{[^{}]*\})")
_INFIX = {"\\over": "\\frac", "\\choose": "\\binom", "\\atop": "\\atop"}

_FUNCTIONS = {
    "\\sin", "\\cos", "\\tan", "\\cot", "\\sec", "\\csc", "\\arcsin", "\\arccos", "\\arctan", "\\sinh", "\\cosh",
    "\\tanh", "\\log", "\\ln", "\\lg", "\\exp", "\\min", "\\max", "\\sup", "\\inf", "\\lim", "\\gcd", "\\det", "\\dim",
    "\\ker", "\\arg", "\\deg", "\\Pr", "\\bmod", "\\mod", "\\hline",
}  # fmt: skip

# One sign for each of the ways to write it.
_SIGNS = {
    spelling: sign
    for sign, spellings in {
        "≤": "\\le \\leq \\leqslant \\leqq ≦ ⩽",
        "≥": "\\ge \\geq \\geqslant \\geqq ≧ ⩾",
        "≠": "\\ne \\neq",
        "<": "\\lt",
        ">": "\\gt",
        "×": "\\times",
        "·": "\\cdot ⋅ ∙ •",
        "÷": "\\div",
        "±": "\\pm",
        "∓": "\\mp",
        "*": "\\ast \\star ∗",
        "/": "⁄ ∕ \\slash",
        "-": "− ‐ ‑ – —",
        ":": "\\colon ∶",
        "|": "\\vert \\lvert \\rvert \\mid ∣",
        "‖": "\\| \\Vert \\lVert \\rVert",
        "(": "\\lparen",
        ")": "\\rparen",
        "[": "\\lbrack",
        "]": "\\rbrack",
        "\\{": "\\lbrace",
        "\\}": "\\rbrace",
        "⌊": "\\lfloor",
        "⌋": "\\rfloor",
        "⌈": "\\lceil",
        "⌉": "\\rceil",
        "⟨": "\\langle 〈",
        "⟩": "\\rangle 〉",
        "→": "\\to \\rightarrow \\longrightarrow",
        "↦": "\\mapsto",
        "⇒": "\\Rightarrow \\implies \\Longrightarrow",
        "⇔": "\\iff \\Leftrightarrow \\Longleftrightarrow",
        "∞": "\\infty",
        "∠": "\\angle",
        "△": "\\triangle ∆",
        "∈": "\\in",
        "∉": "\\notin",
        "⊂": "\\subset",
        "⊆": "\\subseteq",
        "∪": "\\cup",
        "∩": "\\cap",
        "∅": "\\emptyset \\varnothing",
        "∖": "\\setminus \\backslash",
        "≈": "\\approx",
        "≡": "\\equiv",
        "≅": "\\cong",
        "∼": "\\sim",
        "⊥": "\\perp",
        "∥": "\\parallel",
        "∧": "\\land \\wedge",
        "∨": "\\lor \\vee",
        "∀": "\\forall",
        "∃": "\\exists",
        "∑": "\\sum",
        "∏": "\\prod",
        "∫": "\\int",
        "∂": "\\partial",
        "∇": "\\nabla",
        "∘": "\\circ",
        "°": "\\degree º ˚",
        "'": "\\prime ’ ‘ ′ ´ `",
        '"': "“ ” „ « »",
        "…": "\\dots \\ldots \\cdots \\dotsc \\dotsb \\dotso \\dotsm ⋯",
        "%": "\\%",
        "#": "\\#",
        "&": "\\&",
        "$": "\\$ \\textdollar",
        ",": "、",
        ".": "。",
        "ε": "\\varepsilon",
        "ϵ": "\\epsilon",
        "φ": "\\varphi",
        "ϕ": "\\phi",
        "ϑ": "\\vartheta",
        "ℓ": "\\ell",
    }.items()
    for spelling in spellings.split()
} | {
    f"\\{spelled}": chr(first + offset)
    for first, names in (
        (0x3B1, "alpha beta gamma delta - zeta eta theta iota kappa lambda mu nu xi - pi rho - sigma tau upsilon - chi psi omega"),
        (0x391, "- - Gamma Delta - - - Theta - - Lambda - - Xi - Pi - - Sigma - Upsilon Phi - Psi Omega"),
    )
    for offset, spelled in enumerate(names.split())
    if spelled != "-"
}  # fmt: skip

_FORMULAS = {"$": "$", "$$": "$$", "\\(": "\\)", "\\[": "\\]"}
_OPENING, _CLOSING = {"(", "[", "\\{"}, {")", "]", "\\}"}
_PUNCTUATION = {".", ",", ":", ";", "?", "-", "~", '"', "''", "\\gap "}
_LAST = {".", "?", ":", ";", ",", "\\gap "}
_SHORT_WORDS = {
    "am", "an", "as", "at", "be", "by", "do", "go", "he", "if", "in", "is", "it", "me", "my", "no", "of", "on", "or", "so",
    "to", "up", "us", "we",
}  # fmt: skip

Kind = Literal["letters", "number", "space", "mark", "tex"]


class _Piece(NamedTuple):
    """`in_math`: whether the piece is between dollar signs or in an argument, where commas and periods count."""

    text: str
    kind: Kind
    in_math: bool


_BLANK = "".join(map(chr, range(33)))
_SPACE = _Piece(" ", "space", False)
_GAP = _Piece("\\gap ", "tex", False)  # to be filled in, as in `the sum is ____`


def normalised(problem: str) -> str:
    """A problem's text without its layout, for comparison with other such texts; see the module."""
    text = _SPACED_DOTS.sub("…", _QUOTED.sub(r'"\1"', _plain(problem)))
    text = _TYPESET_THOUSANDS.sub(lambda number: re.sub(r"\D", "", number[0]), text)
    try:
        return _joined(_Reader(_TOKEN.findall(text)).read(in_math=False), is_whole=True) or text.strip()
    except RecursionError:  # braces within braces, hundreds deep
        return " ".join(text.split())


def _plain(text: str) -> str:
    """Replace Unicode variants of equal meaning with one character, and write those of another meaning as TeX."""
    text = unicodedata.normalize("NFC", text)
    if text.isascii():
        return text
    characters = "".join(character if character.isascii() else _as_tex(character) for character in text)
    return _RAISED.sub(_one_script, characters)


def _one_script(run: re.Match[str]) -> str:
    """Neighbouring raised characters as one exponent, lowered ones as one index."""
    script = run[0]
    for mark in ("^{\0", "_{\0", "}"):
        script = script.replace(mark, "")
    return f"{run[0][0]}{{{script}}}"


def _as_tex(character: str) -> str:
    if character in _SIGNS or character == "…":
        return _SIGNS.get(character, character)
    if unicodedata.category(character) == "Cf":
        return ""
    tag, _, codes = unicodedata.decomposition(character).partition(" ")
    if not tag.startswith("<"):
        return character
    base = "".join(chr(int(code, 16)) for code in codes.split())
    if tag == "<font>":
        name = unicodedata.name(character)
        for style, command in (
            ("DOUBLE-STRUCK", "mathbb"), ("FRAKTUR", "mathfrak"), ("BLACK-LETTER", "mathfrak"), ("SCRIPT", "mathcal"),
            ("BOLD", "mathbf"),
        ):  # fmt: skip
            if style in name and base.isalpha():
                return f"\\{command}{{{base}}}"
    if tag == "<fraction>" and not base.endswith("⁄"):
        above, _, below = base.partition("⁄")
        return f"\\frac{{{above}}}{{{below}}}"
    if tag in ("<super>", "<sub>"):
        return f"{'^' if tag == '<super>' else '_'}{{\0{_SIGNS.get(base, base)}}}"
    if tag in ("<wide>", "<narrow>", "<compat>", "<noBreak>", "<font>"):
        return "".join(_SIGNS.get(part, part) for part in base)
    return character  # such as a number in a circle


@dataclass
class _Reader:
    """Reads the braces, scripts and arguments of TeX and of plain text."""

    tokens: list[str]
    position: int = 0
    tables: int = 0

    def read(self, in_math: bool, until: str = "", inside: str = "") -> list[_Piece]:
        """Pieces up to the token `until`, or up to `inside`, the end of the surrounding text, which is left unread."""
        pieces: list[_Piece] = []
        while self.position < len(self.tokens):
            token = self.tokens[self.position]
            if token == "$$" and until == "$":  # the end of one formula, the beginning of the next
                self.tokens[self.position] = "$"
                break
            if token == until or (inside and token == inside):
                self.position += token == until
                break
            self.position += 1
            if token == " ":
                pieces.append(_SPACE)
            elif token.isalpha():
                pieces.append(_Piece(token, "letters", in_math or self.tables > 0))
            elif token in _FORMULAS:
                pieces += self._formula(_FORMULAS[token], until or inside)
            elif token in _INFIX:
                command = f"{_INFIX[token]}{{{_joined(pieces)}}}{{{_joined(self.read(in_math, until, inside))}}}"
                return [_Piece(command, "tex", in_math)]
            else:
                pieces += self._one(token, in_math or self.tables > 0)
        return pieces

    def _formula(self, until: str, inside: str) -> list[_Piece]:
        """The text between dollar signs. Punctuation at its end belongs to the sentence, as in `for $x,$ find`."""
        pieces = self.read(True, until, inside)
        if self.tokens[max(0, self.position - 2)] == "\\qquad":
            pieces.append(_GAP)
        last = len(pieces) - 1
        while last >= 0 and (pieces[last].kind == "space" or pieces[last].text in _PUNCTUATION):
            pieces[last] = pieces[last]._replace(in_math=False)
            last -= 1
        return [_SPACE, *pieces, _SPACE]

    def _one(self, token: str, in_math: bool) -> Iterator[_Piece]:
        token = _SIGNS.get(token.rstrip("*") if token.startswith("\\") else token, token)
        is_tie = token == "~" and not in_math  # or a sign of logic
        if not token.strip(_BLANK) or (token in _SPACES and not is_tie) or token in ("\\)", "\\]"):
            yield _SPACE
            if token in _DELIMITED and self._next_but_space() == ".":  # an empty delimiter
                self._skip_space()
                self.position += 1
        elif token == "\\!" or token == "}":
            return
        elif token == "\\\\":
            yield _Piece(token, "tex", in_math) if self.tables else _SPACE
            self._skip_row_gap()
        elif token == "{":
            group = self.read(in_math, "}")
            text = _joined(group)
            # Outside of formulas braces are to be seen: {x} is a set, or a fractional part.
            if not _is_one(group) or not (in_math or any(piece.kind == "tex" for piece in group)):
                yield _Piece(f"{{{text}}}", "tex", in_math)
            else:
                yield from group
        elif token in ("^", "_"):
            script = self._argument(in_math, depth=1)
            if not script:
                return
            if token == "^" and (script == "∘" or not script.strip("'")):
                yield _Piece("°" if script == "∘" else script, "mark", in_math)
            else:
                yield _Piece(f"{token}{{{script}}}", "tex", in_math)
        elif token.startswith(("__", "\\_")):
            yield _GAP
        elif token.startswith("\\") and token[1:2].isalpha():
            yield from self._command(token.rstrip("*"), in_math)
        elif token[0].isdigit() or (token[0] == "." and token[-1].isdigit()):
            yield _Piece(token, "number", in_math)
        elif token.isalpha():
            yield _Piece(token, "letters", in_math)
        else:
            yield _Piece("…" if token.startswith("...") else token, "mark", in_math)

    def _command(self, command: str, in_math: bool) -> Iterator[_Piece]:
        command = _SAME_COMMAND.get(command, command)
        if command in _SPACES_OF_A_LENGTH:
            self._argument(in_math)
            yield _SPACE
        elif command in _FONTS:
            if self._next_but_space() == "{":
                self._skip_space()
                self.position += 1
                yield from self.read(in_math and command.startswith(("\\math", "\\operatorname")), "}")
            else:
                yield _Piece(self._argument(in_math), "tex", in_math)
        elif command in ("\\begin", "\\end"):
            name = self._argument(False).rstrip("*")
            if name in ("equation", "displaymath", "math", "center"):
                yield _SPACE
                return
            self.tables = max(0, self.tables + (1 if command == "\\begin" else -1))
            yield _Piece(f"{command}{{{name}}}", "tex", in_math)
        elif command in _FUNCTIONS:
            yield _Piece(f"{command} ", "tex", in_math)
        elif command in _ARGUMENTS:
            option = self._option() if command == "\\sqrt" else ""
            arguments = [self._argument(True) for _ in range(_ARGUMENTS[command])]
            indexed = _INDEXED.fullmatch(arguments[0]) if command in _ACCENTS else None
            if command == "\\underline" and not arguments[0]:
                yield _GAP
            elif indexed:  # the index of a letter means the same within the accent and behind it
                yield _Piece(f"{command}{{{indexed[1]}}}", "tex", in_math)
                yield _Piece(indexed[2], "tex", in_math)
            else:
                yield _Piece(command + option + "".join(f"{{{text}}}" for text in arguments), "tex", in_math)
        else:
            text = command
            while self._next() == "{":
                text += f"{{{self._argument(in_math)}}}"
            yield _Piece(text if text != command else f"{command} ", "tex", in_math)

    def _argument(self, in_math: bool, depth: int = 0) -> str:
        """The argument that TeX reads after a command: a group, or a single sign, digit or letter. For `depth` see `_joined`."""
        self._skip_space()
        if self.position == len(self.tokens):
            return ""
        token = self.tokens[self.position]
        self.position += 1
        if token == "{":
            return _joined(self.read(in_math, "}"), depth)
        if token in ("}", "$"):
            self.position -= 1
            return ""
        if not token.startswith("\\") and len(token) > 1:
            self.position -= 1
            self.tokens[self.position] = token[1:]
            token = token[0]
        return _joined(list(self._one(token, in_math)))

    def _option(self) -> str:
        if self._next_but_space() != "[":
            return ""
        self._skip_space()
        self.position += 1
        return f"[{_joined(self.read(True, ']'))}]"

    def _next(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def _next_but_space(self) -> str:
        return next((token for token in self.tokens[self.position : self.position + 2] if token.strip(_BLANK)), "")

    def _skip_space(self) -> None:
        while self._next() and not self._next().strip(_BLANK):
            self.position += 1

    def _skip_row_gap(self) -> None:
        gap = _ROW_GAP.match("".join(self.tokens[self.position : self.position + 8]))
        taken = 0
        while gap and taken < gap.end():
            taken += len(self.tokens[self.position])
            self.position += 1


def _joined(pieces: list[_Piece], depth: int = 0, is_whole: bool = False) -> str:
    """The text of a sequence; spaces count only between numbers, and the punctuation of sentences does not count.

    `depth` is how many brackets surround it: within them, as in an index, all commas are those of lists.
    """
    written: list[_Piece] = []
    is_apart = False
    index = 0
    while index < len(pieces):
        piece = pieces[index]
        index += 1
        if piece.kind == "space":
            is_apart = True
        elif piece.kind == "letters":
            text = _uncapitalised(piece)
            written.append(piece if text == piece.text else piece._replace(text=text))
            is_apart = False
        elif piece.kind == "number":
            if is_apart and written and written[-1].kind == "number":
                written.append(_SPACE)
            is_listed = written and written[-1].text == ","
            groups = [] if depth or is_listed else _thousands(pieces, index - 1)
            index += 2 * len(groups)
            written.append(piece._replace(text=piece.text + "".join(groups)) if groups else piece)
            is_apart = False
        elif piece.text in _PUNCTUATION and _is_punctuation(written, pieces, index - 1, depth):
            is_apart = True
        else:
            depth = max(0, depth + (piece.text in _OPENING) - (piece.text in _CLOSING))
            written.append(piece)
            is_apart = False
    while is_whole and written and written[-1].text in _LAST:
        written.pop()
    return "".join(piece.text for piece in written).strip()


def _is_punctuation(written: list[_Piece], pieces: list[_Piece], index: int, depth: int) -> bool:
    """Whether a sign of `_PUNCTUATION` belongs to a sentence rather than to a list, a ratio, a product or a difference."""
    piece = pieces[index]
    before = written[-1] if written else None
    if piece.text in ('"', "''"):
        is_inches = before is not None and before.kind == "number" and pieces[index - 1] is before
        return not piece.in_math and (_is_word(before) if piece.text != '"' else not is_inches)
    following = next((later for later in pieces[index + 1 :] if later.kind != "space"), None)
    if piece.text != "-" and following is not None and following.text.startswith(("\\\\", "\\end{")):
        return True  # the end of a row
    if piece.text == ".":
        if piece.in_math:
            return following is None or not following.in_math
        is_product = following is not None and pieces[index + 1] is following and pieces[index - 1] is before
        return not is_product or _is_word(before) or _is_word(following)
    if piece.in_math:
        return False
    if piece.text == "-":
        return _is_word(before) and _is_word(pieces[index + 1] if index + 1 < len(pieces) else None)
    if piece == _GAP or piece.text == "?":  # the last thing of a statement, or the place of a sign as in 8 ? 3
        return following is None or following.text in (".", "(") or _is_word(following)
    later = pieces[index + 1 : index + 5]
    is_article = [piece.text for piece in later[:3]] == [" ", "a", " "] and _is_word(later[-1])
    return depth == 0 and (_is_word(before) or _is_word(following) or is_article)


def _is_one(group: list[_Piece]) -> bool:
    """Whether braces add nothing, because they hold a single piece or only text in brackets."""
    pieces = [piece for piece in group if piece.kind != "space"]
    if len(pieces) < 2:
        return True
    depth = 0
    for piece in pieces[:-1]:
        depth += (piece.text in _OPENING) - (piece.text in _CLOSING)
        if depth <= 0:
            return False
    return pieces[-1].text in _CLOSING


def _is_word(piece: _Piece | None) -> bool:
    """Whether a piece is prose rather than a product of variables."""
    if piece is None or piece.kind != "letters" or piece.in_math:
        return False
    if piece.text.upper() == piece.text.lower():  # a script without capitals, such as Chinese
        return True
    is_greek = any("α" <= character <= "ω" for character in piece.text)
    is_long = len(piece.text) >= 3 or piece.text.lower() in _SHORT_WORDS
    return is_long and piece.text[1:].islower() and not is_greek


def _uncapitalised(piece: _Piece) -> str:
    """A word as it is written within a sentence. Possible variables, such as A and AB, keep their case."""
    text = piece.text
    if not text[1:].islower():
        return text
    is_word = len(text) >= 4 or (not piece.in_math and (len(text) == 3 or text.lower() in _SHORT_WORDS))
    return text.lower() if is_word else text


def _thousands(pieces: list[_Piece], index: int) -> list[str]:
    """The groups of digits that commas join to the number at `index`, as in 1,000,000; none in a list such as 1,000,5."""
    if not (pieces[index].text.isdigit() and len(pieces[index].text) <= 3):
        return []
    groups: list[str] = []
    index += 1
    while index + 1 < len(pieces) and pieces[index].text == "," and pieces[index + 1].kind == "number":
        groups.append(pieces[index + 1].text)
        index += 2
    if [piece.text for piece in pieces[index : index + 2]] == [",", "…"]:
        return []
    return groups if _GROUPS.fullmatch("".join(f",{group}" for group in groups)) else []
