"""One spelling for the many ways to typeset the same answer.

Only rewrites that keep the value: LaTeX synonyms, spacing, Unicode, thousands separators written as spaces, braces
left out of `\\frac` and `\\sqrt`. Nothing here decides what an answer means.
"""

from __future__ import annotations

import re
import unicodedata

from .code_notation import from_code, without_exponent_brackets
from .number_words import digits, spelled_number

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_UNICODE = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ",
    "÷": "/", "⁄": "/", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∞": r"\infty ", "π": r"\pi ",
    "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "±": r"\pm ", "∓": r"\mp ", "°": r"\degree ",
    "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "λ": r"\lambda ", "μ": r"\mu ", "ω": r"\omega ",
    "φ": r"\phi ", "τ": r"\tau ", "σ": r"\sigma ", "ρ": r"\rho ", "ε": r"\epsilon ", "ℝ": r"\mathbb{R}", "∖": r"\setminus ",
    "，": ",", "。": ".", "：": ":", "；": ";", "（": "(", "）": ")", "％": "%", "\u00a0": " ", "\u2009": " ",
    "\u202f": " ", "\u2019": "'", "⟨": "(", "¢": r"\text{cents}", "⟩": ")",
}  # fmt: skip
_UNICODE_TABLE = str.maketrans(_UNICODE)
_FUNCTIONS = "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|max|min|gcd|lcm|deg"

