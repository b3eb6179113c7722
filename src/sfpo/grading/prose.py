"""What a sentence in prose commits to.

The sentence is read as words and values. A value counts when the words before it only introduce it ("so the total is",
"she has") and those behind it only say what was counted; a reason, a condition or a check behind it is not the answer.
`at least 12`, `between 10 and 12`, `the square of 12` and `11 or maybe 12` commit to nothing; several values that are
joined are several answers. The words that may stand before a value are listed, for the same reason as those behind it
(`vocabulary.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from .number_words import digits, spelled_number
from .vocabulary import is_counted, is_unit_or_noun

Kind = Literal["word", "value", "mark"]
# Characters of a sentence: what is longer is an argument, of which the part next to its label or its end counts.
_LONGEST = 1000


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True)
class Token:
    """A word in lower case, a value as it is written, or a mark of punctuation."""

    kind: Kind
    text: str
    is_name: bool = False


FORMULA = re.compile(
    r"\$\$([^$]+)\$\$|\\\[((?:[^\\]|\\(?!\[|\]))+)\\\]|(?<!\\)\$((?:\\\$|[^$\n])+)(?<!\\)\$|\\\(((?:[^\\\n]|\\(?!\(|\)))+)\\\)"
)
_CODE_WORDS = frozenset(
    ["pi", "sqrt", "cbrt", "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "log", "ln", "exp", "abs", "floor",
     "ceil", "asin", "acos", "atan", "max", "min", "gcd", "lcm", "infinity", "inf"]
)  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+(?:['’.-][^\W\d_]+)*['’]?")
_OPTION = re.compile(r"\(?[A-J]\)?")
_BRACKETED = re.compile(r"\([^(),]{2,}\)")
_ORDINAL = re.compile(r"\d+(?:st|nd|rd|th)", re.IGNORECASE)

_VERBS = _words(
    """
    is are was were be becomes become equals equal has have had gets get got obtains obtain obtained gives give gave
    yields yield leaves leave left makes make made totals costs cost needs need needed takes take took earns earned earn pays
    pay paid spends spent spend sells sold sell buys bought buy contains contain weighs measures reaches remains remain
    finds find found chooses choose chose pick picks select requires require uses use used holds hold receives received
    collects collected saves saved travels traveled travelled runs ran walks walked drives drove eats ate drinks drank
    produces produced reads read writes wrote plays played lasts last lasted works worked owes owed owns grows
    sums comes came amounts adds evaluates simplifies reduces returns returned raised raises lost loses wins won scored
    scores ends finishes sits seats fits feeds bakes baked packs packed donates donated keeps kept choosing getting
    giving conclude deduce see know it's that's
    """
)  # fmt: skip
# Of an answer these say what it is; what it has, contains or exceeds is another number.
_COPULAS = _words(
    "is are was be becomes become equals equal gives give yields comes evaluates simplifies reduces works must see find found get"
)
_INTRANSITIVE = _words(
    "works worked work remains remain left exist exists suffice suffices fit fits survive satisfy qualify"
)
# Between a verb and its value.
_INTRODUCING = _words(
    """
    the a an exactly just only simply precisely equal to with at then also therefore thus hence so now clearly finally
    indeed we i he she they you it there this that answer option choice letter case final correct right best result
    solution value number total amount integer fraction about approximately roughly of in all and his her their our your its
    my by means which can be will must still currently altogether overall first obviously certainly actually easily always obtained calculated found
    grand whopping mere combined further additional extra full whole net smallest largest required desired requested resulting
    """
)
# "of" only after one of these: the square of 12 is another number.
_OF = _words(
    """
    total value number amount length area volume width height depth radius diameter perimeter distance speed rate probability price
    cost profit loss gain salary income revenue savings budget discount tax tip bill fee balance payment weight mass age score
    temperature angle measure remainder percentage average mean maximum minimum
    """
)
_CONDITIONS = ("if", "for", "when", "in")
# Where a reason, a condition, a contrast or a check begins.
_CUTTING = _words(
    """
    since because as for given provided assuming when where which if unless so though although but while whereas instead
    rather not except check verify note hence therefore thus by from using after before then that until without despite
    however e.g i.e who being unlike
    """
)
_NEGATING = _words(
    "not no isn't aren't wasn't cannot can't never neither nor n't doesn't don't pas nicht kein keine não не нет impossible unlikely doubt "
    "wrong incorrect false"
)
# Words that make another number of the value behind them, or a bound of it, or leave it open.
_CHANGING = _words(
    """
    least most more less fewer greater larger smaller higher lower than under over above below between either maybe perhaps
    possibly probably might could may should would nearly almost around close half twice thrice double triple third quarter
    multiple square squared cube cubed root power times multiplied divided plus minus negative product difference quotient
    ratio reciprocal inverse opposite quadruple quintuple factorial percent out per modulo mod divisible factor factors multiples squares
    beyond within excluding except say says
    """
)
# Up to 9 is a bound, unless something adds up to it.
_ADDING = _words("adds add added sums comes")
_HEDGING = _words("either neither maybe perhaps possibly might could may")
# 12, alternatively 13; 12, give or take 1
_OFFERING = _words("alternatively maybe perhaps possibly give else")
_SUPPOSING = _words("if whether unless suppose supposing")
# Nothing but 12, all but 12
_EXCLUDING = _words("anything everything all nothing none any")
_JOINING = frozenset(["and", "or"])
_PREDICATES = _words("the a correct right best only true final answer option choice one solution value result number")


def commitment(statement: str, is_labelled: bool) -> str | None:
    """The answer in a sentence with words and values, as LaTeX; None where it commits to none.

    Args:
        statement: one sentence, without the label ("Answer:") that stood before it.
        is_labelled: whether there was one; otherwise the sentence is read more leniently, as the end of an argument.
    """
    statement = statement[:_LONGEST] if is_labelled else statement[-_LONGEST:]
    tokens = _without_opening_clause(_tokens(_last_contrast(statement)))
    if not is_labelled:
        tokens = _after_consequence(tokens)
    start = _predicate(tokens, is_labelled)
    if start is None or not _introduces(tokens[:start], is_labelled) or _differs_by_case(tokens[start + 1 :]):
        return None
    sign = "-" if start and tokens[start - 1].text in ("minus", "negative") else ""
    return _values(tokens[start:], sign)


def _differs_by_case(tokens: list[Token]) -> bool:
    """Whether another value holds in another case: `12 if n is even and 13 if n is odd`, `12 for even n, otherwise 13`."""
    is_conditional = False
    for index, token in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else Token("mark", ".")
        is_value = token.kind == "value" and not re.fullmatch(r"[A-Za-z]|.*[=<>].*", token.text)
        if is_conditional and (
            (is_value and following.text in (*_CONDITIONS, "otherwise"))
            or (
                is_value
                and following.text == "("
                and tokens[index + 2 : index + 3]
                and tokens[index + 2].text in _CONDITIONS
            )
            or (token.text in ("otherwise", "else") and following.kind == "value")
        ):
            return True
        is_conditional = is_conditional or token.text in _CONDITIONS
    return False


def is_prose_word(word: str) -> bool:
    """Whether a word of two letters or more belongs to a sentence, rather than to a formula."""
    return word not in _CODE_WORDS and word not in _JOINING and not (word.isupper() and len(word) == 2)


def has_values(statement: str) -> bool:
    """Whether there is anything in a sentence but words."""
    return any(token.kind == "value" for token in _tokens(statement))


def _tokens(statement: str) -> list[Token]:
    tokens: list[Token] = []
    position = 0
    for match in FORMULA.finditer(statement):
        tokens += _plain_tokens(statement[position : match.start()])
        tokens.append(Token("value", next(group for group in match.groups() if group).strip()))
        position = match.end()
    return _joined(tokens + _plain_tokens(statement[position:]))


def _plain_tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    chunks = text.replace("**", " ").split()
    for number, chunk in enumerate(chunks):
        # "A, since it is larger" names an option, "A total of 12" does not.
        following = chunks[number + 1] if number + 1 < len(chunks) and chunk[-1].isalpha() else ""
        core = chunk.lstrip(',;:"“”').rstrip(',;:!?"“”')
        core = core.removesuffix(".")
        bare = core.strip("()")
        if not bare:
            tokens += [Token("mark", mark) for mark in chunk]
            continue
        lead = chunk[: chunk.index(core)] if core in chunk else ""
        tail = chunk[len(lead) + len(core) :]
        if _is_word(bare, following, at_start=number == 0):
            opening, closing = core.startswith("("), core.endswith(")")
            is_name = number > 0 and bare[0].isupper() and bare[1:].islower()
            tokens += [Token("mark", "(")] * opening + [Token("word", bare.lower().replace("’", "'"), is_name)]
            tokens += [Token("mark", ")")] * closing
        elif _BRACKETED.fullmatch(core) and tokens and tokens[-1].kind == "word":
            # twelve (12)
            tokens += [Token("mark", "("), Token("value", bare), Token("mark", ")")]
        elif core.startswith("(") and core.count("(") > core.count(")"):
            tokens += [Token("mark", "("), Token("value", core[1:])]
        elif core.endswith(")") and core.count(")") > core.count("(") and not _OPTION.fullmatch(core):
            tokens += [Token("value", core[:-1]), Token("mark", ")")]
        else:
            tokens.append(Token("value", core))
        tokens += [Token("mark", mark) for mark in tail if mark in ",;:.!?"]
    return tokens


def _is_word(text: str, following: str, at_start: bool) -> bool:
    if _ORDINAL.fullmatch(text):
        return True
    if not _WORD.fullmatch(text) or text in _CODE_WORDS:
        return False
    if len(text) > 1:
        return not (text.isupper() and len(text) == 2)
    # "a" is an article, and "A" and "I" are words before other words: A total of 12, 12 and I am sure.
    before_word = following[:1].islower() and following not in ("is", "or", "and")
    return text == "a" or ((text == "I" or (text == "A" and at_start)) and before_word)


def _joined(tokens: list[Token]) -> list[Token]:
    """Neighbouring values as one, such as 3 * 4 = 12; numbers in words as values."""
    joined: list[Token] = []
    for token in tokens:
        before = joined[-1] if joined else Token("mark", "")
        if token.kind == "word" and token.text != "half" and spelled_number(token.text) is not None:
            if before.kind == "value" and spelled_number(f"{before.text} {token.text}") is not None:
                joined[-1] = Token("value", f"{before.text} {token.text}")
            else:
                joined.append(Token("value", token.text))
        elif token.kind == before.kind == "value" and (
            not _OPTION.fullmatch(before.text) or token.text[0] in "=+-*/^<>"
        ):
            joined[-1] = Token("value", f"{before.text} {token.text}")
        else:
            joined.append(token)
    return joined


_CORRECTED = re.compile(r"(?:\bnot|n't)\s+[^\s,;]+[,;]\s+(?:it's|it is|rather)\s+(?!not\b)", re.IGNORECASE)


def _last_contrast(statement: str) -> str:
    """`not 42 but 41` and `isn't 42, it's 41` state 41."""
    if corrected := _CORRECTED.search(statement):
        return statement[corrected.end() :]
    before, contrast, after = statement.rpartition(" but ")
    return (
        after.removeprefix("rather ") if contrast and re.search(r"\bnot\b", before.rpartition(".")[2]) else statement
    )


def _without_opening_clause(tokens: list[Token]) -> list[Token]:
    """`Because A fails, the only choice left is B` without its reason."""
    opening = (
        *("because", "since", "as", "if", "when", "given", "although", "though", "while", "for", "assuming"),
        *("of", "out", "among", "in", "with", "after", "from", "at", "by", "on", "using"),
    )
    while tokens and tokens[0].text in opening:
        commas = [index for index, token in enumerate(tokens) if token == Token("mark", ",")]
        if not commas:
            return tokens
        tokens = tokens[commas[0] + 1 :]
    return tokens


def _after_consequence(tokens: list[Token]) -> list[Token]:
    """What follows from the rest of the sentence: `it is odd, hence it equals 41`."""
    for index in range(len(tokens) - 1, 0, -1):
        if tokens[index].text in ("hence", "therefore", "thus", "so") and any(
            t.kind == "value" for t in tokens[index:]
        ):
            return tokens[index + 1 :]
    return tokens


def _predicate(tokens: list[Token], is_labelled: bool) -> int | None:
    """Where the value stands that the sentence is about: behind the last verb before any reason, or the first value."""
    last = max((index for index, token in enumerate(tokens) if token.kind == "value"), default=-1)
    found: int | None = None
    behind_verb = False
    waiting = False
    for index, token in enumerate(tokens):
        if token.kind == "value" and (found is None or waiting):
            found, behind_verb, waiting = index, waiting, False
            if index == 0 and is_labelled:
                break
        elif token.text in _VERBS and index < last:
            waiting = True
        elif found is not None and token.kind == "mark" and token.text in ";.!?":
            break
        elif found is not None and token.kind == "word" and token.text in _CUTTING:
            counts = spelled_number(tokens[found].text) is not None and not tokens[found].text[0].isdigit()
            # A number in words before any verb may count anything: the only one that fits is B.
            if behind_verb or is_labelled or not counts:
                break
    return found


def _introduces(tokens: list[Token], is_strict: bool) -> bool:
    """Whether words before a value only introduce it."""
    verbs = [index for index, token in enumerate(tokens) if token.text in _VERBS]
    commas = [index for index, token in enumerate(tokens) if token.kind == "mark"]
    clause = tokens[commas[-1] + 1 if commas else 0 :]
    negated = clause if is_strict else tokens[verbs[-1] - 1 if verbs else 0 :]
    if any(t.text in _NEGATING for t in negated) or any(t.text in _SUPPOSING for t in clause):
        return False
    between = tokens[verbs[-1] + 1 :] if verbs else tokens
    if any(token.text in _HEDGING for token in tokens):
        return False
    words = [token.text for token in between if token.kind == "word"]
    if words and words[0] == "up" and verbs and tokens[verbs[-1]].text in _ADDING:
        words = words[1:]
    if words and words[-1] in ("minus", "negative"):
        words.pop()
    if any(word in _CHANGING for word in words):
        return False
    if any(one in _EXCLUDING and other == "but" for one, other in pairwise(words)):
        return False
    subject = [token.text for token in (tokens[: verbs[-1]] if verbs else tokens)]
    if "answer" in subject and not (verbs and tokens[verbs[-1]].text in _COPULAS):
        return False
    if any(word == "of" and (index == 0 or words[index - 1] not in _OF) for index, word in enumerate(words)):
        return False
    names = {token.text for token in between if token.is_name} if verbs else set()
    listed = all(word in _INTRODUCING or word in names or is_unit_or_noun(word) for word in words)
    return listed or not (is_strict or verbs)


def _values(tokens: list[Token], sign: str) -> str | None:
    """The values from the first token on, joined as a list where there are several."""
    values: list[str] = []
    position = 0
    while position < len(tokens) and tokens[position].kind == "value":
        value = _right_side(tokens[position].text)
        position += 1
        if not values and _OPTION.fullmatch(value):
            return _option(value.strip("()"), tokens[position:])
        start = position
        phrase, position = _phrase(tokens, position)
        counted = _counted_part(phrase)
        is_followed = (
            position < len(tokens) and tokens[position].kind == "value" and position == start + len(phrase.split())
        )
        if is_followed and (placed := _placed_part(phrase)):
            values.append(sign + with_unit(value, placed))
            break
        if is_followed and phrase and (counted in ("", phrase) or phrase.split()[len(counted.split())] == "of"):
            # 12 times 3, 5 out of 12, 9 percent of 100
            return None
        values.append(sign + with_unit(value, counted or phrase))
        if is_followed and phrase:
            # 7 eggs in 4 weeks
            break
        if (
            position < len(tokens)
            and tokens[position].text in _VERBS | _INTRANSITIVE
            and not _only_predicates(tokens[position:])
        ):
            return None
        is_joined, position = _joint(tokens, position)
        if is_joined is None:
            return None
        if not is_joined:
            break
    return " , ".join(values) if values else None


_UNIT = re.compile(r"([-+]?[\d.,/]+)\s+([A-Za-zµμΩ°][A-Za-zµμΩ°/^\d²³·*. -]{0,30})")
# Other single letters behind a number are variables.
_UNIT_LETTERS = _words("m g s h N J W V L K")


def with_unit(value: str, phrase: str = "") -> str:
    """A value and the words behind it, a number in words where both make one."""
    words = phrase.split()
    for end in range(len(words), -1, -1):
        number = spelled_number(" ".join([value, *words[:end]]))
        if number is not None:
            value, words = digits(number), words[end:]
            break
    if words:
        return rf"{value}\text{{ {' '.join(words)}}}"
    unit = _UNIT.fullmatch(value)
    names = re.findall(r"[^\W\d_]+", unit.group(2)) if unit else []
    if unit and all(is_unit_or_noun(name) and (len(name) > 1 or name in _UNIT_LETTERS) for name in names):
        return unit.group(1) + re.sub(r"[^\W\d_]+", r"\\text{\g<0>}", unit.group(2))
    return value


def _only_predicates(tokens: list[Token]) -> bool:
    """Whether what is said of a value, from its verb on, makes it the answer: B is the correct option, 12 apples remain."""
    words: list[str] = []
    for token in tokens[1:]:
        if token.kind != "word" or token.text in _CUTTING:
            break
        words.append(token.text)
    if not words:
        return tokens[0].text in _INTRANSITIVE
    return set(words) <= _PREDICATES or is_counted(" ".join(words))


def _right_side(text: str) -> str:
    """What a worked equation comes to: `6 * 7 = 42`, but not `x = 42`, whose label the comparison reads."""
    left, sign, right = text.rpartition("=")
    is_worked = sign and re.search(r"\d", left) and not re.search(r"[<>\\]", text)
    return right.strip() if is_worked and right.strip() and len(set(re.findall(r"[A-Za-z]", left))) < 2 else text


# 12 from 20, 12 as many: these begin no reason where a value or such a word follows.
_SUBTRACTING = _words("from by before after until without then")
_COMPARED = _words("many much large big small long short high tall old far fast")


def _phrase(tokens: list[Token], position: int) -> tuple[str, int]:
    """The words directly behind a value, and where they end."""
    words: list[str] = []
    while position < len(tokens) and tokens[position].kind == "word":
        word = tokens[position].text
        following = tokens[position + 1] if position + 1 < len(tokens) else Token("mark", ".")
        changes = (word in _SUBTRACTING and following.kind == "value") or (
            word == "as" and following.text in _COMPARED
        )
        ends = (word in _CUTTING and not changes) or word in _JOINING or word in _VERBS or word in _INTRANSITIVE
        if ends and not is_counted(" ".join([*words, word])) and not _continues_number(tokens, position):
            break
        words.append(word)
        position += 1
    while words and words[-1] in _CUTTING and words[-1] not in _SUBTRACTING:
        words.pop()
    return " ".join(words), position


# What those who are counted do: 9 students play both.
_SAYING = re.compile(
    r"(?:play|like|own|take|attend|enjoy|prefer|pass|wear|study|speak|remain|work|stay|fit|match|exist|satisfy)(?:s|es|ed)?"
)
# Where and when something is counted is not part of what is counted: 15 gems | in the chest.
_COMPLEMENT = _words(
    "in at on for from to of by with per each every over during after before under into inside through"
)


def _counted_part(phrase: str) -> str:
    """The words behind a value up to where it is said where, when or of what; the whole phrase where nothing is said."""
    words = phrase.split()
    for end in range(len(words), 0, -1):
        part, rest = " ".join(words[:end]), words[end:]
        if not is_counted(part) and spelled_number(f"1 {words[0]}") is None:
            continue
        if not rest or (
            (rest[0] in _COMPLEMENT or _SAYING.fullmatch(rest[0])) and not (_CHANGING - _COMPLEMENT).intersection(rest)
        ):
            return part
    return ""


# Before another value these say where or how: 8 outcomes with 3 coins. 9 percent of 100 and 5 feet to 6 feet are others.
_PLACING = _words("in with for at on among using inside during after before")


def _placed_part(phrase: str) -> str:
    """What is counted in a phrase that leads to another value, which only says where or how; "" where it may be more."""
    words = phrase.split()
    for end in range(1, len(words)):
        part, rest = " ".join(words[:end]), words[end:]
        if not is_counted(part) or set(rest) & _CHANGING:
            continue
        is_purpose = rest[0] == "to" and len(rest) > 1 and rest[1] not in _INTRODUCING
        if is_purpose or (rest[0] in _PLACING and all(w in _INTRODUCING or is_unit_or_noun(w) for w in rest[1:])):
            return part
    return ""


def _continues_number(tokens: list[Token], position: int) -> bool:
    """Whether `and` here belongs to a number: 12 and a half."""
    words = [token.text for token in tokens[position : position + 4]]
    return words[0] == "and" and any(spelled_number(" ".join(["1", *words[:end]])) is not None for end in (2, 3, 4))


def _joint(tokens: list[Token], position: int) -> tuple[bool | None, int]:
    """Whether another value is joined to the one before, and where it stands; None where what is joined is no value.

    `11 or maybe 12` leaves open what it is, and so does `12 or more`.
    """
    start = position
    while position < len(tokens) and tokens[position].text in (",", "(", "and", "or"):
        position += 1
    passed = {token.text for token in tokens[start:position]}
    if position < len(tokens) and tokens[position].text in _OFFERING:
        return None, position
    if position < len(tokens) and tokens[position].kind == "value":
        if passed == {"("}:
            # twelve (12)
            return False, position
        return bool(passed), position
    return (None if "or" in passed else False), position


def _option(letter: str, rest: list[Token]) -> str | None:
    """An option, unless another one is offered with it; behind a mark stands its text or a reason."""
    if rest and rest[0].text in _VERBS and not _only_predicates(rest):
        return None
    if rest and rest[0].text == "or":
        return None
    is_joined = False
    for token in rest:
        if token.text in _CUTTING or token.text in (".", ";"):
            break
        if is_joined and token.kind == "value" and _OPTION.fullmatch(token.text):
            return None
        is_joined = is_joined or token.text in (*_JOINING, ",")
    return letter
