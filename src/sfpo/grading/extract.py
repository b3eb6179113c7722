"""The answer a response commits to.

A response commits to its last box. Differences from math-verify's extraction, each of which costs it cases:
an empty or unfinished box is no answer (it never falls back to a number found elsewhere); several boxes count as one
answer only when nothing but "," / "and" / "or" stands between them; anything inside `<think>`, after an end-of-turn
marker or in a TeX comment is not part of the answer. Without a box the last labelled statement counts ("Answer: …",
"#### …"), then bold text, then displayed maths, then the last sentence.

Every scan is linear in the length of the response: a sampled response can be a megabyte of brackets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .prose import FORMULA, commitment, has_values, is_prose_word, with_unit


@dataclass(frozen=True)
class Answer:
    """`text` is the value that was committed to; `whole` the full statement it was read from."""

    text: str
    whole: str


_TURN_END = re.compile(r"<\|im_end\|>|<\|endoftext\|>|<\|eot_id\|>|\n(?:Human|User|Assistant|Question|Problem):")
_COMMENT = re.compile(r"(?m)^[ \t]*%.*$")
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])")
_BETWEEN_BOXES = re.compile(
    r"(?:[\s$,;]|\\[()\[\]]|\\(?:quad|qquad)(?![A-Za-z])|\\text\{\s*(?:and|or)\s*\}|\band\b|\bor\b|[A-Za-z]\s*=)*"
)
_LABEL = re.compile(
    r"(?:\bfinal\s+answer|\banswer|\brespuesta|\bréponse|\bantwort|\bresposta|\brisposta|\bответ|答案|答え|答|回答|故选|정답)"
    r"[\s*_]*(?:(?::|：|=)|(?:is|es|est|ist|è|é|是|为|為|は|은|는)(?![A-Za-zÀ-ÿ])[\s*_]*:?|(?=\\\(|\\\[|\$|\*\*))[ \t*_]*",
    re.IGNORECASE,
)
_HEADING = re.compile(r"(?im)^[ \t#*_]*(?:final[ \t]+)?answer[ \t*_:]*$")
_BOLD = re.compile(r"\*\*(?!\s)([^\n]+?)\*\*|__([^_\n]+)__")
_VERB = re.compile(r"\b(?:is|are|was|equals|equal to|be|becomes|to be|to)\b\s*:?|=", re.IGNORECASE)
# A dollar sign before an amount, not before a formula: the closing sign of a formula follows no space.
_CURRENCY = re.compile(r"\$(?=\d[\d,]*(?:\.\d+)?(?:\s+(?:[^$\n]*(?:\s\$|\$\d)|[^$\n]*$)|$))")
_ASIDE = re.compile(
    r"\((?:not|rather than|instead of|since|because|as|where|i\.e\.)(?!\w)[^()]*\)|,\s*not\b[^,.;]*$", re.IGNORECASE
)
# What denies or only supposes the statement whose label follows: "I doubt that the", "if the", "it is not true that the".
_DENIED = re.compile(
    r"\b(?:if|whether|suppose|supposing|assume|assuming|unless|doubt|deny|impossible|unlikely|false|wrong|incorrect|untrue|not|hardly"
    r"|[a-z]+n't)(?:\s+(?:that|the|my|our|your|this|final|correct|right|best|only|true|case|say|think|believe|sure))*[\s*_]*$",
    re.IGNORECASE,
)
_RETRACTED = re.compile(
    r"[-–—.,;:!?(\n]\s*(?:wait|oops|sorry|scratch that|on second thought|correction|my mistake|no[,.!])(?!\w)|\bI mea(?:n|nt)\b"
    r"|\b(?:that|this)(?: is|'s) (?:wrong|incorrect|not right)\b",
    re.IGNORECASE,
)
# "It is not [box]" and "[box] is wrong" do not commit to what is in the box.
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|cannot|never)|n't)(?:\s+(?:be|equal|equals|to|the|answer|is|just))*[\s$\\(\[:*]*$", re.IGNORECASE
)
_DENIED_BEHIND = re.compile(
    r"[\s$\\)\]*]*(?:(?:is|was)\s+(?:clearly\s+|also\s+)?(?:wrong|incorrect|false|impossible|invalid)|(?:(?:is|was)\s+not|isn't|wasn't)"
    r"\s+(?:the|an?)?\s*(?:answer|solution|correct|right|valid|possible)|fails|(?:does\s+not|doesn't)\s+work|can(?:not|'t)\s+be)\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n")
_NEARBY = 60
_BETWEEN_BOLD = re.compile(r"(?:[\s,;()]|\band\b|\bor\b|\bmaybe\b|\bperhaps\b|\bpossibly\b)+", re.IGNORECASE)
_EMPHASIS = re.compile(r"(?<![\w)\]}*])\*\*(?=[^\s*])([^*\n]+)\*\*(?![\w(*])")
_QUOTED = re.compile(r"([\"'`“‘])([^\"'`“”‘’]+)[\"'`”’]")
_POLITE_ENDING = re.compile(r"(?:です|である|입니다|이다)$")
_MODULE = re.compile(r"(?<![\w.])(?:np|numpy|math|sympy)\.(?=pi\b)")
_NEGATED = re.compile(r"\b(?:not|isn't|aren't|cannot|can't|never|neither)\b", re.IGNORECASE)
# Seven words and nothing else.
_PROSE = re.compile(r"(?:[A-Za-z',;:-]+\s+){6,}[A-Za-z',;:-]+")
_IMPLIES = re.compile(r"=>|⇒|\\(?:implies|Rightarrow|Longrightarrow)(?![A-Za-z])")
_OPTION_FIRST = re.compile(r"\(?([A-J])[).:](?:\s|$)")
_OPTION = re.compile(r"(?<![\w'-])\(?([A-J])\)?(?=[\s.*]*$)")
_UNFINISHED = re.compile(r"(?:[=+\-*/^,(\[{]|\\[a-zA-Z]+\{[^}]*)\s*$")
# A statement longer than this is prose that happens to follow a label, not an answer.
_LONGEST_STATEMENT = 100_000
_LONGEST_RETRACTION = 300
_LONGEST_LINE = 1000
_MOST_JOINED = 8
# Characters of a response that are read in a few milliseconds, a tenth of a second at worst. A worker reads longer ones.
READ_AT_ONCE = 20_000


def committed_answer(response: str) -> Answer | None:
    """The answer `response` commits to, or None where it commits to nothing."""
    text = _final_part(response)
    if text is None:
        return None
    if _BOX.search(text):
        boxed = _boxed(text)
        return Answer(boxed, boxed) if boxed and boxed.strip(" .?$~\n\t") else None
    return _stated(text)


def boxed(gold: str) -> str:
    """`gold` as a response that commits to it. A bare "1,2" or "(0, 1)" is only read as maths inside a box."""
    return f"\\boxed{{{gold}}}"


def _final_part(response: str) -> str | None:
    """What comes after the reasoning and before any invented next turn; None while the reasoning never ended."""
    text = response.replace("\ufeff", "")
    if "</think>" in text:
        after = text.rpartition("</think>")[2]
        text = after if after.strip() else ""
    elif "<think>" in text:
        return None
    text = _TURN_END.split(text.strip(), maxsplit=1)[0]
    if "%" in text:
        text = _COMMENT.sub("", text)
    return text


def _boxed(text: str) -> str | None:
    """The contents of the last box, joined with those of boxes in the same enumeration; None for an unfinished box."""
    spans: list[tuple[int, int, str | None]] = []
    closing = _matching_braces(text)
    outer_end = -1
    for match in _BOX.finditer(text):
        start = match.end()
        while start < len(text) and text[start] in " \t\n":
            start += 1
        content: str | None
        if not text.startswith("{", start):
            token = re.compile(r"\\?\w[\w.,/]*").match(text, start)
            content, end = (token.group().rstrip(".,"), token.end()) if token else ("", start)
        elif start in closing:
            content, end = text[start + 1 : closing[start]], closing[start] + 1
        else:
            content, end = None, len(text)
            spans.append((match.start(), start + 1, content))
            continue
        if match.start() < outer_end and spans:
            # A box inside a box: the inner one is the answer as long as it fills the outer one.
            spans[-1] = (spans[-1][0], spans[-1][1], content)
        else:
            spans.append((match.start(), end, content))
            outer_end = end
    spans = [span for span in spans if not _is_denied(text, span[0], span[1])]
    final = spans[-1][2] if spans else None
    if final is None:
        return None
    answers = [final.strip()]
    for (_, end, earlier), (start, _, _) in zip(reversed(spans[:-1]), reversed(spans[1:]), strict=True):
        between = text[end:start]
        if earlier is None or len(between) > 60 or not between.strip() or not _BETWEEN_BOXES.fullmatch(between):
            break
        answers.append(earlier.strip())
    # Empty for a lone empty box; an enumeration repeats its values only by accident.
    unique = list(dict.fromkeys(reversed(answers)))
    return unique[0] if len(unique) == 1 else " , ".join(answer for answer in unique if answer)


def _is_denied(text: str, start: int, end: int) -> bool:
    """Whether the sentence around a box or bold text says that it is not the answer."""
    before, after = text[max(0, start - _NEARBY) : start], text[end : end + _NEARBY]
    return bool(_DENIED_BEFORE.search(before) or _DENIED_BEHIND.match(after))


def _matching_braces(text: str) -> dict[int, int]:
    """Position of each opening brace to that of its closing one; escaped braces are text."""
    closing: dict[int, int] = {}
    stack: list[int] = []
    for match in re.finditer(r"\\[\\{}]|[{}]", text):
        brace = match.group()
        if brace == "{":
            stack.append(match.start())
        elif brace == "}" and stack:
            closing[stack.pop()] = match.start()
    return closing


def _stated(text: str) -> Answer | None:
    """The answer of a response without a box."""
    text = re.sub(r"[ \t]{2,}", " ", text)
    if "####" in text:
        line = text.rpartition("####")[2].strip().partition("\n")[0]
        return _from_statement(line)
    if "<answer>" in text:
        inside = text.rpartition("<answer>")[2].partition("</answer>")[0]
        return _from_statement(_first_block(inside.strip()))
    label, denied = _last_label(text)
    if label is not None:
        rest = _opened_bold(text, label) + text[label.end() :].lstrip()
        statement = _first_sentence(_first_block(rest))
        answer = _from_statement(statement)
        if answer is not None:
            # An answer is short: what retracts it stands close behind it.
            is_retracted = _RETRACTED.search(rest[:_LONGEST_RETRACTION], _value_end(rest))
            return None if is_retracted else answer
        # What the label introduces is no answer: only what comes after it may be one.
        text = rest[rest.index(statement) + len(statement) :]
    elif denied is not None:
        text = "".join(_SENTENCE_END.split(text[denied.end() :], maxsplit=1)[1:])
    paragraphs = [part for part in re.split(r"\n\s*\n", text.strip()) if part.strip()]
    if not paragraphs:
        return None
    content = _bold(paragraphs[-1])
    if content is not None and not content.rstrip().endswith(":"):
        return _from_statement(content)
    if (first := _OPTION_FIRST.match(paragraphs[0].strip())) and len(paragraphs) == 1 and "\n" not in text.strip():
        return Answer(first.group(1), first.group(1))
    last = paragraphs[-1].strip()[-_LONGEST_STATEMENT:]
    display = re.search(r"(?:\\\[((?:[^\\]|\\(?!\[|\]))+)\\\]|\$\$([^$]+)\$\$)\s*\.?$", last)
    if display is not None:
        return _from_statement(display.group(1) or display.group(2))
    # 4! is a factorial.
    sentence = re.split(r"(?<=[.!?])(?<!\d!)\s+(?=\S)", last)[-1].rpartition("\n")[2]
    if _UNFINISHED.search(sentence) or sentence.endswith("?"):
        return None
    answer = _from_statement(sentence, is_labelled=False)
    return None if answer is not None and _PROSE.fullmatch(answer.text) else answer


def _bold(text: str) -> str | None:
    """The last bold text that is not denied, with those that it is joined to: 7 or 8."""
    found = [match for match in _BOLD.finditer(text) if not _is_denied(text, match.start(), match.end())]
    if not found:
        return None
    first = len(found) - 1
    while (
        first
        and len(found) - first < _MOST_JOINED
        and _BETWEEN_BOLD.fullmatch(text[found[first - 1].end() : found[first].start()])
    ):
        first -= 1
    return _EMPHASIS.sub(r"\1", text[found[first].start() : found[-1].end()]).strip("*_")


def _last_label(text: str) -> tuple[re.Match[str] | None, re.Match[str] | None]:
    """The last label of an answer, and the last one whose statement is denied or only supposed."""
    label = denied = None
    for match in reversed(list(_LABEL.finditer(text))):
        if not _DENIED.search(text, max(0, match.start() - _NEARBY), match.start()):
            label = match
            break
        denied = denied or match
    for heading in _HEADING.finditer(text):
        if label is None or heading.start() >= label.start():
            label = heading
    return label, denied


def _opened_bold(text: str, label: re.Match[str]) -> str:
    """The mark of bold text that a label swallowed and that its statement closes."""
    line = text[text.rfind("\n", 0, label.start()) + 1 : label.end()][-_LONGEST_LINE:]
    return "**" if label.group().endswith("**") and line.count("**") % 2 else ""


def _value_end(statement: str) -> int:
    """Where the first value of a statement may end: a retraction stands behind it."""
    value = re.search(r"[\d$]|\\[(\[]|\b[A-J]\b", statement)
    return value.end() if value else len(statement)


def _first_block(text: str) -> str:
    """The rest of the line, or the whole of a displayed formula that starts here."""
    for opening, ending in (("\\[", "\\]"), ("$$", "$$")):
        if text.startswith(opening):
            inside, found, after = text[2:].partition(ending)
            if found and not after.partition("\n")[0].strip(" .*"):
                return inside
    return text.partition("\n")[0]


def _first_sentence(statement: str) -> str:
    """The statement without a closing remark such as "I hope it is correct"; a later sentence with a value stays."""
    first, *later = re.split(r"(?<=[.!?])\s+(?=[A-Z])", statement, maxsplit=1)
    return first if later and re.search(r"[\w]", first) and not re.search(r"[\d$\\]", later[0]) else statement


def _from_statement(statement: str, is_labelled: bool = True) -> Answer | None:
    """The value in a statement such as `42.`, `the volume is $120$ cubic metres` or `not 42 but 41`."""
    whole = _EMPHASIS.sub(r"\1", statement).strip().strip("*_ \t\n").rstrip("。").removesuffix(".").strip("*_ ")
    whole = _MODULE.sub("", _POLITE_ENDING.sub("", whole))
    if quoted := _QUOTED.fullmatch(whole):
        whole = quoted.group(2)
    if not whole or len(whole) > _LONGEST_STATEMENT:
        return None
    value = _CURRENCY.sub("", _ASIDE.sub("", _IMPLIES.split(whole)[-1])).strip()
    formulas = FORMULA.search(value)
    if not formulas and re.fullmatch(r"[\d.,\s]+", value) and len(value.split()) > 4:
        # Numbers in a row are no list: the last one stands.
        return Answer(value.split()[-1], whole)
    prose = re.sub(r"\\[a-z]+\{[^{}]*\}|\\[A-Za-z]+", " ", FORMULA.sub(" ", value))
    if not any(is_prose_word(word) for word in re.findall(r"(?<![\\A-Za-z])(?:[A-Za-z]{2,}|(?:[a-z]\.){2,})", prose)):
        return Answer(with_unit(value), whole) if re.search(r"\w|\\", value) else None
    if has_values(value):
        answer = commitment(value, is_labelled)
        return None if answer is None else Answer(answer, whole)
    if _NEGATED.search(value):
        return None
    option = _OPTION.search(value)
    if option is not None:
        return Answer(option.group(1), whole)
    return Answer(_VERB.split(value)[-1].strip(" *") or value, whole)