# Names for the same thing. Applied as whole commands.
_COMMANDS = {
    "dfrac": r"\frac", "tfrac": r"\frac", "cfrac": r"\frac", "nicefrac": r"\frac", "sfrac": r"\frac", "geq": r"\ge ", "geqslant": r"\ge ", "leq": r"\le ",
    "leqslant": r"\le ", "neq": r"\ne ", "lt": "<", "gt": ">", "varnothing": r"\emptyset ", "lbrace": r"\{", "rbrace": r"\}",
    "langle": "(", "rangle": ")", "lbrack": "[", "rbrack": "]", "lparen": "(", "rparen": ")", "vert": "|", "lvert": "|",
    "rvert": "|", "mid": "|", "colon": ":", "times": r"\cdot ", "ast": r"\cdot ", "div": "/", "backslash": r"\setminus ",
    "smallsetminus": r"\setminus ", "land": r"\and ", "wedge": r"\and ", "lor": r"\or ", "vee": r"\or ", "R": r"\mathbb{R}",
    "dots": r"\ldots ", "cdots": r"\ldots ", "textdegree": r"\degree ", "varphi": r"\phi ", "varepsilon": r"\epsilon ",
    "dbinom": r"\binom", "tbinom": r"\binom", "iff": r"\or ", "arcctg": r"\arccot ", "tg": r"\tan ", "ctg": r"\cot ",
    "mathrm": r"\text", "textrm": r"\text", "mbox": r"\text", "textbf": r"\text", "textnormal": r"\text",
    "textit": r"\text", "operatorname": r"\text", "hbox": r"\text", "textsf": r"\text", "texttt": r"\text", "emph": r"\text",
    "mathbf": r"\plain", "mathit": r"\plain", "boldsymbol": r"\plain", "bm": r"\plain", "underline": r"\plain", "underbrace": r"\plain", "equiv": "=", "mathsf": r"\plain",
    "mathnormal": r"\plain", "dollar": r"\text{dollars}", "textdollar": r"\text{dollars}", "pounds": r"\text{pounds}",
}  # fmt: skip
_DROPPED = (
    "left|right|big|Big|bigg|Bigg|bigl|bigr|Bigl|Bigr|biggl|biggr|displaystyle|textstyle|limits|nolimits|hfill|"
    "large|Large|LARGE|huge|Huge|small|tiny|normalsize|bfseries|therefore|quad|qquad|rm|bf|it|enspace|thinspace|medspace|thickspace|null|strut|unit|nobreak|newline|ensuremath|centering"
)
_COMMAND = re.compile(r"\\([A-Za-z]+)\s*")
_DROP = re.compile(rf"\\(?:left|right)\s*\.(?=\S)|\\(?:{_DROPPED})(?![A-Za-z])")
_THOUSANDS = re.compile(
    r"(?<![\d.,])(\d{1,3}(?:(?:,\s*\\!\s*|\{,\}|\\[,;:! ]\s*|\\thinspace\s*|~|[ ]|'|_)\d{3})+)(?!\d)"
)
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_TEXT_POWER = re.compile(r"\\text\s*\{([^{}]*?)\^\s*\{?([-+]?\d+)\}?([^{}]*)\}")
_UNITS = r"(?:\\text\s*\{[^{}]*\}(?:\^\s*\{?[-+]?\d\}?)?\s*)+"
_UNIT_FRACTION = re.compile(rf"\\frac\s*\{{({_UNITS})\}}\s*\{{({_UNITS})\}}")
_BACKWARD = re.compile(r"(?<![\w)\]}])([\[\]])([^\[\](){}]+[,;][^\[\](){}]+)([\[\]])(?![\w(\[{])")
_ARRAY = re.compile(
    r"([(\[]\s*)?\\begin\s*\{(array|matrix|bmatrix|pmatrix|smallmatrix)\}\s*(?:\{[clr| ]*\})?(.*?)"
    r"\\end\s*\{\2\}((?(1)\s*[)\]]))",
    re.DOTALL,
)
_UNIT_VECTOR = re.compile(r"\\(?:hat|vec|widehat)\s*\{?\s*(?:\\plain\s*\{?)?\s*([ijk])\s*\}{0,2}(?![A-Za-z])")
# The end of a functional equation's answer says where it holds.
_QUANTIFIER = re.compile(
    r"[,\s]{0,3}(?:\\text\s*\{\s*,?\s*for (?:all|every|any|each)(?: real| integer| positive)*(?: numbers?| integers?| reals?)?\s*\}|\\forall)\s*[a-z]"
    r"(?:\s*\\in\s*\\(?:mathbb\s*\{?\s*)?[A-Z](?:\s*\})?(?:\^?[+*]|_\{?[+>\d]*\}?)?)?\s*$"
)
_NESTED_ROWS = re.compile(r"\[\s*(\[[^\[\]]+\](?:\s*,\s*\[[^\[\]]+\])+)\s*\]")
_CLASSIFIER = re.compile(
    r"(?<=\d)\s*(?:\\text\{\s*)?(?:个|元|人|岁|只|种|条|本|张|名|位|次|米|厘米|千米|公里|平方厘米|平方米|度|分钟|小时|天|年|개|명)(?:\s*\})?$"
)
_PLAIN = re.compile(r"\\plain\s*\{([^{}]*)\}")
_COLOUR = re.compile(r"\\(?:color|textcolor)\s*(?:\[\w+\])?\{[^{}]*\}")
_SCALES = {
    "hundred": r"10^{2}", "thousand": r"10^{3}", "lakh": r"10^{5}", "million": r"10^{6}", "mn": r"10^{6}", "crore": r"10^{7}",
    "billion": r"10^{9}", "bn": r"10^{9}", "trillion": r"10^{12}", "dozen": "12",
}  # fmt: skip
_SCALE = re.compile(
    rf"(?<=[\d}}])\s*(?:\\text\{{\s*({'|'.join(_SCALES)})(?![A-Za-z])([^{{}}]*)\}}|({'|'.join(_SCALES)})(?![A-Za-z]))\s*"
)
_POWER_WORD = re.compile(r"(?<=[\d})])\s*(?:\\text\{\s*(squared|cubed)\s*\}|(squared|cubed)(?![A-Za-z]))")
_TIMES_TEN = re.compile(r"(?<=\d)\s*[xX]\s*10\s*\^")
_SPELLED_AGAIN = re.compile(r"(?<!\d)(\d+)\s*\\text\{\s*\(([a-z -]+)\)\s*\}")
_RATIO_WORD = re.compile(r"(?<=\d)\s*\\text\{\s*to\s*\}\s*(?=\d)")
_PERIOD_DOTS = re.compile(r"(?<=\d)(\.\d*)\\dot\{?(\d)\}?(\d*)\\dot\{?(\d)\}?")
# Combinations as they are written in China and Russia; C_1^2 is the square of a constant.
_COMBINATION = re.compile(
    r"(?<![A-Za-z\\])C_\{((?:[3-9]|\d\d+|\d*[nm])(?:[-+]\d+)?)\}\^\{(\d+|[a-z]|\d*[nm](?:[-+]\d+)?)\}"
)
_SPELLED = re.compile(r"[A-Za-z0-9\s,.-]{3,80}")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{(?:aligned|align\*?|gathered|split|equation\*?|gather\*?)\}")
_CODE = re.compile(rf"(?<![\\A-Za-z])(?:np\.|numpy\.|math\.|sympy\.)?({_FUNCTIONS})(?=\s*[({{^_\d\\]|\s+[a-z]\b)")
_DEGREE = re.compile(
    r"\^\s*\{?\s*\\circ\s*\}?|(?<=\d)\^\s*\{?\s*o\s*\}?(?![A-Za-z])|\\circ(?![A-Za-z])|\\degree(?![A-Za-z])|\\text\{\s*(?:degrees?|deg)\s*\.?\s*\}"
)
_PERCENT = re.compile(
    r"\\?%|\\text\{\s*(?:percent|percentage|pct|per cent)\s*\}|(?<![\\A-Za-z])(?:percent|pct)(?![A-Za-z])"
)


def normalise(text: str) -> str:
    """`text` in its canonical spelling. Two answers with equal spellings are typographically the same."""
    text = _plain_unicode(text)
    if (number := _spelled(text)) is not None:
        return number
    text = _TIMES_TEN.sub(r"\\cdot 10^", text)
    text = re.sub(r"\\text\s*\{\s*(\\\$|\\text\{\w+\})\s*\}", r"\1", text)
    text = text.replace("\\$", r"\dollar ").replace("$", " ").replace("\n", " ").replace("\t", " ")
    text = re.sub(r"\\[()\[\]](?!\d*pt)", " ", text) if "\\(" in text or "\\[" in text else text
    text = re.sub(r"\\\\(?=(?:frac|dfrac|sqrt|pi|text|cdot|times|left|right)(?![a-z]))", r"\\", text)
    text = _join_thousands(text)
    text = _ENVIRONMENT.sub(" ", text)
    if "matrix" not in text and "array" not in text and "cases" not in text:
        text = text.replace("&", " ").replace("\\\\", " ")
    text = re.sub(r"(?<!\\)\\(?:[,;:!>]|[ ])", " ", text).replace("~", " ")
    text = _DROP.sub(" ", text)
    text = _COMMAND.sub(_rename, text)
    text = text.replace(r"\dollar", r"\text{dollars}")
    if "\\hat" in text or "\\vec" in text or "\\widehat" in text:
        text = _UNIT_VECTOR.sub(r"\1 ", text)
    if "for " in text or "\\forall" in text:
        text = _QUANTIFIER.sub("", text)
    if "\\mapsto" in text:
        text = re.sub(r"^(?:[a-zA-Z]\s*:\s*)?([a-z])\s*\\mapsto", r"f(\1)=", text)
    if text.startswith("[[") or text.startswith("[ ["):
        text = _NESTED_ROWS.sub(_rows_as_matrix, text)
    if "\\begin{cases}" in text:
        text = re.sub(r",?\s*&\s*(?:,|\\text\s*\{\s*(?:if|when|for)\s*\})\s*", "&", text)
    if "\\begin" in text:
        text = _ARRAY.sub(_as_matrix, text)
    text = re.sub(r"\{\s*,\s*\}", ",", re.sub(r"(\d)\{,\}(\d{1,2})(?!\d)", r"\1.\2", text))
    text = re.sub(r"\\phantom\{[^{}]*\}|\\(?:hspace|vspace|tag|label)\*?\{[^{}]*\}", " ", text)
    text = _COLOUR.sub(" ", re.sub(r"[_^]\{\s*\}", "", text))
    text = _PLAIN.sub(_unwrap_plain, text)
    text = re.sub(r"(?:\\degree\s*)+", r"\\degree ", _DEGREE.sub(r"\\degree ", text))
    text = _PERCENT.sub(r"\\% ", text)
    text = _TEXT_POWER.sub(r"\\text{\1}^{\2}\\text{\3}", text)
    text = _UNIT_FRACTION.sub(r"\1/\2", text)
    text = _SCALE.sub(_scaled, text)
    if "\\text" in text:
        text = _RATIO_WORD.sub(":", _SPELLED_AGAIN.sub(_said_once, text))
    text = _POWER_WORD.sub(lambda m: "^{2}" if "squared" in m.group() else "^{3}", text)
    text = _TEXT.sub(_simplify_text, text)
    text = re.sub(r"(?<![\\A-Za-z])(?:and|or)(?![A-Za-z])", lambda m: rf"\{m.group()} ", text)
    text = _CODE.sub(r"\\\1 ", from_code(text))
    text = re.sub(r"\\exp\s*\{([^{}]*)\}", r"e^{\1}", text)
    text = re.sub(r"(?<=\d)[eE]([-+]?)(\d+)(?![\d.])", _scientific, text)
    text = re.sub(r"\^\s*\{?\s*((?:\\prime\s*)+)\}?", lambda m: "'" * m.group(1).count("\\"), text)
    text = re.sub(r"\{([^{}]*)\\choose\s*([^{}]*)\}", r"\\binom{\1}{\2}", text)
    text = _BACKWARD.sub(_forward, text)
    text = text.replace("*", r"\cdot ")
    text = re.sub(r"<\s*=|=\s*<", r"\\le ", text)
    text = re.sub(r">\s*=", r"\\ge ", text).replace("!=", r"\ne ")
    text = _complete_arguments(text)
    text = re.sub(r"\^\s*([A-Za-z0-9])", r"^{\1}", re.sub(r"_\s*([A-Za-z0-9])", r"_{\1}", text))
    text = re.sub(r"\\\{\s*\\\}", r"\\emptyset ", text)
    text = _tighten(text)
    if "\\dot" in text:
        text = _PERIOD_DOTS.sub(r"\1\\overline{\2\3\4}", text)
    return _COMBINATION.sub(r"\\binom{\1}{\2}", text) if "C_{" in text else text


def _spelled(text: str) -> str | None:
    """An answer that is a number in words as digits."""
    plain = re.sub(
        r"\\(?:text|mathrm|textbf|mbox)\s*\{([^{}]*)\}", r" \1 ", text.replace("$", " ").replace("\\ ", " ")
    )
    if not _SPELLED.fullmatch(plain):
        return None
    number = spelled_number(plain.strip(" ."))
    return None if number is None else digits(number)


def _said_once(match: re.Match[str]) -> str:
    """`7 (seven)` as 7."""
    return match.group(1) if spelled_number(match.group(2)) == int(match.group(1)) else match.group()


def _scaled(match: re.Match[str]) -> str:
    """`12 million people` as 12 \\cdot 10^6 people."""
    rest = (match.group(2) or "").strip()
    return rf"\cdot {_SCALES[match.group(1) or match.group(3)]}" + (rf"\text{{{rest}}}" if rest else "")


def _plain_unicode(text: str) -> str:
    if text.isascii():
        return text
    # After a digit a raised number may as well be a footnote mark; after a symbol or a unit it is a power.
    text = re.sub(
        r"(?<=[^\W\d]|[)}\]])[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+", lambda m: "^{" + m.group().translate(_SUPERSCRIPTS) + "}", text
    )
    # 10⁻³ and × 10³ have no footnotes.
    text = re.sub(
        r"(?<=10)⁻[⁰¹²³⁴⁵⁶⁷⁸⁹]+|(?<=[×·*xX]10)[⁰¹²³⁴⁵⁶⁷⁸⁹]+|(?<=[×·*xX] 10)[⁰¹²³⁴⁵⁶⁷⁸⁹]+",
        lambda m: "^{" + m.group().translate(_SUPERSCRIPTS) + "}",
        text,
    )
    text = re.sub(r"(\d\s*)?([¼-¾⅐-⅞])", _vulgar_fraction, text)
    text = re.sub(r"∛\s*(?:\(([^()]*)\)|(\d+|[A-Za-z]))", lambda m: rf"\sqrt[3]{{{m.group(1) or m.group(2)}}}", text)
    text = re.sub(r"√\s*(?:\(([^()]*)\)|(\d+|[A-Za-z]))", lambda m: rf"\sqrt{{{m.group(1) or m.group(2)}}}", text)
    # Only wide forms: compatibility mapping would turn raised and stylised digits into plain ones.
    text = "".join(
        unicodedata.normalize("NFKC", c) if "\uff00" <= c <= "\uffef" else c for c in text.translate(_UNICODE_TABLE)
    )
    text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() and c < "\uffff" else c for c in text)
    return _CLASSIFIER.sub("", "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cs")))


def _vulgar_fraction(match: re.Match[str]) -> str:
    above, _, below = unicodedata.normalize("NFKC", match.group(2)).partition("⁄")
    return (match.group(1) or "").strip() + rf"\frac{{{above}}}{{{below}}}"


def _join_thousands(text: str) -> str:
    return _THOUSANDS.sub(lambda m: re.sub(r"\D", "", m.group()), text)


def _rows_as_matrix(match: re.Match[str]) -> str:
    """[[1, 2], [3, 4]] as code writes a matrix."""
    rows = [row.split(",") for row in re.findall(r"\[([^\[\]]+)\]", match.group(1))]
    if len({len(row) for row in rows}) > 1 or len(rows[0]) < 2:
        return match.group()
    return r"\begin{pmatrix}" + r"\\".join("&".join(row) for row in rows) + r"\end{pmatrix}"


def _rename(match: re.Match[str]) -> str:
    name = match.group(1)
    replacement = _COMMANDS.get(name)
    if replacement is not None:
        return replacement
    return f"\\{name} " if match.string[match.end() : match.end() + 1].isalpha() else f"\\{name}"


def _as_matrix(match: re.Match[str]) -> str:
    """Every kind of matrix as a pmatrix; an array of one cell as its content."""
    body = re.sub(r"(?:\\\\\s*)+$", "", match.group(3).strip())
    if "\\\\" not in body and "&" not in body and match.group(2) == "array":
        return (match.group(1) or "") + body + match.group(4)
    return rf"\begin{{pmatrix}}{body}\end{{pmatrix}}"


def _unwrap_plain(match: re.Match[str]) -> str:
    """Bold and italic are decoration on numbers and symbols, and mark a word as text."""
    content = match.group(1)
    return rf"\text{{{content}}}" if re.search(r"[A-Za-z]{2,}", content) else content


_RUSSIAN_FUNCTIONS = {"tg": r"\tan ", "ctg": r"\cot ", "arctg": r"\arctan ", "arcctg": r"\arccot "}


def _simplify_text(match: re.Match[str]) -> str:
    content = match.group(1).strip()
    if content in ("and", "or", ", and", ", or", "and,", "or,"):
        return "\\" + content.strip(", ") + " "
    if re.fullmatch(_FUNCTIONS, content) and content not in ("min", "deg"):
        return "\\" + content + " "
    if content in _RUSSIAN_FUNCTIONS:
        return _RUSSIAN_FUNCTIONS[content]
    if content in ("e", "i", "d", "x", "y"):
        return content
    if content == "pi":
        return r"\pi "
    if not re.search(r"[^\W\d_]", content):
        return content
    if listed := re.fullmatch(r"([-\d., ]+?),? (and|or) ([-\d.]+)", content):
        return rf"{listed.group(1)}\{listed.group(2)} {listed.group(3)}"
    if amount := re.fullmatch(r"([-+]?\d[\d.,]*)\s+([A-Za-z].*)", content):
        return rf"{amount.group(1)}\text{{{amount.group(2)}}}"
    return rf"\text{{{content}}}"


def _forward(match: re.Match[str]) -> str:
    """]1, 3[ in the notation (1, 3)."""
    return ("(" if match.group(1) == "]" else "[") + match.group(2) + (")" if match.group(3) == "[" else "]")


def _scientific(match: re.Match[str]) -> str:
    return rf"\cdot 10^{{{match.group(1).replace('+', '')}{match.group(2)}}}"


def _complete_arguments(text: str) -> str:
    """Braces around the arguments of `\\frac` and `\\sqrt` that were written without."""
    text = re.sub(r"\\sqrt\s*(\[[^\[\]]*\])?\s*(\d|[A-Za-z](?![A-Za-z])|\\pi)", r"\\sqrt\1{\2}", text)
    if "\\frac" not in text and "\\binom" not in text:
        return text
    argument = r"(\d|[A-Za-z]|\\pi)"
    text = re.sub(rf"\\(frac|binom)\s*{argument}\s*{argument}", r"\\\1{\2}{\3}", text)
    text = re.sub(rf"\\(frac|binom)\s*{argument}\s*\{{", r"\\\1{\2}{", text)
    return re.sub(rf"(\\(?:frac|binom)\s*\{{[^{{}}]*\}})\s*{argument}", r"\1{\2}", text)


_SPACE = re.compile(r"\\text\{[^{}]*\}|\s+")


def _tighten(text: str) -> str:
    """Drops spaces that carry no meaning: all but those in text, between digits, and after a command before a letter."""
    pieces: list[str] = []
    position = 0
    text = text.strip()
    for match in _SPACE.finditer(text):
        pieces.append(text[position : match.start()])
        if match.group().startswith("\\"):
            pieces.append(match.group())
        else:
            before, after = text[match.start() - 1], text[match.end() : match.end() + 1]
            keep = (before.isdigit() and after.isdigit()) or (
                before.isalpha() and after.isalpha() and not _between_symbols(text, match.start(), match.end())
            )
            pieces.append(" " if keep else "")
        position = match.end()
    pieces.append(text[position:])
    text = _strip_end(without_exponent_brackets("".join(pieces)))
    return _strip_outer(text)


def _between_symbols(text: str, start: int, end: int) -> bool:
    """Whether the letters on both sides of a space stand alone: a product such as `a x`, not words."""
    return not (text[start - 2 : start - 1].isalpha() or text[start - 2 : start - 1] == "\\") and not (
        text[end + 1 : end + 2].isalpha()
    )


def _strip_end(text: str) -> str:
    text = re.sub(r"(?:\\text\{\s*[.,;]?\s*\}|[.,;:])+$", "", text)
    return re.sub(r"(?:\\text\{\s*\}|^[:,;])", "", text)


def _strip_outer(text: str) -> str:
    """Braces and doubled parentheses around the whole answer say nothing: {{7}} and ((7)) are 7."""
    if not text or text[0] not in "({":
        return text
    pairs: dict[int, int] = {}
    stack: list[int] = []
    for position, character in enumerate(text):
        if character in "({[" and not (position and text[position - 1] == "\\"):
            stack.append(position)
        elif character in ")}]" and stack and not (position and text[position - 1] == "\\"):
            pairs[stack.pop()] = position
    start, end = 0, len(text)
    while start < end and text[start] in "({" and pairs.get(start) == end - 1:
        if text[start] == "(" and text[end - 1] != ")":
            break
        if text[start] == "(" and re.search("[,;]", text[start:end]) and pairs.get(start + 1) != end - 2:
            break
        start, end = start + 1, end - 1
    return text[start:end] if end > start else ""
